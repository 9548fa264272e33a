"""Reclaim asks whether the device has used a page lately, before it takes one."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages
from secondsight.scenario import Recorder

__all__ = ["YOUNG"]

YOUNG = Adversaries()
"""Those of drivers with a `clear_flush_young`."""

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
