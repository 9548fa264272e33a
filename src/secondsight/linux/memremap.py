"""mm/memremap.c: memory that belongs to a device and has struct pages (`dev_pagemap`), and how it is taken away.

    kill    percpu_ref_kill: `get_dev_pagemap` finds nothing any more; those who have a reference keep it
    drain   wait until the last reference is dropped
    remove  the memory is gone

`memunmap_pages` is these three. It does not look at mappings: whoever maps the memory must have had the mappings
taken away ("invalidate") before. A device-dax page in a page table takes no reference.

Where a scenario has sections (`sparse`), device memory lies at addresses, whole sub-sections of them: `memremap_pages_at` can be refused. A range is looked for
in the tree by its first page and by its last alone, and one that is killed is not found; what is there all the same `fill_subsection_map` refuses.

Left out: the reference the kernel holds for each page from the start until memunmap_pages() is one with the
initial reference; several ranges of one pagemap (of those get_dev_pagemap() compares the first alone with the caller's own pagemap); that a range which is
refused by `fill_subsection_map` takes what lies within it out of the tree (raises no false alarm); types other than MEMORY_DEVICE_GENERIC (MEMORY_DEVICE_PRIVATE: `memremap_private`); page pins (in 6.12 a pin of a device-dax page holds no
reference here either).
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Record, Ref, atomic, bound, milestone, pool, shared_array
from secondsight.linux.errno import ENOMEM, ENXIO
from secondsight.linux.mm_types import Count, Folio, Pgoff, Result
from secondsight.linux.page_alloc import alloc_page, put_zone_device_page
from secondsight.linux.percpu_refcount import (
    PercpuRef,
    percpu_ref_init,
    percpu_ref_is_zero_wait,
    percpu_ref_kill,
    percpu_ref_put,
    percpu_ref_tryget_live,
)
from secondsight.linux.sparse import PAGES_PER_SECTION, PAGES_PER_SUBSECTION, add_pages, mem_sections, remove_pages

__all__ = [
    "DevPagemap",
    "dax_pins",
    "dev_pagemap_drain",
    "dev_pagemap_kill",
    "dev_pagemap_remove",
    "get_dev_pagemap",
    "is_dev_page",
    "memremap_pages",
    "memremap_pages_at",
    "memunmap_pages",
    "pagemaps",
    "pgmap_pfn_valid",
    "put_dev_pagemap",
]


class DevPagemap(Record):
    """struct dev_pagemap: the frames of one device. `range_start[0]`: the physical number of the first, where memory has addresses."""

    ref: PercpuRef
    nr_pages: Pgoff
    range_start: Array[Pgoff, Literal["pgmap_range"]]
    pages: Array[Ref[Folio], Literal["file_pages"]]


bound("pgmap_range", most=1)
dax_pins = shared_array(bool, bound("dax_pins", most=1))
"""Of size 1 where a process pins device memory that has a file: device-dax allows it, for long too. A pin keeps no pagemap: removal does not wait for it."""
pagemaps = pool(DevPagemap, bound("pagemaps", usual=1))


@atomic
def memremap_pages(nr_pages: Pgoff) -> DevPagemap:
    """memremap_pages() (mm/memremap.c, Linux 6.12): `nr_pages` frames become a device's. They come off the free list for good."""
    pgmap = pagemaps.alloc()
    percpu_ref_init(pgmap.ref)
    pgmap.nr_pages = nr_pages
    for i in range(nr_pages):
        pgmap.pages[i] = alloc_page()
    return pgmap


@atomic
def memremap_pages_at(start: Pgoff, nr_pages: Pgoff) -> Result:
    """memremap_pages(), pagemap_range() (mm/memremap.c, Linux 6.12): the same of the range that begins at `start`: its place in `pagemaps`, or why not. -ENOMEM: another's
    is there; -ENXIO: RAM is; -EINVAL: it is not whole sub-sections; -EEXIST: something is there all the same. The kernel warns of each but the last."""
    if is_alive_at(start) or is_alive_at(start + nr_pages - 1):
        return -ENOMEM
    if region_intersects_ram(start, nr_pages):
        return -ENXIO
    ret = add_pages(start, nr_pages)
    if ret != 0:
        return ret
    pgmap = memremap_pages(nr_pages)
    pgmap.range_start[0] = start
    return pagemaps.index(pgmap)


@atomic
def pgmap_pfn_valid(pgmap: DevPagemap, pfn: Pgoff) -> bool:
    """pgmap_pfn_valid() (mm/memremap.c, Linux 6.12): whether the page of that physical number is the device's."""
    return pgmap.range_start[0] <= pfn < pgmap.range_start[0] + pgmap.nr_pages


@atomic
def is_alive_at(pfn: Pgoff) -> bool:
    """The look of pagemap_range() (mm/memremap.c, Linux 6.12) for another's memory: get_dev_pagemap(), and put_dev_pagemap()."""
    return any(pgmap_pfn_valid(pgmap, pfn) and not pgmap.ref.dying for pgmap in pagemaps)


@atomic
def region_intersects_ram(start: Pgoff, nr_pages: Count) -> bool:
    """region_intersects(IORESOURCE_SYSTEM_RAM) (kernel/resource.c, Linux 6.12): whether RAM of boot is there, which is what no device's memory is, in a section
    of boot."""
    for pfn in range(start, start + nr_pages):
        if mem_sections[pfn // PAGES_PER_SECTION].early and mem_sections[pfn // PAGES_PER_SECTION].subsection_map[pfn % PAGES_PER_SECTION // PAGES_PER_SUBSECTION]:
            if not any(pgmap_pfn_valid(pgmap, pfn) for pgmap in pagemaps):
                return True
    return False


@milestone
@atomic
def get_dev_pagemap(frame: Folio, pgmap: Ref[DevPagemap] = None) -> Ref[DevPagemap]:
    """get_dev_pagemap() (mm/memremap.c, Linux 6.12): a reference to what `frame` belongs to; None once that was
    killed.

    `pgmap`: what the caller got for another page, with its reference. Does the frame belong to it, it is the answer, with no new reference, whether it was
    killed meanwhile or not; else its reference is dropped. So who walks pages of several has one reference at a time, and drops the last.
    """
    if pgmap is not None:
        for k in range(len(pgmap.pages)):
            if pgmap.pages[k] is frame:
                return pgmap
        put_dev_pagemap(pgmap)
    for i in range(len(pagemaps)):
        one = pagemaps[i]
        for k in range(len(one.pages)):
            if one.pages[k] is frame:
                return one if percpu_ref_tryget_live(one.ref) else None
    return None


@atomic
def is_dev_page(frame: Folio) -> bool:
    """Whether get_dev_pagemap() gives a reference for a page just now, which is put at once: so does who grabs the page by an entry that is pte_devmap, under the page-table lock or
    with interrupts off."""
    pgmap = get_dev_pagemap(frame)
    if pgmap is None:
        return False
    put_dev_pagemap(pgmap)
    return True


@milestone
@atomic
def put_dev_pagemap(pgmap: DevPagemap) -> None:
    """put_dev_pagemap() (include/linux/memremap.h, Linux 6.12)."""
    percpu_ref_put(pgmap.ref)


@milestone
def memunmap_pages(pgmap: DevPagemap) -> None:
    """memunmap_pages() (mm/memremap.c, Linux 6.12): kill, drain, remove."""
    dev_pagemap_kill(pgmap)
    dev_pagemap_drain(pgmap)
    dev_pagemap_remove(pgmap)


@milestone
@atomic
def dev_pagemap_kill(pgmap: DevPagemap) -> None:
    """The first part of memunmap_pages(): no new references ("disable")."""
    percpu_ref_kill(pgmap.ref)


def dev_pagemap_drain(pgmap: DevPagemap) -> None:
    """The second part of memunmap_pages(): wait for the references that are left ("drain")."""
    percpu_ref_is_zero_wait(pgmap.ref)


@atomic
def dev_pagemap_remove(pgmap: DevPagemap) -> None:
    """pageunmap_range() (mm/memremap.c, Linux 6.12): the memory is gone; who touches it now uses it after free."""
    if len(mem_sections) > 0:
        remove_pages(pgmap.range_start[0], pgmap.nr_pages)
    for i in range(pgmap.nr_pages):
        frame = pgmap.pages[i]
        if frame is not None:
            put_zone_device_page(frame)
        pgmap.pages[i] = None
    pgmap.nr_pages = 0
