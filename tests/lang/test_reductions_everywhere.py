"""Reductions on everything in the repository: every cell, scenario, and adversary with every driver; a sample by default.

`SECONDSIGHT_REDUCTIONS=all` (`make reductions`) takes all of them: each combination of reductions against the plain native search,
and the reference where a search is small. Verdicts, rules, traces, outcomes, and the rules that `collect` finds must be the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_reductions import assert_same

from secondsight.cases import TABLES
from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices import mirror
from secondsight.lang.errors import LeftRange
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.scenario import load_scenarios
from secondsight.search import Limits, Request, Verdict, breadth_first
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_native, search_both
from secondsight.world.model import program as scenario_program
from secondsight.world.model import watched

HOUSE = Path(__file__).parents[2]
ALL = os.environ.get("SECONDSIGHT_REDUCTIONS") == "all"
SMALL = 30_000
"""States up to which the reference looks at it too."""
DRIVERS = ("Mirror", "MirrorWithoutTest", "MirrorTestsBeforeLock", "MirrorCallbackWithoutLock", "MirrorDereferencesLater")
NUMBERED = ("movable", "for long", "offline", "cma", "huge", "collapse", "thp", "2026-hmm-retry", "2023-06-pins", "2011: ")
"""Where numbers of folios are numbers: a block of memory, in which a pin for long wants no page, and a huge page have places; whoever looks whether an answer is true still compares two; a local is a page's
number here, and an error there."""
HUGETLB = ("sub-pages", "hugetlb", "huge")
"""Where a vma has the lock of hugetlb's."""
COMBINATIONS = (Reductions(True, False), Reductions(False, True), Reductions(True, True))

Made = tuple[Program, tuple[int, int] | None]


def cells() -> Iterator[tuple[str, Callable[[], Made | None]]]:
    for table in TABLES.values():
        for row, column in table.cells():

            def make(row: str = row, column: str = column, table: object = table) -> Made | None:
                program = table.program(row, column)  # type: ignore[attr-defined]
                return None if program is None else (program, None)

            yield f"{table.name}: {row}: {column}", make


def scenarios() -> Iterator[tuple[str, Callable[[], Made | None]]]:
    for file in (*sorted((HOUSE / "scenarios").glob("*.py")), HOUSE / "examples" / "hole_refilled.py"):
        for scenario in load_scenarios(file):

            def make(scenario: object = scenario) -> Made | None:
                program = scenario_program(scenario)  # type: ignore[arg-type]
                return program, watched(program)

            yield f"{file.stem}: {scenario.name}", make


def checks() -> Iterator[tuple[str, Callable[[], Made | None]]]:
    for name in DRIVERS:
        for adversary in ADVERSARIES.values():
            for scenario in adversary.scenarios:

                def make(name: str = name, scenario: object = scenario) -> Made | None:
                    return driver_program(getattr(mirror, name), scenario), None  # type: ignore[arg-type]

                yield f"{name}: {scenario.name}", make


EVERY = [*cells(), *scenarios(), *checks()]
SAMPLE = [one for one in EVERY[11::200] if not one[0].startswith("2026-hmm-retry: fresh")]  # minutes


@pytest.mark.parametrize(("name", "make"), EVERY if ALL else SAMPLE, ids=lambda one: one if isinstance(one, str) else "")
def test_reductions_change_nothing_that_is_said(name: str, make: Callable[[], Made | None]) -> None:
    made = make()
    if made is None:
        return
    program, watch = made
    plain = Native(program)
    known = native_search(plain, Request(watch=watch, workers=1, livelock=True))
    if known.states <= SMALL:
        slow = breadth_first(Reference(program), Request(watch=watch, livelock=True))
        assert (slow.verdict, slow.outcomes, slow.states) == (known.verdict, known.outcomes, known.states)
    every = native_search(plain, Request(watch=watch, workers=1, collect=True, lock_order=False))
    figures = [known.states]
    for wanted in COMBINATIONS if ALL else COMBINATIONS[2:]:
        native, told = reduced_native(program, wanted, watch)
        if told == ["records are not interchangeable: Vma: a lock lies in them"]:
            assert any(word in name for word in HUGETLB), name
            assert native.reductions in (wanted, replace(wanted, symmetry=False))
        elif told:  # said, and nothing else is left out
            assert any(word in name for word in NUMBERED), name
            assert native.reductions in (wanted, replace(wanted, symmetry=False))
            assert [one.startswith("records are not interchangeable: Folio") for one in told] == [True]
        else:
            assert native.reductions == wanted
        found = search_both(native, plain, Request(watch=watch, workers=1, livelock=True))
        if wanted.symmetry and isinstance(known.error, LeftRange) and "sequence numbers" in found.result.note:  # it counts for ever: see docs/engine.md
            assert found.result.violation is not None and found.result.violation.rule == "livelock"
            continue
        if wanted.symmetry and isinstance(known.error, LeftRange) and found.result.verdict is Verdict.HOLDS:
            assert any(thread.daemon for thread in program.threads), "a daemon alone may count for ever beside threads that end"
            continue
        assert_same(plain, found, watch, livelock=True)
        assert found.merged is not None
        figures.append(found.merged.states)
        collected = search_both(native, plain, Request(limits=Limits(), watch=watch, workers=1, collect=True, lock_order=False)).merged
        assert collected is not None
        assert {v.rule for v in collected.violations} == {v.rule for v in every.violations}
        if every.verdict is Verdict.HOLDS:
            assert collected.outcomes == every.outcomes
    print(f"{name}: {known.verdict.value}: {figures}")
