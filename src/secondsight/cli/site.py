"""`settle --html FOLDER`: every table and every broken cell's trace as pages that lead to each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from secondsight.cli.html import tell_and_show, write_page, write_text
from secondsight.lang import LangError
from secondsight.report.page import page_data
from secondsight.report.trace import tell_result

if TYPE_CHECKING:
    from secondsight.cases import CaseTable, Cell
    from secondsight.cases.cost import Cost, CostTable
    from secondsight.cases.pin_cost import PinCost
    from secondsight.search import Result

__all__ = ["could_be_folder", "write_site"]


def could_be_folder(folder: Path | None) -> None:
    """Raise `LangError` if pages could not be written there, before anything takes long."""
    if folder is None:
        return
    if folder.suffix == ".html":
        raise LangError(f"--html {folder}: several pages are written, into a folder; give a folder's name, such as {folder.with_suffix('')}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LangError(f"--html {folder}: the folder cannot be made: {error.strerror}") from None


def write_site(folder: Path, settled: Sequence[tuple[CaseTable, list[Cell]]], say: Callable[[str], None]) -> Path:
    """Write the pages; the first one's file. `say` is told how far it is."""
    from secondsight.report.site import glossary_page, index_page, table_page

    shown: list[tuple[CaseTable, dict[tuple[str, str], Result | None], str]] = []
    for table, cells in settled:
        file = f"{_file_name(table.name)}.html"
        results = {(cell.row, cell.column): cell.result for cell in cells}
        traces, cost = _write_traces(folder, file, table, cells, say), _costs(table.cost)
        write_text(folder / file, table_page(table, results, traces, cost), "--html")
        shown.append((table, results, file))
    write_text(folder / "glossary.html", glossary_page(), "--html")
    index = folder / "index.html"
    write_text(index, index_page(shown), "--html")
    return index


def _number(value: float) -> str:
    return f"{value:,.4g}"


def _time(value: float) -> str:
    from secondsight.cases.cost import time_words

    return time_words(value)


_PICTURES: tuple[tuple[str, Callable[[Cost], float | None], Callable[[float], str]], ...] = (
    ("Flushes a second", lambda one: one.flushes, _number),
    ("Added latency, p50", lambda one: None if one.overloaded else one.latency_p50, _time),
    ("Added latency, p99", lambda one: None if one.overloaded else one.latency_p99, _time),
)


def _costs(cost: CostTable | PinCost | None) -> list[str]:
    """What a table's rows cost: pictures, or text."""
    from secondsight.cases.cost import CostTable

    if cost is None:
        return []
    return _plots(cost) if isinstance(cost, CostTable) else [f"<pre>{escape(chr(10).join(cost.lines()))}</pre>"]


def _plots(cost: CostTable) -> list[str]:
    """What designs cost over the time that a flush takes: for each rate of the table's loads three pictures."""
    from secondsight.report.plot import line_plot

    flushes = [10 ** (-6 + k / 4) for k in range(20)]  # a microsecond to tens of milliseconds
    parts = [f"<p>If {cost.may_wait:.0%} of the invalidations may wait. Both scales are logarithmic.</p>"]
    for rate in dict.fromkeys(load.rate for load in cost.loads):
        curves = cost.curves(rate, flushes)
        pictures = [
            line_plot(f"{title}, {rate:,.0f} invalidations/s", flushes, {name: [point(one) for one in costs] for name, costs in curves.items()}, _time, words, "a flush")
            for title, point, words in _PICTURES
        ]
        parts.append(f'<div class="plots">{"".join(pictures)}</div>')
    parts.append("<p>A line ends where more comes than can be flushed one after another.</p>")
    return parts


def _write_traces(folder: Path, up: str, table: CaseTable, cells: list[Cell], say: Callable[[str], None]) -> dict[tuple[str, str], str]:
    """A page of each broken cell's trace; their file names."""
    files = {}
    for number, cell in enumerate(cells, 1):
        if cell.result is not None and cell.result.violation is not None:
            say(f"{table.name}: page {number} of {len(cells)}")
            file = f"{_file_name(table.name)}-{number}-{_file_name(f'{cell.row} {cell.column}')}.html"
            _write_cell(folder / file, up, table, cell)
            files[cell.row, cell.column] = file
    return files


def _write_cell(file: Path, up: str, table: CaseTable, cell: Cell) -> None:
    from secondsight.cases import program_of_cell

    assert cell.result is not None
    program, title = program_of_cell(table, cell.row, cell.column, cell.bounds), f"{cell.row}, {cell.column}"
    telling, shown = tell_and_show(file, program, title, partial(tell_result, title, program, cell.result, None))
    write_page(file, page_data(f"{title}: {telling.message}", [shown], up=up), quiet=True)


def _file_name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
