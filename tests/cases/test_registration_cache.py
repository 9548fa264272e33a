"""The table of registration caches: every verdict as reviewed, and the traces replay."""

from __future__ import annotations

import os

from secondsight.cases import TABLES, search_cell
from secondsight.search.request import Request

TABLE = TABLES["registration-cache"]
EVERYTHING = os.environ.get("SECONDSIGHT_CONTRACT") == "all"
SAMPLE = [("event, lock first", "munmap beside"), ("event, lock first", "DONTNEED beside"), ("event", "munmap"), ("hook", "free()"), ("hook", "MAP_FIXED")]
REFERENCE = Request(executor="reference")


def test_every_cell_comes_out_as_reviewed() -> None:
    cells = {at: search_cell(TABLE, *at, request=REFERENCE) for at in (TABLE.cells() if EVERYTHING else SAMPLE)}
    assert {at: cell.verdict for at, cell in cells.items()} == {at: TABLE.expected[at] for at in cells}
    for (row, column), cell in cells.items():
        assert cell.result is not None and cell.result.error is None
        if cell.result.violation is not None:
            program = TABLE.program(row, column)
            assert program is not None and cell.result.violation.rule == "as-if-cpu"
            assert getattr(cell.result.violation.trace.replay(program)[-1].error, "rule", "") == "as-if-cpu"
    if EVERYTHING:
        verdicts = {at: cell.verdict for at, cell in cells.items() if cell.verdict is not None}
        assert all(str(finding.verdict(verdicts)).startswith("Falls") for finding in TABLE.findings)
