"""Drivers that say what their device has written, or do not, or say it in a way that waits for who waits for them."""

from __future__ import annotations

from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.filemap import folio_trylock, folio_unlock
from secondsight.linux.mm_types import Event, Folio, Pfn, Range, Va
from secondsight.linux.page_writeback import folio_mark_dirty, set_page_dirty_lock

__all__ = ["ForgetsWhatItWrote", "MarksIfItGetsTheLock", "MarksUnderThePageLock", "MarksUnlessUnmapped", "MarksWhenItDrops", "NeverMarksDirty"]


class NeverMarksDirty(MirrorInParts):
    """Says of no page that its device has written to it."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        self.page_table.map(va, pfn, write)
        return 0


class MarksWhenItDrops(MirrorInParts):
    """Right: marks what its device may have written when it takes it out of the table, as drivers/infiniband/core/umem_odp.c does."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        self.page_table.map(va, pfn, write)
        return 0

    def drop(self, rng: mn.Range) -> None:
        for va in range(rng.start, rng.end):
            with atomic:
                entry = self.page_table.entries[va]
                frame = entry.frame
                written = entry.writable
            if frame is not None and written:
                self.mark(frame)
        self.page_table.unmap(rng)

    def mark(self, frame: Folio) -> None:
        """The page has been written to."""
        folio_mark_dirty(frame)

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            self.drop(Range(0, len(self.page_table.entries), Event.CLEAR, True))
        mn.mmu_interval_notifier_remove(self.notifier)


class ForgetsWhatItWrote(MarksWhenItDrops):
    """Wrong: marks nothing when it is closed."""

    def close(self) -> None:
        self.page_table.disable()
        mn.mmu_interval_notifier_remove(self.notifier)


class MarksUnlessUnmapped(MarksWhenItDrops):
    """Wrong: takes UNMAP for the end of the pages, and saves itself the marks. They may go on at another address, and be taken out there."""

    def drop(self, rng: mn.Range) -> None:
        if rng.event != Event.UNMAP:
            MarksWhenItDrops.drop(self, rng)
        self.page_table.unmap(rng)


class MarksUnderThePageLock(MarksWhenItDrops):
    """Marks it by set_page_dirty_lock(): but reclaim and migration call the driver with the page locked."""

    def mark(self, frame: Folio) -> None:
        set_page_dirty_lock(frame)


class MarksIfItGetsTheLock(MarksWhenItDrops):
    """Marks it if nobody else has the page locked: reclaim and migration do, when they call, and what the device has written is lost."""

    def mark(self, frame: Folio) -> None:
        locked = folio_trylock(frame)
        if locked:
            folio_mark_dirty(frame)
            folio_unlock(frame)
