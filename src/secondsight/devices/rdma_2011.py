"""An RDMA device that pages on demand, on a kernel of 2011: the 2011 thread's driver under the callbacks that it had (`linux/mmu_notifier_2011.py`).

    OdpIn2011           a reference in each callback, under a spinlock; the worker flushes, marks the page dirty, and drops the reference
    OdpAtOnceIn2011     flushes in the callback, which sleeps

What is found is told from what has changed since as KVM did it: the number of changes is read first, and looked at under the lock, with the number of ranges that are going.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import DevicePageTable, Promise
from secondsight.devices.kvm_main import hva_to_pfn
from secondsight.devices.small.vcpu import Vcpu
from secondsight.lang import Array, Errno, Ref, SpinLock, atomic, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EAGAIN, EFAULT
from secondsight.linux.mm_types import Event, Folio, Mm, Range, Va, VaEnd
from secondsight.linux.page_alloc import get_page, is_zero_page, put_page
from secondsight.linux.page_alloc_slowpath import might_sleep
from secondsight.linux.page_writeback import folio_mark_dirty
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["OdpAtOnceIn2011", "OdpIn2011"]


class OdpIn2011(Vcpu):
    """The thread's plan. `kept` are the pages whose entries are out of date, each with a reference."""

    promise: ClassVar[Promise] = "mirror"
    mmu_lock: SpinLock
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    kept: Array[Ref[Folio], Literal["pages"]]
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "mmu_notifiers": 1, "non_blocks": 3}

    def fault(self, va: Va, write: bool) -> Errno:
        """The page, then a look at the numbers under the lock."""
        with atomic:
            mm = self.notifier.mm
            alive = mmget_not_zero(mm)
            assert mm is not None
        if not alive:
            return -EFAULT
        ret = -EAGAIN
        while ret == -EAGAIN:
            seq = self.invalidate_seq
            pfn = hva_to_pfn(mm, va, write)
            ret = pfn if pfn < 0 else 0
            if pfn >= 0:
                with self.mmu_lock:
                    with atomic:
                        if self.again(seq):
                            ret = -EAGAIN
                        else:
                            self.flush_page(va)
                            self.page_table.map(va, pfn, write)
        mmput(mm)
        return ret

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        with self.mmu_lock:
            self.in_progress += 1
            self.changed(rng.start, rng.end)
        self.flushed()
        return 0

    def invalidate_page(self, mm: Mm, address: Va) -> None:
        with self.mmu_lock:
            self.invalidate_seq += 1
            self.changed(address, address + 1)
        self.flushed()

    def release(self, mm: Mm) -> None:
        """The process goes: the device is stopped."""
        self.page_table.disable()
        self.flushed()

    def flushed(self) -> None:
        """Where a flush in the callback is waited for."""

    @atomic
    def changed(self, start: Va, end: VaEnd) -> None:
        """Take a reference to each page that the device still uses. The zero page is nobody's: it is flushed. Under the lock."""
        for va in range(start, end):
            frame = self.page_table.entries[va].frame
            if frame is not None and self.kept[va] is None:
                if is_zero_page(frame):
                    self.flush_page(va)
                else:
                    get_page(frame)
                    self.kept[va] = frame

    @atomic
    def flush_page(self, va: Va) -> None:
        """The device uses the page no more; what it has written is marked, and then the reference is dropped. Under the lock."""
        frame = self.page_table.entries[va].frame
        if frame is not None:
            written = self.page_table.entries[va].writable
            self.page_table.unmap(Range(va, va + 1, Event.CLEAR, True))
            if written:
                folio_mark_dirty(frame)
            if self.kept[va] is not None:
                self.kept[va] = None
                put_page(frame)

    def work(self) -> None:
        while True:
            wait_until(any(frame is not None for frame in self.kept))
            with self.mmu_lock:
                self.flush_kept()

    @atomic
    def flush_kept(self) -> None:
        """All that was put off."""
        for va in range(len(self.kept)):
            if self.kept[va] is not None:
                self.flush_page(va)

    def close(self) -> None:
        Vcpu.close(self)
        with self.mmu_lock:
            with atomic:
                for va in range(len(self.kept)):
                    self.flush_page(va)


class OdpAtOnceIn2011(OdpIn2011):
    """What umem_odp.c does today (`rdma_odp.OdpAtOnce`), in callbacks that may not sleep."""

    @atomic
    def changed(self, start: Va, end: VaEnd) -> None:
        for va in range(start, end):
            self.flush_page(va)

    def flushed(self) -> None:
        """The device says that it is done after tens of milliseconds."""
        might_sleep()
