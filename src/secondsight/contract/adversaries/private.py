"""The adversaries of devices with memory of their own: pages come into it and go back while a CPU, a child, or the device uses them.

Each acts on one page that holds `A`, or that nobody has touched, beside a device that takes it into its memory. When all is quiet the
device's access ends as the CPU's does; then the driver is closed, and its memory must be nobody's.
"""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries
from secondsight.scenario import Address, DeviceHandle, Recorder

__all__ = ["PRIVATE"]

PRIVATE = Adversaries()
"""Those of drivers that promise to be private; the others' are asked of them too."""

MIGRATES = "the device takes a page into its memory, and uses it, while a CPU uses it too, or it goes"
EVICTS = "the device gives its memory back, or is closed, while a CPU uses what is in it"
OTHERS = "another process has the page too, or another device takes it"


def _page(s: Recorder, devices: int = 1, written: bool = True) -> tuple[Address, list[DeviceHandle]]:
    """One private page, and some devices."""
    page = s.mmap(pages=1)
    if written:
        s.write(page, "A")
    return page, [s.device() for _ in range(devices)]


def _compares(s: Recorder, page: Address, gpu: DeviceHandle) -> None:
    with s.after():
        gpu.compare(page)


@PRIVATE.setting("device-memory", MIGRATES, "a CPU writes", "private")
def _cpu_writes(s: Recorder) -> None:
    page, (gpu,) = _page(s)

    @s.thread
    def device() -> None:
        gpu.migrate(page, pages=1, into="moved")
        gpu.write(page, "D", into="written")

    @s.thread
    def cpu() -> None:
        s.write(page, "B")

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "an engine writes meanwhile", "private")
def _engine_writes(s: Recorder) -> None:
    page, (gpu,) = _page(s)

    @s.thread
    def engine() -> None:
        gpu.write(page, "D", into="first")
        gpu.write(page, "E", into="second")

    @s.thread
    def mover() -> None:
        gpu.migrate(page, pages=1, into="moved")

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "there already, a CPU reads, an engine writes", "private")
def _comes_back(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)

    @s.thread
    def engine() -> None:
        gpu.write(page, "D", into="first")
        gpu.write(page, "E", into="second")

    @s.thread
    def cpu() -> None:
        s.read(page, into="seen")

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "nobody has touched it", "private")
def _untouched(s: Recorder) -> None:
    page, (gpu,) = _page(s, written=False)

    @s.thread
    def device() -> None:
        gpu.migrate(page, pages=1, into="moved")
        gpu.read(page, into="read")

    @s.thread
    def cpu() -> None:
        s.write(page, "B")

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "it is there already", "private")
def _twice(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)

    @s.thread
    def device() -> None:
        gpu.migrate(page, pages=1, into="moved")

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "more than its memory has", "private")
def _too_many(s: Recorder) -> None:
    pages = s.mmap(pages=3)
    s.write(pages, "A", pages=3)
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.migrate(pages, pages=3, into="moved")
        gpu.read(pages + 2, into="read")

    _compares(s, pages, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "two pages come, an engine writes the second", "private")
def _two_come(s: Recorder) -> None:
    pages = s.mmap(pages=2)
    s.write(pages, "A", pages=2)
    gpu = s.device()

    @s.thread
    def engine() -> None:
        gpu.write(pages + 1, "D", into="first")
        gpu.write(pages + 1, "E", into="second")

    @s.thread
    def mover() -> None:
        gpu.migrate(pages, pages=2, into="moved")

    _compares(s, pages + 1, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "the memory was used before", "private")
def _used_before(s: Recorder) -> None:
    page, (gpu,) = _page(s)

    @s.thread
    def device() -> None:
        gpu.migrate(page, pages=1)
        s.read(page)
        s.madvise_dontneed(page, pages=1)
        gpu.migrate(page, pages=1, into="moved")
        gpu.read(page, into="read")

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "the process unmaps it", "private")
def _unmapped(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)

    @s.thread
    def engine() -> None:
        gpu.write(page, "D", into="first")

    @s.thread
    def cpu() -> None:
        s.munmap(page, pages=1)

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory", MIGRATES, "the process exits", "private")
def _exits(s: Recorder) -> None:
    page, (gpu,) = _page(s)

    @s.thread
    def device() -> None:
        gpu.migrate(page, pages=1, into="moved")
        gpu.write(page, "D", into="first")

    @s.thread
    def cpu() -> None:
        s.exit()


@PRIVATE.setting("device-memory-goes", EVICTS, "the device is closed, a CPU reads", "private")
def _closed_and_read(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)

    @s.thread
    def closer() -> None:
        gpu.close()

    @s.thread
    def cpu() -> None:
        s.read(page, into="seen")


@PRIVATE.setting("device-memory-goes", EVICTS, "another page comes, a CPU reads", "private")
def _another_page(s: Recorder) -> None:
    pages = s.mmap(pages=2)
    s.write(pages, "A", pages=2)
    gpu = s.device()
    gpu.migrate(pages, pages=1)

    @s.thread
    def driver() -> None:
        gpu.evict(into="gone")
        gpu.migrate(pages + 1, pages=1, into="moved")

    @s.thread
    def cpu() -> None:
        s.read(pages, into="seen")

    _compares(s, pages, gpu)


@PRIVATE.setting("device-memory-goes", EVICTS, "a CPU reads, an engine writes", "private")
def _evicted(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)

    @s.thread
    def engine() -> None:
        gpu.write(page, "D", into="first")

    @s.thread
    def driver() -> None:
        gpu.evict(into="gone")

    @s.thread
    def cpu() -> None:
        s.read(page, into="seen")

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory-goes", EVICTS, "the device is closed, an engine writes", "private")
def _closed(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)

    @s.thread
    def engine() -> None:
        gpu.write(page, "D", into="first")
        gpu.migrate(page, pages=1, into="again")

    @s.thread
    def closer() -> None:
        gpu.close()

    @s.thread
    def cpu() -> None:
        s.write(page, "B")


@PRIVATE.setting("device-memory-goes", EVICTS, "the process unmaps it", "private")
def _evicted_unmapped(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)

    @s.thread
    def driver() -> None:
        gpu.evict(into="gone")

    @s.thread
    def cpu() -> None:
        s.munmap(page, pages=1)


@PRIVATE.setting("device-memory-goes", EVICTS, "somebody pins the page for long, an engine writes", "private")
def _pinned_for_long(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)

    @s.thread
    def engine() -> None:
        gpu.write(page, "D", into="first")
        gpu.write(page, "E", into="second")

    @s.thread
    def cpu() -> None:
        s.unpin(s.pin(page, longterm=True))

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory-shared", OTHERS, "a child has it too, and writes", "private")
def _child_writes(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)
    child = s.fork()

    @s.thread
    def engine() -> None:
        gpu.read(page, into="first")
        gpu.read(page, into="second")

    @child.thread
    def son() -> None:
        s.write(page, "S")

    _compares(s, page, gpu)


@PRIVATE.setting("device-memory-shared", OTHERS, "a child has it too, and the device writes", "private")
def _device_writes(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)
    gpu.write(page, "D")
    child = s.fork()

    @s.thread
    def engine() -> None:
        gpu.write(page, "E", into="first")

    with s.after():
        gpu.compare(page)
        with child:
            s.read(page, into="its")


@PRIVATE.setting("device-memory-shared", OTHERS, "a child has it too, and the process exits", "private")
def _exits_with_a_child(s: Recorder) -> None:
    page, (gpu,) = _page(s)
    gpu.migrate(page, pages=1)
    s.fork()

    @s.thread
    def engine() -> None:
        gpu.write(page, "D", into="first")

    @s.thread
    def cpu() -> None:
        s.exit()


@PRIVATE.setting("device-memory-shared", OTHERS, "another device reads it", "private")
def _another_reads(s: Recorder) -> None:
    page, gpus = _page(s, 2)
    gpus[0].migrate(page, pages=1)

    @s.thread
    def engine() -> None:
        gpus[0].write(page, "D", into="first")

    @s.thread
    def other() -> None:
        gpus[1].read(page, into="its")

    _compares(s, page, gpus[0])


@PRIVATE.setting("device-memory-shared", OTHERS, "another device takes it", "private")
def _another_takes(s: Recorder) -> None:
    page, gpus = _page(s, 2)

    @s.thread
    def engine() -> None:
        gpus[0].write(page, "D", into="first")
        gpus[0].write(page, "E", into="second")

    @s.thread
    def other() -> None:
        gpus[1].migrate(page, pages=1, into="moved")

    _compares(s, page, gpus[0])
