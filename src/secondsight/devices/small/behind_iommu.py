"""Devices with an IOMMU before their memory, whose drivers leave to it what they have to do themselves, or let it come too late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.dma_device import DmaDevice
from secondsight.devices.dma_mirror import DmaMirror, DmaMirrorLazy
from secondsight.devices.small.pinning import Pins
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dma_iommu import (
    Iova,
    free_iova_fast,
    iommu_dma_map_page,
    iommu_dma_unmap_page,
    iommu_iotlb_sync,
    iommu_unmap_fast,
)
from secondsight.linux.gup import unpin_folio
from secondsight.linux.mm_types import Pfn, Va, VaEnd
from secondsight.linux.page_alloc import frames

__all__ = [
    "ClosesMapped",
    "ForgetsItsTlb",
    "ReturnsBeforeTheFlush",
    "UnmapsAgain",
    "UnmapsBeforeItStops",
    "UnmapsThenUnpins",
    "UnpinsBeforeTheSync",
]


class ForgetsItsTlb(DmaMirror):
    """Unmaps at the IOMMU, and leaves what the device's own TLB has: the IOMMU refuses the number, or has another page under it by then."""

    def take_out(self, va: Va, iova: Iova) -> None:
        self.enter(va, 0, False)
        iommu_dma_unmap_page(self.domain, iova)


class ReturnsBeforeTheFlush(DmaMirrorLazy):
    """The same behind an IOMMU that is flushed lazily: the device finds the old page until the timer comes, long after the callback has returned."""

    def take_out(self, va: Va, iova: Iova) -> None:
        self.enter(va, 0, False)
        iommu_dma_unmap_page(self.domain, iova)


class UnmapsBeforeItStops(DmaMirror):
    """Unmaps at the IOMMU first: until the device's table and TLB are empty, it asks for what the IOMMU refuses, and its access is lost."""

    def take_out(self, va: Va, iova: Iova) -> None:
        iommu_dma_unmap_page(self.domain, iova)
        self.enter(va, 0, False)
        self.flush_tlb(va, va + 1)


class ClosesMapped(DmaMirror):
    """The device is off when it is closed: what should there be to unmap?"""

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            self.closed = True
        mn.mmu_interval_notifier_remove(self.notifier)


class UnmapsAgain(DmaMirror):
    """Unmaps all that is named, whether it is mapped or not."""

    def drop(self, start: Va, end: VaEnd) -> None:
        for va in range(start, end):
            iova = self.table[va].iova
            self.take_out(va, iova)


class UnmapsThenUnpins(DmaDevice, Pins):
    """Right: pins what it maps until it is closed. It unmaps all, flushes the IOTLB once, and unpins then: unmap_unpin_fast(), vfio_sync_unpin()
    (drivers/vfio/vfio_iommu_type1.c). Nobody stops the device: the IOMMU refuses what it asks for."""

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "iovas": 3}

    def give(self, va: Va, pfn: Pfn) -> None:
        """Map the page for the device, and enter the number."""
        iova = iommu_dma_map_page(self.domain, frames[pfn])
        self.enter(va, iova, True)

    def close(self) -> None:
        with self.lock:
            self.closed = True
            for va in range(len(self.pinned)):
                if self.pinned[va] is not None:
                    iommu_unmap_fast(self.domain, self.table[va].iova)
            self.sync_unpin()

    def sync_unpin(self) -> None:
        """vfio_sync_unpin()."""
        for va in range(len(self.pinned)):
            if self.pinned[va] is not None:
                iommu_iotlb_sync(self.domain, self.table[va].iova)
                self.unpin_one(va)

    def unpin_one(self, va: Va) -> None:
        """The number is free, and the page is the process's alone again."""
        free_iova_fast(self.domain, self.table[va].iova)
        folio = self.pinned[va]
        assert folio is not None
        self.pinned[va] = None
        unpin_folio(folio)


class UnpinsBeforeTheSync(UnmapsThenUnpins):
    """Unpins as it unmaps: the page is free, and the IOTLB has it still."""

    def sync_unpin(self) -> None:
        for va in range(len(self.pinned)):
            if self.pinned[va] is not None:
                self.unpin_one(va)
                iommu_iotlb_sync(self.domain, self.table[va].iova)
