"""Functions called by number: in every executor the one that the table says; in the program only those that it may say."""

from __future__ import annotations

import random
from typing import Annotated

import pytest
from law import walk_both

from secondsight.lang import U8, Bounds, Functions, LangError, Machine, Record, atomic, const, marker, shared
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Result, breadth_first
from secondsight.search.native import native_search

kind = const("acts.kind", Annotated[int, Bounds(0, 9)])
closes = const("acts.closes")


class Seen(Record):
    total: U8
    twice: U8


seen = shared(Seen)
ACTS = Functions[object]("ACTS")


@marker
def act(function: object) -> object:
    """Declares a function of the list, and gives it back."""
    ACTS.add(function)  # type: ignore[arg-type]
    return function


@act
def adds(by: U8) -> U8:
    seen.total += by
    return 1


@act
def nothing(by: U8) -> U8:
    return 0


@act
def doubles(by: U8) -> U8:
    with atomic:
        before = seen.total
        seen.twice = 1
    seen.total = before * 2
    return 2


def run(first: U8, end: U8) -> None:
    for i in range(first, end):
        done = ACTS[kind[i]](i + 1)  # type: ignore[operator]
        if done == 2:
            seen.twice += 1
    if closes[0] != 0:
        never()


def never() -> None:
    seen.total = 0


def program(rows: list[int], only: dict[str, list[int]], closed: int = 0) -> Program:
    machine = Machine(data={"acts.kind": rows, "acts.closes": [closed]}, only=only)
    half = len(rows) // 2
    with machine:
        return build(machine, [Thread("a", run, (0, half)), Thread("b", run, (half, len(rows)))])


def names(made: Program) -> set[str]:
    return {function.__name__ for function, _, _ in made.frontend.instances}


@pytest.mark.parametrize("rows", [[0, 2, 0, 1], [2, 2, 2, 0], [1, 1, 1, 1]])
def test_every_executor_calls_the_function_of_the_tables_number(rows: list[int]) -> None:
    only = {"acts.kind": [0, 1, 2], "acts.closes": [0]}
    made = program(rows, only)
    ends = {walk_both(made, Reference(made), random.Random(seed).randrange, 60) for seed in range(20)}
    assert ends == {"ended"}

    def said(result: Result) -> tuple[object, ...]:
        return result.verdict, result.states, result.transitions, result.depth

    assert said(breadth_first(Reference(made))) == said(native_search(Native(made)))


def test_a_program_has_only_what_its_tables_may_say() -> None:
    small = program([0, 0], {"acts.kind": [0], "acts.closes": [0]})
    large = program([0, 0], {"acts.kind": [0, 2], "acts.closes": [0, 1]}, closed=1)
    assert names(small) == {"run", "adds"}
    assert names(large) == {"run", "adds", "doubles", "never"}


def test_a_table_that_says_more_than_it_may_is_refused() -> None:
    with pytest.raises(LangError, match=r"acts\.kind has 2, and was said to have only 0, 1"):
        program([0, 2], {"acts.kind": [0, 1], "acts.closes": [0]})


def test_a_number_without_a_function_is_refused() -> None:
    with pytest.raises(LangError, match=r"kind\[i\] may be 0 to 9, and ACTS has 3 functions"):
        program([0, 2], {})


def test_an_atomic_function_is_not_called_by_number() -> None:
    @atomic
    def whole(by: U8) -> U8:
        return 0

    with pytest.raises(LangError, match="whole is @atomic"):
        ACTS.add(whole)
