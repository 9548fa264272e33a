"""Drivers that keep references, or are users of an mm for too long or not at all; and one that gives all back."""

from __future__ import annotations

from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno, Ref, atomic
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EFAULT, EINVAL, ENOENT
from secondsight.linux.memremap import DevPagemap, get_dev_pagemap, put_dev_pagemap
from secondsight.linux.mm_types import HPAGE_PMD_NR, Count, Event, Folio, Mm, Pfn, Pgoff, Range, Va
from secondsight.linux.page_alloc import frame_touch, frames, get_page, is_zero_page, put_page
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = [
    "ForgetsThatItIsAUser",
    "GivesReferencesBack",
    "KeepsReferences",
    "KeepsThePagemap",
    "LooksUpEachPagemap",
    "StaysAUser",
    "TakesTheFirstPagemapForAll",
    "WalksWithoutBeingAUser",
]


class KeepsReferences(MirrorInParts):
    """Takes a reference to each page that it maps and never gives it back."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        self.page_table.map(va, pfn, write)
        if write:
            set_page_dirty(pfn)
        if pfn != 0:
            get_page(frames[pfn])
        return 0


class GivesReferencesBack(MirrorInParts):
    """Right, but for device memory, whose pages go whoever has references: one for each entry, dropped with it."""

    closed: bool

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        if self.closed:
            return -ENOENT
        with atomic:
            self.put(va)
            self.page_table.map(va, pfn, write)
            if write:
                set_page_dirty(pfn)
            if pfn != 0:
                get_page(frames[pfn])
        return 0

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            for va in range(rng.start, rng.end):
                self.put(va)
            self.page_table.unmap(rng)

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            self.closed = True
            self.drop(Range(0, len(self.page_table.entries), Event.UNMAP, True))
        mn.mmu_interval_notifier_remove(self.notifier)

    @atomic
    def put(self, va: Va) -> None:
        """The reference of an entry."""
        frame = self.page_table.entries[va].frame
        if frame is not None:
            if not is_zero_page(frame):
                put_page(frame)


class StaysAUser(Mirror):
    """Right: becomes a user of the mm for each fault, and leaves it only when the device is closed; that may end the address space."""

    users: Count

    def fault(self, va: Va, write: bool) -> Errno:
        with atomic:
            mm = self.notifier.mm
            alive = not self.page_table.disabled and mmget_not_zero(mm)
            if alive:
                self.users += 1
        if not alive:
            return -EFAULT
        return Mirror.fault(self, va, write)

    def close(self) -> None:
        Mirror.close(self)
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        while self.users > 0:
            with atomic:
                self.users -= 1
            mmput(mm)


class ForgetsThatItIsAUser(Mirror):
    """Becomes a user of the mm when it is opened, and never leaves it."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        return mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)


class WalksWithoutBeingAUser(MirrorInParts):
    """Calls hmm_range_fault() with the mmap lock, and without mmget_not_zero()."""

    def collect(self, seq: mn.Seq, va: Va, write: bool) -> Pfn:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        mm.mmap_lock.read_lock()
        flags = hmm.HMM_PFN_REQ_FAULT | (hmm.HMM_PFN_REQ_WRITE if write else 0)
        pfn = hmm.hmm_range_fault_locked(self.notifier, seq, va, flags)
        mm.mmap_lock.read_unlock()
        return pfn


class KeepsThePagemap(MirrorInParts):
    """Takes a reference to the dev_pagemap of device memory and never gives it back: its teardown waits for ever."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        self.page_table.map(va, pfn, write)
        if write:
            set_page_dirty(pfn)
        get_dev_pagemap(frames[pfn])
        return 0


class LooksUpEachPagemap(MirrorInParts):
    """Right: reads a page of device memory itself before it maps it, and the one beside it that a huge page would have too. It holds the pagemap of the one that it
    reads, so that the memory stays; at the next page it asks again, with what it holds in hand."""

    def collect(self, seq: mn.Seq, va: Va, write: bool) -> Pfn:
        pfn = MirrorInParts.collect(self, seq, va, write)
        if pfn >= 0:
            self.read_ahead(pfn, va)
        return pfn

    def read_ahead(self, pfn: Pfn, va: Va) -> None:
        """The page and its neighbour, if both are mapped."""
        beside = va + 1 if va % HPAGE_PMD_NR == 0 else va - 1
        if beside >= len(self.page_table.entries):
            return
        other = hmm.hmm_range_fault(self.notifier, beside, False)
        if other < 0:
            return
        pgmap = self.read_page(frames[other], None)
        pgmap = self.read_page(frames[pfn], pgmap)
        if pgmap is not None:
            put_dev_pagemap(pgmap)

    @atomic
    def read_page(self, frame: Folio, pgmap: Ref[DevPagemap]) -> Ref[DevPagemap]:
        """Read it, if it is in device memory that stays: its pagemap. `pgmap`: that of the page before."""
        held = self.pagemap_of(frame, pgmap)
        if held is not None:
            frame_touch(frame, False)
        return held

    @atomic
    def pagemap_of(self, frame: Folio, pgmap: Ref[DevPagemap]) -> Ref[DevPagemap]:
        """What keeps the page, with a reference."""
        return get_dev_pagemap(frame, pgmap)


class TakesTheFirstPagemapForAll(LooksUpEachPagemap):
    """Asks for the pagemap of the first page that it reads, and takes it for that of the next too, as if all that is mapped side by side were one device's."""

    @atomic
    def pagemap_of(self, frame: Folio, pgmap: Ref[DevPagemap]) -> Ref[DevPagemap]:
        return get_dev_pagemap(frame) if pgmap is None else pgmap
