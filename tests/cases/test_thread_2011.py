"""The 2011 table: every verdict as reviewed, every broken cell's trace replays in plain execution."""

from __future__ import annotations

import os

import pytest

from secondsight.cases import TABLES, search_cell, settle
from secondsight.cases.table import Cell
from secondsight.cases.thread_2011_ib import BY_REFERENCE

TABLE = TABLES["2011-12-ib"]


EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"
LOST = (("later, not dirty", "swap-out"), ("later, dirty last", "swap-out"))
"""The cells in which a write is lost."""


@pytest.fixture(scope="module")
def cells() -> dict[tuple[str, str], Cell]:
    """A sample of the cells, searched once; all of them with `SECONDSIGHT_CONTRACT=all` (`make tables`)."""
    if EVERYTHING:
        return {(cell.row, cell.column): cell for cell in settle(TABLE)}
    return {at: search_cell(TABLE, *at) for at in [*list(TABLE.cells())[::9], *LOST, ("at once", BY_REFERENCE)]}


def test_every_cell_comes_out_as_reviewed(cells: dict[tuple[str, str], Cell]) -> None:
    assert {at: cell.verdict for at, cell in cells.items()} == {at: TABLE.expected[at] for at in cells}
    assert len(cells) == len(TABLE.expected) or not EVERYTHING


def test_traces_replay(cells: dict[tuple[str, str], Cell]) -> None:
    """One of each rule and column."""
    tried = set()
    for (row, column), cell in cells.items():
        assert cell.result is not None and cell.result.error is None
        violation = cell.result.violation
        if violation is not None and (violation.rule, column) not in tried:
            tried.add((violation.rule, column))
            program = TABLE.program(row, column)
            assert program is not None
            steps = violation.trace.replay(program)
            assert len(steps) == len(violation.trace) and getattr(steps[-1].error, "rule", "") == violation.rule
    assert len(tried) == (25 if EVERYTHING else len({(c.result.violation.rule, c.column) for c in cells.values() if c.result and c.result.violation}))


def test_a_lost_write_is_called_so(cells: dict[tuple[str, str], Cell]) -> None:
    broken = {at: cell.result.violation.rule for at, cell in cells.items() if cell.result and cell.result.violation}
    assert {at for at, rule in broken.items() if rule == "lost-write"} == set(LOST)
    assert set(broken.values()) == {"lost-write", "as-if-cpu", "direct-read", "use-after-free", "sleep-in-atomic"}
    assert {at for at, rule in broken.items() if rule == "use-after-free"} == {("later, dirty last", "migration")}
    assert {column for (_, column), rule in broken.items() if rule == "direct-read"} == {BY_REFERENCE}


@pytest.mark.skipif(not EVERYTHING, reason="make tables runs it")
def test_every_claim_comes_out_one_way(cells: dict[tuple[str, str], Cell]) -> None:
    verdicts = {at: cell.verdict for at, cell in cells.items() if cell.verdict is not None}
    said = [finding.verdict(verdicts) for finding in TABLE.findings]
    assert [s is not None and s.startswith("Stands") for s in said] == [True, True, True, False, False, True, False, True, True, True, True]
