"""The mirror as the 2019 thread writes it, on the interface of Linux 5.3 (`hmm_range_register`, `range.valid`), and its
wrong forms.

The thread's loop: register the range; again: hmm_range_fault(), an error ends it; take the driver's lock; if the range is
valid populate, else release and go again. `Mirror2019MmapSem` is what Documentation/vm/hmm.rst of 5.3 adds to it: the
mmap lock is held for reading from before hmm_range_fault() until the table is populated.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.device import Device, DevicePageTable
from secondsight.lang import Errno, Mutex, atomic
from secondsight.linux import hmm_2019 as hmm
from secondsight.linux.errno import EBUSY, EFAULT
from secondsight.linux.mm_types import Mm, Pgoff, Range, Va
from secondsight.linux.page_alloc import frame_touch, frames

__all__ = [
    "Mirror2019",
    "Mirror2019CallbackWithoutLock",
    "Mirror2019DereferencesLater",
    "Mirror2019MmapSem",
    "Mirror2019TestsBeforeLock",
    "Mirror2019WithoutTest",
]


class Mirror2019(Device):
    """Collect, take the lock, test `range.valid`, populate or start over; the callback clears under the same lock."""

    lock: Mutex
    page_table: DevicePageTable

    bounds: ClassVar[Mapping[str, int]] = {"mmu_notifiers": 1, "hmms": 1, "hmm_ranges": 2, "mirrors": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """hmm_mirror_register()."""
        return hmm.hmm_mirror_register(self, mm)

    def close(self) -> None:
        """The device is stopped; hmm_mirror_unregister()."""
        self.page_table.disable()
        hmm.hmm_mirror_unregister(self)

    def fault(self, va: Va, write: bool) -> Errno:
        """mydriver_populate_vaddr_range(), for one page."""
        item = hmm.hmm_range_register(self, va, va + 1)
        if item is None:
            return -EFAULT
        while True:
            hmm.hmm_range_wait_until_valid(item)
            pfn = hmm.hmm_range_fault(item, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                hmm.hmm_range_unregister(item)
                return pfn
            with self.lock:
                valid = hmm.hmm_range_valid(item)
                if valid:
                    self.page_table.map(va, pfn, write)
            if valid:
                hmm.hmm_range_unregister(item)
                return 0

    def sync_cpu_device_pagetables(self, rng: Range) -> Errno:
        """Clear under the lock."""
        with self.lock:
            self.page_table.unmap(rng)
        return 0

    def release(self, mm: Mm) -> None:
        """The process goes: clear everything."""
        with self.lock:
            self.clear_all()

    @atomic
    def clear_all(self) -> None:
        """Clear the device's whole table."""
        for va in range(len(self.page_table.entries)):
            self.page_table.entries[va].frame = None
            self.page_table.entries[va].writable = False


class Mirror2019MmapSem(Mirror2019):
    """As Documentation/vm/hmm.rst of 5.3 has it: the mmap lock is held until the table is populated."""

    def fault(self, va: Va, write: bool) -> Errno:
        """The loop with the mmap lock around it."""
        mm = self.notifier.mm
        assert mm is not None
        item = hmm.hmm_range_register(self, va, va + 1)
        if item is None:
            return -EFAULT
        while True:
            hmm.hmm_range_wait_until_valid(item)
            valid = False
            with mm.mmap_lock.reading():
                pfn = hmm.hmm_range_fault_locked(item, mm, va, write)
                if pfn >= 0:
                    with self.lock:
                        valid = hmm.hmm_range_valid(item)
                        if valid:
                            self.page_table.map(va, pfn, write)
            if pfn < 0 and pfn != -EBUSY:
                hmm.hmm_range_unregister(item)
                return pfn
            if valid:
                hmm.hmm_range_unregister(item)
                return 0


class Mirror2019WithoutTest(Mirror2019):
    """Populates without testing `range.valid`."""

    def fault(self, va: Va, write: bool) -> Errno:
        """Without the test."""
        item = hmm.hmm_range_register(self, va, va + 1)
        if item is None:
            return -EFAULT
        while True:
            hmm.hmm_range_wait_until_valid(item)
            pfn = hmm.hmm_range_fault(item, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                hmm.hmm_range_unregister(item)
                return pfn
            with self.lock:
                self.page_table.map(va, pfn, write)
            hmm.hmm_range_unregister(item)
            return 0


class Mirror2019TestsBeforeLock(Mirror2019):
    """Tests `range.valid` before it takes the lock."""

    def fault(self, va: Va, write: bool) -> Errno:
        """The test before the lock."""
        item = hmm.hmm_range_register(self, va, va + 1)
        if item is None:
            return -EFAULT
        while True:
            hmm.hmm_range_wait_until_valid(item)
            pfn = hmm.hmm_range_fault(item, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                hmm.hmm_range_unregister(item)
                return pfn
            valid = hmm.hmm_range_valid(item)
            if not valid:
                continue
            with self.lock:
                self.page_table.map(va, pfn, write)
            hmm.hmm_range_unregister(item)
            return 0


class Mirror2019CallbackWithoutLock(Mirror2019):
    """The callback does not take the lock."""

    def sync_cpu_device_pagetables(self, rng: Range) -> Errno:
        """The same without the lock."""
        self.page_table.unmap(rng)
        return 0


class Mirror2019DereferencesLater(Mirror2019):
    """Touches the page once more when it holds nothing any longer."""

    def fault(self, va: Va, write: bool) -> Errno:
        """Uses the struct page after everything was dropped."""
        item = hmm.hmm_range_register(self, va, va + 1)
        if item is None:
            return -EFAULT
        while True:
            hmm.hmm_range_wait_until_valid(item)
            pfn = hmm.hmm_range_fault(item, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                hmm.hmm_range_unregister(item)
                return pfn
            with self.lock:
                valid = hmm.hmm_range_valid(item)
                if valid:
                    self.page_table.map(va, pfn, write)
            if valid:
                hmm.hmm_range_unregister(item)
                with atomic:
                    frame_touch(frames[pfn], False)
                return 0
