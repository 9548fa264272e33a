"""Interchangeable records: states up to renaming give the same verdicts and outcomes, and what tells records apart turns it off."""

from __future__ import annotations

import ctypes
import os
import random
from enum import IntEnum
from functools import cache
from typing import Annotated, Literal

import pytest

from secondsight.cases import TABLES
from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror, MirrorDereferencesLater
from secondsight.lang import (
    U8,
    Array,
    Bounds,
    List,
    Machine,
    Mutex,
    Record,
    Ref,
    atomic,
    choose,
    const,
    count,
    pool,
    require,
    shared,
    shared_array,
)
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.symmetry import symmetry_of
from secondsight.lang.types import RecordType
from secondsight.linux.mm_types import Folio, Vma
from secondsight.search import Request, Verdict
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search, search_both

COUNT = int(os.environ.get("SECONDSIGHT_LAW", "300"))
Small = Annotated[int, Bounds(0, 3)]
Number = Annotated[int, Bounds(-1, 5)]
RowNumber = Annotated[int, Bounds(0, 40)]


class Op(IntEnum):
    TAKE = 0  # r = any page that is not used
    PUT = 1  # slots[a] = r
    GET = 2  # r = slots[a]
    FREE = 3  # r.used = False
    MARK = 4  # r.mark = b
    LINK = 5  # r.next = slots[a]
    FOLLOW = 6  # r = r.next
    USED = 7  # r must be used
    APART = 8  # slots[a] and slots[b] must not be the same
    FEW = 9  # at most two may be used
    LOCK = 10
    UNLOCK = 11
    MARKED = 12  # seen.values[a] = how many have the mark b
    SWAP = 13  # slots[a] and slots[b]
    ANY = 14  # r = any page
    NUMBER = 15  # n = the number of r, -1 if there is none
    BY_NUMBER = 16  # r = pages[n]
    NUMBERED = 17  # r must be pages[n], or used
    LIKE = 18  # seen.values[a] = whether r is pages[n]
    SAME = 19  # seen.values[a] = whether r is slots[b]
    ALLOC = 20  # r = the page on top of the stack, if there is one
    RELEASE = 21  # r on top of the stack
    FIRST = 22  # r = pages[0], in the variant that has it
    PUSH = 23  # r onto the list, if it has room, in the same variant
    POP = 24  # r = the first of the list


class Page(Record):
    interchangeable = True
    used: bool
    mark: Small
    next: Ref[Page]


class World(Record):
    lock: Mutex
    slots: Array[Ref[Page], Literal[3]]
    stack: Array[Ref[Page], Literal["pages"]]
    top: Small


class Seen(Record):
    values: Array[U8, Literal[4]]


pages = shared_array(Page, "pages")
world = shared(World)
seen = shared(Seen)
op = const("op", Op)
first_number = const("a")
second_number = const("b")


def run(first: RowNumber, end: RowNumber) -> None:
    """One thread: the rows `first` to before `end`; its registers are live across calls."""
    r: Ref[Page] = None
    n: Number = -1
    for i in range(first, end):
        if op[i] == Op.NUMBER:
            n = -1 if r is None else number_of(r)
        elif Op.BY_NUMBER <= op[i] <= Op.LIKE:
            r = by_number_of(i, r, n)
        else:
            r = statement(i, r)


def run_fixed(first: RowNumber, end: RowNumber) -> None:
    """The same, where one page has a name; and a list."""
    r: Ref[Page] = None
    n: Number = -1
    some: List[Page, 3] = []
    for i in range(first, end):
        if op[i] == Op.FIRST:
            r = first_page()
        elif op[i] == Op.PUSH:
            if r is not None and len(some) < 3:
                some.append(r)
        elif op[i] == Op.POP:
            if some:
                r = some[0]
        elif op[i] == Op.NUMBER:
            n = -1 if r is None else number_of(r)
        elif Op.BY_NUMBER <= op[i] <= Op.LIKE:
            r = by_number_of(i, r, n)
        else:
            r = statement(i, r)


@atomic
def number_of(page: Page) -> Number:
    """The page's place."""
    return pages.index(page)


def by_number_of(i: RowNumber, r: Ref[Page], n: Number) -> Ref[Page]:
    """What is done with a number: the register afterwards."""
    if n < 0:
        return r
    if op[i] == Op.NUMBERED:
        with atomic:
            require(r is None or r is pages[n] or r.used, "numbered", "another page, and not used")
        return r
    if op[i] == Op.LIKE:
        with atomic:
            seen.values[first_number[i]] = 2 if r is pages[n] else 1
        return r
    return pages[n]


@atomic
def first_page() -> Ref[Page]:
    """The page that stays."""
    return pages[0]


def statement(i: RowNumber, r: Ref[Page]) -> Ref[Page]:
    """One row; the register afterwards."""
    a = first_number[i]
    b = second_number[i]
    if op[i] == Op.LOCK:
        world.lock.lock()
    elif op[i] == Op.UNLOCK:
        world.lock.unlock()
    elif op[i] == Op.PUT:
        world.slots[a] = r
    elif op[i] == Op.GET:
        return world.slots[a]
    elif op[i] == Op.APART:
        require(world.slots[a] is None or world.slots[a] is not world.slots[b], "apart", "two slots have the same page")
    elif op[i] == Op.SWAP:
        with atomic:
            kept = world.slots[a]
            world.slots[a] = world.slots[b]
            world.slots[b] = kept
    elif op[i] <= Op.FEW:
        return with_page(i, r)
    elif op[i] == Op.MARKED:
        with atomic:
            seen.values[a] = min(3, count(page.mark == b for page in pages))
    elif op[i] == Op.ANY:
        return choose(pages)
    elif op[i] == Op.SAME:
        with atomic:
            seen.values[a] = 2 if r is world.slots[b] else 1
    elif op[i] == Op.ALLOC:
        with atomic:
            if world.top > 0:
                world.top -= 1
                r = world.stack[world.top]
                world.stack[world.top] = None
    elif op[i] == Op.RELEASE:
        with atomic:
            if world.top < 3:
                world.stack[world.top] = r
                world.top += 1
    return r


def with_page(i: RowNumber, r: Ref[Page]) -> Ref[Page]:
    """What is done to a page."""
    if op[i] == Op.TAKE:
        with atomic:
            if any(not page.used for page in pages):
                r = choose(page for page in pages if not page.used)
                r.used = True
    elif op[i] == Op.FEW:
        require(count(page.used for page in pages) <= 2, "few", "three pages are used")
    elif r is not None:
        if op[i] == Op.FREE:
            r.used = False
        elif op[i] == Op.MARK:
            r.mark = second_number[i]
        elif op[i] == Op.LINK:
            with atomic:
                r.next = world.slots[first_number[i]]
        elif op[i] == Op.FOLLOW:
            return r.next
        elif op[i] == Op.USED:
            require(r.used, "used", "a page is not used")
    return r


@cache
def executors(fixed: bool) -> tuple[Program, Native, list[Native]]:
    machine = Machine({"pages": 3 + int(fixed)}, data={"op": [0], "a": [0], "b": [0]})
    with machine:  # the pages but the first, which may have a name, on the stack
        world.top = 3
        for i in range(3):
            world.stack[i] = pages[i + int(fixed)]
    threads = [Thread(f"t{i}", run_fixed if fixed else run, (0, 1)) for i in range(2)]
    program = build(machine, threads)
    watch = watched(program)
    symmetry, why = symmetry_of(program, watch)
    assert symmetry is not None, why
    assert symmetry.arrays[0].fixed == ({0} if fixed else set())
    return program, Native(program), [Native(program, Reductions(m, True), symmetry) for m in (False, True)]


def watched(program: Program) -> tuple[int, int]:
    base = next(at for d, at in program.layout.base.items() if d.kind == RecordType(Seen))
    return base, base + 4


def retarget(fixed: bool, rows: list[list[tuple[Op, int, int]]]) -> None:
    program, plain, others = executors(fixed)
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


def random_rows(chance: random.Random) -> list[list[tuple[Op, int, int]]]:
    out = []
    for _ in range(2):
        own: list[tuple[Op, int, int]] = []
        numbers = [Op.NUMBER, Op.NUMBER, Op.BY_NUMBER, Op.LIKE, Op.PUSH, Op.POP] if chance.random() < 0.6 else []
        for _ in range(chance.randint(3, 8)):
            own.append((chance.choice([*Op, Op.TAKE, Op.PUT, Op.GET, Op.ALLOC, Op.ALLOC, Op.RELEASE, Op.SAME, *numbers, *numbers]), chance.randint(0, 2), chance.randint(0, 2)))
        if chance.random() < 0.9:
            own = [r for r in own if r[0] not in (Op.LOCK, Op.UNLOCK)]
        if chance.random() < 0.4:
            own = [(Op.LOCK, 0, 0), *(r for r in own if r[0] not in (Op.LOCK, Op.UNLOCK)), (Op.UNLOCK, 0, 0)]
        if chance.random() < 0.7:
            own = [r for r in own if r[0] not in (Op.USED, Op.APART, Op.FEW, Op.NUMBERED)] or [(Op.TAKE, 0, 0)]
        out.append(own or [(Op.TAKE, 0, 0)])
    return out


def test_hundreds_of_small_programs() -> None:
    total = reduced_total = 0
    for seed in range(COUNT):
        chance = random.Random(seed)
        fixed = chance.random() < 0.5
        rows = random_rows(chance)
        retarget(fixed, rows)
        program, plain, others = executors(fixed)
        known = native_search(plain, Request(watch=watched(program), workers=1, livelock=True, deadlock=seed % 2 == 0))
        for native in others:
            reduced = search_both(native, plain, Request(watch=watched(program), workers=1, livelock=True, deadlock=seed % 2 == 0))
            merged, found = reduced.merged, reduced.result
            assert merged is not None
            if known.violation is None or known.violation.rule != "lock-order":
                assert (merged.verdict is Verdict.HOLDS) == (known.verdict is Verdict.HOLDS), (seed, rows)
            assert (found.verdict, found.violation) == (known.verdict, known.violation), (seed, rows)
            if known.verdict is Verdict.HOLDS:
                assert merged.outcomes == known.outcomes, (seed, rows)
        if known.verdict is Verdict.HOLDS:
            reduced_states = native_search(others[0], Request(workers=1)).states
            assert reduced_states <= known.states, (seed, rows)
            assert native_search(others[0], Request(workers=1, exact=True)).states == reduced_states, (seed, rows)  # each form is found anew
            total += known.states
            reduced_total += reduced_states
    assert reduced_total < total  # by how much is the draw's: most programs touch few pages, the first touches several


TAKEN = [(Op.ALLOC, 0, 0)] * 3
SEEN = [(Op.ANY, 0, 0), (Op.PUT, 0, 0), (Op.FIRST, 0, 0), (Op.SAME, 1, 0)]
"""Any page goes to a place that is looked at before the registers; whether it is the one that stays is seen."""
ROWS = {
    "a number": [*TAKEN, (Op.NUMBER, 0, 0), *SEEN, (Op.BY_NUMBER, 0, 0), (Op.SAME, 0, 0)],
    "a list": [*TAKEN, (Op.PUSH, 0, 0), *SEEN, (Op.POP, 0, 0), (Op.SAME, 0, 0)],
}


@pytest.mark.parametrize("what", ROWS)
def test_what_is_remembered_is_renamed_with_the_pages(what: str) -> None:
    """A thread remembers a page, and any page is put aside: that one, the one that stays, or another."""
    retarget(True, [ROWS[what], [(Op.FEW, 0, 0)]])
    program, plain, others = executors(True)
    known = native_search(plain, Request(watch=watched(program), workers=1))
    assert {row[:2] for row in known.outcomes} == {bytes([1, 2]), bytes([2, 1]), bytes([1, 1])}
    for native in others:
        merged = search_both(native, plain, Request(watch=watched(program), workers=1)).merged
        assert merged is not None and merged.outcomes == known.outcomes
        assert merged.states < known.states


def keeps_a_number() -> None:
    """A number that is no page's, kept while pages get other names."""
    number: Small = choose(3)
    world.slots[1] = choose(pages)
    seen.values[0] = number


def puts_a_page_first() -> None:
    """Pages are named from here on."""
    world.slots[0] = choose(pages)


def test_other_numbers_are_not_renamed() -> None:
    program = build(Machine({"pages": 3}), [Thread("keeps", keeps_a_number), Thread("puts", puts_a_page_first)])
    symmetry, why = symmetry_of(program, watched(program))
    assert symmetry is not None, why
    known = native_search(Native(program), Request(watch=watched(program), workers=1))
    for merge in (False, True):
        found = native_search(Native(program, Reductions(merge, True), symmetry), Request(watch=watched(program), workers=1))
        assert found.outcomes == known.outcomes
        assert {row[0] for row in found.outcomes} == {0, 1, 2}
        assert found.states < known.states


# What tells records apart.


def by_index() -> None:
    """A page's place becomes a number."""
    with atomic:
        page = choose(pages)
        seen.values[pages.index(page)] = 1


def by_loop() -> None:
    """The first one that is not used."""
    with atomic:
        for page in pages:
            if not page.used:
                page.used = True
                break


def by_number() -> None:
    """A place that is computed."""
    i = choose(2)
    pages[i + 1].used = True


def by_part() -> None:
    """Only some of them can be chosen."""
    with atomic:
        page = choose(pages[i] for i in range(2))
        page.used = True


def by_failure() -> None:
    """Which one fails first depends on the order."""
    with atomic:
        seen.values[0] = 1 if any(page.next is not None and page.next.used for page in pages) else 0


def by_value() -> None:
    """The number of one in a generator is used as a number."""
    with atomic:
        seen.values[0] = 1 if any(pages[i].used and i > 1 for i in range(len(pages))) else 0


def by_root_alone() -> None:
    """A place that is computed, on the way to another record and nowhere else."""
    i = choose(2)
    pages[i + 1].next.used = True


Few = Annotated[int, Bounds(-1, 1)]


@atomic
def place(page: Page) -> Number:
    """Its number."""
    return pages.index(page)


def by_sum() -> None:
    """The next one."""
    i = place(choose(pages))
    pages[(i + 1) % 3].used = True


def by_order() -> None:
    """One that comes before another."""
    i = place(choose(pages))
    seen.values[0] = 1 if i > 0 else 0


def by_mixture() -> None:
    """A number that may be a page's or another."""
    i: Number = 1
    if choose(2) == 1:
        i = place(choose(pages))
    pages[i].used = True


def by_return() -> None:
    """A number that is a result too."""
    i = place_of_any()
    if i >= 0:
        seen.values[0] = i // 2


def place_of_any() -> Number:
    """The number of a page."""
    return place(choose(pages))


def by_range() -> None:
    """No room for every number."""
    i: Few = place(choose(pages))
    pages[i].used = True


def by_list() -> None:
    """A list of numbers: what lies behind its end is 0, and no page's number."""
    some: List[Number, 2] = [place(choose(pages))]
    pages[some[0]].used = True


TELLING = [
    by_index, by_loop, by_number, by_part, by_failure, by_value, by_root_alone, by_sum, by_order, by_mixture, by_return, by_range, by_list,
]  # fmt: skip


@pytest.mark.parametrize("function", TELLING)
def test_what_tells_records_apart_turns_it_off(function: object) -> None:
    program = build(Machine({"pages": 3}), [Thread("t", function), Thread("u", function)])  # type: ignore[arg-type]
    symmetry, why = symmetry_of(program)
    assert symmetry is None and why.startswith("Page: ")


def test_the_result_says_why_it_was_turned_off() -> None:
    program = build(Machine({"pages": 3}), [Thread("t", by_index)])
    reduced = reduced_search(program, Request(workers=1))
    assert reduced.result.verdict is Verdict.HOLDS
    assert reduced.note == "records are not interchangeable: Page: the number of one is used as a number"


def test_what_is_watched_turns_it_off() -> None:
    program = build(Machine({"pages": 3}), [Thread("t", first_page_only)])
    assert symmetry_of(program)[0] is not None
    assert symmetry_of(program, (1, program.layout.shared_size))[0] is None


def first_page_only() -> None:
    """One by its place: it stays, the others may be renamed."""
    pages[0].used = True
    world.slots[0] = choose(pages)


def test_a_place_that_stays_does_so_in_every_search() -> None:
    """What is known of the code is kept: the second search must hear of it too."""
    program = build(Machine({"pages": 3}), [Thread("t", first_page_only)])
    for _ in range(2):
        symmetry = symmetry_of(program)[0]
        assert symmetry is not None and symmetry.arrays[0].fixed == {0}


def errno_of_a_page() -> None:
    """What is negative is no page's number."""
    i = place_if_used(choose(pages))
    if i < 0:
        seen.values[0] = -i
        return
    pages[i].used = True


@atomic
def place_if_used(page: Page) -> Number:
    """Its number, or -1."""
    return pages.index(page) if page.used else -1


def test_a_negative_number_is_no_place() -> None:
    program = build(Machine({"pages": 3}), [Thread("t", errno_of_a_page)])
    assert symmetry_of(program)[1] == ""


@pytest.mark.parametrize("driver", [Mirror, MirrorDereferencesLater])
def test_frames_of_the_machinery_are_interchangeable(driver: type[Device]) -> None:
    for adversary in ("munmap-mmap", "punch-hole"):
        program = driver_program(driver, ADVERSARIES[adversary].scenarios[0])
        symmetry, why = symmetry_of(program)
        assert symmetry is not None, why
        assert {a.record: a.fixed for a in symmetry.arrays} == {Folio: {0}, Vma: set()}


@pytest.mark.wide
def test_frames_of_the_tables_are_interchangeable() -> None:
    every = os.environ.get("SECONDSIGHT_REDUCTIONS") == "all"
    for table in TABLES.values():
        for row in table.rows if every else table.rows[::3]:
            program = next(p for c in table.columns if (p := table.program(row.name, c.name)) is not None)
            why = ""
            if table.name == "2026-hmm-retry":  # whether an answer is true still: two numbers of frames
                why = "Folio: the number of one is used as a number"
            if row.name.startswith("2011: "):  # what a walk says is a page, or an error
                why = "Folio: ret is now the number of one, now another number"
            assert symmetry_of(program)[1] == why, row.name


class Token(Record):
    interchangeable = True
    on: bool


tokens = pool(Token, "tokens")


def from_pool() -> None:
    """The first free one."""
    with atomic:
        token = tokens.alloc()
        token.on = True


def test_a_pool_turns_it_off() -> None:
    program = build(Machine({"tokens": 3}), [Thread("t", from_pool)])
    assert symmetry_of(program)[0] is None
