"""Reclaim asks whether the device has used a page lately, before it takes one."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages
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

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages + 1)


@YOUNG.setting("reclaim", RECLAIM, "writes", method="clear_flush_young")
def _reclaim_beside_writes(s: Recorder) -> None:
    """What the driver unmaps as it answers may be dirty."""
    pages = two_pages(s)
    s.madvise_pageout(pages)
    s.read(pages)
    s.read(pages + 1)
    gpu = s.device()

    @s.thread
    def kswapd() -> None:
        s.reclaim(pages + 1)
        s.reclaim(pages + 1)

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


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

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages + 1)


@YOUNG.setting("damon", DAMON, "reads", method="test_young")
def _damon_beside_reads(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def kdamond() -> None:
        s.page_is_young(pages + 1, into="young")

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages + 1)
