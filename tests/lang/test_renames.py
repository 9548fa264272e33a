"""When a merged search gives records their names: where that makes enough of its first states equal."""

from __future__ import annotations

from typing import Annotated

import pytest

from secondsight.lang import Bounds, Machine, Mutex, Record, Ref, atomic, choose, shared, shared_array
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.search import Request, Result, Verdict
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)

Small = Annotated[int, Bounds(0, 9)]


class Sheet(Record):
    interchangeable = True
    used: bool
    written: Small


class Desk(Record):
    lock: Mutex
    mine: Ref[Sheet]
    other: Ref[Sheet]
    count: Small


sheets = shared_array(Sheet, "sheets")
desk = shared(Desk)


@atomic
def any_sheet() -> Ref[Sheet]:
    sheet = choose(s for s in sheets if not s.used)
    sheet.used = True
    return sheet


@atomic
def the_first() -> Ref[Sheet]:
    sheet = sheets[0]
    sheet.used = True
    return sheet


def writes_on_any() -> None:
    desk.mine = any_sheet()
    for _ in range(3):
        with desk.lock:
            desk.mine.written += 1


def writes_on_the_first() -> None:
    desk.mine = the_first()
    for _ in range(3):
        with desk.lock:
            desk.mine.written += 1


def counts() -> None:
    """Many states, in none of which a sheet matters."""
    for _ in range(14):
        seen = desk.count
        desk.count = (seen + 1) % 10


def counts_too() -> None:
    """The same, by a thread that is not equal to one of those."""
    for _ in range(14):
        seen = desk.count
        desk.count = (seen + 1) % 10


def program_of(*threads: object) -> Program:
    return build(Machine({"sheets": 3}), [Thread(f"t{i}", thread) for i, thread in enumerate(threads)])  # type: ignore[arg-type]


def searched(program: Program, reductions: Reductions) -> Result:
    return reduced_search(program, Request(workers=1, livelock=True, reductions=reductions)).result


def test_it_names_them_where_that_makes_states_equal() -> None:
    program = program_of(writes_on_any, counts, counts_too)
    whole, merged, both = native_search(Native(program)), searched(program, Reductions(symmetry=False)), searched(program, Reductions())
    assert whole.verdict is merged.verdict is both.verdict is Verdict.HOLDS
    assert both.reduced == ("merge", "symmetry") and 5_000 < both.states < merged.states < whole.states


def test_it_does_not_where_that_makes_no_states_equal() -> None:
    program = program_of(writes_on_the_first, counts, counts_too)
    merged, both = searched(program, Reductions(symmetry=False)), searched(program, Reductions())
    assert merged.states > 5_000
    assert (both.verdict, both.reduced, both.states) == (Verdict.HOLDS, ("merge",), merged.states)
    alone = searched(program, Reductions(merge=False))
    assert alone.reduced == ("symmetry",) and alone.states == native_search(Native(program)).states


def test_what_is_small_is_not_tried() -> None:
    found = searched(program_of(writes_on_the_first), Reductions())
    assert (found.verdict, found.reduced) == (Verdict.HOLDS, ("merge", "symmetry"))


def test_what_one_search_saw_does_not_count_for_the_next() -> None:
    renames, plain = program_of(writes_on_any, counts, counts_too), program_of(writes_on_the_first, counts, counts_too)
    found = [searched(program, Reductions()) for program in (renames, plain, renames)]
    assert [r.reduced for r in found] == [("merge", "symmetry"), ("merge",), ("merge", "symmetry")]
    assert found[0].states == found[2].states
    by_two = reduced_search(plain, Request(workers=2, livelock=True)).result
    assert (by_two.reduced, by_two.states) == (found[1].reduced, found[1].states)


def test_the_search_that_tries_it_is_a_short_one_where_that_is_clear_soon() -> None:
    seen: list[Result] = []

    def search(native: Native, request: Request) -> Result:
        seen.append(native_search(native, request))
        return seen[-1]

    found = reduced_search(program_of(writes_on_the_first, counts, counts_too), Request(workers=1), search)
    assert (found.result.verdict, found.begun, [r.reason for r in seen]) == (Verdict.HOLDS, 2, ["stale", None])
    assert seen[0].states < 2_500 and seen[1].states > 5_000
