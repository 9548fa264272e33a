"""mm/page_alloc.c, and the reference counting of include/linux/mm.h: frames and their free list.

A frame is free when its reference count is 0. The last `put_page` puts it on top of the free list and the next
`alloc_page` takes it from there, as the per-CPU lists do: so that a frame used after it was freed is soon somebody
else's. A freed frame keeps its contents; a new one is zeroed (user pages always are).

Frame 0 is the shared zero page: never allocated, never freed, its references not counted.

A machine may have a block of frames that have to stay movable (`mmzone`): pages of processes and files come from there first.

Left out: orders above that of a huge page, reclaim, failure. Running out of frames is a bound of the model, not -ENOMEM: may hide a
bug in a driver's handling of VM_FAULT_OOM.
"""

from __future__ import annotations

from typing import Final, Literal

from secondsight.lang import (
    U8,
    Array,
    Record,
    Ref,
    atomic,
    bound,
    milestone,
    out_of_records,
    require,
    shared,
    shared_array,
    tracepoint,
)
from secondsight.linux.highmem import clear_highpage
from secondsight.linux.hugetlb_pool import hstates
from secondsight.linux.mm_types import Count, Folio, Pfn, anon_vmas, completed_faults, huge_pages
from secondsight.linux.mmzone import in_pageblock, pageblocks

__all__ = [
    "ZERO_PFN",
    "Zone",
    "alloc_huge_folio",
    "alloc_page",
    "alloc_unmovable_page",
    "folio_nr_pages",
    "folio_order",
    "folio_page",
    "folio_try_get",
    "frame_alloc",
    "frame_free",
    "frame_touch",
    "frames",
    "free_page",
    "get_page",
    "is_zero_page",
    "mem_init",
    "page_folio",
    "page_to_pfn",
    "put_page",
    "put_zone_device_page",
    "take_isolated_pages",
    "zone",
]

ZERO_PFN: Final = 0


FRAMES = bound("frames", least=4, most=16, usual=8)  # sets of frames are kept in bit masks
bound("quarantine")


class Zone(Record):
    """struct zone, struct per_cpu_pages: the free frames, the last freed on top.

    `quarantine` (in the manner of mm/kasan/quarantine.c, which keeps slab objects so): freed frames that are not to be
    used again soon, the oldest first. Ordinary machines have none (the bound is 0). Forced runs do: a real device whose
    driver is wrong keeps a reference to what it uses, lest it does harm, so a frame that it still uses is nobody else's.
    """

    free: Array[Ref[Folio], Literal["frames"]]
    nr_free: U8
    quarantine: Array[Ref[Folio], Literal["quarantine"]]


frames = shared_array(Folio, FRAMES)
zone = shared(Zone)


@tracepoint
def frame_alloc(frame: Folio) -> None:
    """A frame was allocated."""


@tracepoint
def frame_free(frame: Folio) -> None:
    """A frame's last reference is gone: it is free, or (device memory) removed."""


@tracepoint
def frame_touch(frame: Folio, write: bool) -> None:
    """The contents of a frame are about to be read or written, by a CPU, a device or a driver."""


def mem_init() -> None:
    """mm_core_init() (mm/mm_init.c, Linux 6.12): put every frame but the zero page on the free list, lowest on top.

    Part of setting a machine up; call it once, first.
    """
    frames[ZERO_PFN].refcount = 1
    for block in pageblocks:
        for k in range(len(block.folios)):
            block.folios[k] = frames[1 + k]
    zone.nr_free = len(frames) - 1
    for i in range(len(frames) - 1):
        zone.free[i] = frames[len(frames) - 1 - i]


@milestone
@atomic
def alloc_page() -> Folio:
    """alloc_page() (include/linux/gfp.h, Linux 6.12): the frame freed last, zeroed, with one reference.

    Left out: everything about where from and how hard to try; failure.
    """
    if len(pageblocks) > 0:
        rmqueue(True)
    if zone.nr_free == 0:
        out_of_records("frames")
    zone.nr_free -= 1
    frame = zone.free[zone.nr_free]
    assert frame is not None
    zone.free[zone.nr_free] = None
    frame.refcount = 1
    clear_highpage(frame)
    frame_alloc(frame)
    return frame


@milestone
@atomic
def alloc_unmovable_page() -> Folio:
    """alloc_page() (include/linux/gfp.h, Linux 6.12) without __GFP_MOVABLE: from no block that has to stay movable."""
    rmqueue(False)
    zone.nr_free -= 1
    frame = zone.free[zone.nr_free]
    assert frame is not None
    zone.free[zone.nr_free] = None
    frame.refcount = 1
    clear_highpage(frame)
    frame_alloc(frame)
    return frame


@milestone
@atomic
def alloc_huge_folio() -> Folio:
    """vma_alloc_folio(HPAGE_PMD_ORDER) (mm/mempolicy.c), prep_compound_page() (mm/page_alloc.c, Linux 6.12): two frames that are one folio,
    zeroed, with one reference. Left out: failure, on which a fault falls back to one page (may hide a bug there)."""
    folio = alloc_page()
    tail = alloc_page()
    tail.refcount = 0
    if len(huge_pages) > 0:
        folio.head[0] = folio
        folio.tail[0] = tail
        tail.head[0] = folio
    return folio


@atomic
def page_folio(page: Folio) -> Folio:
    """page_folio() (include/linux/page-flags.h, Linux 6.12): the folio that a page is part of, itself where it has one page."""
    if len(huge_pages) > 0:
        head = page.head[0]
        if head is not None:
            return head
    return page


@atomic
def folio_order(folio: Folio) -> Count:
    """folio_order() (include/linux/mm.h, Linux 6.12): 1 of a folio of two pages, else 0."""
    if len(huge_pages) > 0:
        return 0 if folio.tail[0] is None else 1
    return 0


@atomic
def folio_nr_pages(folio: Folio) -> Count:
    """folio_nr_pages() (include/linux/mm.h, Linux 6.12): one or two."""
    return 1 + folio_order(folio)


@atomic
def folio_page(folio: Folio, i: Count) -> Folio:
    """folio_page() (include/linux/page-flags.h, Linux 6.12): page `i` of a folio."""
    if len(huge_pages) > 0:
        tail = folio.tail[0]
        if i > 0 and tail is not None:
            return tail
    return folio


@atomic
def rmqueue(movable: bool) -> None:
    """get_page_from_freelist(), rmqueue() (mm/page_alloc.c, Linux 6.12): which free frame is taken comes to the top of the list. What
    may be moved (__GFP_MOVABLE) comes from the movable block as long as that has any and is not isolated.

    The kernel takes pages of CMA for movable memory when half of what is free is there; here at once.
    """
    at: U8 = 0
    best_inside = False
    for i in range(zone.nr_free):
        inside = in_pageblock(zone.free[i])
        if (not inside or (movable and not pageblocks[0].isolated)) and (at == 0 or inside or not best_inside):
            at = i + 1
            best_inside = inside
    if at == 0:
        out_of_records("frames")
    taken = zone.free[at - 1]
    for i in range(at, zone.nr_free):
        zone.free[i - 1] = zone.free[i]
    zone.free[zone.nr_free - 1] = taken


@atomic
def take_isolated_pages() -> None:
    """isolate_freepages_range() (mm/compaction.c), __offline_isolated_pages() (mm/page_alloc.c, Linux 6.12): the frames of the block, all of them
    free, are on the free list no more."""
    left: U8 = 0
    for i in range(len(zone.free)):
        frame = zone.free[i]
        zone.free[i] = None
        if frame is not None and not in_pageblock(frame):
            zone.free[left] = frame
            left += 1
    zone.nr_free = left


@atomic
def get_page(frame: Folio) -> None:
    """get_page() (include/linux/mm.h, Linux 6.12): one more reference to the page's folio; the caller knows that there is one."""
    folio = page_folio(frame)
    require(folio.refcount > 0, "use-after-free", "takes a reference to a free frame")
    folio.refcount += 1


@atomic
def folio_try_get(folio: Folio) -> bool:
    """folio_try_get() (include/linux/page_ref.h, Linux 6.12): one more reference, unless the folio is free."""
    whole = page_folio(folio)
    if whole.refcount == 0:
        return False
    whole.refcount += 1
    return True


@atomic
def put_page(frame: Folio) -> None:
    """put_page() (include/linux/mm.h, Linux 6.12): one reference less; the last one frees. Not for the zero page.

    Left out: the lists on which the kernel keeps frames for a while before they are free.
    """
    folio = page_folio(frame)
    require(folio.refcount > 0, "use-after-free", "drops a reference to a free frame")
    folio.refcount -= 1
    if folio.refcount == 0:
        if len(huge_pages) > 0:
            free_tail_page(folio)
        free_page(folio)


@atomic
def free_tail_page(folio: Folio) -> None:
    """__free_pages_prepare(), free_tail_page_prepare() (mm/page_alloc.c, Linux 6.12): the second page is free too, and neither is part of
    a folio any more."""
    tail = folio.tail[0]
    if tail is not None:
        folio.tail[0] = None
        folio.head[0] = None
        tail.head[0] = None
        if len(hstates) > 0:
            if folio.hugetlb[0]:  # free_huge_folio()
                folio.hugetlb[0] = False
                hstates[0].free_huge_pages += 1
                if len(folio.restore_reserve) > 0:
                    if folio.restore_reserve[0]:
                        folio.restore_reserve[0] = False
                        hstates[0].resv_huge_pages += 1
        free_page(tail)


@milestone
@atomic
def free_page(frame: Folio) -> None:
    """__folio_put() and free_unref_page() (mm/swap.c, mm/page_alloc.c, Linux 6.12): onto the top of the free list. A page of a
    device's own memory goes to its driver."""
    if len(frame.pgmap) > 0:
        pgmap = frame.pgmap[0]
        if pgmap is not None:
            free_pages_prepare(frame)
            if len(frame.shared) > 0:
                frame.shared[0] = False
            frame_free(frame)
            pgmap.free_zone_device_folio(frame)
            return
    frame.locked = False
    if len(anon_vmas) > 0:
        free_pages_prepare(frame)
    if len(huge_pages) > 0:
        frame.batched[0] = False
        frame.partially_mapped[0] = False
    if len(frame.shared) > 0:
        frame.shared[0] = False
    if len(frame.nid) > 0:
        frame.nid[0] = 0
    if len(completed_faults) > 0:
        frame.dirty = False
    freed: Ref[Folio] = frame
    if len(zone.quarantine) > 0:
        freed = quarantine_put(frame)
    if freed is not None:
        zone.free[zone.nr_free] = freed
        zone.nr_free += 1
    frame_free(frame)


@atomic
def free_pages_prepare(frame: Folio) -> None:
    """free_pages_prepare() (mm/page_alloc.c, Linux 6.12): a free folio belongs to nothing and has no flags."""
    require(not frame.swapcache and not frame.writeback, "bad-page", "frees a page that is in the swap cache, or is being written")
    frame.anon_vma = None
    frame.mapping = None
    frame.index = 0
    frame.isolated = False
    frame.dirty = False
    if len(frame.lazyfree) > 0:
        frame.lazyfree[0] = False


@atomic
def quarantine_put(frame: Folio) -> Ref[Folio]:
    """Put a freed frame last into the quarantine; what has been in it longest leaves it (None while it is not full)."""
    oldest = zone.quarantine[0]
    for i in range(len(zone.quarantine) - 1):
        zone.quarantine[i] = zone.quarantine[i + 1]
    zone.quarantine[len(zone.quarantine) - 1] = frame
    return oldest


@milestone
@atomic
def put_zone_device_page(frame: Folio) -> None:
    """What pageunmap_range() (mm/memremap.c, Linux 6.12) means to a frame: the memory is gone and never comes back."""
    frame.refcount = 0
    frame_free(frame)


@atomic
def is_zero_page(frame: Folio) -> bool:
    """is_zero_page() (include/linux/mm.h, Linux 6.12)."""
    return frame is frames[ZERO_PFN]


@atomic
def page_to_pfn(frame: Folio) -> Pfn:
    """page_to_pfn() (include/asm-generic/memory_model.h): the frame's number."""
    return frames.index(frame)
