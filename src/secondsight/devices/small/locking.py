"""Drivers that hold a lock for too long, or not long enough, or sleep for one; and one that looks into its table."""

from __future__ import annotations

from typing import ClassVar

from secondsight.devices.device import DevicePageTable
from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno, Mutex, atomic
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY, EFAULT
from secondsight.linux.mm_types import Pfn, Va
from secondsight.linux.page_alloc import page_to_pfn
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.pgtable import pte_present
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["ChangesOutsideTheLock", "FaultsUnderItsLock", "HoldsTheMmapLock", "HoldsTheMmapLockAndAsks", "LooksIntoItsTable", "MayNotSleep", "PassesOverTheReaper"]


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


class HoldsTheMmapLock(Mirror):
    """Has the page faulted in, takes the mmap lock for writing, looks again and maps what it sees: nobody changes a mapping then. Faults did not either, before they
    took the lock of their vma alone (`vma_lock`); nor did MADV_DONTNEED, before it did so."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    bounds: ClassVar[dict[str, int]] = {"madvise_locks_vma": 1}

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            faulted = hmm.hmm_range_fault(self.notifier, va, write)
            if faulted < 0 and faulted != -EBUSY:
                return faulted
            with atomic:
                mm = self.notifier.mm
                alive = mmget_not_zero(mm)
                assert mm is not None
            if not alive:
                return -EFAULT
            mm.mmap_lock.write_lock()
            mapped = self.map_what_is_there(seq, va, write)
            mm.mmap_lock.write_unlock()
            mmput(mm)
            if mapped:
                return 0

    def map_what_is_there(self, seq: mn.Seq, va: Va, write: bool) -> bool:
        """Whether there is a page that may be accessed so, which is in the device's table by then. The mmap lock is held for writing."""
        with self.lock:
            if self.has_changed(seq):
                return False
            with atomic:
                mm = self.notifier.mm
                assert mm is not None
                frame = pte_present(mm.ptes[va])
                may = frame is not None and (not write or mm.ptes[va].writable)
                pfn: Pfn = page_to_pfn(frame) if frame is not None else 0
            if may:
                self.page_table.map(va, pfn, write)
                if write:
                    set_page_dirty(pfn)
        return may

    def has_changed(self, seq: mn.Seq) -> bool:
        """Whether anything may have been invalidated: nothing was, says the mmap lock."""
        return False


class HoldsTheMmapLockAndAsks(HoldsTheMmapLock):
    """Right: the same, and asks the notifier, whoever it was."""

    def has_changed(self, seq: mn.Seq) -> bool:
        return mn.mmu_interval_read_retry(self.notifier, seq)
