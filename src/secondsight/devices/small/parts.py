"""The right mirror, in parts that a driver which differs in one of them can write otherwise."""

from __future__ import annotations

from secondsight.devices.device import DevicePageTable
from secondsight.devices.mirror import Mirror
from secondsight.lang import Errno, Mutex
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY
from secondsight.linux.mm_types import Pfn, Va
from secondsight.linux.page_writeback import set_page_dirty

__all__ = ["MirrorInParts"]


class MirrorInParts(Mirror):
    """Right: `Mirror`, without places where it can be held."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> Errno:
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = self.collect(seq, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                return self.install(va, pfn, write)

    def collect(self, seq: mn.Seq, va: Va, write: bool) -> Pfn:
        """The page to map, or an error; -EBUSY: again."""
        return hmm.hmm_range_fault(self.notifier, va, write)

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        """Under the lock, when nothing has changed meanwhile."""
        self.page_table.map(va, pfn, write)
        if write:
            set_page_dirty(pfn)
        return 0

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.drop(rng)
        self.lock.unlock()
        return True

    def drop(self, rng: mn.Range) -> None:
        """Under the lock: what changes goes out of the table."""
        self.page_table.unmap(rng)
