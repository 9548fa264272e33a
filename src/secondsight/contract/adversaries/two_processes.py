"""Two processes, each with a device, and a file of which both map a page."""

from __future__ import annotations

from dataclasses import dataclass

from secondsight.contract.adversaries.making import Adversaries
from secondsight.scenario import Address, DeviceHandle, File, Process, Recorder

__all__ = ["PROCESSES"]

PROCESSES = Adversaries()
"""Those with two processes."""


TWO_PROCESSES = "another process has another page of the file at the same address, or the same page, and a device of its own"


@dataclass(frozen=True, slots=True)
class Both:
    """What two processes have: each a page of a memfd at the same address, and a device; the other process is `other`."""

    memfd: File
    pages: Address
    gpu: DeviceHandle
    other: Process
    its_pages: Address
    its_gpu: DeviceHandle


def _two_processes(s: Recorder, its_page: int) -> Both:
    memfd = s.memfd_create(pages=2)
    pages, gpu, other = s.mmap(memfd, pages=1), s.device(), s.process()
    s.write(pages, "A")
    with other:
        its_pages, its_gpu = s.mmap(memfd, page=its_page, pages=1), s.device()
    return Both(memfd, pages, gpu, other, its_pages, its_gpu)


def _both_read(s: Recorder, both: Both) -> None:
    @s.thread
    def device() -> None:
        both.gpu.read(both.pages, into="mine")

    @both.other.thread
    def its_device() -> None:
        both.its_gpu.read(both.its_pages, into="its")


@PROCESSES.setting("two-processes", TWO_PROCESSES, "munmap")
def _two_processes_munmap(s: Recorder) -> None:
    both = _two_processes(s, 1)

    @s.thread
    def cpu() -> None:
        s.munmap(both.pages)

    _both_read(s, both)
    with s.after():
        both.gpu.compare(both.pages)
        with both.other:
            both.its_gpu.compare(both.its_pages)


@PROCESSES.setting("two-processes", TWO_PROCESSES, "exit")
def _two_processes_exit(s: Recorder) -> None:
    both = _two_processes(s, 1)

    @s.thread
    def cpu() -> None:
        s.exit()

    _both_read(s, both)
    with s.after(), both.other:
        both.its_gpu.compare(both.its_pages)


@PROCESSES.setting("two-processes", TWO_PROCESSES, "punch-hole")
def _two_processes_punch_hole(s: Recorder) -> None:
    both = _two_processes(s, 0)

    @s.thread
    def device() -> None:
        both.gpu.read(both.pages, into="first")
        both.gpu.read(both.pages, into="second")

    @both.other.thread
    def cpu() -> None:
        s.fallocate_punch_hole(both.memfd, page=0)
        s.write(both.its_pages, "B")

    with s.after():
        both.gpu.compare(both.pages)
