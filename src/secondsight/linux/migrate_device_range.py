"""mm/migrate_device.c: pages of a device are moved out of it, whoever maps them, without the mmap lock.

`migrate_device_range` is how a driver empties its memory. A page in device-coherent memory has present entries, and is moved out for
who wants to pin it for long (`migrate_device_coherent_folio`).
"""

from __future__ import annotations

from secondsight.lang import (
    Errno,
    atomic,
    milestone,
    out_of_records,
)
from secondsight.linux.errno import EBUSY
from secondsight.linux.filemap import folio_lock, folio_trylock
from secondsight.linux.highmem import copy_highpage
from secondsight.linux.memremap_private import PrivatePagemap
from secondsight.linux.migrate import folio_migrated
from secondsight.linux.migrate_device import COPIED_LATER, MigrateVma, migrate_device_unmap, migrate_vmas
from secondsight.linux.migrate_device_pages import migrate_vma_finalize, migrate_vma_pages
from secondsight.linux.mm_types import Count, Folio
from secondsight.linux.page_alloc import alloc_page, folio_try_get, put_page

__all__ = [
    "migrate_device_coherent_folio",
    "migrate_device_finalize",
    "migrate_device_pages",
    "migrate_device_range",
]


@milestone
def migrate_device_range(args: MigrateVma, pgmap: PrivatePagemap, first: Count, npages: Count) -> None:
    """migrate_device_range() (mm/migrate_device.c, Linux 6.12): the pages of a pagemap from number `first` on that somebody uses and
    nobody has locked, as migrate_vma_setup()."""
    with atomic:
        if npages > len(args.src):
            out_of_records("migrate_pages")
        args.npages = npages
    for i in range(npages):
        collect_device_page(args, pgmap, first, i)
    migrate_device_unmap(args)


@atomic
def collect_device_page(args: MigrateVma, pgmap: PrivatePagemap, first: Count, i: Count) -> None:
    """The loop of migrate_device_range() (mm/migrate_device.c, Linux 6.12), for one page."""
    folio = pgmap.pages[first + i]
    args.src[i] = None
    args.dst[i] = None
    args.migrate[i] = False
    if folio is not None and folio_try_get(folio):
        if folio_trylock(folio):
            args.src[i] = folio
            args.migrate[i] = True
        else:
            put_page(folio)


def migrate_device_pages(args: MigrateVma) -> None:
    """migrate_device_pages() (mm/migrate_device.c, Linux 6.12): as migrate_vma_pages()."""
    migrate_vma_pages(args)


def migrate_device_finalize(args: MigrateVma) -> None:
    """migrate_device_finalize() (mm/migrate_device.c, Linux 6.12): as migrate_vma_finalize()."""
    migrate_vma_finalize(args)


@milestone
def migrate_device_coherent_folio(folio: Folio) -> Errno:
    """migrate_device_coherent_folio() (mm/migrate_device.c, Linux 6.12): a page in device-coherent memory, to which the caller has a reference, that it
    gives up, comes to the system's. 0, or -EBUSY: somebody else holds it."""
    folio_lock(folio)
    with migrate_vmas.on_stack() as args:
        with atomic:
            args.npages = 1
            args.src[0] = folio
            args.dst[0] = None
            args.migrate[0] = True
            args.flags = COPIED_LATER
        migrate_device_unmap(args)
        if not args.migrate[0]:
            return -EBUSY
        with atomic:
            dst = alloc_page()
            dst.locked = True
            args.dst[0] = dst
        migrate_device_pages(args)
        with atomic:
            moved = args.migrate[0]
            if moved:
                copy_highpage(dst, folio)
                folio_migrated(folio, dst)
        migrate_device_finalize(args)
    return 0 if moved else -EBUSY
