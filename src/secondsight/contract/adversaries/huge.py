"""Huge pages: a part of one is forgotten, small ones become one, and one moves as a whole."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, reads_twice, two_pages
from secondsight.scenario import Recorder

__all__ = ["HUGE"]

HUGE = Adversaries()
"""Those of huge pages."""


THP_SPLIT = "the process forgets a part of a huge page, which is split within that: subscribers are called within a call"


@HUGE.setting("thp-split", THP_SPLIT, "reads")
def _thp_split(s: Recorder) -> None:
    pages = s.mmap(pages=2)
    s.madvise_hugepage(pages)
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(pages + 1)
        s.write(pages + 1, "B")

    reads_twice(s, pages, gpu)


COLLAPSE = "two pages become a huge page (MADV_COLLAPSE), so that what they hold is in other frames, and one is written"


@HUGE.setting("collapse", COLLAPSE, "reads")
def _collapse(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_collapse(pages)
        s.write(pages + 1, "B")

    reads_twice(s, pages, gpu)


THP_MOVES = "a huge page moves to other frames as a whole, with nothing but its own locks held, or is split for good"


@HUGE.setting("thp-moves", THP_MOVES, "moves")
def _moves(s: Recorder) -> None:
    pages = s.mmap(pages=2)
    s.madvise_hugepage(pages)
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.move_pages(pages)
        s.write(pages + 1, "B")

    reads_twice(s, pages, gpu)


@HUGE.setting("thp-moves", THP_MOVES, "splits")
def _splits(s: Recorder) -> None:
    pages = s.mmap(pages=2)
    s.madvise_hugepage(pages)
    s.write(pages, "A", pages=1)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_pageout(pages, pages=1)
        s.write(pages + 1, "B")

    reads_twice(s, pages, gpu)
