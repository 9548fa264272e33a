"""What happens to both pages: they are unmapped, forgotten, written over, taken out, moved, or end with the process."""

from __future__ import annotations

from secondsight.contract.adversaries.making import Adversaries, Memory, come_from_swap, reads_twice, two_pages, writes_once
from secondsight.scenario import Recorder

__all__ = ["PAGES"]

PAGES = Adversaries()
"""Those that act on two pages at once."""


@PAGES.act("the process unmaps the pages")
def munmap(s: Recorder, memory: Memory) -> None:
    s.munmap(memory.pages, pages=2)


@PAGES.act("the process unmaps the pages, maps new ones at the same address, and writes them")
def munmap_mmap(s: Recorder, memory: Memory) -> None:
    s.munmap(memory.pages, pages=2)
    s.mmap(pages=2, at=memory.pages)
    s.write(memory.pages, "B", pages=2)


@PAGES.act("the process forgets the pages' contents by MADV_DONTNEED, then writes them")
def madvise_dontneed(s: Recorder, memory: Memory) -> None:
    s.madvise_dontneed(memory.pages, pages=2)
    s.write(memory.pages, "B", pages=2)


@PAGES.act("the process forgets the pages' contents twice, reading (the zero page) and writing in between")
def zero_page(s: Recorder, memory: Memory) -> None:
    s.madvise_dontneed(memory.pages, pages=2)
    s.read(memory.pages + 1)
    s.write(memory.pages, "B", pages=2)
    s.madvise_dontneed(memory.pages, pages=2)


@PAGES.act("the process moves the pages to another address (mremap), where one is taken out", of="swap")
def mremap(s: Recorder, memory: Memory) -> None:
    moved = s.mremap(memory.pages, pages=2)
    s.madvise_pageout(moved + 1)


@PAGES.act("the process maps over the pages (MAP_FIXED)")
def mmap_fixed(s: Recorder, memory: Memory) -> None:
    s.mmap(pages=2, at=memory.pages)
    s.write(memory.pages, "B", pages=2)


@PAGES.act("the process exits")
def exit_(s: Recorder, memory: Memory) -> None:
    s.exit()


@PAGES.act("the OOM reaper takes the process's memory, in a context that must not sleep")
def oom_reaper(s: Recorder, memory: Memory) -> None:
    s.oom_reap()


@PAGES.act("a hole is punched in the memfd that the pages belong to, of huge pages too, then they are written", of="memfd")
def punch_hole(s: Recorder, memory: Memory) -> None:
    assert memory.memfd is not None
    s.fallocate_punch_hole(memory.memfd, page=0, pages=2)
    s.write(memory.pages, "B", pages=2)


@PAGES.act("the memfd that the pages belong to is cut (ftruncate), grows again, and the pages are written", of="memfd")
def truncate(s: Recorder, memory: Memory) -> None:
    assert memory.memfd is not None
    s.ftruncate(memory.memfd, 0)
    s.ftruncate(memory.memfd, 2)
    s.write(memory.pages, "B", pages=2)


@PAGES.act("another device takes a page for itself for a while (make_device_exclusive), then it is written")
def exclusive_access(s: Recorder, memory: Memory) -> None:
    s.make_device_exclusive(memory.pages + 1)
    s.write(memory.pages + 1, "B", pages=1)


@PAGES.act("device memory (dev_pagemap) is taken away: disable, invalidate, drain", of="dax", thread="teardown")
def dax_teardown(s: Recorder, memory: Memory) -> None:
    assert memory.dax is not None
    s.dax_disable(memory.dax)
    s.dax_invalidate(memory.dax)
    s.dax_drain(memory.dax)


@PAGES.setting("two-pagemaps", "the memory of two devices (dev_pagemap) is mapped side by side, and one of them is taken away", "one of two", method="pagemap_of")
def _one_of_two(s: Recorder) -> None:
    """Of drivers that look at such memory themselves."""
    first, second = s.dax(pages=1), s.dax(pages=1)
    pages = s.mmap(first, pages=2)
    s.mmap(second, pages=1, at=pages + 1)
    s.write(pages, "A", pages=2)
    gpu = s.device()

    @s.thread
    def teardown() -> None:
        s.dax_disable(second)
        s.dax_invalidate(second)
        s.dax_drain(second)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")

    with s.after():
        gpu.compare(pages + 1)


@PAGES.act("a page is taken out (MADV_PAGEOUT): written to swap if it must be, and dropped", of="swap")
def swap(s: Recorder, memory: Memory) -> None:
    s.madvise_pageout(memory.pages + 1)


@PAGES.act("the process's pages are moved to other frames (migration, compaction), then written")
def migration(s: Recorder, memory: Memory) -> None:
    s.move_pages(memory.pages + 1)
    s.write(memory.pages, "B", pages=2)


@PAGES.setting("mremap", PAGES["mremap"].summary, "and back")
def _mremap_and_back(s: Recorder) -> None:
    """Another page has been at the address meanwhile."""
    pages = two_pages(s)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        moved = s.mremap_dontunmap(pages + 1)
        s.write(pages + 1, "B")
        s.mremap(moved, at=pages + 1)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


@PAGES.setting("exit", PAGES["exit"].summary, "before a page was touched")
def _exit_before_a_page_was_touched(s: Recorder) -> None:
    """Whatever the device asks for, the driver has to fault it in."""
    pages = s.mmap(pages=2)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.exit()

    @s.thread
    def device() -> None:
        gpu.read(pages, into="read")


@PAGES.setting("truncate", PAGES["truncate"].summary, "for good")
def _truncate_for_good(s: Recorder) -> None:
    """Nothing comes back: the device is refused what the CPU is refused, a copy of the process's own too, for those go with the end of the file."""
    memfd = s.memfd_create(pages=2)
    pages = s.mmap_private(memfd, pages=2)
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.ftruncate(memfd, 1)

    reads_twice(s, pages, gpu)


@PAGES.setting("punch-hole", PAGES["punch-hole"].summary, "of huge pages")
def _punch_hole_of_huge_pages(s: Recorder) -> None:
    """Those of hugetlb: one entry has both, and goes under locks that faults take, the device's too (hugetlb_vma_lock)."""
    memfd = s.memfd_create_hugetlb(pages=2)
    pages = s.mmap(memfd)
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.fallocate_punch_hole(memfd, page=0, pages=2)
        s.write(pages, "B", pages=2)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="read")
        gpu.write(pages + 1, "D", into="written")

    with s.after():
        gpu.compare(pages + 1)


@PAGES.setting("swap", PAGES["swap"].summary, "writes at once")
def _swap_writes_at_once(s: Recorder) -> None:
    """Without a read before: a driver that marks a page dirty where it maps it for reading is not helped by that."""
    pages = two_pages(s)
    come_from_swap(s, pages)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_pageout(pages + 1)

    writes_once(s, pages, gpu)


@PAGES.setting("swap", PAGES["swap"].summary, "writes, then closes")
def _swap_writes_then_closes(s: Recorder) -> None:
    """The page may be taken out when the driver is closed: what the device has written is marked by then."""
    pages = two_pages(s)
    come_from_swap(s, pages)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_pageout(pages + 1)

    @s.thread
    def device() -> None:
        gpu.write(pages + 1, "D", into="written")
        gpu.close()


@PAGES.setting("swap", PAGES["swap"].summary, "a memfd's page")
def _swap_of_a_memfd(s: Recorder) -> None:
    """Nobody has written to it, so it is clean: if what the device writes is not marked, the page is dropped, and the file has a hole there."""
    memfd = s.memfd_create(pages=2)
    pages = s.mmap(memfd, pages=2)
    s.read(pages + 1)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_pageout(pages + 1)

    writes_once(s, pages, gpu)


@PAGES.act("NUMA balancing looks at the pages; whoever comes next faults there, and may have the page moved in the middle of that")
def numa_balancing(s: Recorder, memory: Memory) -> None:
    s.numa_scan(memory.pages, pages=2)
    s.write(memory.pages + 1, "B", pages=1)
