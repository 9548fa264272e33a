"""What tells threads apart turns their renaming off: numbers that are computed with, rows that differ, the initial state, cycles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from test_equal_threads import Op, RowNumber, Small, classes, program_of, results, world

from secondsight.lang import Machine, atomic, current
from secondsight.lang.equal import equal_threads_of
from secondsight.lang.movers import Reductions
from secondsight.lang.program import Thread, build
from secondsight.lang.symmetry import renaming_of
from secondsight.search import Request, Verdict
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_native, reduced_search


def compares(i: RowNumber) -> None:
    world.cells[0] = 1 if current() > 1 else 0
    results[i].value = 1


def keeps(i: RowNumber) -> None:
    world.cells[0] = current() % 4


def computes(i: RowNumber) -> None:
    world.cells[0] = i % 4


def takes_the_next(i: RowNumber) -> None:
    world.cells[0] = 1
    results[i + 1].value = 1


def looks_at_all(i: RowNumber) -> None:
    results[i].value = 1
    with atomic:
        for k in range(3):
            world.cells[k] = results[k].value


def looks_at_two_ways(i: RowNumber) -> None:
    world.kept[current()] = 1
    world.kept[3] = 1


@atomic
def first_of_all() -> None:
    for thread in range(1, 8):
        if world.kept[thread] != 0:
            world.cells[0] = 1
            world.kept[thread] = 0


def in_the_order_of_numbers(i: RowNumber) -> None:
    world.kept[current()] = 1
    first_of_all()


@atomic
def some() -> None:
    for thread in range(1, 5):
        world.kept[thread] = 0


def some_of_all(i: RowNumber) -> None:
    world.kept[current()] = 1
    some()


REFUSED: dict[Callable[..., Any], str] = {
    compares: "compares uses the number of the thread itself as a number",
    keeps: "keeps uses the number of the thread itself as a number",
    computes: "computes uses a row of the thread, or the one behind them as a number",
    takes_the_next: "takes_the_next uses a row of the thread, or the one behind them as a number",
    looks_at_all: "looks_at_all uses a row of the thread, or the one behind them as a number",
    looks_at_two_ways: "World.kept is looked at by thread, and otherwise too",
    in_the_order_of_numbers: "World.kept is looked at by thread, and otherwise too",
    some_of_all: "World.kept is looked at by thread, and otherwise too",
}


@pytest.mark.parametrize("function", REFUSED, ids=lambda f: f.__name__)
def test_told_apart(function: Callable[..., Any]) -> None:
    program = build(Machine({"pages": 1, "rows": 4}), [Thread(f"t{i}", function, (i,)) for i in range(2)])
    symmetry, told = renaming_of(program)
    assert (symmetry is None or symmetry.equal is None) and told == [f"equal threads are not renamed: {REFUSED[function]}"]


def sets(value: Small) -> None:
    world.cells[1] = value
    world.cells[0] = value


def test_threads_with_other_arguments_are_not_equal() -> None:
    assert equal_threads_of(build(Machine({"pages": 1, "rows": 4}), [Thread("a", sets, (1,)), Thread("b", sets, (2,))]))[0] is None
    found, why = equal_threads_of(build(Machine({"pages": 1, "rows": 4}), [Thread("a", sets, (1,)), Thread("b", sets, (1,))]))
    assert found is not None and found.classes == (0, 0) and not why


def test_rows_that_say_other_things_are_not_equal() -> None:
    one, other = [(Op.ADD, 0, 0), (Op.ADD, 1, 0)], [(Op.ADD, 0, 0), (Op.ADD, 2, 0)]
    assert classes(program_of([one, other, one])) == [0, 1, 0]
    assert classes(program_of([one, one, other])) == [0, 0, 2]
    assert classes(program_of([one, one[:1], other])) == [0, 1, 2]


def test_a_daemon_is_not_equal_to_another() -> None:
    machine = Machine({"pages": 1, "rows": 4})
    found, _ = equal_threads_of(build(machine, [Thread("a", sets, (1,)), Thread("b", sets, (1,), daemon=True), Thread("c", sets, (1,))]))
    assert found is not None and found.classes == (0, 1, 0)


def test_the_initial_state_tells_them_apart() -> None:
    machine = Machine({"pages": 1, "rows": 4})
    with machine:
        world.kept[2] = 1
    program = build(machine, [Thread("a", keeps_own), Thread("b", keeps_own)])
    native, told = reduced_native(program)
    assert told == ["equal threads are not renamed: the initial state is not the same for all of them"]
    assert native.symmetry is not None and native.symmetry.equal is None
    found = reduced_search(program)
    assert found.result.verdict is Verdict.HOLDS and found.result.reduced == ("merge",)


def keeps_own() -> None:
    world.cells[0] = 1
    world.kept[current()] = 1
    world.cells[0] = 0


# Cycles.


def spins() -> None:
    while world.cells[0] == 0:
        world.cells[1] = 1


def opens() -> None:
    world.cells[1] = 2
    world.cells[0] = 1


def test_where_there_are_cycles_threads_are_told_apart() -> None:
    ends = build(Machine({"pages": 1, "rows": 4}), [Thread("a", spins), Thread("b", spins), Thread("c", opens)])
    found = reduced_search(ends, Request(livelock=True))
    assert found.result.verdict is Verdict.HOLDS and found.merged is not None
    assert native_search(reduced_native(ends)[0], Request(livelock=True)).reason in ("cycles", "stale")
    never = build(Machine({"pages": 1, "rows": 4}), [Thread("a", spins), Thread("b", spins)])
    for reductions in (Reductions(), Reductions(False, True)):
        violation = reduced_search(never, Request(livelock=True, reductions=reductions)).result.violation
        assert violation is not None and violation.rule == "livelock"
