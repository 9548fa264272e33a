"""Memory is short, and who allocates has to reclaim some first: pages that the device uses, perhaps.

Whatever may allocate with GFP_KERNEL may end in the driver's own callback, with all locks that it holds. The machine is one page short: one allocation
reclaims one page, or fails where it may not sleep. Of the pages one is clean and in the swap cache, so that GFP_NOIO too takes it.

Or one allocation fails, whatever it may do (`allocation-fails`, for drivers that allocate).
"""

from __future__ import annotations

from collections.abc import Callable

from secondsight.contract.adversaries.making import Adversaries, two_pages
from secondsight.scenario import Recorder

__all__ = ["ALLOCATING"]

ALLOCATING = Adversaries()
"""Those about allocations."""


def _engines(s: Recorder, begins: Callable[[], None]) -> None:
    """Two engines, each at a page of its own, once it has begun."""
    pages = two_pages(s)
    gpu = s.device()
    begins()

    @s.thread
    def engine1() -> None:
        gpu.read(pages, into="one")

    @s.thread
    def engine2() -> None:
        gpu.read(pages + 1, into="two")

    with s.after():
        gpu.compare(pages)


DIRECT = "memory is short: an allocation that may sleep reclaims a page of the process first (direct reclaim), and another fails"


@ALLOCATING.setting("direct-reclaim", DIRECT, "reads")
def device_reads(s: Recorder) -> None:
    pages = two_pages(s)
    s.madvise_pageout(pages, pages=1)
    s.read(pages)
    gpu = s.device()
    s.memory_pressure()

    @s.thread
    def device() -> None:
        gpu.read(pages, into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages)


@ALLOCATING.setting("direct-reclaim", DIRECT, "writes")
def device_writes(s: Recorder) -> None:
    pages = two_pages(s)
    s.madvise_pageout(pages, pages=1)
    s.read(pages)
    gpu = s.device()
    s.memory_pressure()

    @s.thread
    def device() -> None:
        gpu.write(pages, "C", into="first")
        gpu.write(pages + 1, "D", into="second")

    with s.after():
        gpu.compare(pages)


@ALLOCATING.setting("direct-reclaim", DIRECT, "beside MADV_DONTNEED")
def process_forgets(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()
    s.memory_pressure()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(pages, pages=1)

    @s.thread
    def device() -> None:
        gpu.read(pages + 1, into="first")
        gpu.read(pages, into="second")

    with s.after():
        gpu.compare(pages + 1)


@ALLOCATING.setting("direct-reclaim", DIRECT, "a memfd's pages")
def device_writes_a_memfd(s: Recorder) -> None:
    """Clean ones, which go in any allocation that may sleep."""
    pages = s.mmap(s.memfd_create(pages=2), pages=2)
    s.read(pages)
    s.read(pages + 1)
    gpu = s.device()
    s.memory_pressure()

    @s.thread
    def device() -> None:
        gpu.write(pages, "C", into="first")
        gpu.read(pages + 1, into="second")

    with s.after():
        gpu.compare(pages)


@ALLOCATING.setting("direct-reclaim", DIRECT, "two engines")
def two_engines(s: Recorder) -> None:
    _engines(s, s.memory_pressure)


FAILS = "one allocation fails, also of who may sleep: there is no memory, and an access or an `open` that fails for that says -ENOMEM"


@ALLOCATING.setting("allocation-fails", FAILS, "beside MADV_DONTNEED", calls="kmalloc")
def fails_beside_madvise(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.device()
    s.allocations_fail()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(pages, pages=1)

    @s.thread
    def device() -> None:
        gpu.read(pages, into="first")
        gpu.write(pages, "D", into="second")

    with s.after():
        gpu.compare(pages)


@ALLOCATING.setting("allocation-fails", FAILS, "two engines", calls="kmalloc")
def fails_for_one_engine(s: Recorder) -> None:
    _engines(s, s.allocations_fail)


@ALLOCATING.setting("allocation-fails", FAILS, "opens", calls="kmalloc")
def fails_while_it_opens(s: Recorder) -> None:
    pages = two_pages(s)
    gpu = s.closed_device()
    s.allocations_fail()

    @s.thread
    def cpu() -> None:
        s.munmap(pages, pages=1)

    @s.thread
    def device() -> None:
        gpu.open(into="opened")
        gpu.read(pages, into="first")
        gpu.read(pages + 1, into="second")
