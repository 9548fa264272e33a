"""A driver whose faults subscribe each for itself, with a notifier on the fault's stack, as nouveau_range_fault() does; and a wrong one.

The whole address space is watched by an mmu notifier, which clears the device's table. A fault's own subscription says only whether to begin
again (struct svm_notifier).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.device import Device, DevicePageTable
from secondsight.lang import Errno, Mutex, Ref, SpinLock, atomic, pool
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY, EFAULT, EINVAL
from secondsight.linux.mm_types import Driver, Event, Mm, Pgoff, Range, Seq, Va
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["LeavesItsSubscription", "Stacked"]


class FaultNotifier(mn.IntervalNotifier):
    """struct svm_notifier: one fault's subscription."""

    gpu: Ref[Stacked]

    def driver(self) -> Ref[Driver]:
        return self.gpu

    def invalidate(self, rng: Range, cur_seq: Seq) -> bool:
        """nouveau_svm_range_invalidate(): the fault has to begin again. The lock is one that nobody sleeps for."""
        gpu = self.gpu
        assert gpu is not None
        with gpu.lock:
            mn.mmu_interval_set_seq(self, cur_seq)
        return True


faults = pool(FaultNotifier, "faults")


class Stacked(Device):
    """Right: the notifier is inserted before the loop, and removed before its stack frame goes."""

    faulting: Mutex
    closed: bool
    lock: SpinLock
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1, "mmu_notifiers": 1, "faults": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        ret = mn.mmu_notifier_register(self, mm)
        mmput(mm)
        return ret

    def close(self) -> None:
        self.page_table.disable()
        with self.faulting:
            self.closed = True
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        mn.mmu_notifier_unregister(self, mm)

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        """nouveau_svmm_invalidate_range_start(), after the interval notifiers."""
        with self.lock:
            self.page_table.unmap(rng)
        return 0

    def release(self, mm: Mm) -> None:
        with self.lock:
            self.page_table.unmap(Range(0, len(self.page_table.entries), Event.RELEASE, True))

    def fault(self, va: Va, write: bool) -> Errno:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        with self.faulting:
            ret = self.fault_once(mm, va, write)
        mmput(mm)
        return ret

    def fault_once(self, mm: Mm, va: Va, write: bool) -> Errno:
        """nouveau_range_fault()."""
        if self.closed:
            return -EFAULT
        with faults.on_stack() as own:
            own.gpu = self
            ret = mn.mmu_interval_notifier_insert(own, mm, va, 1)
            if ret != 0:
                return ret
            ret = self.fault_by(own, va, write)
            self.forget(own)
            return ret

    def forget(self, own: FaultNotifier) -> None:
        """Take the subscription away."""
        mn.mmu_interval_notifier_remove(own)

    def fault_by(self, own: FaultNotifier, va: Va, write: bool) -> Errno:
        """The loop of nouveau_range_fault()."""
        while True:
            seq = mn.mmu_interval_read_begin(own)
            pfn = hmm.hmm_range_fault(own, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(own, seq):
                    continue
                self.page_table.map(va, pfn, write)
            return 0


class LeavesItsSubscription(Stacked):
    """Wrong: the fault returns, and its stack frame with the notifier goes, while that is still in the tree."""

    def forget(self, own: FaultNotifier) -> None:
        """Not done."""
