"""Interchangeable records of several classes that refer to each other: states up to renaming both give the same verdicts."""

from __future__ import annotations

import ctypes
import os
import random
from enum import IntEnum
from functools import cache
from typing import Annotated, Literal

from secondsight.lang import (
    Array,
    Bounds,
    Machine,
    Mutex,
    Record,
    Ref,
    atomic,
    choose,
    const,
    count,
    require,
    shared,
    shared_array,
)
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.symmetry import symmetry_of
from secondsight.lang.types import RecordType
from secondsight.search import Request, Verdict
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search, search_both

COUNT = int(os.environ.get("SECONDSIGHT_LAW", "150"))
Small = Annotated[int, Bounds(0, 2)]
Number = Annotated[int, Bounds(-1, 5)]
RowNumber = Annotated[int, Bounds(0, 40)]


class Op(IntEnum):
    TAKE_VMA = 0  # v = any that is not used
    TAKE_PAGE = 1  # p = any that is not used
    MAP = 2  # v.page = p
    OWN = 3  # p.owner = v
    PAGE_OF = 4  # p = v.page
    VMA_OF = 5  # v = p.owner
    PUT = 6  # world.tree[a] = v
    GET = 7  # v = world.tree[a]
    FREE_VMA = 8
    FREE_PAGE = 9
    NEXT = 10  # v.next = world.tree[a]
    FOLLOW = 11  # v = v.next
    MARK = 12  # p.mark = b
    LOCK = 13
    UNLOCK = 14
    NUMBER = 15  # n = the number of p
    BY_NUMBER = 16  # p = pages[n]
    NUMBER_VMA = 17  # m = the number of v
    BY_NUMBER_VMA = 18  # v = vmas[m]
    SEE = 19  # seen.values[a] = how many vmas map p
    TOGETHER = 20  # v and p, if there are both, must refer to each other, or neither to the other
    FEW = 21  # at most two vmas may be used
    POP = 22  # p = the page on top of the stack
    PUSH = 23


class Page(Record):
    interchangeable = True
    used: bool
    mark: Small
    owner: Ref[Vma]


class Vma(Record):
    interchangeable = True
    used: bool
    page: Ref[Page]
    next: Ref[Vma]


class World(Record):
    lock: Mutex
    tree: Array[Ref[Vma], Literal[3]]
    stack: Array[Ref[Page], Literal["pages"]]
    top: Annotated[int, Bounds(0, 3)]


class Seen(Record):
    values: Array[Annotated[int, Bounds(0, 7)], Literal[3]]


vmas = shared_array(Vma, "vmas")
world = shared(World)
pages = shared_array(Page, "pages")
seen = shared(Seen)
op = const("op", Op)
first_number = const("a")
second_number = const("b")


def run(first: RowNumber, end: RowNumber) -> None:
    """One thread: the rows `first` to before `end`; its registers are live across calls."""
    v: Ref[Vma] = None
    p: Ref[Page] = None
    n: Number = -1
    m: Number = -1
    for i in range(first, end):
        if op[i] == Op.LOCK:
            world.lock.lock()
        elif op[i] == Op.UNLOCK:
            if world.lock.held_by_me():
                world.lock.unlock()
        elif op[i] == Op.NUMBER:
            n = -1 if p is None else number_of_page(p)
        elif op[i] == Op.NUMBER_VMA:
            m = -1 if v is None else number_of_vma(v)
        elif op[i] == Op.BY_NUMBER:
            if n >= 0:
                p = pages[n]
        elif op[i] == Op.BY_NUMBER_VMA:
            if m >= 0:
                v = vmas[m]
        elif op[i] == Op.TAKE_PAGE or op[i] == Op.PAGE_OF or op[i] == Op.POP:
            p = new_page(i, v, p)
        elif op[i] == Op.TAKE_VMA or op[i] == Op.VMA_OF or op[i] == Op.GET or op[i] == Op.FOLLOW:
            v = new_vma(i, v, p)
        else:
            statement(i, v, p)


@atomic
def number_of_page(page: Page) -> Number:
    """The page's place."""
    return pages.index(page)


@atomic
def number_of_vma(vma: Vma) -> Number:
    """The vma's place."""
    return vmas.index(vma)


@atomic
def new_page(i: RowNumber, v: Ref[Vma], p: Ref[Page]) -> Ref[Page]:
    """The page register afterwards."""
    if op[i] == Op.TAKE_PAGE:
        if all(page.used for page in pages):
            return p
        taken = choose(page for page in pages if not page.used)
        taken.used = True
        return taken
    if op[i] == Op.POP:
        if world.top == 0:
            return p
        world.top -= 1
        top = world.stack[world.top]
        world.stack[world.top] = None
        return top
    return p if v is None else v.page


@atomic
def new_vma(i: RowNumber, v: Ref[Vma], p: Ref[Page]) -> Ref[Vma]:
    """The vma register afterwards."""
    if op[i] == Op.TAKE_VMA:
        if all(vma.used for vma in vmas):
            return v
        taken = choose(vma for vma in vmas if not vma.used)
        taken.used = True
        return taken
    if op[i] == Op.GET:
        return world.tree[first_number[i]]
    if op[i] == Op.FOLLOW:
        return v if v is None else v.next
    return v if p is None else p.owner


@atomic
def statement(i: RowNumber, v: Ref[Vma], p: Ref[Page]) -> None:
    """What changes no register."""
    if op[i] == Op.MAP and v is not None:
        v.page = p
    if op[i] == Op.OWN and p is not None:
        p.owner = v
    if op[i] == Op.PUT:
        world.tree[first_number[i]] = v
    if op[i] == Op.FREE_VMA and v is not None:
        v.used = False
    if op[i] == Op.FREE_PAGE and p is not None:
        p.used = False
    if op[i] == Op.NEXT and v is not None:
        v.next = world.tree[first_number[i]]
    if op[i] == Op.MARK and p is not None:
        p.mark = second_number[i]
    if op[i] == Op.SEE and p is not None:
        seen.values[first_number[i]] = count(vma.page is p for vma in vmas)
    if op[i] == Op.TOGETHER and v is not None and p is not None:
        require((v.page is p) == (p.owner is v), "together", "one refers to the other alone")
    if op[i] == Op.FEW:
        require(count(vma.used for vma in vmas) <= 2, "few", "three vmas are used")
    if op[i] == Op.PUSH and p is not None and world.top < 3:
        world.stack[world.top] = p
        world.top += 1


@cache
def executors() -> tuple[Program, Native, list[Native]]:
    machine = Machine({"vmas": 3, "pages": 3}, data={"op": [0], "a": [0], "b": [0]})
    with machine:
        world.top = 2
        for i in range(2):
            world.stack[i] = pages[i]
    program = build(machine, [Thread(f"t{i}", run, (0, 1)) for i in range(2)])
    symmetry, why = symmetry_of(program, watched(program))
    assert symmetry is not None and why == "", why
    assert [a.record for a in symmetry.arrays] == [Vma, Page]
    return program, Native(program), [Native(program, Reductions(m, True), symmetry) for m in (False, True)]


def watched(program: Program) -> tuple[int, int]:
    base = next(at for d, at in program.layout.base.items() if d.kind == RecordType(Seen))
    return base, base + program.layout.record_size(Seen)


def retarget(rows: list[list[tuple[Op, int, int]]]) -> None:
    program, plain, others = executors()
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
        kinds = [*Op, Op.TAKE_VMA, Op.TAKE_VMA, Op.TAKE_PAGE, Op.MAP, Op.MAP, Op.OWN, Op.PUT, Op.GET]
        if chance.random() < 0.8:
            kinds = [k for k in kinds if k not in (Op.TOGETHER, Op.FEW)]
        out.append([(chance.choice(kinds), chance.randint(0, 2), chance.randint(0, 2)) for _ in range(chance.randint(3, 8))])
    return out


def test_small_programs_of_two_classes() -> None:
    total = reduced_total = broken = 0
    for seed in range(COUNT):
        chance = random.Random(seed)
        retarget(random_rows(chance))
        program, plain, others = executors()
        options = {"watch": watched(program), "workers": 1, "livelock": True, "deadlock": seed % 2 == 0}
        known = native_search(plain, Request(**options))  # type: ignore[arg-type]
        broken += known.verdict is Verdict.BROKEN
        for native in others:
            reduced = search_both(native, plain, Request(**options))  # type: ignore[arg-type]
            merged, result = reduced.merged, reduced.result
            assert merged is not None
            assert (result.verdict, result.outcomes) == (known.verdict, known.outcomes), seed
            assert bool(merged.violations) == bool(known.violations), seed
            if known.violation is not None:
                assert result.violation is not None and result.violation.rule == known.violation.rule
                assert len(result.violation.trace.steps) == len(known.violation.trace.steps)
            if native is others[0] and known.verdict is Verdict.HOLDS:
                assert merged.states <= known.states, seed
                total, reduced_total = total + known.states, reduced_total + merged.states
    assert 0 < broken < COUNT
    assert reduced_total * 2 < total, f"{total} states, {reduced_total} up to renaming"


def in_order() -> None:
    """The vmas one after the other: their places tell them apart; the pages may be renamed still."""
    choose(pages).used = True
    for vma in vmas:
        if not vma.used:
            vma.used = True
            return


def test_one_class_is_renamed_where_the_other_cannot_be() -> None:
    program = build(Machine({"vmas": 3, "pages": 3}), [Thread("t", in_order), Thread("u", in_order)])
    symmetry, why = symmetry_of(program)
    assert symmetry is not None and [a.record for a in symmetry.arrays] == [Page]
    assert why.startswith("Vma: ")
    reduced = reduced_search(program, Request(workers=1))
    assert reduced.note.startswith("records are not interchangeable: Vma: ")
    assert "symmetry" in reduced.result.reduced
    plain = native_search(Native(program), Request(workers=1))
    assert reduced.result.verdict is plain.verdict is Verdict.HOLDS and reduced.result.states < plain.states
