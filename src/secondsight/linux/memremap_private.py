"""mm/memremap.c: memory of a device that a process may have pages in: no CPU can reach it (MEMORY_DEVICE_PRIVATE), or CPUs can (MEMORY_DEVICE_COHERENT).

    memremap_private()          its pages come, all free: no reference
    zone_device_page_init()     the driver gives one out: one reference, locked, and the pagemap has one more user
    put_page(), the last one    free_zone_device_folio(): `page_free` of the driver, and the user goes
    memunmap_private()          kill, drain, remove: waits until every page is free

A driver's pagemap is a field of its record, of a class derived from `PrivatePagemap` that has its two operations. A CPU's entry for a
page there is a device-private one (`swapops`); how pages come and go is in `migrate_device`. What the memory is otherwise, and how that
of device-dax goes, is in `memremap`.

Of coherent memory the entries are present ones, like any: CPUs load and store there, another device may too, nothing faults. It is never pinned for long:
who wants that moves the page out first (`gup`).

Left out: several ranges of one pagemap.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Ref, atomic, bound, milestone, out_of_records, require, shared_array, tracepoint, wait_until
from secondsight.linux.mm_types import Driver, Folio, Pagemap, coherent_memory
from secondsight.linux.mmu_notifier import owner_of
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
    "PrivatePagemap",
    "device_page_given",
    "folio_is_device_coherent",
    "folio_is_device_private",
    "folio_is_zone_device",
    "memremap_coherent",
    "memremap_private",
    "memunmap_private",
    "zone_device_page_init",
]


bound("private_pages", most=4, usual=1)

pages_hold_no_pagemap = shared_array(bool, bound("pages_hold_no_pagemap", most=1))
"""Of size 1: a page that is given out has no reference to its pagemap, so memunmap_pages() does not wait for it, as before 0dc45ca1ce18."""


@tracepoint
def device_page_given(folio: Folio) -> None:
    """A driver gives out a page of its memory, which had no user before."""


@atomic
def page_holds_pagemap(ref: PercpuRef) -> bool:
    """percpu_ref_tryget_live() (include/linux/percpu-refcount.h, Linux 6.12), for a page that is given out."""
    return len(pages_hold_no_pagemap) > 0 or percpu_ref_tryget_live(ref)


@atomic
def page_drops_pagemap(ref: PercpuRef) -> None:
    """put_dev_pagemap() (include/linux/memremap.h, Linux 6.12), of a page that is free again."""
    if len(pages_hold_no_pagemap) == 0:
        percpu_ref_put(ref)


class PrivatePagemap(Pagemap):
    """struct dev_pagemap of MEMORY_DEVICE_PRIVATE with its dev_pagemap_ops. `pages` are the struct pages of its range."""

    ref: PercpuRef
    pages: Array[Ref[Folio], Literal["private_pages"]]

    def page_free(self, folio: Folio) -> None:
        """dev_pagemap_ops.page_free: nobody has the page any more. It may not sleep."""

    @atomic
    def free_zone_device_folio(self, folio: Folio) -> None:
        """free_zone_device_folio() (mm/memremap.c, Linux 6.12): the driver has the page back, and the pagemap one user less."""
        self.page_free(folio)
        page_drops_pagemap(self.ref)


@atomic
def folio_is_zone_device(folio: Folio) -> bool:
    """folio_is_zone_device() (include/linux/mmzone.h, Linux 6.12), of a page that a process may have: in a device's memory, of either kind."""
    if len(folio.pgmap) > 0:
        return folio.pgmap[0] is not None
    return False


@atomic
def folio_is_device_coherent(folio: Folio) -> bool:
    """folio_is_device_coherent() (include/linux/memremap.h, Linux 6.12)."""
    if len(coherent_memory) > 0:
        pgmap = folio.pgmap[0]
        return pgmap is not None and pgmap.coherent[0]
    return False


@atomic
def folio_is_device_private(folio: Folio) -> bool:
    """folio_is_device_private() (include/linux/memremap.h, Linux 6.12)."""
    return folio_is_zone_device(folio) and not folio_is_device_coherent(folio)


@atomic
def memremap_private(pgmap: PrivatePagemap, driver: Driver) -> None:
    """memremap_pages() (mm/memremap.c, Linux 6.12) of MEMORY_DEVICE_PRIVATE: the pages are there, and free. Whose they are is what
    `owner_of` says of the driver."""
    percpu_ref_init(pgmap.ref)
    pgmap.owner = owner_of(driver)
    for i in range(len(pgmap.pages)):
        page = alloc_page()
        if len(page.pgmap) == 0:
            out_of_records("private_memory")
        page.refcount = 0
        page.pgmap[0] = pgmap
        pgmap.pages[i] = page


@atomic
def memremap_coherent(pgmap: PrivatePagemap, driver: Driver) -> None:
    """memremap_pages() (mm/memremap.c, Linux 6.12) of MEMORY_DEVICE_COHERENT: the same, of memory that CPUs can reach."""
    memremap_private(pgmap, driver)
    if len(coherent_memory) == 0:
        out_of_records("coherent_memory")
    pgmap.coherent[0] = True


@milestone
@atomic
def zone_device_page_init(folio: Folio, pgmap: PrivatePagemap) -> None:
    """zone_device_page_init() (mm/memremap.c, Linux 6.12): a free page has one reference, and is locked. Waits for its lock.

    The kernel looks at neither: whether the page is free, which is a rule of the contract, nor whether the pagemap was killed, of which it warns.
    """
    wait_until(not folio.locked)
    device_page_given(folio)
    alive = page_holds_pagemap(pgmap.ref)
    require(alive, "killed-pagemap", "gives out a page of memory that is being taken away")
    folio.refcount = 1
    folio.locked = True


@milestone
def memunmap_private(pgmap: PrivatePagemap) -> None:
    """memunmap_pages() (mm/memremap.c, Linux 6.12): kill, drain, remove."""
    with atomic:
        percpu_ref_kill(pgmap.ref)
    percpu_ref_is_zero_wait(pgmap.ref)
    remove_private_pages(pgmap)


@atomic
def remove_private_pages(pgmap: PrivatePagemap) -> None:
    """pageunmap_range() (mm/memremap.c, Linux 6.12): the memory is gone."""
    for i in range(len(pgmap.pages)):
        page = pgmap.pages[i]
        if page is not None:
            page.pgmap[0] = None
            put_zone_device_page(page)
        pgmap.pages[i] = None
