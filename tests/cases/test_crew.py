"""Cells shared out to processes: a process that is killed costs its cell, and nothing waits for ever."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from secondsight import cases
from secondsight.cases import TABLES, CaseTable, Cell, Heading, crew, settle
from secondsight.cases.crew import shared_out
from secondsight.cli import common, main
from secondsight.cli import settle as settle_command
from secondsight.lang.program import Program
from secondsight.search import Limits, Request, Verdict

PARENT = os.getpid()


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert not multiprocessing.active_children()


def work(piece: int, say: object) -> tuple[int, int]:
    """Pieces below 0 are the death of who does them; those of 100 and more take for ever."""
    if piece < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if piece >= 100:
        time.sleep(1000)
    if piece == 50:
        raise ZeroDivisionError("fifty")
    return piece, 0


def lost(piece: int, status: int) -> tuple[int, int]:
    return piece, status


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_who_is_killed_loses_his_piece_alone(processes: int) -> None:
    pieces = [1, -1, 2, -2, 3, 4]
    made = dict(shared_out(pieces, work, processes, lost))
    assert made == {1: 0, -1: -signal.SIGKILL, 2: 0, -2: -signal.SIGKILL, 3: 0, 4: 0}


def who(piece: str, say: object) -> tuple[str, int]:
    time.sleep(0.02)
    return piece, os.getpid()


def test_pieces_of_one_kind_are_one_process_s() -> None:
    pieces = [kind + str(n) for kind in "abcd" for n in range(3)]
    made = dict(shared_out(pieces, who, 2, lambda piece, status: (piece, 0), kind=lambda piece: piece[0]))
    assert set(made) == set(pieces)
    assert len(set(made.values())) == 2
    assert all(len({made[kind + str(n)] for n in range(3)}) == 1 for kind in "ab")


def test_what_a_process_raises_is_raised_here() -> None:
    with pytest.raises(ZeroDivisionError, match="fifty"):
        list(shared_out([1, 50, 100], work, 2, lost))


def test_who_is_at_work_ends_with_the_iterator() -> None:
    results = shared_out([100, 1, 101], work, 2, lost)
    assert next(results) == (1, 0)
    begun = time.monotonic()
    results.close()
    assert time.monotonic() - begun < 4
    assert list(shared_out([], work, 2, lost)) == []


def fatal(row: str, column: str) -> Program | None:
    """The reviewed table's cells, but for one that the system kills whoever searches it for."""
    if column == "DONTNEED" and os.getpid() != PARENT:
        os.kill(os.getpid(), signal.SIGKILL)
    return TABLES["2019-08-hmm"].program(row, column)


def test_a_cell_whose_process_is_killed_is_not_finished(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row, columns = Heading("today loop", ""), tuple(Heading(name, "") for name in ("munmap", "DONTNEED", "exit"))
    table = CaseTable("fatal", "Fatal", "?", (row,), columns, fatal, (), dict.fromkeys([("today loop", c.name) for c in columns], Verdict.HOLDS))
    monkeypatch.setitem(TABLES, "fatal", table)
    cells = {c.column: c.result for c in settle(table, jobs=2)}
    killed = cells["DONTNEED"]
    assert killed is not None and (killed.verdict, killed.reason) == (Verdict.NOT_FINISHED, "killed")
    assert "SIGKILL" in killed.note
    assert all(r is not None and r.verdict is Verdict.HOLDS for column, r in cells.items() if column != "DONTNEED")
    if len(os.sched_getaffinity(0)) > 1:
        assert main(["settle", "fatal"]) == 3
        out = capsys.readouterr().out
        assert "not" in out and "finished" in out and "was killed" in " ".join(out.split())


def test_ctrl_c_ends_with_the_cell_that_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    table = TABLES["2019-08-hmm"]
    cells = settle(table, Request(limits=Limits(seconds=30)), jobs=1, only=list(table.cells())[:3], on_cell=lambda cell: signal.raise_signal(signal.SIGINT))
    assert len(cells) == 1


def naps(piece: float, say: crew.Say) -> float:
    for part in range(int(piece * 10)):
        say(part)
        time.sleep(0.1)
    return piece


def test_who_waits_is_told_what_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "TICK", 0.02)
    told: list[list[tuple[float, int | None]]] = []
    done = list(shared_out([0.3, 0.0], naps, 2, lambda piece, status: -1.0, told.append))
    assert sorted(done) == [0.0, 0.3]
    assert any(len(pieces) == 1 and pieces[0][0] == 0.3 and pieces[0][1] in (1, 2) for pieces in told)


@pytest.mark.parametrize("jobs", [1, 2])
def test_settle_tells_which_cells_are_searched(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "TICK", 0.01)
    table, told, seen = TABLES["2019-08-hmm"], list[tuple[str, str]](), list[int]()
    only = list(table.cells())[:2]
    cells = settle(table, Request(executor="reference"), jobs=jobs, only=only, on_wait=lambda cells, states: (told.extend(cells), seen.append(states)))  # type: ignore[func-returns-value]
    assert [(cell.row, cell.column) for cell in cells] == only
    assert (told or jobs == 1) and set(told) <= set(only)  # a short search by itself may have nothing to tell


def test_the_clock_moves_while_cells_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def half_settled(table: CaseTable, request: Request, on_cell: object, bounds: object, on_wait: Any) -> list[Cell]:
        on_wait([("row", "column"), ("row", "other")], 12_345)
        return []

    said: list[str] = []
    monkeypatch.setattr(cases, "settle", half_settled)
    monkeypatch.setattr(common.Running, "say", lambda self, text, *rest: said.append(text))
    settle_command._settle(TABLES["2019-08-hmm"], Request(), {})
    assert len(said) == 1 and "cells, 12,345 states, " in said[0] and said[0].endswith(" s, now row:column, row:other")
