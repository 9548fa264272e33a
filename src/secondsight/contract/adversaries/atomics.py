"""A device that reads, modifies and writes as one."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries
from secondsight.scenario import Address, DeviceHandle, Recorder

__all__ = ["ATOMIC"]

ATOMIC = Adversaries()
"""Those of drivers that promise exclusive access."""


ATOMICS = "the device exchanges a page's value, and a CPU or another device stores to it, or the process takes it away"


def _exchanges(s: Recorder, devices: int) -> tuple[Address, list[DeviceHandle]]:
    """A page that holds `A`, and some devices, of which the first exchanges it for `D`."""
    page = s.mmap(pages=1)
    s.write(page, "A")
    gpus = [s.device() for _ in range(devices)]

    @s.thread
    def device() -> None:
        gpus[0].exclusive(page, "D", into="first")

    with s.after():
        gpus[0].compare(page)
    return page, gpus


@ATOMIC.setting("atomics", ATOMICS, "a CPU stores", "exclusive")
def _atomics_store(s: Recorder) -> None:
    page, _ = _exchanges(s, 1)

    @s.thread
    def cpu() -> None:
        s.write(page, "B")
        s.write(page, "C")


@ATOMIC.setting("atomics", ATOMICS, "another device", "exclusive")
def _atomics_another(s: Recorder) -> None:
    page, gpus = _exchanges(s, 2)

    @s.thread
    def device2() -> None:
        gpus[1].exclusive(page, "E", into="its")


@ATOMIC.setting("atomics", ATOMICS, "a device that mirrors the page", "exclusive")
def _atomics_mirror(s: Recorder) -> None:
    page, gpus = _exchanges(s, 2)

    @s.thread
    def device2() -> None:
        gpus[1].write(page, "M", into="its")


@ATOMIC.setting("atomics", ATOMICS, "MADV_DONTNEED", "exclusive")
def _atomics_dontneed(s: Recorder) -> None:
    page, _ = _exchanges(s, 1)

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(page, pages=1)


@ATOMIC.setting("atomics", ATOMICS, "closes", "exclusive")
def _atomics_closes(s: Recorder) -> None:
    page = s.mmap(pages=1)
    s.write(page, "A")
    gpu = s.device()

    @s.thread
    def engine() -> None:
        gpu.exclusive(page, "D", into="first")

    @s.thread
    def closer() -> None:
        gpu.close()

    @s.thread
    def cpu() -> None:
        s.munmap(page, pages=1)
