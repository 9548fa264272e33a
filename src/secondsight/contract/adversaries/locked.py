"""How many pages of a process may be locked in memory, for who counts what it pins."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages
from secondsight.scenario import Recorder

__all__ = ["LOCKED"]

LOCKED = Adversaries()
"""Those of drivers that count what they pin (bound `memlock`)."""

LIMIT = "the process may lock one page (RLIMIT_MEMLOCK), and its device wants two"


@LOCKED.setting("memlock-limit", LIMIT, "two engines", "pinned", bound="memlock")
def _two_engines(s: Recorder) -> None:
    s.limit_memlock(1)
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def engine1() -> None:
        gpu.read(pages, into="one")

    @s.thread
    def engine2() -> None:
        gpu.read(pages + 1, into="two")


@LOCKED.setting("memlock-limit", LIMIT, "closes beside munmap", "pinned", bound="memlock")
def _closes_beside_munmap(s: Recorder) -> None:
    s.limit_memlock(1)
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages, pages=2)

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "D", into="first")
        gpu.write(pages, "D", into="second")
        gpu.close()
