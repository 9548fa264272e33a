"""A trace as a sequence diagram in SVG: a lane for each thread, downwards in time, what it does beside its line.

A bar on a thread's line is a run of steps that it takes alone; an arrow leads to the thread that goes on. The file needs nothing else, has no
script, and takes the colours of a light or a dark surrounding.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import groupby, pairwise
from typing import Any

__all__ = ["sequence_diagram"]

_CHARACTER, _LINE, _SIZE = 7.25, 17, 12
"""How wide a character is taken to be, how high a line is, and the size of the letters, in pixels."""
_INDENT, _MOST = 2, 64
"""In characters: what a call is indented by, and the longest line, which is broken."""
_EDGE, _HEAD, _BAR, _GAP = 14, 30, 8, 8

_STYLE = """
text { font: 12px ui-monospace, "DejaVu Sans Mono", Consolas, monospace; fill: #1b1f24; white-space: pre; }
.paper { fill: #fff; } .head { fill: #f6f8fa; stroke: #d0d7de; } .name { font-weight: bold; } .where { fill: #57606a; }
.life { stroke: #d0d7de; stroke-dasharray: 3 3; } .switch { stroke: #57606a; fill: none; } .point { fill: #57606a; }
.at { font-weight: bold; } .broken { font-weight: bold; fill: #b3261e; } .freed, .round { font-weight: bold; }
.t0 { fill: #0550ae; } .t1 { fill: #9a3412; } .t2 { fill: #116329; } .t3 { fill: #6639ba; } .t4 { fill: #0e6f78; } .t5 { fill: #a0205f; } .t6 { fill: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e2e7ee; } .paper { fill: #0f1318; } .head { fill: #171d25; stroke: #333c47; } .where { fill: #9aa5b1; }
  .life { stroke: #333c47; } .switch { stroke: #9aa5b1; } .point { fill: #9aa5b1; } .broken { fill: #ff8a80; }
  .t0 { fill: #79b8ff; } .t1 { fill: #ffab70; } .t2 { fill: #7ee787; } .t3 { fill: #d2a8ff; } .t4 { fill: #76e3ea; } .t5 { fill: #ff9bce; } .t6 { fill: #9aa5b1; }
}
@media print { text { fill: #000; } .paper { fill: #fff; } }
"""


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the picture: in which lane, how far in, its text, its place, its mark."""

    lane: int
    indent: int
    text: str
    where: str
    mark: str

    @property
    def width(self) -> float:
        return (self.indent + len(self.text) + (len(self.where) + 3 if self.where else 0)) * _CHARACTER


def sequence_diagram(shown: dict[str, Any]) -> str:
    """The picture of a trace, from what a page shows of it (`scene.scene`)."""
    busy = sorted({line["thread"] for line in shown["lines"]})
    rows = [row for line in shown["lines"] for row in _rows(line, busy.index(line["thread"]))]
    heads = [shown["threads"][thread] for thread in busy]
    widths = [max([row.width for row in rows if row.lane == lane] + [len(name) * _CHARACTER + 16]) + _BAR + 3 * _EDGE for lane, name in enumerate(heads)]
    starts = [_EDGE + sum(widths[:lane]) for lane in range(len(heads))]
    title = textwrap.wrap(f"{shown['title']}: {shown['message']}", max(40, int(sum(widths) / _CHARACTER)))
    top = _EDGE + _LINE * (len(title) + 1)
    first = top + _HEAD + _LINE + 4
    tops = _tops(rows, first)
    height, width = tops[-1] + 2 * _LINE, sum(widths) + 2 * _EDGE
    parts = [f'<rect class="paper" width="{width:.0f}" height="{height}"/>']
    parts += [_text(_EDGE, _EDGE + _LINE * n + _SIZE, line, "name") for n, line in enumerate(title)]
    parts.append(_text(_EDGE, _EDGE + _LINE * len(title) + _SIZE, ", ".join(part for part in (shown["rule"] and f"rule: {shown['rule']}", shown["origin"]) if part), "where"))
    for start, name, thread in zip(starts, heads, busy, strict=True):
        across = len(name) * _CHARACTER + 16
        parts.append(f'<line class="life" x1="{start + _BAR / 2}" x2="{start + _BAR / 2}" y1="{top + _HEAD}" y2="{height - _EDGE}"/>')
        parts.append(f'<rect class="head" x="{start}" y="{top + 4}" width="{across:.1f}" height="{_HEAD - 4}" rx="4"/>')
        parts.append(_text(start + 8, top + _HEAD - 8, name, f"name t{thread % 7}"))
    parts += _runs(rows, starts, busy, tops)
    for row, y in zip(rows, (top + _SIZE for top in tops), strict=True):
        x = starts[row.lane] + _BAR + 8 + row.indent * _CHARACTER
        parts.append(_text(x, y, row.text, row.mark))
        if row.where:
            parts.append(_text(x + (len(row.text) + 2) * _CHARACTER, y, row.where, "where"))
    described = "\n".join(f"{heads[row.lane]}: {row.text}" for row in rows)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" role="img" '
        f'aria-labelledby="title description">\n<title id="title">{_written(" ".join(title))}</title>\n<desc id="description">{_written(described)}</desc>\n'
        f"<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _rows(line: dict[str, Any], lane: int) -> Iterator[_Row]:
    """A line of the story, broken where it is too long; its place stands behind its first line."""
    indent = line["depth"] * _INDENT
    first, *rest = textwrap.wrap(line["text"], max(24, _MOST - indent), break_long_words=False) or [""]
    yield _Row(lane, indent, first, line["where"], line["mark"])
    for text in rest:
        yield _Row(lane, indent + _INDENT, text, "", line["mark"])


def _tops(rows: list[_Row], first: int) -> list[int]:
    """Where each line begins: one below the other, with room for an arrow where another thread goes on."""
    tops = [first]
    for before, row in pairwise(rows):
        tops.append(tops[-1] + _LINE + (_GAP if row.lane != before.lane else 0))
    return tops


def _runs(rows: list[_Row], starts: list[float], busy: list[int], tops: list[int]) -> Iterator[str]:
    """A bar for each run of a thread, and an arrow to the thread that goes on."""
    number, before = 0, None
    for lane, run in groupby(rows, key=lambda row: row.lane):
        count = len(list(run))
        y, x = tops[number], starts[lane]
        if before is not None:
            left, right = starts[before] + _BAR / 2, x + (0 if lane > before else _BAR)
            back = 5 if lane > before else -5
            yield f'<path class="switch" d="M{left} {y - 4}H{right}"/>'
            yield f'<path class="point" d="M{right} {y - 4}l{-back} -3v6z"/>'
        yield f'<rect class="t{busy[lane] % 7}" x="{x}" y="{y - 2}" width="{_BAR}" height="{_LINE * count - 1}" rx="2"/>'
        number, before = number + count, lane


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{_written(text)}</text>'


def _written(text: str) -> str:
    """A text as XML may have it."""
    return escape("".join(c if c.isprintable() or c == "\n" else "?" for c in text))
