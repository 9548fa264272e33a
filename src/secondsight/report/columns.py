"""Columns of text, one for each thread, in the form that kernel commit messages use; as wide as a mail, or as is asked for."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from secondsight.report.story import StoryLine

__all__ = ["NARROW", "WIDTH", "columns", "rows"]

WIDTH = 80
NARROW = 64
"""Where lines are shorter the threads do not stand beside each other: each comes under its name."""
_MARGIN = 4
_INDENT = 2
_PART_OF_A_NAME = re.compile(r"[^_]*_+|[^_]+")
_NAMED = re.compile(r"(?<=[(\s])[a-z_]+=(?=[^=])")
"""The name of a parameter in a call: `va=` of `map(va=1, pfn=P2)`."""


def columns(names: Sequence[str], entries: Sequence[StoryLine], numbered: bool = False, width: int = WIDTH) -> list[str]:
    """The lines of the table; see `rows`."""
    return [line for line, _ in rows(names, entries, numbered, width)]


def rows(
    names: Sequence[str], entries: Sequence[StoryLine], numbered: bool = False, width: int = WIDTH
) -> list[tuple[str, StoryLine | None]]:
    """The lines of the table, each with its entry: a head with the threads' names, then the entries in order, each in its thread's column.

    Where there is no room beside each other (`NARROW`), the threads' names head what they do, one after the other.

    A line holds one entry, so a long one may reach under the next column's head; only its own start is fixed. `numbered`: with
    the number of its step at the left; else the number of the line of a claim that it is, if it is one.
    """
    claimed = any(entry.claimed for entry in entries)
    is_narrow = width < NARROW and len(names) > 1
    starts = _starts(len(names), entries, _INDENT if len(names) > 2 and not (numbered or claimed) else _MARGIN, width)
    if is_narrow:
        starts = [_MARGIN if numbered or claimed else _INDENT] * len(names)
    head, rule = "", ""
    for start, name in () if is_narrow else zip(starts, names, strict=True):
        name = name[: width - start]
        head, rule = head.ljust(start) + name, rule.ljust(start) + "-" * len(name)
    lines: list[tuple[str, StoryLine | None]] = [] if is_narrow else [(head.rstrip(), None), (rule.rstrip(), None)]
    told, thread = -1, -1
    for entry in entries:
        if is_narrow and entry.thread != thread:
            lines.append((f"{names[entry.thread]}:", None))
            thread = entry.thread
        first, *rest = _entry(entry, starts[entry.thread], width)
        number = f"{entry.step + 1:>{_MARGIN - 1}}" if numbered and entry.step > told else ""
        if entry.claimed:
            number = f"{entry.claimed:>{_MARGIN - 1}}"
        told = entry.step
        lines += [(line, entry) for line in (number + first[len(number) :], *rest)]
    return lines


def _starts(count: int, entries: Sequence[StoryLine], margin: int, width: int) -> list[int]:
    """Where the columns start: evenly, but the last far enough left for its longest line."""
    if count < 2:
        return [margin]
    longest = max((entry.depth * _INDENT + _least(entry) for entry in entries if entry.thread == count - 1), default=0)
    even = margin + (width - margin) * (count - 1) // count
    last = max(min(even, width - longest), margin + 16 * (count - 1))
    return [margin + (last - margin) * i // (count - 1) for i in range(count)]


def _least(entry: StoryLine) -> int:
    """The width in which an entry has its text and its place in one line."""
    return len(_NAMED.sub("", entry.text)) + 2 + len(entry.where) if entry.where else len(entry.text)


def _entry(entry: StoryLine, start: int, width: int) -> list[str]:
    """An entry's lines. Its place is always there: parameters lose their names for it, or it has a line of its own."""
    indent = start + min(entry.depth * _INDENT, max(0, width - start - 24))
    room = width - indent - 2 - len(entry.where)
    text = entry.text
    if entry.where and len(text) > room >= len(shorter := _NAMED.sub("", text)):
        text = shorter
    lines = [
        " " * indent + line
        for line in _Wrapped(width - indent, subsequent_indent=" " * (2 * _INDENT), break_long_words=True).wrap(text)
    ] or [" " * indent]
    if not entry.where:
        return lines
    if len(lines[-1]) + 2 + len(entry.where) > width:
        lines.append("")
    lines[-1] = lines[-1].ljust(width - len(entry.where)) + entry.where
    return lines


class _Wrapped(textwrap.TextWrapper):
    """Cuts a name for which no line has room behind an underscore: so who reads it knows that it goes on."""

    def _split(self, text: str) -> list[str]:
        room = self.width - len(self.subsequent_indent)
        return [part for word in super()._split(text) for part in (_PART_OF_A_NAME.findall(word) if len(word) > room else [word])]
