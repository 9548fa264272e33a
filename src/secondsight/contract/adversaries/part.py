"""One of two pages is taken away."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages
from secondsight.scenario import Recorder

__all__ = ["PARTS"]

PARTS = Adversaries()
"""Those that act on one page of two."""


PART = "the process takes away one of two pages, and the device uses both"


@PARTS.setting("part", PART, "the first page")
def _part_first(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(pages, pages=1)
        s.write(pages, "B", pages=1)

    @s.thread
    def device() -> None:
        gpu.read(pages, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages)
        gpu.compare(pages + 1)


@PARTS.setting("part", PART, "the last page")
def _part_last(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages + 1, pages=1)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="second")
        gpu.read(pages, into="first")

    with s.after():
        gpu.compare(pages)
        gpu.compare(pages + 1)


@PARTS.setting("part", PART, "two engines")
def _part_two_engines(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages + 1, pages=1)

    @s.thread
    def engine1() -> None:
        gpu.read(pages, into="one")

    @s.thread
    def engine2() -> None:
        gpu.read(pages + 1, into="two")

    with s.after():
        gpu.compare(pages)
        gpu.compare(pages + 1)
