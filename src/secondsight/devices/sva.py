"""Shared virtual addressing: a device that walks the process's page tables itself, with two TLBs, and a queue of page requests.

There is no table of the driver's: the IOMMU looks into the CPU's, and keeps what it found in its IOTLB; the device asks the IOMMU, and keeps
the answer in a TLB of its own (the ATC, of PCIe's Address Translation Services). So a translation is looked for

    in the device's TLB -> in the IOTLB -> in the process's page table -> a page request, which the driver answers

and an entry stays in either TLB until it is invalidated. The pattern is that of drivers/iommu/intel/svm.c, drivers/iommu/amd/pasid.c and
drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-sva.c (Linux 6.12): `arch_invalidate_secondary_tlbs` empties the IOTLB, then the device's TLB, and waits
for each; `release` takes the page table away from the IOMMU, for with it the subscription ends before the entries go. Page requests are answered by a
worker (drivers/iommu/iommu-sva.c, iommu_sva_handle_mm()).

What is hardware here: `Tlb`, `access` and the queue. An invalidation takes time: the hardware does it at once, or when it is waited for; a DMA that is
under way meanwhile is one that still finds its entry. A page of which the device has only read is asked for again before it writes to it, and the
IOMMU sets the dirty bit of the entry then. Left out: entries that vanish by themselves, or are fetched before they are needed (hides nothing: what
stays is what is wrong); PASIDs beside each other; more than one worker; a request that is answered by an error for a whole group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import DEVICE_FAULT, Device, DeviceEntry, DevicePageTable
from secondsight.lang import Array, Bits, Char, Errno, Record, Ref, atomic, choose, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.device import device_read, device_write
from secondsight.linux.errno import EBADF, EFAULT, EINVAL
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_ERROR, handle_mm_fault
from secondsight.linux.mm_types import Folio, Mm, PageBits, Pgoff, Result, Va, VaEnd
from secondsight.linux.pgtable import pte_present
from secondsight.linux.sched_mm import mmget_not_zero, mmput
from secondsight.linux.swapops import swap_slots

__all__ = ["PageRequest", "Sva", "Tlb"]


class Tlb(Record):
    """A TLB of hardware's. `queued`: the pages whose invalidation was asked for, and has not been done."""

    entries: Array[DeviceEntry, Literal["pages"]]
    queued: PageBits

    @atomic
    def invalidate(self, start: Va, end: VaEnd) -> None:
        """Put an invalidation into the hardware's queue. It is done now, or when it is waited for."""
        self.queued |= Bits(range(start, end))
        if choose(2) == 1:
            self.wait()

    @atomic
    def wait(self) -> None:
        """Wait until the hardware has done what is queued. It spins, as interrupts are off: no sleep."""
        for va in range(len(self.entries)):
            if va in self.queued:
                self.entries[va].frame = None
                self.entries[va].writable = False
        self.queued = Bits()

    @atomic
    def holds(self, va: Va, write: bool) -> Ref[Folio]:
        """The frame that is cached for such an access; None: there is none."""
        entry = self.entries[va]
        return entry.frame if entry.writable or not write else None

    @atomic
    def fill(self, va: Va, frame: Folio, write: bool) -> None:
        """Keep what was found."""
        self.entries[va].frame = frame
        self.entries[va].writable = write


class PageRequest(Record):
    """A page request of the device's. `page`: which page, and one; 0: the place is free. `answered`: with `error`."""

    page: VaEnd
    write: bool
    taken: bool
    answered: bool
    error: Errno


class Sva(Device):
    """Right. `page_table` has no entries here, but whether the device was given the process's (its PASID entry)."""

    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    bound: bool
    iotlb: Tlb
    device_tlb: Tlb
    requests: Array[PageRequest, Literal[2]]
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
        wait_until(all(request.page == 0 for request in self.requests))
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

    def fault(self, va: Va, write: bool) -> Errno:
        """The hardware queues a page request, and waits for the answer. Where the queue is full, until it is not."""
        place = 0
        with atomic:
            wait_until(self.page_table.disabled or any(request.page == 0 for request in self.requests))
            if self.page_table.disabled:
                return -EBADF
            while self.requests[place].page != 0:
                place += 1
            self.requests[place].page = va + 1
            self.requests[place].write = write
        with atomic:
            wait_until(self.requests[place].answered)
            error = self.requests[place].error
            self.requests[place].page = 0
            self.requests[place].write = False
            self.requests[place].taken = False
            self.requests[place].answered = False
            self.requests[place].error = 0
        return error

    def work(self) -> None:
        """iommu_sva_handle_iopf(): the worker takes one page request after the other."""
        while True:
            with atomic:
                wait_until(any(request.page != 0 and not request.taken for request in self.requests))
                place = 0
                while self.requests[place].page == 0 or self.requests[place].taken:
                    place += 1
                self.requests[place].taken = True
                va: Va = self.requests[place].page - 1
                write = self.requests[place].write
            error = self.handle(va, write)
            with atomic:
                self.requests[place].error = error
                self.requests[place].answered = True

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

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        """The translation and the access, in one step: the contents (0 for a write), `DEVICE_FAULT`, or -EBADF."""
        frame = self.device_tlb.holds(va, write)
        if frame is None:
            frame = self.translate(va, write)
            if frame is None:
                return -EBADF if self.page_table.disabled or not self.bound else DEVICE_FAULT
            self.device_tlb.fill(va, frame, write)
        if write:
            device_write(self, va, frame, value)
            return 0
        return device_read(self, va, frame)

    @atomic
    def translate(self, va: Va, write: bool) -> Ref[Folio]:
        """The IOMMU's part: the IOTLB, or the page table of the process. None: a page request is needed, or nothing was bound."""
        if self.page_table.disabled or not self.bound:
            return None
        frame = self.iotlb.holds(va, write)
        if frame is not None:
            return frame
        mm = self.notifier.mm
        assert mm is not None
        pte = mm.ptes[va]
        frame = pte_present(pte)
        if frame is None or (write and not pte.writable):
            return None
        if len(swap_slots) > 0:
            if write:
                pte.dirty = True
        self.iotlb.fill(va, frame, write)
        return frame
