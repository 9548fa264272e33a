"""Several things are wrong in one level of a search: every executor reports the same one, with a trace that is a shortest."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest

from secondsight.lang import U8, Bounds, Machine, Mutex, Record, Ref, require, shared, wait_until
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Limits, Request, Result, Verdict, breadth_first
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search

sys.path.append(str(Path(__file__).parent))

from test_cluster import by_members

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)

Count = Annotated[int, Bounds(0, 40)]


class World(Record):
    one: Mutex
    two: Mutex
    turns: Count
    ready: bool
    none: Ref[Mutex]


world = shared(World)


def breaks_first() -> None:
    world.turns = world.turns
    require(world.turns > 40, "a-rule", "a")


def breaks_last() -> None:
    world.turns = world.turns
    require(world.turns > 40, "z-rule", "z")


def fails() -> None:
    world.turns = world.turns
    world.turns = world.turns - 1


def follows_none() -> None:
    world.turns = world.turns
    lock = world.none
    assert lock is not None
    lock.lock()


def inverts() -> None:
    world.two.lock()
    world.one.lock()
    world.one.unlock()
    world.two.unlock()


def keeps_order() -> None:
    world.one.lock()
    world.two.lock()
    world.two.unlock()
    world.one.unlock()


def waits() -> None:
    wait_until(world.ready)


PIECES = (breaks_first, breaks_last, fails, follows_none, inverts, keeps_order)


def piece(which: U8) -> None:
    """One of `PIECES`, by its number: programs of several of them share one shape, and are compiled once."""
    if which == 0:
        breaks_first()
    elif which == 1:
        breaks_last()
    elif which == 2:
        fails()
    elif which == 3:
        follows_none()
    elif which == 4:
        inverts()
    elif which == 5:
        keeps_order()
    else:
        waits()


def pieces(*functions: Any) -> Program:
    """The program of some of `PIECES`."""
    return build(Machine({}), [Thread(f"{i}", piece, ((*PIECES, waits).index(function),)) for i, function in enumerate(functions)])


def told(result: Result) -> tuple[object, ...]:
    found = result.violation
    return result.verdict, found and (found.rule, found.message, len(found.trace)), result.reason, str(result.error)


def program(*functions: Any) -> Program:
    return build(Machine({}), [Thread(f"{i}", function) for i, function in enumerate(functions)])


def by_all(made: Program, merges: bool = True) -> dict[str, Result]:
    """The results of all executors."""
    native = Native(made)
    found = {
        "reference": breadth_first(Reference(made)), "backwards": breadth_first(Reference(made), order=range(len(made.threads))[::-1]),
        "native": native_search(native, Request(workers=1)), "crew": native_search(native, Request(workers=3)),
        "exact": native_search(native, Request(workers=1, exact=True)), "cluster": by_members(native, 3, 2, 300),
    }  # fmt: skip
    return found | ({"merged": reduced_search(made, Request(workers=1)).result} if merges else {})


def test_the_same_of_several() -> None:
    """In all orders of the threads, so that the first thing that is found differs."""
    for functions in itertools.permutations(PIECES, 3):
        results = by_all(pieces(*functions), merges=functions[0] is inverts)
        assert len({told(r) for name, r in results.items() if name != "backwards"}) == 1, functions
        rules = {r.violation and r.violation.rule for r in results.values()}
        assert len(rules) == 1, functions


def test_a_broken_rule_counts_more_than_an_error_and_the_first_by_name_more_than_others() -> None:
    for functions in itertools.permutations((breaks_first, breaks_last, fails)):
        for name, result in by_all(pieces(*functions)).items():
            assert result.violation is not None, name
            assert result.violation.rule == "a-rule", name
            assert result.error is None, name
    for functions in itertools.permutations((fails, waits)):
        for name, result in by_all(pieces(*functions)).items():
            assert (result.verdict, result.reason) == (Verdict.NOT_FINISHED, "error"), name


def ends_or_breaks() -> None:
    world.turns = 1
    require(world.turns == 1, "a-rule", "turned")


def turns() -> None:
    world.turns = 2


def test_a_deadlock_is_a_step_shorter() -> None:
    """When nobody can go on after so many steps, a rule that the next step elsewhere breaks has a longer trace."""
    results = by_all(program(ends_or_breaks, turns, waits))
    for name, result in results.items():
        assert result.violation is not None
        shortest = min(len(r.violation.trace) for r in results.values() if r.violation)
        assert len(result.violation.trace) == shortest, name


def test_a_limit_does_not_hide_what_was_found() -> None:
    for functions in ((breaks_first, breaks_last), (breaks_last, fails)):
        made = program(*functions)
        for states in range(2, 8):
            limits = Limits(states=states)
            reference, native = breadth_first(Reference(made), Request(limits=limits)), native_search(Native(made), Request(limits=limits, workers=1))
            assert Verdict.HOLDS not in (reference.verdict, native.verdict)
