"""Long runs of one thread, folded: what a thread does alone, between two switches, seldom matters in its middle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from secondsight.report.story import StoryLine

__all__ = ["folded"]

_LONG = 12
"""The most lines of one thread after each other that are all shown."""
_FIRST, _LAST = 4, 5
"""What is shown of a longer run: how it begins, how it ends, and the lines that have a mark."""


def folded(entries: Sequence[StoryLine]) -> list[StoryLine]:
    """The story, with a line that counts them in the place of those in the middle of a long run."""
    short: list[StoryLine] = []
    for _, run in groupby(entries, key=lambda entry: entry.thread):
        short += _folded(list(run))
    return short


def _folded(run: list[StoryLine]) -> Iterator[StoryLine]:
    plain = [entry for entry in run if not entry.mark and not entry.claimed]
    if len(plain) <= _LONG:
        yield from run
        return
    middle = plain[_FIRST:-_LAST]
    hidden = {id(entry) for entry in middle}
    for is_hidden, some in groupby(run, key=lambda entry: id(entry) in hidden):
        part = list(some)
        if not is_hidden or len(part) < 2:
            yield from part
            continue
        first = min(part, key=lambda entry: entry.depth)
        yield replace(first, text=f"({len(part)} lines more; --full)", where="", step=part[0].step, mark="folded")
