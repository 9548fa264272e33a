"""A driver that takes the mmap lock by itself, as Documentation/mm/hmm.rst (Linux 6.12) has it, and does not test."""

from __future__ import annotations

from secondsight import Device, DevicePageTable, Mutex, Va
from secondsight.linux import EBUSY, hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.hmm import HMM_PFN_REQ_FAULT, HMM_PFN_REQ_WRITE


class OwnLock(Device):
    """Without mmu_interval_read_retry()."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> int:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            mm = self.notifier.mm
            assert mm is not None
            request = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE if write else HMM_PFN_REQ_FAULT
            mm.mmap_lock.read_lock()
            pfn = hmm.hmm_range_fault_locked(self.notifier, seq, va, request)
            mm.mmap_lock.read_unlock()
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                self.page_table.map(va, pfn, write)
                return 0

    def invalidate(self, rng: mn.Range, seq: int) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(rng)
        self.lock.unlock()
        return True
