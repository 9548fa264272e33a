"""The process forks."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, two_pages, writes_twice
from secondsight.scenario import Recorder

__all__ = ["FORKS"]

FORKS = Adversaries()
"""Those with a child."""


FORK = "the process forks, and it or its child writes the pages: each has its own from then on, and the device the process's"


@FORKS.setting("fork", FORK, "the process writes")
def _fork_and_write(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.fork()
        s.write(pages + 1, "B")

    writes_twice(s, pages, gpu)


@FORKS.setting("fork", FORK, "the child writes")
def _fork_and_child_writes(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()
    children = []

    @s.thread
    def cpu() -> None:
        children.append(s.fork())

    (child,) = children

    @child.thread
    def its_cpu() -> None:
        s.write(pages + 1, "E")

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "C", into="written")
        gpu.read(pages + 1, into="read")

    with s.after():
        gpu.compare(pages + 1)
        with child:
            s.read(pages + 1, into="its")
