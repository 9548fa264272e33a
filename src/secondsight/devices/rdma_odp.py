"""An RDMA device that pages on demand, and what its driver may put off: the designs of the 2011 thread.

The device has a page table, and a flush of it is slow: up to tens of milliseconds, too slow for each invalidation, and it sleeps. So the
thread asks to take a reference to the page in the callback, and to flush later, in a worker, for many pages together. Until then the
device goes on with the old page.

    OdpAtOnce                   drivers/infiniband/core/umem_odp.c (Linux 6.12): mark, flush, all in the callback, which may sleep
    OdpLater                    a reference in the callback; the worker flushes, marks the page dirty, and drops the reference
    OdpLaterUnmarked            the same without SetPageDirty
    OdpLaterMarkedLast          SetPageDirty when the reference has been dropped
    OdpLaterUnreferenced        without the reference
    OdpBatched                  the worker waits until it has two pages to flush
    OdpLaterByEvent             at once where the event is UNMAP or a change of protection; later for the rest (CLEAR)
    OdpLaterWherePageIsLocked   later only where an anonymous page is locked: reclaim and migration hold its lock in the callback
    OdpLaterWhereTold           later only where reclaim and migration say so: the hint that the thread asks for (no kernel gives it)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import DevicePageTable
from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.writeback import MarksWhenItDrops
from secondsight.lang import Array, Errno, Mutex, Ref, atomic, count, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import ENOENT
from secondsight.linux.mm_types import Count, Event, Folio, Pfn, Range, Va
from secondsight.linux.page_alloc import get_page, is_zero_page, put_page
from secondsight.linux.page_writeback import folio_mark_dirty

__all__ = [
    "OdpAtOnce",
    "OdpBatched",
    "OdpLater",
    "OdpLaterByEvent",
    "OdpLaterMarkedLast",
    "OdpLaterUnmarked",
    "OdpLaterUnreferenced",
    "OdpLaterWherePageIsLocked",
    "OdpLaterWhereTold",
]


class OdpAtOnce(MarksWhenItDrops):
    """What the device may have written is marked, and its table is flushed, before the callback returns."""


class OdpLater(MirrorInParts):
    """A reference in the callback; the flush later. `kept` are the pages whose entries are out of date."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    kept: Array[Ref[Folio], Literal["pages"]]
    closed: bool

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        if self.closed:
            return -ENOENT
        with atomic:
            self.flush_page(va)
            self.page_table.map(va, pfn, write)
        return 0

    def drop(self, rng: mn.Range) -> None:
        self.put_off(rng)

    @atomic
    def put_off(self, rng: mn.Range) -> None:
        """Take a reference to each page of the range that the device still uses. The zero page is nobody's: it is flushed."""
        for va in range(rng.start, rng.end):
            frame = self.page_table.entries[va].frame
            if frame is not None and self.kept[va] is None:
                if is_zero_page(frame):
                    self.page_table.unmap(Range(va, va + 1, rng.event, True))
                else:
                    get_page(frame)
                    self.kept[va] = frame

    def flush_range(self, rng: mn.Range) -> None:
        """The slow part: the device uses nothing of the range any more; what it has written is marked, references are dropped."""
        with atomic:
            for va in range(rng.start, rng.end):
                self.flush_page(va)

    @atomic
    def flush_page(self, va: Va) -> None:
        """One page of it."""
        frame = self.page_table.entries[va].frame
        if frame is not None:
            written = self.page_table.entries[va].writable
            self.page_table.unmap(Range(va, va + 1, Event.CLEAR, True))
            if written:
                folio_mark_dirty(frame)
            if self.kept[va] is not None:
                self.kept[va] = None
                put_page(frame)

    def enough(self) -> Count:
        """How many pages are worth a flush."""
        return 1

    def work(self) -> None:
        while True:
            wait_until(count(frame is not None for frame in self.kept) >= self.enough())
            with self.lock:
                self.flush_kept()

    @atomic
    def flush_kept(self) -> None:
        """All that was put off."""
        for va in range(len(self.kept)):
            if self.kept[va] is not None:
                self.flush_page(va)

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            self.closed = True
            self.flush_range(Range(0, len(self.kept), Event.UNMAP, True))
        mn.mmu_interval_notifier_remove(self.notifier)


class OdpBatched(OdpLater):
    """Two pages a flush; one that is alone waits until the device is closed."""

    def enough(self) -> Count:
        return 2


class OdpLaterUnmarked(OdpLater):
    """Says of no page that the device has written to it."""

    @atomic
    def flush_page(self, va: Va) -> None:
        frame = self.page_table.entries[va].frame
        if frame is not None:
            self.page_table.unmap(Range(va, va + 1, Event.CLEAR, True))
            if self.kept[va] is not None:
                self.kept[va] = None
                put_page(frame)


class OdpLaterMarkedLast(OdpLater):
    """The worker marks a page when it has dropped its reference."""

    def work(self) -> None:
        while True:
            wait_until(count(frame is not None for frame in self.kept) >= self.enough())
            with self.lock:
                for va in range(len(self.kept)):
                    with atomic:
                        frame = self.kept[va]
                        written = self.page_table.entries[va].writable
                        if frame is not None:
                            self.page_table.unmap(Range(va, va + 1, Event.CLEAR, True))
                            self.kept[va] = None
                            put_page(frame)
                    if frame is not None and written:
                        folio_mark_dirty(frame)


class OdpLaterUnreferenced(OdpLater):
    """Puts the flush off and takes no reference."""

    @atomic
    def put_off(self, rng: mn.Range) -> None:
        for va in range(rng.start, rng.end):
            frame = self.page_table.entries[va].frame
            if frame is not None:
                self.kept[va] = frame

    @atomic
    def flush_page(self, va: Va) -> None:
        frame = self.page_table.entries[va].frame
        if frame is not None:
            written = self.page_table.entries[va].writable
            self.page_table.unmap(Range(va, va + 1, Event.CLEAR, True))
            if written:
                folio_mark_dirty(frame)
            self.kept[va] = None


class OdpLaterByEvent(OdpLater):
    """Flushes at once where the event says that a mapping goes, or changes what may be done; later for CLEAR."""

    def drop(self, rng: mn.Range) -> None:
        if rng.event == Event.CLEAR:
            self.put_off(rng)
        else:
            self.flush_range(rng)


class OdpLaterWherePageIsLocked(OdpLater):
    """Looks at the pages: those of anonymous memory that somebody has locked are being swapped out or moved."""

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            for va in range(rng.start, rng.end):
                frame = self.page_table.entries[va].frame
                if frame is not None:
                    if frame.locked and frame.anon_vma is not None:
                        self.put_off(Range(va, va + 1, rng.event, True))
                    else:
                        self.flush_page(va)


class OdpLaterWhereTold(OdpLater):
    """Takes the word of who calls: reclaim and migration say that the page stays for who holds it."""

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1, "hints": 1}

    def drop(self, rng: mn.Range) -> None:
        if rng.hint is not None:
            self.put_off(rng)
        else:
            self.flush_range(rng)
