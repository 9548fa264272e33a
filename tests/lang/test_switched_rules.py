"""Rules that are switched as a program runs: programs that watch different ones share their code, and each sees what it would see alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from secondsight.lang import U8, Machine, Record, Ref, pool, require, rule, shared, tracepoint
from secondsight.lang.errors import NoneFollowed, RuleBroken
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Request, Result, Verdict, breadth_first
from secondsight.search.auto import why_not_native
from secondsight.search.kept import identity_of
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search


class Seat(Record):
    SIZE = 1
    n: U8


class Board(Record):
    seen: U8
    total: U8
    seat: Ref[Seat]


seats = pool(Seat, 1)
board = shared(Board)


@tracepoint
def moved(total: U8) -> None:
    """Somebody has moved."""


@tracepoint
def sat(n: U8) -> None:
    """Somebody sits."""


@rule("small", on=moved)
def small(total: U8) -> None:
    require(total < 3, "small", "it is large")


@rule("even", on=moved)
def even(total: U8) -> None:
    require(total % 2 == 0, "even", "it is odd")


@rule("counts", on=moved)
def counts(total: U8) -> None:
    """Writes: a ghost."""
    board.seen += 1
    require(board.seen < 9, "counts", "too often")


@rule("seated", on=sat)
def seated(n: U8) -> None:
    require(n == 0, "seated", "the seat is taken")


def moves(by: U8) -> None:
    for _ in range(2):
        board.total += by
        moved(board.total)


def sits() -> None:
    seat = board.seat
    if seat is None:
        board.total += 0
    sat(board.seat.n)  # type: ignore[union-attr]


ROOM = Room(2, (moves, sits), (small, even, counts, seated))
SETS: dict[str, tuple[Callable[..., Any], ...]] = {
    "none": (), "small": (small,), "even": (even,), "counts": (counts,), "both": (even, small), "all": (small, even, counts, seated),
}  # fmt: skip


def program(rules: Sequence[Callable[..., Any]], by: int, room: Room | None, with_seat: bool = True) -> Program:
    machine = Machine()
    with machine:
        seat = seats.alloc()
        if with_seat:
            board.seat = seat
    return build(machine, [Thread("a", moves, (by,)), Thread("b", sits)], rules, room=room)


def told(result: Result) -> tuple[object, ...]:
    found = result.violation
    return result.verdict, result.states, result.transitions, result.depth, found and (found.rule, found.message, len(found.trace))


@pytest.mark.parametrize("by", [1, 2])
@pytest.mark.parametrize("name", SETS)
def test_a_program_sees_what_it_would_see_alone(name: str, by: int) -> None:
    rules = SETS[name]
    alone, among = program(rules, by, Room(2, (moves, sits))), program(rules, by, ROOM)
    expected, found = breadth_first(Reference(alone)), breadth_first(Reference(among))
    assert (found.verdict, found.violation and found.violation.rule) == (expected.verdict, expected.violation and expected.violation.rule)
    if counts in rules:  # else the others' ghost is in no state
        assert told(found) == told(expected)
    assert found.transitions == expected.transitions
    broken = (by == 1 and even in rules) or (by == 2 and small in rules)
    assert (found.verdict is Verdict.BROKEN) is broken
    if found.violation is not None:
        assert isinstance(found.violation.trace.replay(among)[-1].error, RuleBroken)
    if why_not_native() is None:
        assert told(native_search(Native(among), Request(workers=1))) == told(found)
        assert reduced_search(among).result.verdict is found.verdict


def test_they_share_their_code_and_nothing_else() -> None:
    made = [program(rules, 1, ROOM) for rules in SETS.values()]
    assert len({id(p.code) for p in made}) == 1
    for one in made:
        breadth_first(Reference(one))
    assert len({identity_of(p) for p in made}) == len(made)
    for one, rules in zip(made, SETS.values(), strict=True):
        assert one.machine.rules == list(rules)
    if why_not_native() is None:
        natives = [Native(p) for p in made]
        assert len({id(n.library) for n in natives}) == 1
        verdicts = [native_search(n, Request(workers=1)).verdict is Verdict.BROKEN for n in natives]
        assert verdicts == [even in rules for rules in SETS.values()]
        again = [native_search(n, Request(workers=1)).verdict is Verdict.BROKEN for n in reversed(natives)]
        assert again == verdicts[::-1]


def test_arguments_are_evaluated_where_no_rule_is_watched() -> None:
    for rules in ((), (small,), (seated,)):
        for room in (ROOM, None):
            result = breadth_first(Reference(program(rules, 2, room, with_seat=False)))
            assert result.violation is not None and result.violation.rule in (NoneFollowed.rule, "small")


def test_a_machine_that_another_program_has_had() -> None:
    shared_by = program((), 1, ROOM)
    own = build(shared_by.machine, shared_by.threads, [even])
    assert breadth_first(Reference(own)).verdict is Verdict.BROKEN


def test_a_rule_that_the_room_does_not_have_is_watched_too() -> None:
    made = program((even,), 1, Room(2, (moves, sits), (small,)))
    assert breadth_first(Reference(made)).violation is not None
