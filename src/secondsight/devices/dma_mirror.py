"""A mirror behind an IOMMU: two tables in series, of which the driver keeps one, and the kernel's DMA layer the other.

The pattern of drivers/infiniband/core/umem_odp.c and drivers/infiniband/hw/mlx5/odp.c (Linux 6.12): the fault collects a page, maps it for the device
(dma_map_page) and enters the number; the callback takes the entry out of the device's table, empties the device's TLB, and unmaps then
(dma_unmap_page). In this order: the IOMMU refuses what the device still asks for, and may, flushed lazily, let it through for a while.

A page that the device has for reading, and shall write, keeps its number; what it may do is in the device's table alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.device import DevicePageTable
from secondsight.devices.dma_device import DmaDevice
from secondsight.lang import Errno, Mutex
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dma_iommu import Iova, iommu_dma_init_fq, iommu_dma_map_page, iommu_dma_unmap_page
from secondsight.linux.errno import EBADF, EBUSY
from secondsight.linux.mm_types import Mm, Pfn, Pgoff, Va, VaEnd
from secondsight.linux.page_alloc import frames
from secondsight.linux.page_writeback import set_page_dirty

__all__ = ["DmaMirror", "DmaMirrorLazy"]


class DmaMirror(DmaDevice):
    """Right, whether the IOMMU is flushed at once or lazily."""

    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    closed: bool
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1, "iovas": 3}

    def fault(self, va: Va, write: bool) -> Errno:
        """pagefault_real_mr(), ib_umem_odp_map_dma_and_lock()."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                if self.closed:
                    return -EBADF
                self.map(va, pfn, write)
                return 0

    def map(self, va: Va, pfn: Pfn, write: bool) -> None:
        """ib_umem_odp_map_dma_single_page(), and the device's entry. Under the lock."""
        iova = self.table[va].iova
        writable = write or self.table[va].writable
        if iova == 0:
            iova = iommu_dma_map_page(self.domain, frames[pfn])
        self.enter(va, iova, writable)
        if write:
            set_page_dirty(pfn)

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        """mlx5_ib_invalidate_range()."""
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.drop(rng.start, rng.end)
        self.lock.unlock()
        return True

    def drop(self, start: Va, end: VaEnd) -> None:
        """Under the lock: what changes goes out of the device's table, out of its TLB, and out of the IOMMU."""
        for va in range(start, end):
            iova = self.table[va].iova
            if iova != 0:
                self.take_out(va, iova)

    def take_out(self, va: Va, iova: Iova) -> None:
        """One page."""
        self.enter(va, 0, False)
        self.flush_tlb(va, va + 1)
        iommu_dma_unmap_page(self.domain, iova)

    def close(self) -> None:
        """ib_umem_odp_release(), after the device was stopped."""
        self.page_table.disable()
        with self.lock:
            self.closed = True
            self.drop(0, len(self.table))
        mn.mmu_interval_notifier_remove(self.notifier)


class DmaMirrorLazy(DmaMirror):
    """The same behind an IOMMU that is flushed lazily."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        iommu_dma_init_fq(self.domain)
        return DmaMirror.open(self, mm, start, length)
