"""What a device needs to walk a process's page tables itself: an IOMMU with its TLB, a TLB of the device's own, and a queue of page requests.

The IOMMU looks into the CPU's page table, and keeps what it found in its IOTLB; the device asks the IOMMU, and keeps the answer in a TLB of its own (the
ATC, of PCIe's Address Translation Services). So a translation is looked for

    in the device's TLB -> in the IOTLB -> in the process's page table -> a page request, which the driver answers

and an entry stays in either TLB until it is invalidated. An invalidation takes time: the hardware does it at once, or when it is waited for; a DMA that
is under way meanwhile is one that still finds its entry. A page of which the device has only read is asked for again before it writes to it, and the
IOMMU sets the dirty bit of the entry then.

Left out: entries that vanish by themselves, or are fetched before they are needed (what stays is what is wrong); caches of page tables; several PASIDs;
requests that are answered as a group.
"""

from __future__ import annotations

from typing import Literal

from secondsight.devices.device import DEVICE_FAULT, Device, DeviceEntry
from secondsight.lang import Array, Bits, Char, Errno, Record, Ref, atomic, choose, wait_until
from secondsight.linux.device import device_read, device_write
from secondsight.linux.errno import EBADF
from secondsight.linux.mm_types import Count, Folio, PageBits, Result, Va, VaEnd
from secondsight.linux.pgtable import pte_present
from secondsight.linux.swapops import swap_slots

__all__ = ["PageRequest", "PageRequests", "TranslationCache", "WalkingDevice"]


class TranslationCache(Record):
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


class PageRequests(Record):
    """The queue of page requests (PRI). Where it is full, the hardware waits."""

    asked: Array[PageRequest, Literal[2]]

    @atomic
    def put(self, va: Va, write: bool) -> Count:
        """Queue a request: its place."""
        wait_until(any(request.page == 0 for request in self.asked))
        place = 0
        while self.asked[place].page != 0:
            place += 1
        self.asked[place].page = va + 1
        self.asked[place].write = write
        return place

    @atomic
    def result(self, place: Count) -> Errno:
        """Wait for the answer; the place is free again."""
        request = self.asked[place]
        wait_until(request.answered)
        error = request.error
        request.page = 0
        request.write = False
        request.taken = False
        request.answered = False
        request.error = 0
        return error

    @atomic
    def take(self) -> Count:
        """For the driver's worker: wait for a request; its place."""
        wait_until(any(request.page != 0 and not request.taken for request in self.asked))
        place = 0
        while self.asked[place].page == 0 or self.asked[place].taken:
            place += 1
        self.asked[place].taken = True
        return place

    @atomic
    def answer(self, place: Count, error: Errno) -> None:
        """Answer a request: 0, the device may try again, or an error."""
        self.asked[place].error = error
        self.asked[place].answered = True

    @atomic
    def wait(self) -> None:
        """Wait until every request is answered."""
        wait_until(all(request.page == 0 or request.answered for request in self.asked))


class WalkingDevice(Device):
    """The hardware. `bound`: the driver has given the process's page table to the IOMMU (the PASID entry), and not taken it away (`page_table.disabled`);
    the device's own page table has nothing else. The driver's worker answers page requests."""

    bound: bool
    iotlb: TranslationCache
    device_tlb: TranslationCache
    requests: PageRequests

    def walks_page_tables(self) -> bool:
        return True

    def fault(self, va: Va, write: bool) -> Errno:
        """The hardware queues a page request, and waits for the answer; nothing is asked of what was taken away."""
        with atomic:
            if self.page_table.disabled:
                return -EBADF
            place = self.requests.put(va, write)
        return self.requests.result(place)

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
