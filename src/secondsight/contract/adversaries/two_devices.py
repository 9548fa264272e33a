"""One process with two devices of the same driver."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages
from secondsight.scenario import Recorder

__all__ = ["TWO_DEVICES"]

TWO_DEVICES = Adversaries()
"""Those with two devices of one process."""


SECOND = "the process has another device of the same driver, and both use its pages"


@TWO_DEVICES.setting("two-devices", SECOND, "madvise-dontneed")
def _two_devices_madvise_dontneed(s: Recorder) -> None:
    pages = two_pages(s)
    one, two = s.device(), s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(pages, pages=2)

    @s.thread
    def first() -> None:
        one.read(pages, into="one")

    @s.thread
    def second() -> None:
        two.read(pages, into="two")

    with s.after():
        one.compare(pages)
        two.compare(pages)


@TWO_DEVICES.setting("two-devices", SECOND, "close")
def _two_devices_close(s: Recorder) -> None:
    pages = two_pages(s)
    one, two = s.device(), s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages, pages=2)

    @s.thread
    def closer() -> None:
        one.read(pages, into="one")
        one.close()

    @s.thread
    def second() -> None:
        two.read(pages, into="two")

    with s.after():
        two.compare(pages)
