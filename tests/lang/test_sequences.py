"""Sequence numbers up to renaming give the same verdicts: small programs by the hundred, and each way of merging wrongly by hand."""

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

from secondsight.lang import (
    Array,
    Bounds,
    Machine,
    Record,
    Ref,
    SequenceNumber,
    choose,
    const,
    pool,
    require,
    shared,
    shared_array,
    wait_until,
)
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.symmetry import Symmetry, renaming_of
from secondsight.lang.types import RecordType
from secondsight.search import Result, Verdict, breadth_first, reduced
from secondsight.search.auto import search
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search, search_both
from secondsight.search.request import Request

COUNT = int(os.environ.get("SECONDSIGHT_LAW", "100"))
Small = Annotated[int, Bounds(0, 3)]
RowNumber = Annotated[int, Bounds(0, 40)]


class Op(IntEnum):
    BUMP = 0  # the counter goes on by one
    ODD = 1  # it becomes odd
    READ = 2  # r = the counter
    KEEP = 3  # copies[a] = r
    LOAD = 4  # r = copies[a]
    PUBLISH = 5  # copies[a] = the counter
    SAVE = 6  # q = r
    NONE = 7  # r = none
    MOVED = 8  # seen[b] = 1 or 2: whether the counter is r
    SAME = 9  # seen[b]: whether copies[a] is r
    PARITY = 10  # seen[b]: whether r is odd
    IS_NONE = 11
    REQUIRE = 12  # copies[a] must not be r
    WAIT = 13  # until the counter is another than r
    SAVED = 14  # seen[b]: whether q is copies[a]
    TWO = 15  # seen[b]: whether r is q
    BEFORE = 16  # copies[a] = the number before the counter's
    COMPARE = 17  # seen[b]: whether two copies are the same
    RETRY = 18  # r = the counter, until it is that still
    MAYBE = 19  # the counter goes on by two, or not


class Counter(Record):
    number: SequenceNumber = 2


class Copies(Record):
    numbers: Array[SequenceNumber, Literal[2]]


class Seen(Record):
    values: Array[Small, Literal[3]]


counter = shared(Counter)
copies = shared(Copies)
seen = shared(Seen)
op = const("op", Op)
first_number = const("a")
second_number = const("b")


def run(first: RowNumber, end: RowNumber) -> None:
    """One thread: the rows `first` to before `end`; its registers are live across calls."""
    r: SequenceNumber = 0
    q: int = 0
    for i in range(first, end):
        if op[i] == Op.BUMP:
            counter.number += 1
        elif op[i] == Op.ODD:
            counter.number |= 1
        elif op[i] == Op.READ:
            r = counter.number
        elif op[i] == Op.KEEP:
            copies.numbers[first_number[i]] = r
        elif op[i] == Op.LOAD:
            r = copies.numbers[first_number[i]]
        elif op[i] == Op.PUBLISH:
            copies.numbers[first_number[i]] = counter.number
        elif op[i] == Op.SAVE:
            q = r
        elif op[i] == Op.NONE:
            r = 0
        elif op[i] == Op.MOVED:
            same = counter.number == r
            sees(i, same)
        elif op[i] == Op.SAME:
            same = copies.numbers[first_number[i]] == r
            sees(i, same)
        elif op[i] == Op.PARITY:
            sees(i, r & 1 == 1)
        elif op[i] == Op.IS_NONE:
            sees(i, r == 0)
        elif op[i] == Op.REQUIRE:
            require(copies.numbers[first_number[i]] != r, "apart", "the same")
        elif op[i] == Op.WAIT:
            wait_until(counter.number != r)
        elif op[i] == Op.SAVED:
            same = copies.numbers[first_number[i]] == q
            sees(i, same)
        elif op[i] == Op.TWO:
            sees(i, r == q)
        elif op[i] == Op.BEFORE:
            copies.numbers[first_number[i]] = counter.number - 1
        elif op[i] == Op.COMPARE:
            same = copies.numbers[0] == copies.numbers[1]
            sees(i, same)
        elif op[i] == Op.RETRY:
            r = counter.number
            while counter.number != r:
                r = counter.number
        elif op[i] == Op.MAYBE:
            if choose(2) == 0:
                counter.number += 1
                counter.number += 1


def sees(i: RowNumber, same: bool) -> None:
    """What is watched of final states."""
    seen.values[second_number[i]] = 1 if same else 2


EVERYTHING = frozenset(Op)
READERS = frozenset({Op.BUMP, Op.ODD, Op.READ, Op.PUBLISH, Op.LOAD, Op.SAVE, Op.SAME, Op.SAVED, Op.MOVED, Op.PARITY, Op.REQUIRE, Op.WAIT, Op.RETRY, Op.MAYBE})
"""Registers are compared with copies and the counter, never with each other nor kept: what is old in them is stale."""
PARTS = {"everything": EVERYTHING, "no number before": EVERYTHING - {Op.BEFORE}, "readers": READERS}


@cache
def executors(part: str) -> tuple[Program, Native, list[Native]]:
    machine = Machine({}, data={"op": [min(PARTS[part])], "a": [0], "b": [0]}, only={"op": sorted(PARTS[part])})
    program = build(machine, [Thread(f"t{i}", run, (0, 1)) for i in range(2)])
    symmetry, told = renaming_of(program, watched(program))
    assert symmetry is not None and symmetry.sequences is not None and not told, told
    symmetry = replace(symmetry, threads=None)  # what is equal changes with the rows
    spots = symmetry.sequences.spots_of(program)
    assert spots.before == (part == "everything")
    assert {getattr(spot, "name", "") for spot in spots.groups} == ({"r", "q"} if part == "readers" else {"q"})
    return program, Native(program), [Native(program, Reductions(m, True), symmetry) for m in (False, True)]


def watched(program: Program) -> tuple[int, int]:
    base = next(at for d, at in program.layout.base.items() if d.kind == RecordType(Seen))
    return base, base + 3


Row = tuple[Op, int, int]


def retarget(part: str, rows: list[list[Row]]) -> tuple[Program, Native, list[Native]]:
    program, plain, others = executors(part)
    flat = [r for own in rows for r in own]
    program.machine.data.update(op=[int(r[0]) for r in flat], a=[r[1] for r in flat], b=[r[2] for r in flat])
    at = 0
    for i, own in enumerate(rows):
        program.roots[i] = (program.roots[i][0], [at, at + len(own)])
        at += len(own)
    for one in (plain, *others):
        data = [program.machine.data[name] for name in one.rendered.tables]
        one._tables = [(ctypes.c_int64 * max(1, len(row)))(*row) for row in data]
        one.bind()
        one.initial = one._initial()
    return program, plain, others


def random_rows(chance: random.Random, part: str) -> list[list[Row]]:
    known = sorted(PARTS[part])
    wanted = [k for k in (Op.MAYBE, Op.MAYBE, Op.RETRY, Op.BUMP, Op.READ, Op.PUBLISH, Op.LOAD, Op.SAVE, Op.SAME, Op.SAVED) if k in known]
    if chance.random() < 0.8:
        known = [k for k in known if k is not Op.REQUIRE]
    return [
        [(chance.choice([*known, *wanted]), chance.randint(0, 1), chance.randint(0, 2)) for _ in range(chance.randint(3, 8))] for _ in range(2)
    ]


def is_bisimulation(plain: Native, renamed: Native, most: int = 3000) -> tuple[int, int]:
    """Every two reachable states with one canonical form can take the same steps, to states of the same canonical forms.

    The counts of states and of forms; the first are `most` at most.
    """

    def form(state: bytes) -> bytes:
        room = ctypes.create_string_buffer(state, len(state))
        renamed.library.ss_canonical(room, -1)
        return room.raw

    assert renamed.symmetry is not None
    equal = renamed.symmetry.threads
    classes = range(8) if equal is None else equal.classes

    def steps(state: bytes) -> frozenset[Any]:
        return frozenset((classes[s.thread], s.choices, s.state and form(s.state), str(s.error)) for s in plain.successors(state))

    seen_, todo, of_form = {plain.initial}, [plain.initial], {}
    for state in todo:
        name = form(state)
        assert form(name) == name
        can = steps(state), plain.finished(state)
        assert of_form.setdefault(name, can) == can
        assert (steps(name), plain.finished(name)) == can
        new = {s.state for s in plain.successors(state) if s.state is not None} - seen_
        if len(seen_) < most:
            seen_ |= new
            todo += sorted(new)
    return len(seen_), len(of_form)


@pytest.mark.parametrize("part", PARTS)
def test_small_programs(part: str) -> None:
    total = forms = reduced_total = broken = 0
    for seed in range(COUNT):
        chance = random.Random(seed)
        rows = random_rows(chance, part)
        program, plain, others = retarget(part, rows)
        request = Request(watch=watched(program), workers=1, livelock=True, deadlock=seed % 2 == 0)
        known = native_search(plain, request)
        broken += known.verdict is Verdict.BROKEN
        for native in others:
            reduced = search_both(native, plain, request)
            merged, found = reduced.merged, reduced.result
            assert merged is not None
            assert (merged.verdict is Verdict.HOLDS) == (known.verdict is Verdict.HOLDS), (seed, rows)
            assert (found.verdict, found.violation) == (known.verdict, known.violation), (seed, rows)
            if known.verdict is Verdict.HOLDS:
                assert merged.outcomes == known.outcomes, (seed, rows)
                assert merged.states <= known.states
                if native is others[0]:
                    total, reduced_total = total + known.states, reduced_total + merged.states
        if seed % 5 == 0 and known.states < 3000:
            states, own = is_bisimulation(plain, others[0])
            forms += states > own
    assert 0 < broken < COUNT and forms > 0
    assert reduced_total * 1.2 < total, f"{total} states, {reduced_total} up to renaming"


# By hand.


def both(threads: list[Callable[[], None]], bounds: dict[str, int] | None = None) -> tuple[Result, Result]:
    """The plain search and the reduced one, which renames; every step of the whole graph is compared."""
    program = build(Machine(bounds or {}), [Thread(f"t{i}", f) for i, f in enumerate(threads)])
    symmetry, told = renaming_of(program)
    assert symmetry is not None and symmetry.sequences is not None, told
    plain, renamed = Native(program), Native(program, Reductions(False, True), symmetry)
    if not symmetry.arrays:  # unused records are in the order of their contents, numbers too: not all that is alike is one then
        is_bisimulation(plain, renamed)
    known, slow = native_search(plain, Request(workers=1)), breadth_first(Reference(program))
    found = search_both(renamed, plain, Request(workers=1))
    assert found.merged is not None and "symmetry" in found.merged.reduced
    assert found.result.verdict is slow.verdict is known.verdict
    assert found.result.violation == known.violation
    return known, found.merged


def two_changes() -> None:
    counter.number += 1
    counter.number += 1
    copies.numbers[0] = 0
    counter.number += 1


def keeps_it_across_two_changes() -> None:
    """It publishes an old number, and reads it again later: the number of a time that is long over."""
    mine = counter.number
    copies.numbers[0] = mine
    other = counter.number
    again = copies.numbers[0]
    if mine != other:
        require(again != mine, "forgotten", "the number is there still")


def test_a_reader_that_keeps_an_old_number_across_two_changes() -> None:
    known, merged = both([two_changes, keeps_it_across_two_changes])
    assert known.verdict is Verdict.BROKEN and merged.verdict is Verdict.BROKEN


def asks_whether_it_is_odd() -> None:
    mine = counter.number
    wait_until(counter.number != mine)
    wait_until(counter.number & 1 == 0)
    require(mine & 1 == 0, "even", "an odd number was read")


def test_parity_of_an_old_number() -> None:
    known, _ = both([two_changes, asks_whether_it_is_odd])
    assert known.verdict is Verdict.BROKEN


def reads_two() -> None:
    one = counter.number
    two = counter.number
    wait_until(counter.number & 1 == 1)
    require(one == two, "no change between", "the two are different")


def test_two_old_numbers_that_are_compared_are_two() -> None:
    known, _ = both([two_changes, reads_two])
    assert known.verdict is Verdict.BROKEN


def changes_often() -> None:
    for _i in range(6):
        counter.number += 1


def reads_twice() -> None:
    """Old numbers, of which one is compared only while it may be what the counter is."""
    one = counter.number
    two = counter.number
    first = counter.number != one
    second = counter.number != two
    require(first or not second or one == 0, "in order", "the counter goes on between")


def test_stale_numbers_are_one() -> None:
    known, _ = both([changes_often, reads_twice])
    assert known.verdict is Verdict.BROKEN


def publishes_often() -> None:
    for _i in range(4):
        counter.number += 1
        copies.numbers[0] = counter.number
        counter.number += 1


def retries() -> None:
    """A reader as the kernel has them: what it read is compared with the copy, which is compared with the counter."""
    old = copies.numbers[1]
    while True:
        mine = copies.numbers[0]
        now = counter.number
        if mine == now:
            continue
        if copies.numbers[0] == mine:
            break
    require(old == 0, "none", "a number nobody has written")


def test_readers_that_try_again() -> None:
    known, merged = both([publishes_often, retries, retries])
    assert known.verdict is Verdict.HOLDS and merged.states * 1.3 < known.states, (known.states, merged.states)


class Holder(Record):
    number: SequenceNumber
    other: Ref[Holder]


holders = pool(Holder, "holders")


def keeps_it_in_what_is_freed() -> None:
    """A number in a record that is freed and allocated again: it is none then."""
    holder = holders.alloc()
    holder.number = counter.number
    holders.free(holder)
    again = holders.alloc()
    mine = again.number
    require(mine == 0, "zeroed", "a number was left")
    again.number = counter.number
    mine = again.number
    now = counter.number
    require(mine == now, "the same", "the counter went on")


def test_a_number_in_a_record_that_is_freed() -> None:
    known, _ = both([two_changes, keeps_it_in_what_is_freed], {"holders": 1})
    assert known.violation is not None and known.violation.rule == "the same"


def dies_and_lives() -> None:
    """A local whose value is not needed for a while, and that is assigned again: what it held is no number of the state."""
    mine = counter.number
    copies.numbers[1] = mine
    mine = 0
    other = copies.numbers[0]
    mine = counter.number
    require(other != mine or other == 0, "another", "the copy is what the counter is")


def publishes() -> None:
    counter.number += 1
    copies.numbers[0] = counter.number
    counter.number += 1


def test_a_number_in_a_dead_slot() -> None:
    known, _ = both([publishes, dies_and_lives])
    assert known.verdict is Verdict.BROKEN


class TwoCounters(Record):
    one: SequenceNumber = 2
    other: SequenceNumber = 6
    copy: SequenceNumber


two_counters = shared(TwoCounters)


def raises_one() -> None:
    for _i in range(4):
        two_counters.one += 1


def raises_other() -> None:
    two_counters.copy = two_counters.other
    two_counters.other += 1
    mine = two_counters.one
    require(mine != two_counters.copy, "apart", "one counter has come to where the other was")


def test_a_number_of_one_counter_may_come_again_in_another() -> None:
    known, _ = both([raises_one, raises_other])
    assert known.verdict is Verdict.BROKEN


def bumps_for_ever() -> None:
    while True:
        counter.number += 1


def reads_for_once() -> None:
    mine = counter.number
    wait_until(counter.number != mine)


def test_what_counts_for_ever_ends() -> None:
    """Without renaming the number leaves its range."""
    program = build(Machine({}), [Thread("counts", bumps_for_ever, daemon=True), Thread("reads", reads_for_once)])
    plain = native_search(Native(program), Request(workers=1))
    assert plain.verdict is Verdict.NOT_FINISHED and "Counter.number" in str(plain.error)
    found = reduced_search(program, Request(workers=1)).result
    assert found.verdict is Verdict.HOLDS and found.states < 20


def counts_and_tries_again() -> None:
    """It goes round for ever, counting, if another publishes a number in each round."""
    while True:
        mine = counter.number
        counter.number += 1
        counter.number += 1
        if copies.numbers[0] == mine:
            break


def test_counting_for_ever_is_a_livelock() -> None:
    """For whoever renames; a search by the reference ends where the number leaves its range."""
    program = build(Machine({}), [Thread("counts", counts_and_tries_again), Thread("reads", reads_for_once)])
    slow = breadth_first(Reference(program), Request(livelock=True))
    assert slow.verdict is Verdict.NOT_FINISHED and "Counter.number" in str(slow.error)
    for found in (reduced_search(program, Request(workers=1, livelock=True)).result, search(program, Request(workers=1, livelock=True))):
        violation = found.violation
        assert found.verdict is Verdict.BROKEN and violation is not None and violation.rule == "livelock"
        assert "leaves its range" in found.note and found.reduced == ("symmetry",)
        assert 4 <= violation.loop <= 6 and len(violation.trace.replay(program)) == len(violation.trace)
    told = search(program, Request(workers=1, livelock=True, reductions=Reductions.none()))
    assert told.verdict is Verdict.NOT_FINISHED


def test_of_who_counts_for_ever_a_livelock_is_looked_for_before_all_numbers_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without renaming there are as many states as there are numbers: after `MANY` of them numbers are renamed first."""
    program = build(Machine({}), [Thread("counts", counts_and_tries_again), Thread("reads", reads_for_once)])
    monkeypatch.setattr(reduced, "MANY", 50)
    found = reduced_search(program, Request(workers=1, livelock=True)).result
    assert found.violation is not None and found.violation.rule == "livelock" and "had seen no end after 5" in found.note
    assert len(found.violation.trace.replay(program)) == len(found.violation.trace)
    monkeypatch.setattr(reduced, "_that_counts", lambda *_: None)  # had it found none, the search without would have gone on
    last = reduced_search(program, Request(workers=1, livelock=True)).result
    assert "Counter.number" in str(last.error)


# With records that are interchangeable.


class Page(Record):
    interchangeable = True
    used: bool
    number: SequenceNumber


pages = shared_array(Page, "pages")


def marks_a_page() -> None:
    page = choose(pages)
    page.used = True
    page.number = counter.number
    counter.number += 1
    mine = page.number
    require(mine != counter.number, "old", "a page's number is what the counter is")


def test_numbers_in_interchangeable_records() -> None:
    program = build(Machine({"pages": 3}), [Thread("t", marks_a_page), Thread("u", marks_a_page)])
    symmetry, told = renaming_of(program)
    assert isinstance(symmetry, Symmetry) and symmetry.arrays and symmetry.sequences is not None and not told
    known, merged = both([marks_a_page, marks_a_page], {"pages": 3})
    assert merged.verdict is known.verdict and (known.verdict is Verdict.BROKEN or merged.states * 2 < known.states)
