"""The table of helpers that retry hmm_range_fault(): its small cells as reasoned, their traces replayed; a kernel's answer to the one that it can give."""

from __future__ import annotations

import os

import pytest

from secondsight.agree.confirm import Confirmed
from secondsight.agree.freely import run_freely
from secondsight.cases import FreeRun, search_cell, settle
from secondsight.cases.hmm_retry_2026 import COLUMNS, ROWS, TABLE, TRUTH
from secondsight.kernels.jobs import Observation
from secondsight.scenario import Scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Result, Verdict, Violation
from secondsight.search.request import Request

EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"
HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

SMALL = {
    ("rest only", "DONTNEED"): "as-if-cpu",
    ("fresh", "DONTNEED"): None,
    ("driver's loop", "userfaultfd"): "access",
    ("fresh, 1 s in all", "userfaultfd"): "access",
    ("fresh, 1 s", "userfaultfd"): None,
    ("fresh", "killed in a wait"): None,
    ("fresh, no signal", "killed in a wait"): "livelock",
}
"""Cells, and the rule that breaks; by the reference executor, for what is compiled would take most of the time."""


def replayed(row: str, column: str, result: Result) -> None:
    """A broken cell's trace replays in plain execution, and ends as it says."""
    violation = result.violation
    assert violation is not None
    steps = violation.trace.replay(TABLE.program(row, column))  # type: ignore[arg-type]
    assert len(steps) == len(violation.trace)
    assert violation.rule == "livelock" or getattr(steps[-1].error, "rule", "") == violation.rule


@pytest.mark.parametrize(("row", "column"), SMALL, ids=lambda name: name.replace(" ", "-"))
def test_a_small_cell_is_as_reasoned_and_replays(row: str, column: str) -> None:
    result = search_cell(TABLE, row, column, Request(executor="reference")).result
    assert result is not None and result.error is None
    assert result.verdict is TABLE.expected[row, column], result
    assert (result.violation.rule if result.violation is not None else None) == SMALL[row, column]
    if result.verdict is BROKEN:
        replayed(row, column, result)


def test_no_form_that_has_its_own_loop_both_ends_and_never_fails() -> None:
    for row in (r.entry.name for r in ROWS):
        assert BROKEN in (TABLE.expected[row, "no failure"], TABLE.expected[row, "endless"])


def test_no_two_forms_are_the_same_but_for_what_is_known() -> None:
    """Else a row says nothing. Of two that are right without a limit neither is better; of two that never end one fails after each second, the other has no answer."""
    verdicts: dict[tuple[Verdict, ...], list[str]] = {}
    for row in (r.entry.name for r in ROWS):
        verdicts.setdefault(tuple(TABLE.expected[row, c.entry.name] for c in COLUMNS), []).append(row)
    assert [names for names in verdicts.values() if len(names) > 1] == [["same sequence", "fresh"], ["fresh, 1 s", "never fresh"], ["rest only", "read after"]]


def test_who_goes_round_for_ever_gives_no_wrong_answer() -> None:
    """So it is asked in the other columns alone."""
    assert TABLE.goes_on is not None and not TABLE.goes_on & set(TRUTH)
    assert all(TABLE.expected["never fresh", column] is HOLDS for column in TRUTH)


class Kernel:
    """One whose device gets what somebody wishes."""

    def __init__(self, device: str) -> None:
        self._device = device

    def observe(self, scenario: Scenario, runs: int = 1) -> Observation:
        return Observation(scenario.name, {(("cpu", "p"), ("device", self._device)): runs}, runs, "6.12", 0.0)


def test_a_kernel_is_asked_what_it_can_be() -> None:
    violation = search_cell(TABLE, "driver's loop", "userfaultfd", Request(executor="reference")).result.violation  # type: ignore[union-attr]
    assert violation is not None
    question = TABLE.on_kernel("driver's loop", "userfaultfd", violation)  # type: ignore[misc]
    assert isinstance(question, FreeRun)
    said = [run_freely(Kernel(device), question.scenario, question.shows, None, 1).verdict for device in ("-EFAULT", "p")]
    assert said == [Confirmed.CONFIRMED, Confirmed.REFUTED]


def test_of_all_other_cells_it_is_said_why_no_kernel_is_asked() -> None:
    nothing: Violation = None  # type: ignore[assignment]
    for (row, column), verdict in TABLE.expected.items():
        if column == "userfaultfd" and row in ("driver's loop", "loop, 1 s"):
            continue
        asked = TABLE.on_kernel(row, column, nothing) if verdict is BROKEN else TABLE.runs_on_kernel(row, column)  # type: ignore[misc]
        assert isinstance(asked, CannotForce) and len(asked.why) > 20


@pytest.mark.skipif(not EVERYTHING, reason="make tables runs it")
def test_every_cell_and_every_claim() -> None:
    settled = settle(TABLE)
    for cell in settled:
        assert cell.result is not None and cell.result.error is None
        assert cell.verdict is TABLE.expected[cell.row, cell.column], (cell.row, cell.column, cell.result.violation)
        if cell.verdict is BROKEN:
            replayed(cell.row, cell.column, cell.result)
    answers = [finding.answer(TABLE.expected) for finding in TABLE.findings]
    assert [a is not None and a.value for a in answers] == ["confirmed", "refuted", "refined", "refuted", "confirmed", "refined", "refined", "confirmed"]
