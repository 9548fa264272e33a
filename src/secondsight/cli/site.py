"""`settle --html FOLDER`: every table and every broken cell's trace as pages that lead to each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondsight.cli.html import tell_and_show, write_page
from secondsight.lang import LangError
from secondsight.report.page import page_data
from secondsight.report.tables import figures
from secondsight.report.trace import tell_result

if TYPE_CHECKING:
    from secondsight.cases import CaseTable, Cell

__all__ = ["could_be_folder", "write_site"]


def could_be_folder(folder: Path | None) -> None:
    """Raise `LangError` if pages could not be written there, before anything takes long."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LangError(f"--html {folder}: the folder cannot be made: {error.strerror}") from None


def write_site(folder: Path, settled: Sequence[tuple[CaseTable, list[Cell]]], say: Callable[[str], None]) -> Path:
    """Write the pages; the first one's file. `say` is told how far it is."""
    rows = []
    for table, cells in settled:
        file = f"{_file_name(table.name)}.html"
        _write_table(folder, file, table, cells, say)
        verdicts = [cell.verdict.value for cell in cells if cell.verdict is not None]
        counts = ", ".join(f"{verdicts.count(one)} {one}" for one in dict.fromkeys(verdicts))
        rows.append({"cells": [table.title, table.question, counts], "trace": None, "href": file})
    index = folder / "index.html"
    results = {"columns": ["table", "question", "cells"], "verdict": None, "rows": rows, "notes": []}
    write_page(index, page_data("Decision tables", [], results), quiet=True)
    return index


def _write_table(folder: Path, file: str, table: CaseTable, cells: list[Cell], say: Callable[[str], None]) -> None:
    """A table's page, and one of each broken cell."""
    rows: list[dict[str, Any]] = []
    for number, cell in enumerate(cells, 1):
        result, href = cell.result, None
        if result is not None and result.violation is not None:
            say(f"{table.name}: page {number} of {len(cells)}")
            href = f"{_file_name(table.name)}-{number}-{_file_name(f'{cell.row} {cell.column}')}.html"
            _write_cell(folder / href, file, table, cell)
        why = "" if result is None else ", ".join(dict.fromkeys(v.rule for v in result.broken)) or result.reason or ""
        seen = "" if result is None else figures(result.states, result.seconds)
        verdict = "-" if cell.verdict is None else cell.verdict.value
        rows.append({"cells": [cell.row, cell.column, verdict, why, seen], "trace": None, "href": href})
    verdicts = {(c.row, c.column): c.verdict for c in cells if c.verdict is not None}
    notes = [table.question, *(f"{one.name}: {one.summary}" for one in (*table.rows, *table.columns))]
    notes += [f'"{one.claim}" {one.verdict(verdicts) or "Not settled: cells that it needs have not finished."}' for one in table.findings]
    results = {"columns": ["row", "column", "verdict", "why", "seen"], "verdict": 2, "rows": rows, "notes": notes}
    write_page(folder / file, page_data(table.title, [], results, up="index.html"), quiet=True)


def _write_cell(file: Path, up: str, table: CaseTable, cell: Cell) -> None:
    from secondsight.cases import program_of_cell

    assert cell.result is not None
    program, title = program_of_cell(table, cell.row, cell.column, cell.bounds), f"{cell.row}, {cell.column}"
    telling, shown = tell_and_show(file, program, title, partial(tell_result, title, program, cell.result, None))
    write_page(file, page_data(f"{title}: {telling.message}", [shown], up=up), quiet=True)


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
