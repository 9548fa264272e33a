"""Shared virtual addressing: a device that walks the process's page tables itself (`iommu` is its hardware).

There is no table of the driver's: what it has to do is to flush TLBs, and to answer page requests. The pattern is that of
drivers/iommu/intel/svm.c, drivers/iommu/amd/pasid.c and drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-sva.c (Linux 6.12):
`arch_invalidate_secondary_tlbs` empties the IOTLB, then the device's TLB, and waits for each; `release` takes the page table away from the
IOMMU, for with it the subscription ends before the entries go. Page requests are answered by a worker (drivers/iommu/iommu-sva.c,
iommu_sva_handle_mm()). Left out: more than one worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.device import DevicePageTable
from secondsight.devices.iommu import WalkingDevice
from secondsight.lang import Errno, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EFAULT, EINVAL
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_ERROR, handle_mm_fault
from secondsight.linux.mm_types import Mm, Pgoff, Va, VaEnd
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["Sva"]


class Sva(WalkingDevice):
    """Right."""

    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "mmu_notifiers": 1, "secondary_tlbs": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """iommu_sva_bind_device(): subscribe, then give the process's page table to the IOMMU."""
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        ret = mn.mmu_notifier_register(self, mm)
        if ret == 0:
            self.bound = True
        mmput(mm)
        return ret

    def close(self) -> None:
        """iommu_sva_unbind_device(): take the page table away, wait for the page requests, unsubscribe."""
        self.detach()
        self.requests.wait()
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        mn.mmu_notifier_unregister(self, mm)

    def release(self, mm: Mm) -> None:
        """intel_mm_release(): the page tables go, and nobody says anything of it any more."""
        self.detach()

    def detach(self) -> None:
        """intel_pasid_tear_down_entry(): the IOMMU translates nothing any more, and nothing is left in the TLBs."""
        self.page_table.disable()
        self.flush(0, len(self.iotlb.entries))

    def arch_invalidate_secondary_tlbs(self, mm: Mm, start: Va, end: VaEnd) -> None:
        """intel_arch_invalidate_secondary_tlbs(), cache_tag_flush_range()."""
        self.flush(start, end)

    def flush(self, start: Va, end: VaEnd) -> None:
        """The IOTLB first: the device's TLB is filled from there."""
        self.iotlb.invalidate(start, end)
        self.iotlb.wait()
        self.device_tlb.invalidate(start, end)
        self.device_tlb.wait()

    def work(self) -> None:
        """iommu_sva_handle_iopf(): the worker takes one page request after the other."""
        while True:
            place = self.requests.take()
            ret = self.handle(self.requests.asked[place].page - 1, self.requests.asked[place].write)
            self.requests.answer(place, ret)

    def handle(self, va: Va, write: bool) -> Errno:
        """iommu_sva_handle_mm(): the page fault, as if the process had made it."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        mm.mmap_lock.read_lock()
        ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE if write else 0)
        mm.mmap_lock.read_unlock()
        mmput(mm)
        return -EFAULT if ret & VM_FAULT_ERROR != 0 else 0
