"""Tables for notebooks, in HTML that brings its looks along: a notebook has styles of its own, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["html_table"]

_CELL = "text-align: left; padding: 0.1em 0.8em 0.1em 0; font-family: monospace; white-space: nowrap"


def html_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table under some lines; the first row is its head, the first cell of each other row heads that one."""
    head, *body = rows
    lines = "".join(f'<div style="font-family: monospace; white-space: pre">{escape(line)}</div>' for line in heading)
    top = "".join(f'<th scope="col" style="{_CELL}; font-weight: bold">{escape(cell)}</th>' for cell in head)
    return f'{lines}<table style="margin: 0.4em 0"><thead><tr>{top}</tr></thead><tbody>{"".join(map(_row, body))}</tbody></table>'


def _row(cells: Sequence[str]) -> str:
    first, *rest = cells
    words = "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in rest)
    return f'<tr><th scope="row" style="{_CELL}; font-weight: normal">{escape(first)}</th>{words}</tr>'
