"""A driver whose accesses are those of the process, as KVM does it, and one that counts wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from secondsight.devices.device import Device, DevicePageTable, Promise
from secondsight.devices.kvm_main import hva_to_pfn
from secondsight.lang import Bounds, Errno, SpinLock, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EAGAIN, EINVAL
from secondsight.linux.mm_types import Count, Event, Mm, Pgoff, Range, Va
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["Vcpu", "VcpuLeftCounting", "VcpuMayRefuse", "VcpuWithoutCount"]


class Vcpu(Device):
    """Right: as KVM does it. Invalidations are counted under a spinlock; its accesses are those of the process's threads."""

    promise: ClassVar[Promise] = "process"
    mmu_lock: SpinLock
    in_progress: Count
    invalidate_seq: Annotated[int, Bounds(0, 15)]
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "mmu_notifiers": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        ret = mn.mmu_notifier_register(self, mm)
        mmput(mm)
        return ret

    def close(self) -> None:
        self.page_table.disable()
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        mn.mmu_notifier_unregister(self, mm)

    def fault(self, va: Va, write: bool) -> Errno:
        """kvm_faultin_pfn() and what follows it: the page, then a look at the count under the lock."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        while True:
            seq = self.invalidate_seq
            pfn = hva_to_pfn(mm, va, write)
            if pfn == -EAGAIN:
                continue
            if pfn < 0:
                return pfn
            with self.mmu_lock:
                again = self.again(seq)
                if not again:
                    self.page_table.map(va, pfn, write)
                    if write:
                        set_page_dirty(pfn)
            if not again:
                return 0

    @atomic
    def again(self, seq: Count) -> bool:
        """mmu_invalidate_retry()."""
        return self.in_progress > 0 or self.invalidate_seq != seq

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        with self.mmu_lock:
            self.in_progress += 1
            self.page_table.unmap(rng)
        return 0

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        with self.mmu_lock:
            self.in_progress -= 1
            self.invalidate_seq += 1

    def release(self, mm: Mm) -> None:
        """kvm_mmu_notifier_release(): everything is zapped."""
        with self.mmu_lock:
            self.page_table.unmap(Range(0, len(self.page_table.entries), Event.RELEASE, True))


class VcpuWithoutCount(Vcpu):
    """Looks only at the sequence number, which moves when an invalidation ends: not at those that are going on."""

    @atomic
    def again(self, seq: Count) -> bool:
        return self.invalidate_seq != seq


class VcpuLeftCounting(Vcpu):
    """Counts an invalidation, and not that it is over, as if its end were never told: every fault begins again, for ever."""

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        with self.mmu_lock:
            self.invalidate_seq += 1


class VcpuMayRefuse(Vcpu):
    """Says -EAGAIN where it would have to wait, and has an invalidate_range_end(): which of the two numbers is right then, nobody can say."""

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        if not rng.blockable:
            locked = self.mmu_lock.trylock()
            if not locked:
                return -EAGAIN
            self.mmu_lock.unlock()
        return Vcpu.invalidate_range_start(self, mm, rng)
