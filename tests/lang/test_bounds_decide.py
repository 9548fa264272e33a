"""A test on the size of an array alone is decided when the program is built: what it leaves out is no part of the program."""

from __future__ import annotations

from typing import Literal

from secondsight.lang import U8, Array, Machine, Record, shared
from secondsight.lang.program import Thread, build


class Part(Record):
    number: U8


class Whole(Record):
    parts: Array[Part, Literal["parts"]]
    others: Array[Part, Literal["others"]]
    seen: U8


whole = shared(Whole)


def with_parts() -> None:
    for part in whole.parts:
        part.number += 1


def with_none() -> None:
    whole.seen = 2


def main() -> None:
    if len(whole.parts) + len(whole.others) > 0:
        with_parts()
        count = len(whole.parts)
    else:
        with_none()
        count = 7
    whole.seen = count


def names(parts: int) -> set[str]:
    machine = Machine(bounds={"parts": parts, "others": 0})
    return {function.name for function in build(machine, [Thread("t", main)]).frames}


def test_the_functions_of_the_branch_that_is_not_taken_are_not_there() -> None:
    assert names(0) == {"main", "with_none"}
    assert names(2) == {"main", "with_parts"}


def both() -> None:
    if len(whole.parts) > 0 and len(whole.others) > 0:
        with_parts()
    if len(whole.parts) == 0 or whole.seen == 3:
        with_none()
    if whole.seen == 7 and len(whole.others) > 0:  # what the search has to look at comes first: asked each time
        with_parts()


def test_so_is_an_and_or_an_or_whose_beginning_is_known() -> None:
    def functions(parts: int, others: int) -> set[str]:
        machine = Machine(bounds={"parts": parts, "others": others})
        return {function.name for function in build(machine, [Thread("t", both)]).frames}

    assert functions(2, 0) == {"both", "with_none", "with_parts"}
    assert "with_none" in functions(0, 0) and "with_none" in functions(2, 2)


def first_alone() -> None:
    if len(whole.parts) > 0 and whole.seen == 0:
        with_parts()
    if len(whole.parts) == 0 and len(whole.others) == 0:
        with_none()


def test_what_an_and_begins_with_leaves_out_what_it_guards() -> None:
    def functions(parts: int) -> set[str]:
        machine = Machine(bounds={"parts": parts, "others": 0})
        return {function.name for function in build(machine, [Thread("t", first_alone)]).frames}

    assert functions(0) == {"first_alone", "with_none"}
    assert functions(1) == {"first_alone", "with_parts"}
