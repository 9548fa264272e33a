"""mm/vmscan.c: reclaim by who allocates (direct reclaim).

Which page goes is the lists' affair, and any may be there: private memory, or a memfd's page. It goes as kswapd takes it (`vmscan`); but of a memfd's page an allocation
that has to keep out of file systems takes the entries alone, if it is dirty. A page of a file on a disk is never written here, so nobody has to keep out of that.

Left out: folios of a memfd that are huge, pages that nobody maps; a driver's own shrinkers (may hide a bug).
"""

from __future__ import annotations

from secondsight.lang import Bits, atomic, choose, milestone, wait_until
from secondsight.linux.filemap import folio_unlock
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Folio, Mm, PageBits, Pte, Va, huge_pages, shmem_swap, writes_back
from secondsight.linux.page_alloc import page_folio
from secondsight.linux.page_alloc_slowpath import direct_reclaim, memalloc_noreclaim_restore, memalloc_noreclaim_save
from secondsight.linux.pgtable import folio_mapped, vm_normal_folio
from secondsight.linux.rmap import try_to_unmap
from secondsight.linux.swap import folio_isolate_lru, folio_putback_lru
from secondsight.linux.vmscan import free_when_flushed, is_written_back, reclaim_page_at, remove_mapping

__all__ = ["perform_reclaim", "try_to_free_pages"]


def perform_reclaim() -> None:
    """__perform_reclaim() (mm/page_alloc.c, Linux 6.12), for those who allocate, one after another: a thread, for ever."""
    while True:
        wait_until(direct_reclaim[0].task != 0)
        flags = memalloc_noreclaim_save()
        try_to_free_pages()
        with atomic:
            memalloc_noreclaim_restore(flags)
            direct_reclaim[0].task = 0
            direct_reclaim[0].io = False


@milestone
def try_to_free_pages() -> None:
    """try_to_free_pages() (mm/vmscan.c, Linux 6.12): one page of a process, any that the lists may have; none where there is none."""
    with atomic:
        mm = mms[0]
        if len(mms) > 1:
            mm = choose(mms)
        found = pages_on_lists(mm)
        any_found = len(found) > 0
        va: Va = choose(at for at in found) if any_found else 0
        page = vm_normal_folio(mm.ptes[va]) if any_found else None
        folio = None if page is None else page_folio(page)
        whole = folio is not None and (folio.anon_vma is not None or may_enter_fs())
        if len(writes_back) > 0:
            whole = whole or (folio is not None and is_written_back(folio))
        isolated = False
        if folio is not None and not whole and not folio.locked:
            isolated = folio_isolate_lru(folio)
            folio.locked = isolated
    if whole:
        reclaim_page_at(mm, va)
    elif isolated:
        assert folio is not None
        unmap_file_folio(folio)


@atomic
def may_enter_fs() -> bool:
    """may_enter_fs() (mm/vmscan.c, Linux 6.12), of a file's folio: whether the allocation lets it be written. Where a memfd's pages have nowhere to go nothing is."""
    if len(shmem_swap) > 0:
        return direct_reclaim[0].fs
    return False


@atomic
def pages_on_lists(mm: Mm) -> PageBits:
    """Which pages of a process are on a list of reclaim's, as far as they are modelled."""
    found: PageBits = Bits()
    for va in range(len(mm.ptes)):
        page = vm_normal_folio(mm.ptes[va])
        if page is not None and is_on_a_list(page_folio(page)) and (direct_reclaim[0].io or needs_no_io(page_folio(page), mm.ptes[va])):
            found |= {va}
    return found


@atomic
def is_on_a_list(folio: Folio) -> bool:
    """Whether a folio is on a list, and not in a device's memory, nor huge and a file's."""
    if folio.isolated or (folio.anon_vma is None and folio.mapping is None):
        return False
    if len(folio.pgmap) > 0:
        if folio.pgmap[0] is not None:
            return False
    if len(huge_pages) > 0:
        if folio.tail[0] is not None and folio.anon_vma is None:
            return False
    return True


@atomic
def needs_no_io(folio: Folio, pte: Pte) -> bool:
    """Whether shrink_folio_list() (mm/vmscan.c, Linux 6.12) goes on with a folio where it may not write (GFP_NOIO): not with private memory that has no slot in swap. One that is dirty
    it would unmap and keep: here it is not taken (may hide a bug)."""
    if folio.anon_vma is None:
        return True
    if len(folio.lazyfree) > 0:
        if folio.lazyfree[0]:
            return True
    return folio.swapcache and not folio.dirty and not pte.dirty


def unmap_file_folio(folio: Folio) -> None:
    """shrink_folio_list() (mm/vmscan.c, Linux 6.12), of a memfd's folio that is isolated and locked, and may not be written: its entries go, and it stays if it is dirty, or
    somebody holds it."""
    with atomic:
        mapped = folio_mapped(folio)
    if mapped:
        try_to_unmap(folio)
    if len(shmem_swap) > 0:
        gone = remove_mapping(folio)
        if len(mms[0].tlb) > 0:
            free_when_flushed()
        if gone:
            return
    else:
        if len(mms[0].tlb) > 0:
            free_when_flushed()
        folio_unlock(folio)
    folio_putback_lru(folio)
