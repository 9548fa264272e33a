"""Drivers whose allocations fail (`allocations_fail`): what they leave behind on the way out, and right ones that leave nothing.

An access for which there is no memory fails with -ENOMEM, and so does `open`. A callback may not: whoever invalidates goes on all the same.
"""

from __future__ import annotations

from secondsight.devices.device import DevicePageTable
from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.pinning import Pins
from secondsight.lang import Errno, Mutex
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import ENOMEM
from secondsight.linux.gup import unpin_folio
from secondsight.linux.mm_types import Mm, Pfn, Pgoff, Range, Va
from secondsight.linux.page_alloc import frames
from secondsight.linux.page_alloc_slowpath import GFP_KERNEL, GFP_NOWAIT, kmalloc

__all__ = [
    "AllocatesAnEntry",
    "AllocatesAtOpen",
    "ClearsAllWithoutMemory",
    "KeepsItsLockWithoutMemory",
    "PinsAndNotes",
    "RefusesWithoutMemory",
    "StaysPinnedWithoutMemory",
    "StaysSubscribedWithoutMemory",
]


class AllocatesAnEntry(MirrorInParts):
    """Right: one fault at a time allocates what it needs, under a lock that no callback takes; without memory it fails."""

    allocating: Mutex

    def fault(self, va: Va, write: bool) -> Errno:
        with self.allocating:
            there = kmalloc(GFP_KERNEL)
            if not there:
                return -ENOMEM
        return MirrorInParts.fault(self, va, write)


class KeepsItsLockWithoutMemory(AllocatesAnEntry):
    """Takes the lock by hand, and forgets it where there is no memory."""

    def fault(self, va: Va, write: bool) -> Errno:
        self.allocating.lock()
        there = kmalloc(GFP_KERNEL)
        if not there:
            return -ENOMEM
        self.allocating.unlock()
        return MirrorInParts.fault(self, va, write)


class AllocatesAtOpen(MirrorInParts):
    """Right: subscribes, allocates its table, and takes the subscription back when there is no memory for that."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        ret = MirrorInParts.open(self, mm, start, length)
        if ret != 0:
            return ret
        there = kmalloc(GFP_KERNEL)
        if not there:
            self.undo()
            return -ENOMEM
        return 0

    def undo(self) -> None:
        """`open` is about to fail."""
        mn.mmu_interval_notifier_remove(self.notifier)


class StaysSubscribedWithoutMemory(AllocatesAtOpen):
    """Says -ENOMEM, and is called on."""

    def undo(self) -> None:
        pass


class PinsAndNotes(Pins):
    """Right: notes each page that it has pinned in memory of its own; where there is none it gives the page back."""

    def pin(self, mm: Mm, va: Va) -> Errno:
        mm.mmap_lock.read_lock()
        pfn = self.pin_page(mm, va)
        mm.mmap_lock.read_unlock()
        if pfn < 0:
            return pfn
        there = kmalloc(GFP_KERNEL)
        if not there:
            self.undo(pfn)
            return -ENOMEM
        self.pinned[va] = frames[pfn]
        self.give(va, pfn)
        return 0

    def undo(self, pfn: Pfn) -> None:
        """The access is about to fail."""
        unpin_folio(frames[pfn])


class StaysPinnedWithoutMemory(PinsAndNotes):
    """Says -ENOMEM, and the page stays pinned."""

    def undo(self, pfn: Pfn) -> None:
        pass


class ClearsAllWithoutMemory(MirrorInParts):
    """Right: allocates a list of what its callback is to flush, without waiting; where there is no memory it flushes everything."""

    lock: Mutex
    page_table: DevicePageTable

    def drop(self, rng: mn.Range) -> None:
        there = kmalloc(GFP_NOWAIT)
        if there:
            self.page_table.unmap(rng)
        else:
            self.page_table.unmap(Range(0, len(self.page_table.entries), rng.event, rng.blockable))


class RefusesWithoutMemory(MirrorInParts):
    """Refuses an invalidation for which it has no memory: nobody can, who may be waited for."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        there = kmalloc(GFP_NOWAIT)
        if not there:
            return False
        return MirrorInParts.invalidate(self, rng, seq)
