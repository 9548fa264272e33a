"""drivers/iommu/dma-iommu.c: numbers that a device uses for pages (IOVAs), where an IOMMU stands between it and memory.

    iova = iommu_dma_map_page(domain, frame)     dma_map_page(): a free number, and an entry in the IOMMU's page table
    iommu_dma_unmap_page(domain, iova)           dma_unmap_page(): the entry goes, and the number is free

The IOMMU keeps what it found in its page table in its IOTLB. When an entry goes, what the IOTLB has of it is flushed

    strict      before iommu_dma_unmap_page() returns (iommu_iotlb_sync())
    lazily      later, with all others that have gone meanwhile: by a timer, 10 ms after the first (fq_flush_timeout()). Until then a device
                that uses the number finds the page that was there. The number is no other page's before that (`queued`, the flush queue)

Which it is, is the domain's (`iommu.strict=`, or /sys/kernel/iommu_groups/N/type), and no driver's. So a driver stops its device first.

A number that is free again is the next one's, as from the allocator's caches: whoever still uses it finds another's page at once.

Left out: directions (all is DMA_BIDIRECTIONAL), bounce buffers, several pages in one mapping, a full flush queue (may hide nothing: the timer may
come at any moment), a flush that goes on while something is queued (one step), entries that the IOTLB loses by itself, the IOMMU's caches of page tables.
Numbers do not run out: where the machine has none left, the timer has come.
"""

from __future__ import annotations

from typing import Annotated, Literal

from secondsight.lang import Array, Bits, End, Record, Ref, atomic, bound, choose, milestone, out_of_records, require
from secondsight.linux.mm_types import Folio

__all__ = [
    "Iova",
    "IommuDomain",
    "fq_flush_timeout",
    "free_iova_fast",
    "iommu_dma_init_fq",
    "iommu_dma_map_page",
    "iommu_dma_unmap_page",
    "iommu_iotlb_sync",
    "iommu_unmap_fast",
    "iova_is_mapped",
    "translate",
]

bound("iovas", most=8)

Iova = Annotated[int, End("iovas")]
"""A number that a device uses for a page; 0: none, as the kernel's allocator never gives out the first."""
IovaBits = Bits[Literal["iovas"]]
"""A set of them, each less by one."""


class IommuDomain(Record):
    """struct iommu_domain, with its iommu_dma_cookie. `entries`: the IOMMU's page table, by the number less one. `iotlb`: what it keeps of that.
    `allocated`: the numbers that are not free. `lazy`: there is a flush queue (`fq_domain`), in which `queued` wait."""

    entries: Array[Ref[Folio], Literal["iovas"]]
    iotlb: Array[Ref[Folio], Literal["iovas"]]
    allocated: IovaBits
    lazy: bool
    queued: IovaBits


@atomic
def iommu_dma_init_fq(domain: IommuDomain) -> None:
    """iommu_dma_init_fq() (drivers/iommu/dma-iommu.c, Linux 6.12): from now on the domain is flushed lazily."""
    domain.lazy = True


@atomic
def fq_flush_timeout(domain: IommuDomain) -> None:
    """fq_flush_timeout(), fq_flush_iotlb(), fq_ring_free() (drivers/iommu/dma-iommu.c, Linux 6.12): the IOTLB is empty, and what waited for that is free."""
    for place in range(len(domain.iotlb)):
        domain.iotlb[place] = None
    domain.allocated -= domain.queued
    domain.queued = Bits()


@atomic
def timer_may_have_come(domain: IommuDomain) -> None:
    """Where it can be seen: whether the timer's flush has been meanwhile. It may come at any moment, and nothing else looks at what it does."""
    if domain.queued:
        if choose(2) == 1:
            fq_flush_timeout(domain)


@atomic
def iommu_dma_alloc_iova(domain: IommuDomain) -> Iova:
    """iommu_dma_alloc_iova() (drivers/iommu/dma-iommu.c, Linux 6.12): a free number."""
    timer_may_have_come(domain)
    if len(domain.allocated) == len(domain.entries):
        fq_flush_timeout(domain)
    for place in range(len(domain.entries)):
        if place not in domain.allocated:
            domain.allocated |= {place}
            return place + 1
    out_of_records("iovas")
    return 0


@milestone
@atomic
def iommu_dma_map_page(domain: IommuDomain, frame: Folio) -> Iova:
    """iommu_dma_map_page(), __iommu_dma_map() (drivers/iommu/dma-iommu.c, Linux 6.12): the number by which the device may use the page from now on.
    It takes no reference to the page."""
    iova = iommu_dma_alloc_iova(domain)
    domain.entries[iova - 1] = frame
    return iova


@milestone
def iommu_dma_unmap_page(domain: IommuDomain, iova: Iova) -> None:
    """iommu_dma_unmap_page(), __iommu_dma_unmap() (drivers/iommu/dma-iommu.c, Linux 6.12): the device may not use the number any more.

    The caller holds whatever it likes, and nobody sleeps.
    """
    iommu_unmap_fast(domain, iova)
    if not domain.lazy:
        iommu_iotlb_sync(domain, iova)
        free_iova_fast(domain, iova)
    else:
        queue_iova(domain, iova)


@atomic
def iommu_unmap_fast(domain: IommuDomain, iova: Iova) -> None:
    """iommu_unmap_fast() (drivers/iommu/iommu.c, Linux 6.12): the entry goes out of the page table, and out of the IOTLB when it is flushed.

    iommu_dma_unmap_page() warns of a number that has no entry, and does nothing; here it is the broken rule `not-mapped`.
    """
    require(iova_is_mapped(domain, iova), "not-mapped", "unmaps a page of the device's (dma_unmap_page) that is not mapped")
    domain.entries[iova - 1] = None


@atomic
def iova_is_mapped(domain: IommuDomain, iova: Iova) -> bool:
    """iommu_iova_to_phys() (drivers/iommu/iommu.c, Linux 6.12): whether there is a page."""
    return iova > 0 and domain.entries[iova - 1] is not None


@atomic
def iommu_iotlb_sync(domain: IommuDomain, iova: Iova) -> None:
    """iommu_iotlb_sync() (include/linux/iommu.h, Linux 6.12): the IOTLB has nothing more of it, and no access by it is under way."""
    domain.iotlb[iova - 1] = None


@atomic
def free_iova_fast(domain: IommuDomain, iova: Iova) -> None:
    """free_iova_fast() (drivers/iommu/iova.c, Linux 6.12): the number is free."""
    domain.allocated -= {iova - 1}


@atomic
def queue_iova(domain: IommuDomain, iova: Iova) -> None:
    """queue_iova() (drivers/iommu/dma-iommu.c, Linux 6.12): the number is free when the IOTLB has been flushed."""
    domain.queued |= {iova - 1}


@atomic
def translate(domain: IommuDomain, iova: Iova) -> Ref[Folio]:
    """The hardware: the page that a device's access finds by a number, in the IOTLB or in the page table. None: the access is refused."""
    timer_may_have_come(domain)
    frame = domain.iotlb[iova - 1]
    if frame is None:
        frame = domain.entries[iova - 1]
        domain.iotlb[iova - 1] = frame
    return frame
