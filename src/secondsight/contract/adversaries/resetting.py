"""The device is reset beside what it does and what the process does."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages
from secondsight.scenario import Recorder

__all__ = ["RESETS"]

RESETS = Adversaries()
"""Those of drivers with a `reset`."""


RESET = "somebody resets the device while an engine of it goes on and the process forgets the page, or somebody closes it"


@RESETS.setting("reset", RESET, "beside MADV_DONTNEED", method="reset")
def _reset_beside_dontneed(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(pages + 1)
        s.write(pages + 1, "B")

    @s.thread
    def engine() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    @s.thread
    def resetter() -> None:
        gpu.reset(into="reset")

    with s.after():
        gpu.compare(pages + 1)


@RESETS.setting("reset", RESET, "beside close", method="reset")
def _reset_beside_close(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def engine() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    @s.thread
    def resetter() -> None:
        gpu.reset(into="reset")

    @s.thread
    def closer() -> None:
        gpu.close()
        s.munmap(pages + 1)
