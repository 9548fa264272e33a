"""A local takes the room of what it can hold, and no program is another one for that."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import pytest
from generated import module_of, program_of, sources
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from law import assert_dead_is_zero, graph_of

from secondsight.lang import Bounds, Machine, Record, atomic, choose, ir, link, require, shared
from secondsight.lang.cfg import Flow
from secondsight.lang.errors import LangError, LeftRange
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.slots import Slot
from secondsight.search import Limits, Request, Verdict, breadth_first
from secondsight.search.auto import why_not_native
from secondsight.search.native import native_search

Wide = Annotated[int, Bounds(-1000, 1000)]
Few = Annotated[int, Bounds(0, 7)]


class World(Record):
    a: Wide
    b: Few


world = shared(World)


def slots_of(program: Program, function: str) -> dict[str, Slot]:
    return next({v.name: s for v, s in f.slots.items()} for f in program.frames.values() if f.flow.function.name == function)


def tries(wanted: Few) -> Wide:
    found: Wide = 0 if wanted > 2 else -4
    world.b = wanted
    return found


def asks() -> None:
    ret: Wide = tries(choose(4))
    got: Wide = world.a
    world.b = 0
    require(ret in (0, -4) and got == 0, "held", "it is another number")
    world.b = int(ret == 0)
    world.a = got


def test_a_local_takes_the_room_of_what_it_is_given() -> None:
    program = build(Machine({}), [Thread("t", asks)])
    held = slots_of(program, "asks")
    assert (held["ret"].bits, held["ret"].low) == (3, -4)  # what `tries` returns
    assert held["got"].bits == 16  # a field has any of its type
    assert slots_of(program, "tries")["wanted"].bits == 2  # what it is called with
    assert breadth_first(Reference(program)).verdict is Verdict.HOLDS


def begins(first: Wide) -> None:
    world.b = 1
    world.a = first


def test_what_a_thread_begins_with_is_not_narrowed() -> None:
    """Its arguments are the program's own, and the code serves others."""
    program = build(Machine({}), [Thread("t", begins, (5,))])
    assert slots_of(program, "begins")["first"].bits == 16


def counts_up() -> None:
    n: Few = 0
    while True:
        world.b = 0
        n += 1


def test_what_is_computed_has_the_range_of_its_type_and_leaving_it_is_told() -> None:
    program = build(Machine({}), [Thread("t", counts_up)])
    assert slots_of(program, "counts_up")["n"].bits == 3
    result = breadth_first(Reference(program))
    assert result.verdict is Verdict.NOT_FINISHED and isinstance(result.error, LeftRange)


@atomic
def both_ways(n: Few) -> Few:
    return n


def by_a_local_of_another() -> None:
    few: Few = both_ways(1)
    world.b = few
    more: Few = both_ways(6)
    world.b = more
    require(few == 1 and more == 6, "held", "it is another number")


def test_a_function_that_is_called_twice_holds_what_either_call_gives() -> None:
    program = build(Machine({}), [Thread("t", by_a_local_of_another)])
    assert breadth_first(Reference(program)).verdict is Verdict.HOLDS


def figures(program: Program) -> tuple[object, ...]:
    """What a search of at most some states finds."""
    found = breadth_first(Reference(program), Request(limits=Limits(states=2000)))
    trace = None if found.violation is None else [(s.thread, s.choices) for s in found.violation.trace.steps]
    if why_not_native() is None and found.verdict is not Verdict.NOT_FINISHED:
        native = native_search(Native(program), Request(workers=1))
        assert (native.verdict, native.states, native.violation) == (found.verdict, found.states, found.violation)
    return found.verdict, found.states, found.transitions, found.depth, trace


def all_apart(_: Flow, among: Iterable[ir.Var]) -> dict[ir.Var, set[ir.Var]]:
    """Each with a place of its own."""
    known = set(among)
    return {var: known - {var} for var in known}


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate], derandomize=True)
@given(sources(), st.integers(1, 2))
@pytest.mark.wide
def test_generated_programs_have_the_same_graph_where_every_local_has_the_room_of_its_type_and_a_place_of_its_own(text: str, threads: int) -> None:
    with module_of(text) as module:
        try:
            narrow = figures(program_of(module, threads))
            for name, wide in (("held_ranges", lambda *_: {}), ("apart", all_apart)):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(link, name, wide)
                    known = figures(program_of(module, threads))
                assert narrow == known, name
        except LangError:
            assume(False)


def one_after_another() -> None:
    first: Wide = world.a
    world.b = 1
    world.a = first
    second: Wide = world.a
    world.b = 2
    third: Few = world.b
    world.a = second
    world.b = third


def test_locals_that_are_never_alive_together_share_a_place() -> None:
    program = build(Machine({}), [Thread("t", one_after_another)])
    held = slots_of(program, "one_after_another")
    assert held["first"].at == held["second"].at
    assert held["third"].at != held["second"].at
    assert program.region == 1 + 2 + 1
    result = breadth_first(Reference(program))
    assert result.verdict is Verdict.HOLDS


def narrow_in_the_place_of_a_wide_one() -> None:
    wide: Wide = world.a
    world.a = wide + 1
    world.b = 0
    few: Few = choose(2)
    world.b = 3
    world.b = few


def test_of_a_dead_one_nothing_is_left_where_a_smaller_one_lies() -> None:
    """Else states would be told apart by it."""
    program = build(Machine({}), [Thread("t", narrow_in_the_place_of_a_wide_one)])
    held = slots_of(program, "narrow_in_the_place_of_a_wide_one")
    assert held["few"].at == held["wide"].at
    assert held["few"].bits < held["wide"].bits
    reference = Reference(program)
    graph, _, whole = graph_of(reference, 100)
    assert whole
    for state in graph:
        assert_dead_is_zero(program, state)


def calls_with_two_alive() -> None:
    one: Few = choose(5)
    world.b = one
    two: Few = choose(3)
    world.b = two
    inner(one)
    world.b = two


def inner(given: Few) -> None:
    mine: Few = choose(2)
    world.b = given
    world.a = mine
    world.b = mine


def test_a_called_function_takes_the_bits_that_its_caller_has_left() -> None:
    program = build(Machine({}), [Thread("t", calls_with_two_alive)])
    outside, inside = slots_of(program, "calls_with_two_alive"), slots_of(program, "inner")
    assert (outside["one"].at, outside["one"].shift) in {(slot.at, slot.shift) for slot in inside.values()}  # it is dead by then
    reference = Reference(program)
    graph, _, whole = graph_of(reference, 1000)
    assert whole
    for state in graph:
        assert_dead_is_zero(program, state)
