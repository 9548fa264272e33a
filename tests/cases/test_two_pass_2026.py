"""The table of notifiers with two passes: its small cells as reasoned, their traces replayed, what is said of kernels."""

from __future__ import annotations

import os

import pytest

from secondsight.cases import FreeRun, search_cell, settle
from secondsight.cases.two_pass_2026 import COLUMNS, ROWS, TABLE, TRUTH
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Result, Verdict, Violation
from secondsight.search.request import Request

EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"
HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

SMALL = {
    ("own structure", "one range"): None,
    ("one, unmarked", "two subscriptions"): "finish-in-use",
    ("one, left to it", "no structure"): "as-if-cpu",
    ("lock kept", "two subscriptions"): "double-lock",
    ("number last", "no structure"): "as-if-cpu",
    ("table last", "one range"): "as-if-cpu",
    ("begins all", "a later one fails"): None,
    ("begins all", "reaper"): "deadlock",
    ("fails late", "a later one fails"): "left-in-use",
    ("nobody finishes", "a later one fails"): "left-in-use",
    ("bracket first", "a later one fails"): None,
}
"""Cells, and the rule that breaks; by the reference executor, for what is compiled would take most of the time."""


def replayed(row: str, column: str, result: Result) -> None:
    """A broken cell's trace replays in plain execution, and ends as it says."""
    violation = result.violation
    assert violation is not None
    steps = violation.trace.replay(TABLE.program(row, column))  # type: ignore[arg-type]
    assert len(steps) == len(violation.trace)
    assert violation.rule == "deadlock" or getattr(steps[-1].error, "rule", "") == violation.rule


@pytest.mark.parametrize(("row", "column"), SMALL, ids=lambda name: name.replace(" ", "-"))
def test_a_small_cell_is_as_reasoned_and_replays(row: str, column: str) -> None:
    result = search_cell(TABLE, row, column, Request(executor="reference")).result
    assert result is not None and result.error is None
    assert result.verdict is TABLE.expected[row, column], result
    assert (result.violation.rule if result.violation is not None else None) == SMALL[row, column]
    if result.verdict is BROKEN:
        replayed(row, column, result)


@pytest.mark.parametrize("column", [c.entry.name for c in COLUMNS])
def test_every_column_holds_somewhere_and_is_broken_somewhere(column: str) -> None:
    assert {TABLE.expected[r.entry.name, column] for r in ROWS} == {HOLDS, BROKEN}


def test_one_thing_is_wrong_with_each_wrong_form_and_nothing_with_the_first_three() -> None:
    right = [r.entry.name for r in ROWS if all(TABLE.expected[r.entry.name, c.entry.name] is HOLDS for c in COLUMNS)]
    assert right == ["one pass", "own structure", "one, marked"]
    assert all(len(r.choices) <= 4 for r in ROWS)


def test_of_each_cell_it_is_said_whether_a_kernel_can_run_it() -> None:
    nothing: Violation = None  # type: ignore[assignment]
    runs = []
    for (row, column), verdict in TABLE.expected.items():
        asked = TABLE.on_kernel(row, column, nothing) if verdict is BROKEN else TABLE.runs_on_kernel(row, column)  # type: ignore[misc]
        if isinstance(asked, FreeRun):
            runs.append((row, column))
        else:
            assert isinstance(asked, CannotForce) and len(asked.why) > 20
    assert runs == [("one pass", "one range"), ("one pass", "two ranges")]


@pytest.mark.skipif(not EVERYTHING, reason="make tables runs it")
def test_every_cell_and_every_claim() -> None:
    for cell in settle(TABLE):
        assert cell.result is not None and cell.result.error is None
        assert cell.verdict is TABLE.expected[cell.row, cell.column], (cell.row, cell.column, cell.result.violation)
        if cell.verdict is BROKEN:
            replayed(cell.row, cell.column, cell.result)
    assert set(TRUTH) < {c.entry.name for c in COLUMNS}
    answers = [finding.answer(TABLE.expected) for finding in TABLE.findings]
    assert [a is not None and a.value for a in answers] == ["refined", "confirmed", "refined", "refined", "refuted", "refuted", "refuted", "refuted"]
