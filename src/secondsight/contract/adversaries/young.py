"""Reclaim asks whether the device has used a page lately, before it takes one."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, come_from_swap, reads_twice, two_pages, writes_once
from secondsight.scenario import Recorder

__all__ = ["YOUNG"]

YOUNG = Adversaries()
"""Those of drivers with a `clear_flush_young`, a `clear_young`, or a `test_young`."""

RECLAIM = "the kernel wants memory (kswapd): it asks whether the device has used a page lately, and takes one that was not used"


@YOUNG.setting("reclaim", RECLAIM, "reads", method="clear_flush_young")
def _reclaim_beside_reads(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def kswapd() -> None:
        s.reclaim(pages + 1)
        s.reclaim(pages + 1)

    reads_twice(s, pages, gpu)


@YOUNG.setting("reclaim", RECLAIM, "writes", method="clear_flush_young")
def _reclaim_beside_writes(s: Recorder) -> None:
    """What the driver unmaps as it answers may be dirty."""
    pages = two_pages(s)
    come_from_swap(s, pages)
    gpu = s.device()

    @s.thread
    def kswapd() -> None:
        s.reclaim(pages + 1)
        s.reclaim(pages + 1)

    writes_once(s, pages, gpu)


IDLE = "idle page tracking asks whether the device has used a page since it was asked last (clear_young)"
DAMON = "DAMON asks whether the device has used a page since that was cleared last (test_young)"


@YOUNG.setting("page-idle", IDLE, "reads", method="clear_young")
def _idle_beside_reads(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def tracker() -> None:
        s.page_is_idle(pages + 1, into="idle")
        s.page_is_idle(pages + 1, into="idle_again")

    reads_twice(s, pages, gpu)


@YOUNG.setting("damon", DAMON, "reads", method="test_young")
def _damon_beside_reads(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def kdamond() -> None:
        s.page_is_young(pages + 1, into="young")

    reads_twice(s, pages, gpu)
