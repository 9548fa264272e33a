"""Drivers and the pages of files that are written back: one that uses them for a moment alone, such as do not say what their device has written, or say it wrongly; and mirrors that are told."""

from __future__ import annotations

from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.pinning import SHORT, Pins
from secondsight.lang import Char, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.device import device_write
from secondsight.linux.errno import EBADF, EFAULT, EOPNOTSUPP
from secondsight.linux.gup import pin_user_pages_remote, unpin_folio, unpin_user_page_range_dirty_lock
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_types import Event, Folio, Pfn, Result, Va
from secondsight.linux.page_alloc import frames
from secondsight.linux.page_writeback import folio_mark_dirty, set_page_dirty_lock
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["IgnoresWriteback", "MarksBeforeItWrites", "MarksNoFile", "MarksUnlocked", "PinsFilesForAMoment"]


class PinsFilesForAMoment(Pins):
    """Right: where a page may not be pinned for long, because it is a file's that is written back, it is pinned for one write (as by direct I/O). Then it is marked dirty, under its lock, and unpinned. It is not read so."""

    def write(self, va: Va, value: Char) -> Result:
        done = Pins.write(self, va, value)
        if done in (-EFAULT, -EOPNOTSUPP):
            with self.lock:
                pfn = self.pin_for_a_moment(va)
                if pfn >= 0:
                    self.write_pinned(va, frames[pfn], value)
                done = min(pfn, 0)
        return done

    def pin_for_a_moment(self, va: Va) -> Pfn:
        """The page, pinned for one access, which is over before the lock is given up; or an error."""
        if self.closed:
            return -EBADF
        mm = self.notifier.mm
        assert mm is not None
        alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        mm.mmap_lock.read_lock()
        pfn = pin_user_pages_remote(mm, va, SHORT)
        mm.mmap_lock.read_unlock()
        mmput(mm)
        return pfn

    def write_pinned(self, va: Va, folio: Folio, value: Char) -> None:
        """The device writes, and is done with the page."""
        device_write(self, va, folio, value)
        unpin_user_page_range_dirty_lock(folio)


class MarksNoFile(PinsFilesForAMoment):
    """Says nothing when its device is done, for the page was dirty when it was pinned: it may have been written back since."""

    def write_pinned(self, va: Va, folio: Folio, value: Char) -> None:
        device_write(self, va, folio, value)
        unpin_folio(folio)


class MarksBeforeItWrites(PinsFilesForAMoment):
    """Marks the page when it has it, and lets its device write then."""

    def write_pinned(self, va: Va, folio: Folio, value: Char) -> None:
        set_page_dirty_lock(folio)
        device_write(self, va, folio, value)
        unpin_folio(folio)


class MarksUnlocked(PinsFilesForAMoment):
    """Marks the page when its device is done, by set_page_dirty(): without the folio lock its file may be about to clean it, or to lose it."""

    def write_pinned(self, va: Va, folio: Folio, value: Char) -> None:
        device_write(self, va, folio, value)
        folio_mark_dirty(folio)
        unpin_folio(folio)


class IgnoresWriteback(MirrorInParts):
    """Keeps its entries when those of shared memory are protected, for that is not what a fork does: but a page that is written back is clean then, and what its device writes on is lost."""

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            vma = mm.mm_mt[rng.start]
            passes_over = rng.event == Event.PROTECTION_PAGE and vma is not None and not is_cow_mapping(vma)
        if not passes_over:
            self.page_table.unmap(rng)
