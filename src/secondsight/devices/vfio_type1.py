"""VFIO's type 1 IOMMU: a device whose memory is pinned for as long as it is mapped, and counted as locked.

    map_dma(va)      VFIO_IOMMU_MAP_DMA: pin_user_pages_remote(FOLL_WRITE | FOLL_LONGTERM), count, enter into the IOMMU's table
    unmap_dma(va)    VFIO_IOMMU_UNMAP_DMA: out of the IOMMU's table, unpin, count no more

The pattern of drivers/vfio/vfio_iommu_type1.c (vfio_pin_pages_remote(), vfio_lock_acct(), vfio_unmap_unpin()), of which parts were read, not
the file of one release. It subscribes to nothing: what the process does with its mapping later is nothing to it, so who maps sees to it that both stay the same (`vmm`).

`fault` stands for a VMM that maps what its guest's device will use, here when it is used first. Left out: several pages at a time, and
containers with several domains; that the IOMMU's own TLB is flushed before pages are unpinned (one step with the entry).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import Device, DevicePageTable, Promise
from secondsight.lang import Array, Errno, Mutex, Ref
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EFAULT, ENOENT
from secondsight.linux.gup import (
    FOLL_LONGTERM,
    FOLL_PIN,
    FOLL_WRITE,
    pin_user_pages_remote,
    unpin_folio,
    unpin_user_page_range_dirty_lock,
)
from secondsight.linux.mm_types import Flags, Folio, Mm, Pfn, Pgoff, Range, Va
from secondsight.linux.page_alloc import frames
from secondsight.linux.sched_mm import mmget_not_zero, mmput
from secondsight.linux.util import account_locked_vm

__all__ = ["VfioIgnoresItsLimit", "VfioType1", "VfioUncounted", "VfioUncountsNothing", "VfioUnpinsFirst", "VfioWithoutLongterm"]


class VfioType1(Device):
    """Right: pinned where it may stay, counted, out of the table before it is unpinned."""

    promise: ClassVar[Promise] = "pinned"
    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    pinned: Array[Ref[Folio], Literal["pages"]]
    closed: bool
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "memlock": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return 0

    def fault(self, va: Va, write: bool) -> Errno:
        mm = self.notifier.mm
        assert mm is not None
        alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        ret = self.map_dma(mm, va)
        mmput(mm)
        return ret

    def map_dma(self, mm: Mm, va: Va) -> Errno:
        """vfio_dma_do_map() of one page: 0; -EFAULT; -ENOMEM: it cannot be moved to where it may stay, or RLIMIT_MEMLOCK."""
        with self.lock:
            if self.closed:
                return -ENOENT
            if self.pinned[va] is not None:
                return 0
            mm.mmap_lock.read_lock()
            pfn = self.pin(mm, va)
            mm.mmap_lock.read_unlock()
            if pfn < 0:
                return pfn
            ret = self.lock_acct(mm, 1, True)
            if ret != 0:
                unpin_folio(frames[pfn])
                return ret
            self.pinned[va] = frames[pfn]
            self.page_table.map(va, pfn, True)
            return 0

    def pin(self, mm: Mm, va: Va) -> Pfn:
        """vaddr_get_pfns(), of one page."""
        return pin_user_pages_remote(mm, va, LONG)

    def lock_acct(self, mm: Mm, pages: Pgoff, inc: bool) -> Errno:
        """vfio_lock_acct()."""
        return account_locked_vm(mm, pages, inc)

    def unmap_dma(self, mm: Mm, va: Va) -> None:
        """vfio_dma_do_unmap() of one page, which need not be mapped."""
        with self.lock:
            self.unmap(mm, va)

    def unmap(self, mm: Mm, va: Va) -> None:
        """vfio_unmap_unpin(), put_pfn(). Under `lock`."""
        folio = self.pinned[va]
        if folio is not None:
            self.pinned[va] = None
            self.page_table.unmap(Range(va, va + 1, mn.Event.UNMAP, True))
            unpin_user_page_range_dirty_lock(folio)
            self.lock_acct(mm, 1, False)

    def close(self) -> None:
        mm = self.notifier.mm
        assert mm is not None
        with self.lock:
            self.closed = True
            for va in range(len(self.pinned)):
                self.unmap(mm, va)


LONG: Flags = FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM
SHORT: Flags = FOLL_PIN | FOLL_WRITE


class VfioWithoutLongterm(VfioType1):
    """Wrong: pins pages wherever they are."""

    def pin(self, mm: Mm, va: Va) -> Pfn:
        return pin_user_pages_remote(mm, va, SHORT)


class VfioUncounted(VfioType1):
    """Wrong: does not count."""

    def lock_acct(self, mm: Mm, pages: Pgoff, inc: bool) -> Errno:
        return 0


class VfioUncountsNothing(VfioType1):
    """Wrong: what it gives back stays counted."""

    def lock_acct(self, mm: Mm, pages: Pgoff, inc: bool) -> Errno:
        if not inc:
            return 0
        return account_locked_vm(mm, pages, inc)


class VfioIgnoresItsLimit(VfioType1):
    """Wrong: counts, and goes on where it may have no more (RLIMIT_MEMLOCK)."""

    def lock_acct(self, mm: Mm, pages: Pgoff, inc: bool) -> Errno:
        account_locked_vm(mm, pages, inc)
        return 0


class VfioUnpinsFirst(VfioType1):
    """Wrong: unpins while the IOMMU has the page still."""

    def unmap(self, mm: Mm, va: Va) -> None:
        folio = self.pinned[va]
        if folio is not None:
            self.pinned[va] = None
            unpin_folio(folio)
            self.page_table.unmap(Range(va, va + 1, mn.Event.UNMAP, True))
            self.lock_acct(mm, 1, False)
