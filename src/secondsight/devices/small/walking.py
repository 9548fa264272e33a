"""Devices that walk the process's page tables themselves, whose drivers flush their TLBs wrongly, too late, or not at all."""

from __future__ import annotations

from secondsight.devices.sva import Sva
from secondsight.lang import Errno, Mutex, atomic
from secondsight.linux.errno import EFAULT
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_ERROR, handle_mm_fault
from secondsight.linux.mm_types import Mm, Range, Va, VaEnd

__all__ = [
    "AnswersForTheDead",
    "FlushesAtTheEnd",
    "FlushesTheDeviceFirst",
    "FlushesWithAMutex",
    "HearsBoth",
    "IgnoresFlushes",
    "StaysBound",
    "WaitsForNoFlush",
]


class IgnoresFlushes(Sva):
    """It walks the page tables: what should there be to do?"""

    def arch_invalidate_secondary_tlbs(self, mm: Mm, start: Va, end: VaEnd) -> None:
        pass


class FlushesAtTheEnd(Sva):
    """Flushes when the bracket ends. A page that was zapped is kept until then; one that was copied or moved has another in its place."""

    def has_secondary_tlbs(self) -> bool:
        return False

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        self.flush(rng.start, rng.end)


class HearsBoth(Sva):
    """Wants to hear of changes too: the kernel refuses that, and warns."""

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        self.flush(rng.start, rng.end)


class WaitsForNoFlush(Sva):
    """Begins the invalidations, and goes on: the hardware will do them."""

    def flush(self, start: Va, end: VaEnd) -> None:
        self.iotlb.invalidate(start, end)
        self.device_tlb.invalidate(start, end)


class FlushesTheDeviceFirst(Sva):
    """The device's TLB first: it fills it again from the IOTLB, which has the old entry still."""

    def flush(self, start: Va, end: VaEnd) -> None:
        self.device_tlb.invalidate(start, end)
        self.device_tlb.wait()
        self.iotlb.invalidate(start, end)
        self.iotlb.wait()


class FlushesWithAMutex(Sva):
    """Takes a mutex for its flushes, under the page-table lock."""

    lock: Mutex

    def flush(self, start: Va, end: VaEnd) -> None:
        with self.lock:
            self.iotlb.invalidate(start, end)
            self.iotlb.wait()
            self.device_tlb.invalidate(start, end)
            self.device_tlb.wait()


class StaysBound(Sva):
    """Leaves the page tables to the IOMMU when the process goes: it will be told of the flushes. It is not, for with `release` the subscription ends."""

    def release(self, mm: Mm) -> None:
        pass


class AnswersForTheDead(Sva):
    """Answers page requests without becoming a user of the process's memory."""

    def handle(self, va: Va, write: bool) -> Errno:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        mm.mmap_lock.read_lock()
        ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE if write else 0)
        mm.mmap_lock.read_unlock()
        return -EFAULT if ret & VM_FAULT_ERROR != 0 else 0
