"""What a device is that has memory behind an IOMMU: a page table of its own, with a TLB, in which are numbers (IOVAs), and the IOMMU's, with another.

    address -> the device's TLB, or its table -> IOVA -> the IOTLB, or the IOMMU's page table -> page

The driver keeps the device's table, and empties its TLB; the IOMMU's is the kernel's (`linux/dma_iommu`). An access for which the device has no entry is
a fault, which the driver answers. One that the IOMMU refuses is lost: the device gets an error, and no driver is asked.

An access that is under way when a TLB is flushed is over when the flush is.
"""

from __future__ import annotations

from typing import Literal

from secondsight.devices.device import DEVICE_FAULT, Device, access_failed
from secondsight.lang import Array, Char, Record, atomic
from secondsight.linux.device import device_read, device_write
from secondsight.linux.dma_iommu import IommuDomain, Iova, translate
from secondsight.linux.errno import EBADF, EIO
from secondsight.linux.mm_types import Result, Va, VaEnd

__all__ = ["DmaDevice", "DmaEntry"]


class DmaEntry(Record):
    """An entry of the device's table, or of its TLB. `iova` 0: not present."""

    iova: Iova
    writable: bool


class DmaDevice(Device):
    """The hardware. Of the table that every device has it is only told by whether it is off (`page_table.disabled`)."""

    table: Array[DmaEntry, Literal["pages"]]
    tlb: Array[DmaEntry, Literal["pages"]]
    domain: IommuDomain

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        """Both walks and the access, in one step: the contents (0 for a write), `DEVICE_FAULT`, -EBADF, or -EIO from the IOMMU."""
        if self.page_table.disabled:
            return -EBADF
        iova = self.lookup(va, write)
        if iova == 0:
            return DEVICE_FAULT
        frame = translate(self.domain, iova)
        if frame is None:
            access_failed(self, va, write, -EIO)
            return -EIO
        if write:
            device_write(self, va, frame, value)
            return 0
        return device_read(self, va, frame)

    @atomic
    def lookup(self, va: Va, write: bool) -> Iova:
        """The number for such an access; 0: there is none."""
        entry = self.tlb[va]
        if entry.iova == 0 or (write and not entry.writable):
            entry.iova = self.table[va].iova
            entry.writable = self.table[va].writable
        return entry.iova if entry.writable or not write else 0

    @atomic
    def enter(self, va: Va, iova: Iova, write: bool) -> None:
        """The driver puts an entry into the device's table."""
        self.table[va].iova = iova
        self.table[va].writable = write

    @atomic
    def flush_tlb(self, start: Va, end: VaEnd) -> None:
        """The driver empties the device's TLB, and waits for that: it spins."""
        for va in range(start, end):
            self.tlb[va].iova = 0
            self.tlb[va].writable = False

    @atomic
    def dma_mappings(self) -> bool:
        kept = self.domain.allocated - self.domain.queued
        return len(kept) > 0
