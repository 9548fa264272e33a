"""The adversaries: what the rest of the kernel and the process do while a device uses the memory.

Most are a thread that does something to two pages that hold `A`, while a device uses them: reading, writing, reading with
two engines at once, or reading and then closing. Others need a setting of their own: `part`, `read-only`, `mprotect`, `fork`, `open`,
`close`, `two-processes`.

A driver that keeps the contract survives every interleaving of every one. When all is quiet the device's access ends as the
CPU's does, with the same value, or both fail. Then the driver is closed, and what it took must have been given back.

Waiting for their machinery, and not here: soft-dirty (event SOFT_DIRTY), migration of device-private memory (MIGRATE), writeback of
files, and a second device of one process (but of an `exclusive` one). A driver that ignores such an event, or shares state between
two such devices, is not found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secondsight.scenario import Address, DeviceHandle, File, Process, Recorder, Scenario

__all__ = ["ADVERSARIES", "Adversary"]


@dataclass(frozen=True, slots=True)
class Adversary:
    """A named adversary: what it does, and its scenarios, one for each way in which the device uses the pages.

    `promise`: it is only for drivers that promise this.
    """

    name: str
    summary: str
    scenarios: tuple[Scenario, ...]
    promise: str | None = None


ADVERSARIES: dict[str, Adversary] = {}
"""Every adversary by its name."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What an adversary acts on: two pages at `pages`, of a memfd, of device memory, or anonymous; the device."""

    pages: Address
    gpu: DeviceHandle
    memfd: File | None = None
    dax: File | None = None


def _reads(s: Recorder, memory: Memory) -> None:
    @s.thread
    def device() -> None:
        memory.gpu.read(memory.pages + 1, into="first")
        memory.gpu.read(memory.pages + 1, into="second")


def _writes(s: Recorder, memory: Memory) -> None:
    @s.thread
    def device() -> None:
        memory.gpu.read(memory.pages + 1, into="read")
        memory.gpu.write(memory.pages + 1, "D", into="written")


def _two_engines(s: Recorder, memory: Memory) -> None:
    @s.thread
    def engine1() -> None:
        memory.gpu.read(memory.pages, into="one")

    @s.thread
    def engine2() -> None:
        memory.gpu.read(memory.pages, into="two")


def _closes(s: Recorder, memory: Memory) -> None:
    @s.thread
    def device() -> None:
        memory.gpu.read(memory.pages + 1, into="first")
        memory.gpu.close()


_USES: dict[str, Callable[[Recorder, Memory], None]] = {
    "reads": _reads,
    "writes": _writes,
    "two engines": _two_engines,
    "closes": _closes,
}

Act = Callable[[Recorder, Memory], None]


def _adversary(summary: str, of: str = "", thread: str = "cpu") -> Callable[[Act], Act]:
    """Make an adversary of what the function does, in a thread of its own. `of`: anonymous memory, `memfd` or `dax`; or `swap`: the
    pages were in swap already and have been read again: they are clean, for their slots hold what they hold."""

    def make(act: Act) -> Act:
        name = act.__name__.rstrip("_").replace("_", "-")
        scenarios = []
        for use, using in _USES.items():
            s = Recorder()
            memfd = s.memfd_create(pages=2) if of == "memfd" else None
            dax = s.dax(pages=2) if of == "dax" else None
            pages = s.mmap(memfd or dax, pages=2)
            s.write(pages, "A")
            if of == "swap":
                s.madvise_pageout(pages)
                s.read(pages)
                s.read(pages + 1)
            memory = Memory(pages, s.device(), memfd, dax)

            def cpu(s: Recorder = s, memory: Memory = memory) -> None:
                act(s, memory)

            cpu.__name__ = thread
            s.thread(cpu)
            using(s, memory)
            if use != "closes":
                with s.after():
                    memory.gpu.compare(memory.pages + 1)
            scenarios.append(s.scenario(f"{name}: {use}", summary))
        ADVERSARIES[name] = Adversary(name, summary, tuple(scenarios))
        return act

    return make


@_adversary("the process unmaps the pages")
def munmap(s: Recorder, memory: Memory) -> None:
    s.munmap(memory.pages, pages=2)


@_adversary("the process unmaps the pages, maps new ones at the same address, and writes them")
def munmap_mmap(s: Recorder, memory: Memory) -> None:
    s.munmap(memory.pages, pages=2)
    s.mmap(pages=2, at=memory.pages)
    s.write(memory.pages, "B", pages=2)


@_adversary("the process forgets the pages' contents by MADV_DONTNEED, then writes them")
def madvise_dontneed(s: Recorder, memory: Memory) -> None:
    s.madvise_dontneed(memory.pages, pages=2)
    s.write(memory.pages, "B", pages=2)


@_adversary("the process forgets the pages' contents twice, reading (the zero page) and writing in between")
def zero_page(s: Recorder, memory: Memory) -> None:
    s.madvise_dontneed(memory.pages, pages=2)
    s.read(memory.pages + 1)
    s.write(memory.pages, "B", pages=2)
    s.madvise_dontneed(memory.pages, pages=2)


@_adversary("the process maps over the pages (MAP_FIXED)")
def mmap_fixed(s: Recorder, memory: Memory) -> None:
    s.mmap(pages=2, at=memory.pages)
    s.write(memory.pages, "B", pages=2)


@_adversary("the process exits")
def exit_(s: Recorder, memory: Memory) -> None:
    s.exit()


@_adversary("the OOM reaper takes the process's memory, in a context that must not sleep")
def oom_reaper(s: Recorder, memory: Memory) -> None:
    s.oom_reap()


@_adversary("a hole is punched in the memfd that the pages belong to, then they are written", of="memfd")
def punch_hole(s: Recorder, memory: Memory) -> None:
    assert memory.memfd is not None
    s.fallocate_punch_hole(memory.memfd, page=0, pages=2)
    s.write(memory.pages, "B", pages=2)


@_adversary("another device takes a page for itself for a while (make_device_exclusive), then it is written")
def exclusive_access(s: Recorder, memory: Memory) -> None:
    s.make_device_exclusive(memory.pages + 1)
    s.write(memory.pages + 1, "B", pages=1)


@_adversary("device memory (dev_pagemap) is taken away: disable, invalidate, drain", of="dax", thread="teardown")
def dax_teardown(s: Recorder, memory: Memory) -> None:
    assert memory.dax is not None
    s.dax_disable(memory.dax)
    s.dax_invalidate(memory.dax)
    s.dax_drain(memory.dax)


@_adversary("a page is taken out (MADV_PAGEOUT): written to swap if it must be, and dropped", of="swap")
def swap(s: Recorder, memory: Memory) -> None:
    s.madvise_pageout(memory.pages + 1)


@_adversary("the process's pages are moved to other frames (migration, compaction), then written")
def migration(s: Recorder, memory: Memory) -> None:
    s.move_pages(memory.pages + 1)
    s.write(memory.pages, "B", pages=2)


# Settings of their own.


def _setting(adversary: str, summary: str, name: str, promise: str | None = None) -> Callable[[Callable[[Recorder], None]], None]:
    """One more scenario of an adversary: all that the function records."""

    def make(record: Callable[[Recorder], None]) -> None:
        before = ADVERSARIES.get(adversary, Adversary(adversary, summary, ()))
        s = Recorder()
        record(s)
        scenarios = (*before.scenarios, s.scenario(f"{adversary}: {name}", summary))
        ADVERSARIES[adversary] = Adversary(adversary, summary, scenarios, promise)

    return make


def _two_pages(s: Recorder) -> Address:
    pages = s.mmap(pages=2)
    s.write(pages, "A")
    return pages


@_setting("swap", ADVERSARIES["swap"].summary, "writes at once")
def _swap_writes_at_once(s: Recorder) -> None:
    """Without a read before: a driver that marks a page dirty where it maps it for reading is not helped by that."""
    pages = _two_pages(s)
    s.madvise_pageout(pages)
    s.read(pages)
    s.read(pages + 1)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_pageout(pages + 1)

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


PART = "the process takes away one of two pages, and the device uses both"


@_setting("part", PART, "the first page")
def _part_first(s: Recorder) -> None:
    pages = _two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(pages, pages=1)
        s.write(pages, "B", pages=1)

    @s.thread
    def device() -> None:
        gpu.read(pages, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages)
        gpu.compare(pages + 1)


@_setting("part", PART, "the last page")
def _part_last(s: Recorder) -> None:
    pages = _two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages + 1, pages=1)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="second")
        gpu.read(pages, into="first")

    with s.after():
        gpu.compare(pages)
        gpu.compare(pages + 1)


@_setting("part", PART, "two engines")
def _part_two_engines(s: Recorder) -> None:
    pages = _two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages + 1, pages=1)

    @s.thread
    def engine1() -> None:
        gpu.read(pages, into="one")

    @s.thread
    def engine2() -> None:
        gpu.read(pages + 1, into="two")

    with s.after():
        gpu.compare(pages)
        gpu.compare(pages + 1)


READ_ONLY = "the pages may be read and not written, by nobody; the process unmaps them, or makes them writable"


@_setting("read-only", READ_ONLY, "unmapped")
def _read_only_unmapped(s: Recorder) -> None:
    memfd = s.memfd_create(pages=2)
    pages = s.mmap(memfd)
    s.write(pages, "A")
    s.mmap_read_only(memfd, at=pages)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages, pages=2)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


@_setting("read-only", READ_ONLY, "made writable")
def _read_only_made_writable(s: Recorder) -> None:
    memfd = s.memfd_create(pages=2)
    pages = s.mmap(memfd)
    s.write(pages, "A")
    s.mmap_read_only(memfd, at=pages)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.mmap(memfd, at=pages)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.write(pages + 1, "E")
        gpu.compare(pages + 1)


MPROTECT = "the process makes pages read-only that the device may write, and perhaps writable again"


def _writes_twice(s: Recorder, pages: Address, gpu: DeviceHandle) -> None:
    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "C", into="first")
        gpu.write(pages + 1, "D", into="second")

    with s.after():
        gpu.compare(pages + 1)


@_setting("mprotect", MPROTECT, "read-only")
def _mprotect_read_only(s: Recorder) -> None:
    pages = _two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.mprotect(pages, pages=2, write=False)

    _writes_twice(s, pages, gpu)


@_setting("mprotect", MPROTECT, "and back, one page of two")
def _mprotect_and_back(s: Recorder) -> None:
    pages = s.mmap(s.memfd_create(pages=2))
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.mprotect(pages + 1, write=False)
        s.mprotect(pages + 1, write=True)
        s.write(pages + 1, "B")

    _writes_twice(s, pages, gpu)


FORK = "the process forks, and it or its child writes the pages: each has its own from then on, and the device the process's"


@_setting("fork", FORK, "the process writes")
def _fork_and_write(s: Recorder) -> None:
    pages = _two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.fork()
        s.write(pages + 1, "B")

    _writes_twice(s, pages, gpu)


@_setting("fork", FORK, "the child writes")
def _fork_and_child_writes(s: Recorder) -> None:
    pages = _two_pages(s)
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


THP_SPLIT = "the process forgets a part of a huge page, which is split within that: subscribers are called within a call"


@_setting("thp-split", THP_SPLIT, "reads")
def _thp_split(s: Recorder) -> None:
    pages = s.mmap(pages=2)
    s.madvise_hugepage(pages)
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(pages + 1)
        s.write(pages + 1, "B")

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages + 1)


COLLAPSE = "two pages become a huge page (MADV_COLLAPSE), so that what they hold is in other frames, and one is written"


@_setting("collapse", COLLAPSE, "reads")
def _collapse(s: Recorder) -> None:
    pages = _two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_collapse(pages)
        s.write(pages + 1, "B")

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages + 1)


OPEN = "somebody opens the device while the process unmaps the pages, or exits"


@_setting("open", OPEN, "beside munmap")
def _open_beside_munmap(s: Recorder) -> None:
    pages = _two_pages(s)
    gpu = s.closed_device()

    @s.thread
    def cpu() -> None:
        s.munmap(pages, pages=2)

    @s.thread
    def device() -> None:
        gpu.open(into="opened")
        gpu.read(pages, into="first")
        gpu.read(pages + 1, into="second")


@_setting("open", OPEN, "beside exit")
def _open_beside_exit(s: Recorder) -> None:
    pages = _two_pages(s)
    gpu = s.closed_device()

    @s.thread
    def cpu() -> None:
        s.exit()

    @s.thread
    def device() -> None:
        gpu.open(into="opened")
        gpu.read(pages, into="first")


CLOSE = "somebody closes the device while an engine of it goes on and the process unmaps the pages, or exits"


@_setting("close", CLOSE, "beside munmap")
def _close_beside_munmap(s: Recorder) -> None:
    pages = _two_pages(s)
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


@_setting("close", CLOSE, "beside exit")
def _close_beside_exit(s: Recorder) -> None:
    pages = _two_pages(s)
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


@_setting("two-processes", TWO_PROCESSES, "munmap")
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


@_setting("two-processes", TWO_PROCESSES, "exit")
def _two_processes_exit(s: Recorder) -> None:
    both = _two_processes(s, 1)

    @s.thread
    def cpu() -> None:
        s.exit()

    _both_read(s, both)
    with s.after(), both.other:
        both.its_gpu.compare(both.its_pages)


@_setting("two-processes", TWO_PROCESSES, "punch-hole")
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


@_setting("atomics", ATOMICS, "a CPU stores", "exclusive")
def _atomics_store(s: Recorder) -> None:
    page, _ = _exchanges(s, 1)

    @s.thread
    def cpu() -> None:
        s.write(page, "B")
        s.write(page, "C")


@_setting("atomics", ATOMICS, "another device", "exclusive")
def _atomics_another(s: Recorder) -> None:
    page, gpus = _exchanges(s, 2)

    @s.thread
    def device2() -> None:
        gpus[1].exclusive(page, "E", into="its")


@_setting("atomics", ATOMICS, "a device that mirrors the page", "exclusive")
def _atomics_mirror(s: Recorder) -> None:
    page, gpus = _exchanges(s, 2)

    @s.thread
    def device2() -> None:
        gpus[1].write(page, "M", into="its")


@_setting("atomics", ATOMICS, "MADV_DONTNEED", "exclusive")
def _atomics_dontneed(s: Recorder) -> None:
    page, _ = _exchanges(s, 1)

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(page, pages=1)


@_setting("atomics", ATOMICS, "closes", "exclusive")
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
