"""Counters that never go on while another does: numbers are renamed all the same, and a search that took too many to rest begins again."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Callable
from dataclasses import replace
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, Literal

import pytest
from test_sequences import is_bisimulation

from secondsight.lang import (
    Array,
    Bounds,
    Machine,
    Record,
    SequenceNumber,
    atomic,
    choose,
    const,
    require,
    shared,
    shared_array,
    wait_until,
)
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.symmetry import renaming_of
from secondsight.lang.types import RecordType
from secondsight.search import Verdict
from secondsight.search.native import native_search
from secondsight.search.reduced import Reduced, reduced_search, search_both
from secondsight.search.request import Request

COUNT = int(os.environ.get("SECONDSIGHT_LAW", "40"))
Small = Annotated[int, Bounds(0, 3)]
RowNumber = Annotated[int, Bounds(0, 40)]


class Op(IntEnum):
    MAYBE = 0  # a counter goes on by two, or not
    BUMP = 1  # by one
    READ = 2  # r = a counter
    PUBLISH = 3  # the copy = a counter
    BEFORE = 4  # the copy = the number before a counter's
    SAME = 5  # whether the copy is r
    MOVED = 6  # whether a counter is r
    REQUIRE = 7  # the copy must not be what a counter is
    SAVE = 8  # q = r, which is compared with the copy alone
    SAVED = 9  # whether q is the copy


class Space(Record):
    number: SequenceNumber = 4


class Copy(Record):
    number: SequenceNumber


class Seen(Record):
    values: Array[Small, Literal[3]]


spaces = shared_array(Space, 2)
copy = shared(Copy)
seen = shared(Seen)
op, space_of, place_of = const("op", Op), const("space"), const("place")


def run(first: RowNumber, end: RowNumber) -> None:
    """One thread: the rows `first` to before `end`."""
    r: SequenceNumber = 0
    q: int = 0
    for i in range(first, end):
        if op[i] == Op.MAYBE:
            if choose(2) == 0:
                spaces[space_of[i]].number += 1
                spaces[space_of[i]].number += 1
        elif op[i] == Op.BUMP:
            spaces[space_of[i]].number += 1
        elif op[i] == Op.READ:
            r = spaces[space_of[i]].number
        elif op[i] == Op.PUBLISH:
            copy.number = spaces[space_of[i]].number
        elif op[i] == Op.BEFORE:
            copy.number = spaces[space_of[i]].number - 1
        elif op[i] == Op.SAME:
            seen.values[place_of[i]] = 1 if copy.number == r else 2
        elif op[i] == Op.MOVED:
            seen.values[place_of[i]] = 1 if spaces[space_of[i]].number == r else 2
        elif op[i] == Op.REQUIRE:
            require(copy.number != spaces[space_of[i]].number, "apart", "the same")
        elif op[i] == Op.SAVE:
            q = r
        elif op[i] == Op.SAVED:
            seen.values[place_of[i]] = 1 if copy.number == q else 2


Row = tuple[Op, int, int]


@cache
def executors(known: frozenset[Op]) -> tuple[Native, list[Native]]:
    """The executors of programs with these operations, whatever their rows."""
    machine = Machine({}, data={"op": [min(known)], "space": [0], "place": [0]}, only={"op": sorted(known), "space": [0, 1]})
    program = build(machine, [Thread(f"t{i}", run, (0, 1)) for i in range(2)])
    symmetry, told = renaming_of(program, watched(program))
    assert symmetry is not None and symmetry.sequences is not None and not told, told
    symmetry = replace(symmetry, threads=None)
    return Native(program), [Native(program, Reductions(m, True), symmetry) for m in (False, True)]


def watched(program: Program) -> tuple[int, int]:
    base = next(at for d, at in program.layout.base.items() if d.kind == RecordType(Seen))
    return base, base + 3


def retarget(known: frozenset[Op], rows: list[list[Row]]) -> tuple[Native, list[Native]]:
    """Other rows for the same code."""
    plain, others = executors(known)
    program, flat, at = plain.program, [r for own in rows for r in own], 0
    program.machine.data.update(op=[int(r[0]) for r in flat], space=[r[1] for r in flat], place=[r[2] for r in flat])
    for i, own in enumerate(rows):
        program.roots[i] = (program.roots[i][0], [at, at + len(own)])
        at += len(own)
    for one in (plain, *others):
        one._tables = [(ctypes.c_int64 * max(1, len(row)))(*row) for row in (program.machine.data[name] for name in one.rendered.tables)]
        one.bind()
        one.initial = one._initial()
    return plain, others


def random_rows(chance: random.Random, known: frozenset[Op]) -> tuple[list[list[Row]], int]:
    """Rows, and the counters that they never move, a bit for each."""
    often = [Op.MAYBE, Op.MAYBE, Op.READ, Op.PUBLISH]
    names = [*sorted(known - ({Op.REQUIRE} if chance.random() < 0.8 else set())), *often]
    rows = [[(chance.choice(names), int(chance.random() < 0.4), chance.randint(0, 2)) for _ in range(chance.randint(4, 9))] for _ in range(2)]
    if chance.random() < 0.7:
        rows = [[(what, 0 if what in (Op.MAYBE, Op.BUMP) else space, place) for what, space, place in own] for own in rows]
    moved = {space for own in rows for what, space, _ in own if what in (Op.MAYBE, Op.BUMP)}
    return rows, sum(1 << i for i in (0, 1) if i not in moved)


def test_small_programs() -> None:
    """Verdicts and outcomes are those of the plain search; and every two states of one form take the same steps."""
    known = frozenset(Op)
    total = fewer = broken = again = rested = 0
    for seed in range(COUNT):
        chance = random.Random(seed)
        rows, resting = random_rows(chance, known)
        plain, others = retarget(known, rows)
        request = Request(watch=watched(plain.program), workers=1, deadlock=False)
        wanted = native_search(plain, request)
        broken += wanted.verdict is Verdict.BROKEN
        for native in others:
            both = search_both(native, plain, request)
            assert both.merged is not None and both.merged.verdict is wanted.verdict, (seed, rows)
            assert (both.result.verdict, both.result.violation) == (wanted.verdict, wanted.violation), (seed, rows)
            if wanted.verdict is Verdict.HOLDS:
                assert both.merged.outcomes == wanted.outcomes, (seed, rows)
            again += both.begun > 1
        if seed % 4 == 0 and wanted.verdict is Verdict.HOLDS:
            for counters in {0, resting}:
                others[0].rest(counters)
                states, forms = is_bisimulation(plain, others[0])
                assert others[0].moved() == 0
                total, fewer, rested = total + states, fewer + forms, rested + (counters != 0)
            others[0].rest(0)
    assert 0 < broken < COUNT and again > 0 and rested > 3 and fewer < total, (broken, again, rested, fewer, total)


# By hand.


class Which(Record):
    number: Annotated[int, Bounds(0, 1)]


which = shared(Which)


def goes_on() -> None:
    """The program has two counters, and moves the first alone: that only a search can know."""
    spaces[which.number].number += 1


def counts_for_ever() -> None:
    while True:
        copy.number = spaces[0].number
        goes_on()
        goes_on()


def looks_at_the_other() -> None:
    mine = spaces[1].number
    wait_until(spaces[0].number != mine)
    require(spaces[1].number == mine, "rests", "it has gone on")


def judged(*threads: Callable[[], None], daemons: int = 0, **asked: Any) -> Reduced:
    """What the reduced search says."""
    program = build(Machine({}), [Thread(f"t{i}", f, daemon=i < daemons) for i, f in enumerate(threads)])
    return reduced_search(program, Request(workers=1, deadlock=False, **asked))


def test_beside_one_that_rests_there_is_an_end_of_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(counts_for_ever, looks_at_the_other, daemons=1)
    assert found.result.verdict is Verdict.HOLDS and found.result.states < 40 and found.begun == 2
    monkeypatch.setattr(Native, "may_rest", lambda self: 0)
    found = judged(counts_for_ever, looks_at_the_other, daemons=1)
    assert found.result.verdict is Verdict.NOT_FINISHED and "Space.number" in str(found.result.error)


def counts() -> None:
    while True:
        spaces[0].number += 1


def moves_the_other_late() -> None:
    """To where the first one was, in one of the runs that are alike as long as the other one rests."""
    mine = spaces[0].number
    wait_until(spaces[0].number & 1 == 0 and spaces[0].number != mine)
    spaces[1].number += 1
    spaces[1].number += 1
    spaces[1].number += 1
    spaces[1].number += 1
    require(spaces[1].number != mine, "apart", "the one is where the other was")


def test_one_that_goes_on_late_is_found_to(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(counts, moves_the_other_late, daemons=1)
    assert found.result.violation is not None and found.result.violation.rule == "apart" and found.begun > 1
    moved = Native.moved
    monkeypatch.setattr(Native, "moved", lambda self: moved(self) & 1)
    blind = judged(counts, moves_the_other_late, daemons=1)
    assert blind.result.verdict is Verdict.HOLDS  # so it is needed to look


@atomic
def begins_at_an_even_one() -> None:
    wait_until(spaces[0].number & 1 == 0)
    copy.number = spaces[0].number - 1


def takes_the_numbers_before() -> None:
    """That of the counter which rests is the other one's first: it may be read at any time, held by anybody or not."""
    begins_at_an_even_one()
    mine = spaces[0].number
    wait_until(spaces[0].number & 1 == 0 and spaces[0].number != mine)
    goes = spaces[0].number
    wait_until(spaces[0].number & 1 == 0 and spaces[0].number != goes)
    before = spaces[1].number - 1
    require(copy.number == before, "first", "it was not the first")


def test_the_number_before_one_that_rests_keeps_its_name() -> None:
    assert judged(counts, takes_the_numbers_before, daemons=1).result.verdict is Verdict.BROKEN


def tries_again() -> None:
    """It goes round for ever if the copy is another's number."""
    while True:
        mine = spaces[0].number
        goes_on()
        goes_on()
        if copy.number == mine:
            break


def copies_the_other() -> None:
    mine = spaces[1].number
    wait_until(spaces[0].number != mine)
    copy.number = mine


def test_a_livelock_beside_one_that_rests() -> None:
    found = judged(tries_again, copies_the_other, livelock=True).result
    assert found.violation is not None and found.violation.rule == "livelock" and "leaves its range" in found.note
