"""The device is opened or closed beside what the process does."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages
from secondsight.scenario import Recorder

__all__ = ["OPENINGS"]

OPENINGS = Adversaries()
"""Those that open or close the device."""


OPEN = "somebody opens the device while the process unmaps the pages, or exits"


@OPENINGS.setting("open", OPEN, "beside munmap")
def _open_beside_munmap(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.closed_device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages, pages=2)

    @s.thread
    def device() -> None:
        gpu.open(into="opened")
        gpu.read(pages, into="first")
        gpu.read(pages + 1, into="second")


@OPENINGS.setting("open", OPEN, "beside exit")
def _open_beside_exit(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.closed_device()

    @s.thread
    def cpu() -> None:
        s.exit()

    @s.thread
    def device() -> None:
        gpu.open(into="opened")
        gpu.read(pages, into="first")


CLOSE = "somebody closes the device while an engine of it goes on and the process unmaps the pages, or exits"


@OPENINGS.setting("close", CLOSE, "beside munmap")
def _close_beside_munmap(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages, pages=2)

    @s.thread
    def engine() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    @s.thread
    def closer() -> None:
        gpu.close()


@OPENINGS.setting("close", CLOSE, "beside exit")
def _close_beside_exit(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.exit()

    @s.thread
    def engine() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    @s.thread
    def closer() -> None:
        gpu.close()
