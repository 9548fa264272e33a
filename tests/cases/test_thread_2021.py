"""The 2021 table: the small cells' verdicts as reviewed, their traces replay, and the claims that rest on small cells."""

from __future__ import annotations

import os

import pytest

from secondsight.cases import TABLES, search_cell, settle
from secondsight.search import Verdict
from secondsight.search.request import Request

TABLE = TABLES["2021-05-exclusive"]
EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"

SMALL = [
    ("no filter", "own marking"),
    ("merged", "own marking"),
    ("merged", "CPU store"),
    ("event EXCLUSIVE", "CPU store"),
    ("no sequence", "munmap"),
    ("shared owner", "second mirror"),
    ("retries locked", "munmap"),
]
"""A few programs for all of them: what is compiled takes most of the time."""


@pytest.mark.parametrize(("row", "column"), SMALL, ids=lambda name: name.replace(" ", "-"))
def test_a_cell_comes_out_as_reviewed_and_its_trace_replays(row: str, column: str) -> None:
    cell = search_cell(TABLE, row, column)
    assert cell.result is not None and cell.result.error is None
    assert cell.verdict is TABLE.expected[row, column], cell.result
    violation = cell.result.violation
    if violation is None:
        return
    program = TABLE.program(row, column)
    assert program is not None
    steps = violation.trace.replay(program)
    assert len(steps) == len(violation.trace)
    if violation.rule != "livelock":
        assert getattr(steps[-1].error, "rule", "") == violation.rule


def test_the_cells_say_why() -> None:
    rules = {at: search_cell(TABLE, *at).result for at in (("no filter", "own marking"), ("no sequence", "munmap"), ("event EXCLUSIVE", "CPU store"))}
    assert [r is not None and r.violation is not None and r.violation.rule for r in rules.values()] == ["livelock", "exclusive", "exclusive"]


def test_a_livelock_is_looked_for_where_nobody_else_is() -> None:
    """In the others a driver that goes round for ever breaks nothing by it."""
    assert TABLE.goes_on == frozenset(("own marking", "sub-page"))
    assert search_cell(TABLE, "no filter", "munmap").verdict is Verdict.HOLDS


def test_a_page_in_the_middle_is_given_by_the_reworked_form_alone() -> None:
    assert {row for (row, column), verdict in TABLE.expected.items() if column == "sub-page" and verdict is Verdict.HOLDS} == {"6.15"}
    violation = search_cell(TABLE, "merged", "sub-page", Request(executor="reference")).result.violation  # type: ignore[union-attr]
    assert violation is not None and violation.rule == "livelock"
    program = TABLE.program("merged", "sub-page")
    assert program is not None and len(violation.trace.replay(program)) == len(violation.trace)


def test_every_row_and_column_is_reviewed_where_it_makes_sense() -> None:
    """Who never gets a page in the middle has none that a CPU could store to beside it."""
    left_out = set(TABLE.cells()) - set(TABLE.expected)
    assert left_out == {(row.name, "sub-page store") for row in TABLE.rows if row.name != "6.15"}
    assert TABLE.program("merged", "sub-page store") is None


@pytest.mark.skipif(not EVERYTHING, reason="make tables runs it")
def test_every_cell_and_every_claim() -> None:
    cells = {(c.row, c.column): c.verdict for c in settle(TABLE) if c.verdict is not None}
    assert cells == dict(TABLE.expected)
    said = [finding.verdict(cells) for finding in TABLE.findings]
    assert [s is not None and s.partition(":")[0].partition(",")[0] for s in said] == [
        "Stands", "Stands", "Stands", "Falls in part", "Refined", "Stands", "Stands",
    ]  # fmt: skip
