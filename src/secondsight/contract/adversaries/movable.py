"""Memory that must stay movable, for who pins for long."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages
from secondsight.scenario import Recorder

__all__ = ["MOVABLE"]

MOVABLE = Adversaries()
"""Those of drivers that promise to pin what they use."""

OFFLINE = "the memory in which the pages lie is taken offline, or allocated by CMA: they move elsewhere, unless somebody holds them"


@MOVABLE.setting("offline", OFFLINE, "taken offline", "pinned")
def _taken_offline(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def host() -> None:
        s.offline_pages()

    @s.thread
    def device() -> None:
        gpu.write(pages, "D", into="written")
        gpu.read(pages + 1, into="read")


@MOVABLE.setting("offline", OFFLINE, "allocated by CMA", "pinned")
def _allocated_by_cma(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def driver() -> None:
        s.cma_alloc()

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.close()
