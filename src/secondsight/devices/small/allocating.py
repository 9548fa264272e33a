"""Drivers that allocate: a page of the device's own table for each fault, or what a callback needs.

An allocation that may sleep may reclaim, and reclaim calls the driver's own callback. So it comes before the lock that the callback takes, or it may not sleep, and
then it may fail.
"""

from __future__ import annotations

from secondsight.devices.mirror import Mirror
from secondsight.lang import Errno, Mutex, wait_until
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY, ENOMEM
from secondsight.linux.mm_types import Pfn, Va
from secondsight.linux.page_alloc_slowpath import (
    GFP_ATOMIC,
    GFP_KERNEL,
    GFP_NOIO,
    GFP_NOWAIT,
    Gfp,
    kmalloc,
    memalloc_noreclaim_restore,
    memalloc_noreclaim_save,
)
from secondsight.linux.page_writeback import set_page_dirty

__all__ = [
    "AllocatesBeforeItsLock",
    "AllocatesInItsCallback",
    "AllocatesUnderItsLock",
    "AllocatesWithoutIo",
    "AllocatesWithoutReclaim",
    "AllocatesWithoutWaiting",
    "GivesUpWithoutMemory",
    "WaitsForItsAllocation",
    "WaitsForItsWorker",
]


class AllocatesUnderItsLock(Mirror):
    """Allocates a page of its table where it fills it in, with the lock held that its callback takes."""

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                ret = self.allocate()
                if ret != 0:
                    return ret
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.fill_in(va, pfn, write)
                return 0

    def allocate(self) -> Errno:
        """A page of the table. Under the lock."""
        kmalloc(GFP_KERNEL)
        return 0

    def fill_in(self, va: Va, pfn: Pfn, write: bool) -> None:
        """Under the lock."""
        self.page_table.map(va, pfn, write)
        if write:
            set_page_dirty(pfn)


class AllocatesWithoutIo(AllocatesUnderItsLock):
    """The same with GFP_NOIO: nothing is written then, and pages that need not be are unmapped all the same."""

    def allocate(self) -> Errno:
        kmalloc(GFP_NOIO)
        return 0


class GivesUpWithoutMemory(AllocatesUnderItsLock):
    """Does not sleep under its lock; and where there is no memory at once, its access fails."""

    def allocate(self) -> Errno:
        there = kmalloc(GFP_ATOMIC)
        return 0 if there else -ENOMEM


class AllocatesBeforeItsLock(AllocatesUnderItsLock):
    """Right: has what it may need before it looks at anything."""

    def fault(self, va: Va, write: bool) -> Errno:
        kmalloc(GFP_KERNEL)
        return AllocatesUnderItsLock.fault(self, va, write)

    def allocate(self) -> Errno:
        return 0


class AllocatesWithoutWaiting(AllocatesUnderItsLock):
    """Right: asks for memory under its lock without sleeping; if there is none, once more without the lock, and begins again with it."""

    def fault(self, va: Va, write: bool) -> Errno:
        had = False
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                if not had:
                    had = self.allocate_at_once(GFP_NOWAIT)
                if had:
                    self.fill_in(va, pfn, write)
                    return 0
            had = kmalloc(GFP_KERNEL)

    def allocate_at_once(self, flags: Gfp) -> bool:
        """Whether there is memory. Under the lock."""
        return kmalloc(flags)


class AllocatesWithoutReclaim(AllocatesWithoutWaiting):
    """Right: the same by memalloc_noreclaim_save(), under which the functions that it calls may say GFP_KERNEL."""

    def allocate_at_once(self, flags: Gfp) -> bool:
        before = memalloc_noreclaim_save()
        there = kmalloc(GFP_KERNEL)
        memalloc_noreclaim_restore(before)
        return there


class AllocatesInItsCallback(Mirror):
    """Allocates in its callback, where that may sleep, and notes there what it drops (under `noting`): reclaim calls the same callback, within the call."""

    noting: Mutex

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            with self.noting:
                kmalloc(GFP_KERNEL)
        return Mirror.invalidate(self, rng, seq)


class WaitsForItsWorker(Mirror):
    """Right: a worker flushes what the device has, and the callback waits for it where it may sleep. For that the worker wants memory; if there is none at once it
    flushes everything."""

    flushing: Mutex
    asked: bool

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            with self.flushing:
                self.asked = True
                wait_until(not self.asked)
        return Mirror.invalidate(self, rng, seq)

    def work(self) -> None:
        while True:
            wait_until(self.asked)
            self.allocate()
            self.asked = False

    def allocate(self) -> None:
        """Memory for a list of what is to be flushed."""
        kmalloc(GFP_NOWAIT)


class WaitsForItsAllocation(WaitsForItsWorker):
    """Its worker holds no lock, and allocates as if it might sleep: reclaim waits for who waits for it."""

    def allocate(self) -> None:
        kmalloc(GFP_KERNEL)
