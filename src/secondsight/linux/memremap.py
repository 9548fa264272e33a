"""mm/memremap.c: memory that belongs to a device and has struct pages (`dev_pagemap`), and how it is taken away.

    kill    percpu_ref_kill: `get_dev_pagemap` finds nothing any more; those who have a reference keep it
    drain   wait until the last reference is dropped
    remove  the memory is gone

`memunmap_pages` is these three. It does not look at mappings: whoever maps the memory must have had the mappings
taken away ("invalidate") before. A device-dax page in a page table takes no reference.

Left out: the reference the kernel holds for each page from the start until memunmap_pages() is one with the
initial reference; types other than MEMORY_DEVICE_GENERIC (MEMORY_DEVICE_PRIVATE: `memremap_private`); page pins (in 6.12 a pin of a device-dax page holds no
reference here either).
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Record, Ref, atomic, bound, milestone, pool
from secondsight.linux.mm_types import Folio, Pgoff
from secondsight.linux.page_alloc import alloc_page, put_zone_device_page
from secondsight.linux.percpu_refcount import (
    PercpuRef,
    percpu_ref_init,
    percpu_ref_is_zero_wait,
    percpu_ref_kill,
    percpu_ref_put,
    percpu_ref_tryget_live,
)

__all__ = [
    "DevPagemap",
    "dev_pagemap_drain",
    "dev_pagemap_kill",
    "dev_pagemap_remove",
    "get_dev_pagemap",
    "memremap_pages",
    "memunmap_pages",
    "pagemaps",
    "put_dev_pagemap",
]


class DevPagemap(Record):
    """struct dev_pagemap: the frames of one device."""

    ref: PercpuRef
    nr_pages: Pgoff
    pages: Array[Ref[Folio], Literal["file_pages"]]


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
    for i in range(pgmap.nr_pages):
        frame = pgmap.pages[i]
        if frame is not None:
            put_zone_device_page(frame)
        pgmap.pages[i] = None
    pgmap.nr_pages = 0
