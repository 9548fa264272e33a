"""Numbers that share bytes: places do not overlap, and every executor reads and writes its own bits only."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secondsight.lang import Array, Bounds, List, Machine, Record, Ref, atomic, choose, pool, require, shared, shared_array
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.native import Native
from secondsight.lang.plain import Disagreement, PlainRun, compare, replay
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.slots import Slot, Space
from secondsight.search import Request, Verdict, breadth_first
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search

try:
    compiler()
    NATIVE = True
except CompilerMissing:
    NATIVE = False

Three = Annotated[int, Bounds(-1, 1)]
Seven = Annotated[int, Bounds(0, 6)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 20), max_size=12), st.integers(0, 11), st.randoms())
def test_no_two_places_overlap(sizes: list[int], start: int, chance: object) -> None:
    room = Space(start)
    slots = [Slot(*room.take(bits), bits if bits < 8 else -(-bits // 8) * 8) for bits in sizes]
    taken = [8 * slot.at + slot.shift + k for slot in slots for k in range(slot.bits)]
    assert len(taken) == len(set(taken))
    assert all(start <= bit < room.end for bit in taken)
    state = bytearray(-(-room.end // 8) + 2)
    values = [chance.getrandbits(slot.bits) if slot.bits else 0 for slot in slots]  # type: ignore[attr-defined]
    for slot, value in zip(slots, values, strict=True):
        slot.put(state, 2, value)
    assert [slot.number(state, 2) for slot in slots] == values


def test_elements_of_an_array_lie_side_by_side() -> None:
    for bits, per in ((1, 8), (2, 4), (4, 2), (8, 1)):
        slot = Slot(3, 1, 0, bits)
        assert slot.per_byte == per
        assert [(slot.element(i).at, slot.element(i).shift) for i in range(2 * per)] == [(3 + i // per, i % per * bits) for i in range(2 * per)]


class Part(Record):
    on: bool
    n: Seven = 3
    next: Ref[Part]


class World(Record):
    a: Three
    b: Three
    flags: Array[bool, Literal[9]]
    twos: Array[Three, Literal[5]]
    first: Ref[Part]
    some: Array[Ref[Part], Literal[3]]
    c: Seven


world = shared(World)
parts = shared_array(Part, 3)
jobs = pool(Part, 2)


@atomic
def writes_beside(value: Three) -> Three:
    world.a = 1
    world.flags[1] = True
    return value


def by_a_call() -> None:
    world.b = writes_beside(-1)
    world.flags[int(world.b == 0)] = bool(writes_beside(1) == 1)
    world.twos[writes_beside(1)] = writes_beside(-1)
    require(world.a == 1 and world.b == -1 and world.flags[0] and world.flags[1], "beside", "what a call wrote beside it is lost")
    require(world.twos[1] == -1 and world.twos[0] == 0, "beside", "an element lies on another")


def by_numbers() -> None:
    for i in range(9):
        world.flags[i] = i % 3 == 0
    for i in range(5):
        world.twos[i] = i % 3 - 1
    require(all(world.flags[i] == (i % 3 == 0) for i in range(9)), "flags", "a flag lies on another")
    require(all(world.twos[i] == i % 3 - 1 for i in range(5)), "twos", "a number lies on another")


def by_references() -> None:
    some: List[Part, Literal[2]] = []
    at = choose(3)
    world.first = parts[at]
    parts[2].next = parts[0]
    some.append(parts[at])
    world.some[at] = some[0]
    world.c = parts[at].n
    require(world.first is some[0] and world.some[at] is parts[at] and parts[2].next is parts[0], "references", "another record")
    require(world.some[(at + 1) % 3] is None and parts[1].next is None and world.c == 3, "references", "a reference lies on another")


def by_a_pool() -> None:
    job = jobs.alloc()
    job.n, job.on = 6, True
    job.next = parts[1]
    world.c = job.n
    jobs.free(job)
    again = jobs.alloc()
    require(again.n == 3 and not again.on and again.next is None, "fresh", "it is not as new")
    require(world.c == 6, "fresh", "it wrote beside")


def outer() -> None:
    few: Three = -1
    many: Annotated[int, Bounds(0, 1000)] = 700
    gone: Seven = 5
    world.c = gone
    found = inner(few)
    require(few == -1 and many == 700 and found == 4 and world.c == 5, "locals", "a local lies on another")


def inner(few: Three) -> Seven:
    first: bool = few == -1
    second: Seven = 4
    world.first = parts[0]
    world.a = few
    if not first:
        second = 0
    return second


def slowly() -> None:
    world.flags[3] = True
    world.a = 1
    world.flags[3] = False


def beside_it() -> None:
    world.flags[4] = True
    world.b = -1
    require(world.flags[4] and world.b == -1, "beside", "another thread's write beside it is seen")


def program_of(*functions: object) -> Program:
    return build(Machine({}), [Thread(f"t{i}", f) for i, f in enumerate(functions)])  # type: ignore[arg-type]


@pytest.mark.parametrize("function", [by_a_call, by_numbers, by_references, by_a_pool, outer])
def test_every_executor_reads_and_writes_its_own_bits(function: object) -> None:
    program = program_of(function, slowly if function is by_references else outer if function is by_a_pool else by_references)
    alone = program_of(function)
    found = breadth_first(Reference(alone))
    assert found.verdict is Verdict.HOLDS, found.violation or found.error
    reference, state = Reference(alone), Reference(alone).initial
    steps, states = [], []
    while ways := reference.successors(state):
        assert ways[-1].state is not None
        state = ways[-1].state
        steps.append((ways[-1].thread, ways[-1].choices))
        states.append(state)
    replay(alone, steps, states)
    if NATIVE:
        assert native_search(Native(alone), Request(workers=1)).states == found.states
        slow, fast = breadth_first(Reference(program)), native_search(Native(program), Request(workers=1))
        assert (slow.verdict, slow.states, slow.violation) == (fast.verdict, fast.states, fast.violation)


@pytest.mark.skipif(not NATIVE, reason="no C compiler")
def test_what_shares_a_byte_is_no_conflict() -> None:
    """Two threads that touch neighbours in a byte are merged as if these lay apart."""
    program = program_of(slowly, beside_it)
    result = reduced_search(program, Request(workers=1)).result
    assert result.verdict is Verdict.HOLDS
    assert result.states <= 4 < native_search(Native(program), Request(workers=1)).states


def test_only_what_varies_takes_room() -> None:
    program = program_of(outer)
    assert program.region <= 5  # a counter, ten bits of a number, three locals and a return
    assert program.layout.record_size(World) == 6


class Never(Record):
    low: Three = -1
    wide: Annotated[int, Bounds(-1000, 1000)]
    part: Ref[Part]
    often: Seven


nevers = shared_array(Never, 3)


def reads_what_nobody_writes() -> None:
    world.c = 0
    for i in range(3):
        world.a = nevers[i].low
        found = nevers[i].part
        require(nevers[i].wide == 100 * i - 1 and (found is parts[i]) == (i > 0), "constant", "it is not as it was set")
        if found is not None:
            world.c += found.n
    require(world.a == 1 and world.c == 6, "constant", "it is not as it was set")


def writes_often() -> None:
    nevers[1].often = 2


def test_what_nobody_writes_is_no_part_of_a_state_and_read_all_the_same() -> None:
    """Programs that share their code have values of their own."""
    entries = [reads_what_nobody_writes, writes_often]
    programs = []
    for last in (1, 0):
        machine = Machine({})
        with machine:
            for i in range(3):
                nevers[i].wide = 100 * i - 1
                nevers[i].part = parts[i] if i else None
            nevers[2].low = last
        threads = [Thread(f.__name__, f) for f in entries]
        programs.append(build(machine, threads, room=Room(2)))
    first, second = programs
    assert first.code is second.code
    assert first.layout.record_size(Never) == 1
    for program, holds in ((first, True), (second, False)):
        found = breadth_first(Reference(program))
        assert (found.verdict is Verdict.HOLDS) == holds
        shown = {path: value for path, value, _ in program.layout.fields(program.initial_shared)}
        assert [v for path, v in shown.items() if path.endswith("[2].low")] == [int(holds)]
        if NATIVE:
            for fast in (native_search(Native(program), Request(workers=1)), reduced_search(program, Request(workers=1)).result):
                assert (fast.verdict, fast.violation) == (found.verdict, found.violation)
        if found.violation is not None:
            trace = found.violation.trace
            replay(program, [(s.thread, s.choices) for s in trace.steps], trace.states)


def test_it_is_set_back_with_the_rest() -> None:
    program = program_of(reads_what_nobody_writes)
    with program.machine:
        nevers[1].wide, world.c = 5, 6
        program.layout.decode(program.initial_shared)
        assert (nevers[1].wide, world.c) == (0, 0)


def test_a_write_that_the_lowering_has_lost_is_noticed_in_plain_execution() -> None:
    program = program_of(reads_what_nobody_writes)
    state = Reference(program).initial
    with PlainRun(program) as run:
        compare(run, state)
        nevers[1].wide = 5
        with pytest.raises(Disagreement, match="wide"):
            compare(run, state)


class Same(Record):
    interchangeable = True
    n: Seven
    on: bool
    next: Ref[Same]


same = shared_array(Same, 3)


def any_of_them() -> None:
    one = choose(same)
    one.on = True
    world.c = one.n


@pytest.mark.parametrize("different", [False, True])
def test_what_can_be_renamed_is_not_told_apart_by_what_nobody_writes(different: bool) -> None:
    machine = Machine({})
    with machine:
        same[2].n = 4 if different else 0
        same[1].next = same[0]
    program = build(machine, [Thread(f"t{i}", any_of_them) for i in range(2)])
    assert program.layout.is_constant(Same, "n") == (not different)
    assert not program.layout.is_constant(Same, "next")
    known = breadth_first(Reference(program))
    if NATIVE:
        merged = reduced_search(program, Request(workers=1))
        assert merged.result.verdict is known.verdict
        assert "interchangeable" not in (merged.result.note or "")
    other = Machine({})
    assert program.layout.suits(other)
    with other:
        same[0].n = 1
    assert program.layout.suits(other) == different
