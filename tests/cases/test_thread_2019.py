"""The 2019 table: every verdict as reviewed, every broken cell's trace replays in plain execution."""

from __future__ import annotations

import os

import pytest

from secondsight.cases import TABLES, search_cell, settle
from secondsight.search import Limits, Request, Verdict

TABLE = TABLES["2019-08-hmm"]
EVERY_ROW = [row.name for row in TABLE.rows]
EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"


@pytest.mark.parametrize("row", EVERY_ROW if EVERYTHING else EVERY_ROW[::2])  # the others: make tables
def test_a_row_comes_out_as_reviewed_and_its_traces_replay(row: str) -> None:
    for column in TABLE.columns:
        cell = search_cell(TABLE, row, column.name)
        assert cell.result is not None
        assert cell.verdict is TABLE.expected[row, column.name], (row, column.name, cell.result)
        violation = cell.result.violation
        if violation is None:
            continue
        program = TABLE.program(row, column.name)
        assert program is not None
        steps = violation.trace.replay(program)
        assert len(steps) == len(violation.trace)
        error = steps[-1].error
        if violation.rule == "deadlock":
            assert error is None
        else:
            assert error is not None
            assert error.rule == violation.rule  # type: ignore[attr-defined]


def test_every_claim_comes_out_one_way() -> None:
    wanted = sorted({c for f in TABLE.findings for c in f.needs})
    cells = {(c.row, c.column): c.verdict for c in settle(TABLE, only=wanted) if c.verdict is not None}
    said = [finding.verdict(cells) for finding in TABLE.findings]
    assert [s is not None and s.startswith("Stands") for s in said] == [False, True, False, True, True]


def test_a_finding_says_nothing_while_a_cell_it_needs_has_not_finished() -> None:
    finding = TABLE.findings[0]
    cells = dict.fromkeys(finding.needs, Verdict.HOLDS)
    assert finding.verdict(cells) == finding.stands
    cells[next(iter(cells))] = Verdict.NOT_FINISHED
    assert finding.verdict(cells) is None


def test_a_cell_cut_short_is_not_finished() -> None:
    cell = search_cell(TABLE, "today loop", "munmap+mmap", Request(limits=Limits(states=600)))
    assert cell.verdict is Verdict.NOT_FINISHED
