"""Drivers that allocate: a page of the device's own table for each fault, or what a callback needs.

An allocation that may sleep may reclaim, and reclaim calls the driver's own callback. So it comes before the lock that the callback takes, or it may not sleep, and
then it may fail.
"""

from __future__ import annotations

from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno, Mutex, atomic, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EAGAIN, ENOMEM
from secondsight.linux.mm_types import Pfn, Va
from secondsight.linux.page_alloc_slowpath import (
    GFP_ATOMIC,
    GFP_KERNEL,
    GFP_NOIO,
    GFP_NOWAIT,
    kmalloc,
    memalloc_noreclaim_restore,
    memalloc_noreclaim_save,
)

__all__ = [
    "AllocatesBeforeItsLock",
    "AllocatesInItsCallback",
    "AllocatesUnderItsLock",
    "AllocatesWithoutIo",
    "AllocatesWithoutReclaim",
    "AllocatesWithoutWaiting",
    "FlushesAllWithoutReclaim",
    "GivesUpWithoutMemory",
    "LeavesItToWhoCalls",
    "StaysWithoutReclaim",
    "WaitsForItsAllocation",
    "WaitsForItsWorker",
]


class AllocatesUnderItsLock(MirrorInParts):
    """Allocates a page of its table where it fills it in, with the lock held that its callback takes."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        kmalloc(GFP_KERNEL)
        return MirrorInParts.install(self, va, pfn, write)


class AllocatesWithoutIo(MirrorInParts):
    """The same with GFP_NOIO: nothing is written then, and pages that need not be are unmapped all the same."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        kmalloc(GFP_NOIO)
        return MirrorInParts.install(self, va, pfn, write)


class GivesUpWithoutMemory(MirrorInParts):
    """Does not sleep under its lock; and where there is no memory at once, its access fails."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        there = kmalloc(GFP_ATOMIC)
        if not there:
            return -ENOMEM
        return MirrorInParts.install(self, va, pfn, write)


class AllocatesBeforeItsLock(MirrorInParts):
    """Right: has what it may need before it looks at anything."""

    def fault(self, va: Va, write: bool) -> Errno:
        kmalloc(GFP_KERNEL)
        return MirrorInParts.fault(self, va, write)


class AllocatesWithoutWaiting(MirrorInParts):
    """Right: asks for memory under its lock without sleeping; if there is none, again without the lock, and begins anew with it (`spare`)."""

    spare: bool

    def fault(self, va: Va, write: bool) -> Errno:
        ret = MirrorInParts.fault(self, va, write)
        while ret == -EAGAIN:
            kmalloc(GFP_KERNEL)
            self.spare = True
            ret = MirrorInParts.fault(self, va, write)
        return ret

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        with atomic:
            there = self.spare
            self.spare = False
        if not there:
            there = self.allocate_at_once()
        if not there:
            return -EAGAIN
        return MirrorInParts.install(self, va, pfn, write)

    def allocate_at_once(self) -> bool:
        """Whether there is memory. Under the lock."""
        return kmalloc(GFP_NOWAIT)


class AllocatesWithoutReclaim(AllocatesWithoutWaiting):
    """Right: the same by memalloc_noreclaim_save(), under which the functions that it calls may say GFP_KERNEL."""

    def allocate_at_once(self) -> bool:
        before = memalloc_noreclaim_save()
        there = kmalloc(GFP_KERNEL)
        memalloc_noreclaim_restore(before)
        return there


class StaysWithoutReclaim(AllocatesWithoutWaiting):
    """The same, and where there is no memory it does not restore what was before: its thread never reclaims any more."""

    def allocate_at_once(self) -> bool:
        before = memalloc_noreclaim_save()
        there = kmalloc(GFP_KERNEL)
        if not there:
            return False
        memalloc_noreclaim_restore(before)
        return True


class FlushesAllWithoutReclaim(MirrorInParts):
    """Right: allocates a list of what its callback is to flush, under memalloc_noreclaim_save(): it is called by reclaim too. Where there is no memory it flushes everything."""

    def drop(self, rng: mn.Range) -> None:
        before = memalloc_noreclaim_save()
        there = kmalloc(GFP_KERNEL if rng.blockable else GFP_NOWAIT)
        self.restore(before)
        if there:
            self.page_table.unmap(rng)
        else:
            self.page_table.unmap(mn.Range(0, len(self.page_table.entries), rng.event, rng.blockable))

    def restore(self, before: bool) -> None:
        """The callback's thread is as it was."""
        memalloc_noreclaim_restore(before)


class LeavesItToWhoCalls(FlushesAllWithoutReclaim):
    """Does not restore it: whose thread it is that calls is nothing to a callback."""

    def restore(self, before: bool) -> None:
        pass


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
