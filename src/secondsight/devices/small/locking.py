"""Drivers that hold a lock for too long, or not long enough, or sleep for one; and one that looks into its table."""

from __future__ import annotations

from secondsight.devices.device import DevicePageTable
from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno, Mutex, atomic
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY, EFAULT
from secondsight.linux.mm_types import Va
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["ChangesOutsideTheLock", "FaultsUnderItsLock", "LooksIntoItsTable", "MayNotSleep", "PassesOverTheReaper"]


class LooksIntoItsTable(Mirror):
    """Right: looks whether another engine was faster, under the lock under which every change is made."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> Errno:
        with self.lock:
            found = self.page_table.is_mapped(va, write)
        if found:
            return 0
        return Mirror.fault(self, va, write)


class ChangesOutsideTheLock(LooksIntoItsTable):
    """Clears its table when it has dropped the lock. Nobody can map anything there before the invalidation ends, so the device
    sees nothing of it; but who looks into the table does."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.lock.unlock()
        self.page_table.unmap(rng)
        return True


class FaultsUnderItsLock(Mirror):
    """Holds its lock while hmm_range_fault() may wait for who calls it."""

    def fault(self, va: Va, write: bool) -> Errno:
        if write:
            return Mirror.fault(self, va, True)
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            with atomic:
                mm = self.notifier.mm
                alive = mmget_not_zero(mm)
                assert mm is not None
            if not alive:
                return -EFAULT
            mm.mmap_lock.read_lock()
            self.lock.lock()
            pfn = hmm.hmm_range_fault_locked(self.notifier, seq, va, hmm.HMM_PFN_REQ_FAULT)
            if pfn >= 0:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    pfn = -EBUSY
                else:
                    self.page_table.map(va, pfn, False)
            self.lock.unlock()
            mm.mmap_lock.read_unlock()
            mmput(mm)
            if pfn >= 0:
                return 0
            if pfn != -EBUSY:
                return pfn


class MayNotSleep(Mirror):
    """Takes its mutex whether it may sleep or not."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        with self.lock:
            mn.mmu_interval_set_seq(self.notifier, seq)
            self.page_table.unmap(rng)
        return True


class PassesOverTheReaper(MirrorInParts):
    """Takes nothing out where it must not sleep. It is as if the OOM reaper told nobody, as Linux 4.13 did not."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if not rng.blockable:
            return True
        return MirrorInParts.invalidate(self, rng, seq)
