"""A decision table in the terminal: alternatives against adversaries or properties, legible without colour, 80 columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from secondsight.report.columns import WIDTH
from secondsight.search import Result, Verdict

__all__ = ["STYLES", "decision_table", "figures", "plain", "verdict_text"]

STYLES = {Verdict.HOLDS: "green", Verdict.BROKEN: "bold red", Verdict.NOT_FINISHED: "yellow"}
_PANEL = 6
"""The most columns beside each other: a verdict and a column's name are never broken within a word."""
_NAMES, _NAMES_MOST = 12, 24
"""The least and the greatest width of the rows' names."""
_LEAST, _MOST = 10, 13
"""The least width of a column with the space before it, and the greatest: `not finished`."""


class Heading(Protocol):
    """A row or a column: `cases.Entry`."""

    @property
    def name(self) -> str:
        """What heads it."""

    @property
    def summary(self) -> str:
        """A sentence that says what it stands for."""


def verdict_text(result: Result | None) -> Text:
    """The verdict as one styled word; `-` where the question makes no sense."""
    if result is None:
        return Text("-", "dim")
    return Text(result.verdict.value, STYLES[result.verdict])


def figures(states: int, seconds: float) -> str:
    """States and seconds: `41,310 states  0.4 s`."""
    return f"{_count(states)} states {_seconds(seconds):>6}"


def _count(number: int, width: int = WIDTH) -> str:
    full = f"{number:,}"
    if len(full) <= width:
        return full
    return f"{number / 1000:.0f}k" if number < 1_000_000 else f"{number / 1_000_000:.1f}M"


def _seconds(seconds: float) -> str:
    if seconds < 0.05:
        return "<0.1s"
    return f"{seconds:.1f}s" if seconds < 10 else f"{seconds:.0f}s"


def decision_table(
    title: str,
    question: str,
    rows: Sequence[Heading],
    columns: Sequence[Heading],
    results: Mapping[tuple[str, str], Result | None],
    marks: Mapping[tuple[str, str], str] | None = None,
    width: int = WIDTH,
    explained: bool = True,
) -> RenderableType:
    """The table with its title and question above, and below, if `explained`, what rows and columns stand for.

    `marks`: a word more for some cells. A table that is too wide comes in panels, each with all rows. A cell that `results` lacks has not been searched.
    """
    beside = _PANEL if width >= WIDTH else max(1, (width - _NAMES) // _LEAST)
    count = -(-len(columns) // max(beside, (width - _NAMES_MOST) // _MOST))
    size = -(-len(columns) // max(1, count))
    panels = [_panel(rows, columns[i : i + size], size, results, marks or {}, width) for i in range(0, len(columns), size)]
    parts: list[RenderableType] = [Text(title, "bold"), Text(question), Text()]
    for panel in panels:
        parts += [panel, Text()]
    if not explained:
        return Group(*parts)
    return Group(*parts, _legend("rows", rows, width), _legend("columns", columns, width))


def _panel(
    rows: Sequence[Heading], columns: Sequence[Heading], size: int, results: Mapping[tuple[str, str], Result | None],
    marks: Mapping[tuple[str, str], str], whole: int,
) -> Table:  # fmt: skip
    """Some of the columns, as wide as `size` of them may be in a line of `whole`."""
    width = min(_MOST, (whole - _NAMES) // size - 1)
    names = whole - size * (width + 1)
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, show_edge=False)
    table.add_column("", width=min(_NAMES_MOST, names - 1), overflow="fold")
    for column in columns:
        table.add_column(_broken(column.name, width), width=width, overflow="fold")
    for number, row in enumerate(rows):
        if number:
            table.add_row()
        cells = [_cell(results, row.name, column.name, width) for column in columns]
        for cell, column in zip(cells, columns, strict=True):
            if (row.name, column.name) in marks:
                cell.append("\n" + _broken(marks[row.name, column.name], width), "bold")
        table.add_row(Text(_broken(row.name, min(_NAMES_MOST, names - 1))), *cells)
    return table


def _cell(results: Mapping[tuple[str, str], Result | None], row: str, column: str, width: int) -> Text:
    if (row, column) not in results:
        return Text("?", "dim")
    result = results[row, column]
    text = verdict_text(result)
    if result is not None:
        text.plain = _broken(text.plain, width)
        seconds = _seconds(result.seconds)
        text.append(f"\n{_count(result.states, width - len(seconds) - 1)} {seconds}", "dim")
    return text


def _broken(name: str, width: int) -> str:
    """A name over as many lines as it needs: broken at spaces, hyphens, underscores and before `+`, else in the middle."""
    lines = [""]
    for part in re.split(r"(?<=[ _-])|(?=[+])", name):
        pieces = -(-len(part.rstrip()) // width)
        size = -(-len(part.rstrip()) // max(1, pieces))
        for piece in (part[i : i + size] for i in range(0, len(part.rstrip()), size)) if pieces > 1 else [part]:
            if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _legend(what: str, entries: Sequence[Heading], width: int) -> RenderableType:
    """What each name stands for."""
    table = Table(box=None, show_header=False, width=width - 2, padding=(0, 1, 0, 0))
    table.add_column(width=min(26, width // 3), overflow="fold")
    table.add_column(overflow="fold")
    for entry in entries:
        table.add_row(entry.name, entry.summary)
    return Group(Text(f"{what}:", "dim"), Padding(table, (0, 0, 0, 2)))


def plain(renderable: RenderableType) -> str:
    """As text without colour and without spaces at the ends of lines, for pipes, files and mails."""
    console = Console(width=WIDTH, color_system=None, force_terminal=False, highlight=False, emoji=False, markup=False)
    with console.capture() as capture:
        console.print(renderable)
    return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())
