"""mm/swap_state.c and mm/swapfile.c: slots of a swap device, and the swap cache: pages that have one and are in memory.

A page gets a slot when reclaim wants to be rid of it (`add_to_swap`). From then on it is in the swap cache, which holds a
reference, and a fault on an entry for that slot finds this very page, written out or not. A slot is free when no entry stands for it
(`count`) and no page of the cache has it.

    add_to_swap             reclaim: a slot, the cache; the page is dirty: what the slot holds is not what it holds
    swap_duplicate          try_to_unmap: one entry more
    swap_free               a fault that has mapped the page: one entry less
    free_swap_and_cache     a zap: one less, and with the last one the page leaves the cache
    folio_free_swap         a page that no entry stands for any more leaves the cache; it is dirty then, as nothing else holds what it holds

What the kernel does under the cluster's lock and the lock of the cache's xarray is one step. The device is like a disk: a page is
read into the cache (a RAM disk's, of which only one entry is left, is read into a page beside it: SWP_SYNCHRONOUS_IO), and may be
written while it is under writeback (no SWP_STABLE_WRITES).

Left out: swapoff, readahead, clusters, zswap, pages of zeros that are not written (zeromap): a page of zeros is written like any.
A device that is full is a bound here.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, milestone, out_of_records, require
from secondsight.linux.highmem import slot_clear, slot_load
from secondsight.linux.mm_types import Count, Folio, SwpEntry, huge_pages
from secondsight.linux.page_alloc import alloc_page, folio_nr_pages, get_page, page_folio, put_page
from secondsight.linux.pgtable import folio_mapped
from secondsight.linux.swapops import swap_slots

__all__ = [
    "add_to_swap",
    "delete_from_swap_cache",
    "folio_free_swap",
    "free_swap_and_cache",
    "free_swap_cache",
    "read_swap_cache",
    "swap_cache_get_folio",
    "swap_duplicate",
    "swap_free",
]


@milestone(quiet=True)
@atomic
def add_to_swap(folio: Folio) -> None:
    """add_to_swap(), add_to_swap_cache() (mm/swap_state.c), folio_alloc_swap() (mm/swap_slots.c, Linux 6.12): a slot for a locked folio."""
    entry = folio_alloc_swap(folio_nr_pages(folio))
    for i in range(folio_nr_pages(folio)):
        swap_slots[entry + i].cache = folio
        get_page(folio)
    folio.swapcache = True
    folio.swap = entry
    folio.dirty = True


@atomic
def folio_alloc_swap(npages: Count) -> SwpEntry:
    """folio_alloc_swap() (mm/swap_slots.c, Linux 6.12): the lowest free slot, or the first of as many slots as the folio has pages, side by side.
    Left out: that there may be none (it is split then)."""
    for i in range(len(swap_slots)):
        if is_free(i) and (npages == 1 or (i + 1 < len(swap_slots) and is_free(i + 1))):
            return i
    out_of_records("swap_slots")
    return 0


@atomic
def is_free(entry: SwpEntry) -> bool:
    """Whether a slot is free."""
    return swap_slots[entry].count == 0 and swap_slots[entry].cache is None


@atomic
def swap_duplicate(entry: SwpEntry) -> None:
    """swap_duplicate() (mm/swapfile.c, Linux 6.12): one more page-table entry stands for the slot."""
    swap_slots[entry].count += 1


@atomic
def swap_free(entry: SwpEntry) -> None:
    """swap_free_nr() (mm/swapfile.c, Linux 6.12): one page-table entry less stands for the slot."""
    slot = swap_slots[entry]
    require(slot.count > 0, "swap-count", "drops a swap entry that no page-table entry stands for")
    slot.count -= 1
    if slot.count == 0 and slot.cache is None:
        slot_clear(slot)


@atomic
def delete_from_swap_cache(folio: Folio) -> None:
    """__delete_from_swap_cache() (mm/swap_state.c), put_swap_folio() (mm/swapfile.c, Linux 6.12), of a locked folio; the cache's
    references, one for each page, are the caller's now."""
    for i in range(folio_nr_pages(folio)):
        slot = swap_slots[folio.swap + i]
        slot.cache = None
        if slot.count == 0:
            slot_clear(slot)
    folio.swapcache = False
    folio.swap = 0


@atomic
def folio_free_swap(folio: Folio) -> bool:
    """folio_free_swap(), folio_swapcache_freeable() (mm/swapfile.c, Linux 6.12): take a locked folio out of the swap cache, if no
    page-table entry stands for its slot, or any of its slots."""
    if not folio.swapcache or folio.writeback:
        return False
    for i in range(folio_nr_pages(folio)):
        if swap_slots[folio.swap + i].count > 0:
            return False
    delete_from_swap_cache(folio)
    folio.dirty = True
    for _ in range(folio_nr_pages(folio)):
        put_page(folio)
    return True


@atomic
def free_swap_cache(page: Folio) -> None:
    """free_swap_cache() (mm/swap_state.c, Linux 6.12), of free_pages_and_swap_cache(): a page whose folio nothing maps leaves the swap cache,
    unless somebody has it locked. The caller has a reference."""
    folio = page_folio(page)
    if folio.swapcache and not folio.locked and not folio_mapped(folio):
        folio_free_swap(folio)


@milestone(quiet=True)
@atomic
def free_swap_and_cache(entry: SwpEntry) -> None:
    """free_swap_and_cache_nr(), __try_to_reclaim_swap() (mm/swapfile.c, Linux 6.12): an entry for the slot goes; with the last one
    the page leaves the cache, unless it is mapped, locked, or being written."""
    swap_free(entry)
    folio = swap_slots[entry].cache
    if folio is not None:
        free_swap_cache(folio)


@atomic
def swap_cache_get_folio(entry: SwpEntry) -> Ref[Folio]:
    """swap_cache_get_folio() (mm/swap_state.c, Linux 6.12): the page of a slot that is in memory, with a reference; None: it is not."""
    folio = swap_slots[entry].cache
    if folio is not None:
        get_page(folio)
    return folio


@milestone(quiet=True)
@atomic
def read_swap_cache(entry: SwpEntry) -> Folio:
    """swapin_readahead(), read_swap_cache_async() (mm/swap_state.c), swap_read_folio() (mm/page_io.c, Linux 6.12): a new page, in
    the swap cache, with what the slot holds, and a reference. Reading takes no time."""
    folio = alloc_page()
    if len(huge_pages) > 0:
        folio.batched[0] = True
    slot_load(folio, swap_slots[entry])
    swap_slots[entry].cache = folio
    get_page(folio)
    folio.swapcache = True
    folio.swap = entry
    return folio
