"""The reference mirror, and the ways to get it wrong.

`Mirror` is the pattern of Documentation/mm/hmm.rst (Linux 6.12). Each other class leaves out or misplaces one thing that
somebody has once argued to be unnecessary.

A `hold_point` is where a forced run can hold the thread, here and in the real device's code; it is no step otherwise. The
functions of `linux/` that every such driver calls have theirs within.
"""

from __future__ import annotations

from secondsight.devices.device import Device, DevicePageTable
from secondsight.lang import Errno, Mutex, atomic, hold_point
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY
from secondsight.linux.mm_types import Va
from secondsight.linux.page_alloc import frame_touch, frames
from secondsight.linux.page_writeback import set_page_dirty

__all__ = [
    "Mirror",
    "MirrorCallbackWithoutLock",
    "MirrorDereferencesLater",
    "MirrorNeverMarksDirty",
    "MirrorTestsBeforeLock",
    "MirrorWithoutTest",
]


class Mirror(Device):
    """Collect, take the lock, test the sequence, install or start over; the callback clears under the same lock.

    A page that the device may write is marked dirty when it is mapped, as KVM does: an entry of the CPU's that may be written, and
    was not, would let reclaim drop what the device has written.
    """

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> Errno:
        """Fault `va` in through hmm_range_fault()."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            hold_point("before_lock")
            with self.lock:
                hold_point("locked")
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                if write:
                    set_page_dirty(pfn)
                hold_point("installed")
            hold_point("unlocked")
            return 0

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        """Store the sequence number and clear, under the lock."""
        if rng.blockable:
            self.lock.lock()
        else:
            locked = self.lock.trylock()
            if not locked:
                return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(rng)
        self.lock.unlock()
        return True


class MirrorWithoutTest(Mirror):
    """Installs what it collected without asking whether it was invalidated meanwhile."""

    def fault(self, va: Va, write: bool) -> Errno:
        """Without mmu_interval_read_retry()."""
        while True:
            mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            hold_point("before_lock")
            with self.lock:
                hold_point("locked")
                self.page_table.map(va, pfn, write)
                if write:
                    set_page_dirty(pfn)
                hold_point("installed")
            hold_point("unlocked")
            return 0


class MirrorTestsBeforeLock(Mirror):
    """Asks first and takes the lock then: an invalidation fits in between."""

    def fault(self, va: Va, write: bool) -> Errno:
        """mmu_interval_read_retry() before the lock."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            if mn.mmu_interval_read_retry(self.notifier, seq):
                continue
            hold_point("before_lock")
            with self.lock:
                hold_point("locked")
                self.page_table.map(va, pfn, write)
                if write:
                    set_page_dirty(pfn)
                hold_point("installed")
            hold_point("unlocked")
            return 0


class MirrorCallbackWithoutLock(Mirror):
    """The callback does not take the lock: it can pass between the test and the installation."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        """The same without the lock."""
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(rng)
        return True


class MirrorDereferencesLater(Mirror):
    """Right so far; then it touches the page once more, holding nothing (as by set_page_dirty())."""

    def fault(self, va: Va, write: bool) -> Errno:
        """Uses the struct page after everything was dropped."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            hold_point("before_lock")
            with self.lock:
                hold_point("locked")
                retry = mn.mmu_interval_read_retry(self.notifier, seq)
                if not retry:
                    self.page_table.map(va, pfn, write)
                    if write:
                        set_page_dirty(pfn)
                    hold_point("installed")
            if retry:
                continue
            hold_point("unlocked")
            with atomic:
                frame_touch(frames[pfn], False)
            return 0


class MirrorNeverMarksDirty(Mirror):
    """Says of no page that its device has written to it."""

    def fault(self, va: Va, write: bool) -> Errno:
        """Without set_page_dirty()."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            hold_point("before_lock")
            with self.lock:
                hold_point("locked")
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                hold_point("installed")
            hold_point("unlocked")
            return 0
