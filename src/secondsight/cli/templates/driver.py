"""A driver for a device that mirrors one process's memory. Check it: secondsight check FILE_NAME"""

from secondsight import Device, DevicePageTable, Mutex, Va
from secondsight.linux import EBUSY, hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.page_writeback import set_page_dirty


class ClassName(Device):
    """The pattern of the kernel's Documentation/mm/hmm.rst."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> int:
        """The device wants to use an address that its page table does not have: map it, and return 0; or an error."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue  # something was invalidated since the sequence number was read
                self.page_table.map(va, pfn, write)
                if write:
                    set_page_dirty(pfn)
                return 0

    def invalidate(self, rng: mn.Range, seq: int) -> bool:
        """The CPU's page table is about to change: forget what is in the range, and return True; False: it would have to sleep."""
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(rng)
        self.lock.unlock()
        return True
