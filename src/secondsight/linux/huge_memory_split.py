"""mm/huge_memory.c: the folio of a huge page becomes two folios of one page each.

    the caller holds the folio, and its lock
    anon_vma lock, for writing
    does anybody else hold it?              -EAGAIN, before anything is done
    unmap_folio()                           every entry becomes two migration entries, each walk in notifier brackets (CLEAR)
    folio_ref_freeze()                      one step: if nobody holds it by now, there are two folios; else -EAGAIN
    remap_page()                            the entries map the new folios, or the old one again, page by page; nobody is told
    unlock; a page that nobody maps is freed

What is split is no huge page any more in any page table, also where it has failed after the entries were split. A page of zeros is not mapped again:
the zero page is, where it was (RMP_USE_SHARED_ZEROPAGE, from 6.12 on).

Who wants it: reclaim and MADV_PAGEOUT of a part, and a migration of a folio that is mapped in part (`partially_mapped`); migrate_vma_setup(), for a page
that is to go to a device. Left out: by a debugfs file; the shrinker of the deferred split list, which comes when memory is short; files.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, bound, milestone, shared_array
from secondsight.linux.errno import EAGAIN, EBUSY
from secondsight.linux.filemap import folio_unlock
from secondsight.linux.mm_types import HPAGE_PMD_NR, Count, Folio
from secondsight.linux.page_alloc import get_page, put_page
from secondsight.linux.pgtable import folio_mapcount
from secondsight.linux.rmap_migrate import rmap_walk_from_migration, rmap_walk_to_migrate
from secondsight.linux.swap_state import free_swap_cache
from secondsight.linux.swapops import swap_slots

__all__ = ["can_split_folio", "split_folio", "split_folio_to_list", "split_keeps_zeros"]

split_keeps_zeros = shared_array(bool, bound("split_keeps_zeros", most=1))
"""Of size 1: a page of zeros stays what it is when its folio is split, as in Linux 6.1."""


@atomic
def cache_refs(folio: Folio) -> Count:
    """`extra_pins`: the references of the swap cache."""
    return HPAGE_PMD_NR if folio.swapcache else 0


@atomic
def can_split_folio(folio: Folio) -> bool:
    """can_split_folio() (mm/huge_memory.c, Linux 6.12), for a caller with one reference: whether nobody else has any but entries and caches."""
    return folio_mapcount(folio) == folio.refcount - cache_refs(folio) - 1


def split_folio(folio: Folio) -> Errno:
    """split_folio() (include/linux/huge_mm.h, Linux 6.12): 0, or -EAGAIN, -EBUSY."""
    return split_huge_page_to_list_to_order(folio, False)


def split_folio_to_list(folio: Folio) -> Errno:
    """split_folio_to_list() (mm/huge_memory.c, Linux 6.12), of an isolated folio: the second page is isolated too then, with a reference."""
    return split_huge_page_to_list_to_order(folio, True)


@milestone
def split_huge_page_to_list_to_order(folio: Folio, listed: bool) -> Errno:
    """split_huge_page_to_list_to_order() (mm/huge_memory.c, Linux 6.12), to folios of one page: 0; -EAGAIN: somebody holds it; -EBUSY: it is being
    written. The caller holds and has locked it, and holds and has locked its first page thereafter."""
    with atomic:
        busy = folio.writeback
        anon_vma = folio.anon_vma
        tail = folio.tail[0]
    if busy or anon_vma is None:
        return -EBUSY
    assert tail is not None
    anon_vma.rwsem.write_lock()
    split = can_split_folio(folio)
    if split:
        rmap_walk_to_migrate(folio, True)
        split = split_huge_page(folio, tail, listed)
        rmap_walk_from_migration(folio, folio, split and len(split_keeps_zeros) == 0)
        if split:
            rmap_walk_from_migration(tail, tail, len(split_keeps_zeros) == 0)
            free_page_and_swap_cache(tail)
    anon_vma.rwsem.write_unlock()
    return 0 if split else -EAGAIN


@milestone(quiet=True)
@atomic
def split_huge_page(folio: Folio, tail: Folio, listed: bool) -> bool:
    """folio_ref_freeze(), __split_huge_page(), __split_huge_page_tail() (mm/huge_memory.c, Linux 6.12): two folios, both locked, each with a
    reference, and one of the swap cache. False: somebody holds it."""
    if folio.refcount != 1 + cache_refs(folio):
        return False
    folio.partially_mapped[0] = False
    folio.tail[0] = None
    folio.head[0] = None
    tail.head[0] = None
    folio.refcount = 1
    tail.refcount = 1
    tail.locked = True
    tail.anon_vma = folio.anon_vma
    tail.index = folio.index + 1
    if len(folio.nid) > 0:
        tail.nid[0] = folio.nid[0]
    if len(swap_slots) > 0:
        tail.dirty = folio.dirty
        if folio.swapcache:
            tail.swapcache = True
            tail.swap = folio.swap + 1
            swap_slots[tail.swap].cache = tail
            get_page(folio)
            get_page(tail)
    if listed:
        get_page(tail)
        tail.isolated = True
    return True


@atomic
def free_page_and_swap_cache(page: Folio) -> None:
    """The end of __split_huge_page() (mm/huge_memory.c), free_page_and_swap_cache() (mm/swap_state.c, Linux 6.12): the second page is unlocked, and
    freed if nobody has it."""
    folio_unlock(page)
    if len(swap_slots) > 0:
        free_swap_cache(page)
    put_page(page)
