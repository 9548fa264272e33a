"""Drivers that fail an access which a CPU would make, or make one which it would not; and such as do neither."""

from __future__ import annotations

from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Bits, Errno, atomic
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY, EFAULT, EPERM
from secondsight.linux.memory import vma_lookup
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import Event, PageBits, Pfn, Va, VaEnd
from secondsight.linux.page_writeback import set_page_dirty

__all__ = [
    "AlwaysAsksToWrite",
    "AlwaysWritable",
    "AsksAgainForEver",
    "AsksToWriteFirst",
    "CollisionIsAnError",
    "GivesUp",
    "RemembersFailures",
    "RemembersTheEnd",
    "UnmappedIsAnError",
    "WritesAllTheSame",
]


class CollisionIsAnError(Mirror):
    """Fails the access when something was invalidated meanwhile."""

    def fault(self, va: Va, write: bool) -> Errno:
        seq = mn.mmu_interval_read_begin(self.notifier)
        pfn = hmm.hmm_range_fault(self.notifier, va, write)
        if pfn < 0:
            return -EFAULT
        with self.lock:
            if mn.mmu_interval_read_retry(self.notifier, seq):
                return -EFAULT
            self.page_table.map(va, pfn, write)
            if write:
                set_page_dirty(pfn)
            return 0


class UnmappedIsAnError(MirrorInParts):
    """Fails the access to a page that was being unmapped meanwhile: also where another is mapped in the same moment."""

    first: Va
    end: VaEnd

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn < 0 and pfn != -EBUSY:
                return pfn
            with self.lock:
                again = mn.mmu_interval_read_retry(self.notifier, seq)
                if pfn == -EBUSY or again:
                    if self.first <= va < self.end:
                        return -EFAULT
                    continue
                self.page_table.map(va, pfn, write)
                if write:
                    set_page_dirty(pfn)
                return 0

    def drop(self, rng: mn.Range) -> None:
        MirrorInParts.drop(self, rng)
        if rng.event == Event.UNMAP:
            self.first = rng.start
            self.end = rng.end


class RemembersFailures(Mirror):
    """Keeps in mind where nothing was mapped, until it is told of a change: but nobody is told of a new mapping."""

    gone: PageBits

    def fault(self, va: Va, write: bool) -> Errno:
        if va in self.gone:
            return -EFAULT
        ret = Mirror.fault(self, va, write)
        if ret == -EFAULT and not write:
            with atomic:
                mm = self.notifier.mm
                assert mm is not None
                if vma_lookup(mm, va) is None:
                    self.gone |= {va}
        return ret

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        self.gone = Bits()
        return Mirror.invalidate(self, rng, seq)


class RemembersTheEnd(Mirror):
    """Keeps in mind what lies past the end of its file, until it is told of a change: but nobody is told when a file grows."""

    behind: PageBits

    def fault(self, va: Va, write: bool) -> Errno:
        if va in self.behind:
            return -EFAULT
        ret = Mirror.fault(self, va, write)
        if ret == -EFAULT:
            with atomic:
                mm = self.notifier.mm
                assert mm is not None
                vma = vma_lookup(mm, va)
                if vma is not None:
                    file = vma.vm_file
                    if file is not None:
                        has_page = file.has_page(linear_page_index(vma, va))
                        if not has_page:
                            self.behind |= {va}
        return ret

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        self.behind = Bits()
        return Mirror.invalidate(self, rng, seq)


class GivesUp(Mirror):
    """Fails the access when it has lost four times."""

    def fault(self, va: Va, write: bool) -> Errno:
        for _ in range(4):
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                if write:
                    set_page_dirty(pfn)
                return 0
        return -EBUSY


class AsksAgainForEver(MirrorInParts):
    """Takes the error of an address where nothing is mapped for a collision."""

    def collect(self, seq: mn.Seq, va: Va, write: bool) -> Pfn:
        pfn = hmm.hmm_range_fault(self.notifier, va, write)
        return pfn if pfn >= 0 else -EBUSY


class AlwaysAsksToWrite(Mirror):
    """Asks for a page that can be written also where it is to be read."""

    def fault(self, va: Va, write: bool) -> Errno:
        return Mirror.fault(self, va, True)


class AlwaysWritable(MirrorInParts):
    """Maps every page writable, also for a read."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        return MirrorInParts.install(self, va, pfn, True)


class WritesAllTheSame(MirrorInParts):
    """Told that it may not write, it asks for the page to read, and maps that writable."""

    def collect(self, seq: mn.Seq, va: Va, write: bool) -> Pfn:
        pfn = hmm.hmm_range_fault(self.notifier, va, write)
        if pfn == -EPERM:
            return hmm.hmm_range_fault(self.notifier, va, False)
        return pfn


class AsksToWriteFirst(Mirror):
    """Right: asks for a page that can be written, and where it may not for one to read, which it maps for reading."""

    def fault(self, va: Va, write: bool) -> Errno:
        ret = Mirror.fault(self, va, True)
        if ret == -EPERM and not write:
            return Mirror.fault(self, va, False)
        return ret
