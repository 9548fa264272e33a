"""What tells sequence numbers apart: then they are not renamed, and the result says which function or field is the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from secondsight.lang import U8, Array, Bounds, Machine, Pool, Record, SequenceNumber, atomic, choose, pool, require, shared
from secondsight.lang.program import Thread, build
from secondsight.lang.sequences import sequences_of
from secondsight.lang.symmetry import renaming_of
from secondsight.search.reduced import reduced_search
from secondsight.search.request import Request

Small = Annotated[int, Bounds(0, 3)]

class Told(Record):
    number: SequenceNumber = 2
    copy: SequenceNumber
    plain: U8
    small: Small


told_ = shared(Told)


class Values(Record):
    values: Array[Small, 40]


seen = shared(Values)


class Wide(Record):
    number: Annotated[int, Bounds(0, 1000, "sequence")]


wide = shared(Wide)


def compares_order() -> None:
    require(told_.number >= told_.copy, "order", "x")


def compares_with_a_number() -> None:
    require(told_.copy != 3, "three", "x")


def computes() -> None:
    mine = told_.number
    told_.copy = mine + 1


def keeps_it_elsewhere() -> None:
    told_.plain = told_.number


def has_no_room() -> None:
    mine: Small = told_.number
    told_.copy = mine


def assigns_a_number() -> None:
    told_.copy = 7


def now_this_now_that() -> None:
    mine: U8 = told_.number
    if choose(2) == 0:
        mine = told_.plain
    told_.small = 1 if mine != 0 else 0


def sets_it_back() -> None:
    told_.number = told_.copy


def takes_the_one_before_a_copy() -> None:
    told_.copy = told_.copy - 1


def finds_by_it() -> None:
    seen.values[told_.number] = 1


def another_range() -> None:
    wide.number = told_.copy


@atomic
def given(number: SequenceNumber) -> None:
    told_.copy = number


def passes_a_number() -> None:
    given(5)


REASONS: dict[Callable[[], None], str] = {
    compares_order: "compares_order compares one by >=",
    compares_with_a_number: "compares one with another number",
    computes: "computes uses one as a number",
    keeps_it_elsewhere: "Told.plain is given one, and is no SequenceNumber",
    has_no_room: "mine has no room for all of them",
    assigns_a_number: "Told.copy is given another number",
    now_this_now_that: "mine is now one, now another number",
    sets_it_back: "Told.number goes on, and something else is assigned to it too",
    takes_the_one_before_a_copy: "takes the number before one that is no counter's",
    finds_by_it: "finds_by_it uses one as a number",
    another_range: "several ranges",
    passes_a_number: "Told.copy is given another number",
}


def goes_on() -> None:
    told_.number += 1


@pytest.mark.parametrize("function", REASONS, ids=lambda f: f.__name__)
def test_what_tells_them_apart_is_said(function: Callable[[], None]) -> None:
    program = build(Machine({}), [Thread("t", function), Thread("u", goes_on)])
    found, why = sequences_of(program)
    assert found is None and REASONS[function] in why
    assert renaming_of(program) == (None, [f"sequence numbers are not renamed: {why}"])


def test_the_result_says_why_not() -> None:
    program = build(Machine({}), [Thread("t", compares_order), Thread("u", goes_on)])
    assert reduced_search(program, Request(workers=1)).note == "sequence numbers are not renamed: compares_order compares one by >="


def test_what_is_watched_is_not_renamed() -> None:
    program = build(Machine({}), [Thread("t", goes_on)])
    assert sequences_of(program, (1, program.layout.shared_size))[1] == "what is watched of final states has one in it"
    assert sequences_of(program)[0] is not None


class Pooled(Record):
    number: SequenceNumber = 2


pooled: Pool[Pooled, Any] = pool(Pooled, "pooled")


def frees_a_counter() -> None:
    mine = pooled.alloc()
    mine.number += 1
    pooled.free(mine)


def test_a_counter_that_is_freed_goes_back() -> None:
    program = build(Machine({"pooled": 1}), [Thread("t", frees_a_counter)])
    assert sequences_of(program)[1] == "Pooled.number is in records that are freed"


def test_a_program_that_does_not_count_renames_nothing() -> None:
    def copies_only() -> None:
        told_.copy = told_.number

    program = build(Machine({}), [Thread("t", copies_only)])
    assert sequences_of(program) == (None, "")
    assert renaming_of(program) == (None, [])
