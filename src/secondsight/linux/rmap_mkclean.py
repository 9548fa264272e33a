"""mm/rmap.c: a file's page is about to be written back: no entry may write it any more, and none says that it has been written.

    folio_mkclean()             the folio is locked; `i_mmap_rwsem` for reading; for each shared mapping of the page:
        mmu_notifier_invalidate_range_start(PROTECTION_PAGE)        whether the entry may write or not
        the entry is clean, and read-only                           one step: the page-table lock
        mmu_notifier_invalidate_range_end()

The page stays where it is, and may be read: a device that keeps its entry must keep it for reading alone. What a device writes afterwards without asking is in the page, and the
page is clean.

Left out: folios of several pages.
"""

from __future__ import annotations

from secondsight.lang import atomic, milestone
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_types import Event, Folio, Mm, Pgoff, Range, Va, Vma, page_notifiers, secondary_tlbs
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.mmu_notifier_2011 import mmu_notifier_invalidate_page
from secondsight.linux.pgtable import folio_mapped
from secondsight.linux.rmap import (
    page_vma_mapped_walk,
    rmap_walk_first,
    rmap_walk_lock_slowly,
    rmap_walk_next,
    rmap_walk_trylock,
    rmap_walk_unlock,
    vma_address,
)
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly

__all__ = ["folio_mkclean", "pfn_mkclean_range"]


@milestone(quiet=True)
def folio_mkclean(folio: Folio) -> bool:
    """folio_mkclean() (mm/rmap.c, Linux 6.12), of a file's folio that is locked: whether an entry was dirty, or might be written. Of one that nothing maps, which is looked
    at before the lock is waited for and not after, nobody walks. Private mappings are passed over (invalid_mkclean_vma())."""
    with atomic:
        mapping = folio.mapping
        mapped = folio_mapped(folio)
        locked = mapped and rmap_walk_trylock(folio)
    if not mapped:
        return False
    if not locked:
        rmap_walk_lock_slowly(None, mapping)
    cleaned = False
    vma = rmap_walk_first(folio)
    while vma is not None:
        with atomic:
            shared = not is_cow_mapping(vma)
        if shared:
            changed = page_mkclean_one(folio, vma)
            cleaned = cleaned or changed
        with atomic:
            vma = rmap_walk_next(folio, vma)
    rmap_walk_unlock(folio)
    return cleaned


def page_mkclean_one(folio: Folio, vma: Vma) -> bool:
    """page_mkclean_one() (mm/rmap.c, Linux 6.12), in one vma."""
    with atomic:
        mm = vma.vm_mm
        assert mm is not None
        va = vma_address(vma, folio)
    return page_vma_mkclean_one(folio, mm, va)


@milestone(quiet=True)
def pfn_mkclean_range(page: Folio, pgoff: Pgoff, vma: Vma) -> None:
    """pfn_mkclean_range() (mm/rmap.c, Linux 6.1), of one page at `pgoff` of the file that the vma maps: a page that has no mapping of its own to be found by."""
    with atomic:
        mm = vma.vm_mm
        assert mm is not None
        va = vma.vm_start + pgoff - vma.vm_pgoff
        shared = not is_cow_mapping(vma)
    if shared:
        page_vma_mkclean_one(page, mm, va)


def page_vma_mkclean_one(folio: Folio, mm: Mm, va: Va) -> bool:
    """page_vma_mkclean_one() (mm/rmap.c, Linux 6.12): the bracket stands whatever the entry is. Whether it was dirty, or might be written."""
    if len(page_notifiers) > 0:
        return mkclean_and_tell(folio, mm, va)
    rng = Range(va, va + 1, Event.PROTECTION_PAGE, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, va, va + 1)
    changed = mkclean_entry(folio, mm, va)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, va, va + 1)
    mmu_notifier_invalidate_range_end(mm, rng)
    return changed


@atomic
def mkclean_and_tell(folio: Folio, mm: Mm, va: Va) -> bool:
    """page_mkclean_one() (mm/rmap.c, Linux 3.2): subscribers are told of an entry that has changed under the page-table lock."""
    changed = mkclean_entry(folio, mm, va)
    if changed:
        mmu_notifier_invalidate_page(mm, va)
    return changed


@milestone(quiet=True)
@atomic
def mkclean_entry(folio: Folio, mm: Mm, va: Va) -> bool:
    """The part of page_vma_mkclean_one() (mm/rmap.c, Linux 6.12) under the page-table lock: whether the entry was dirty, or might be written."""
    pte = mm.ptes[va]
    if not page_vma_mapped_walk(folio, pte) or not (pte.dirty or pte.writable):
        return False
    pte.writable = False
    pte.dirty = False
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, va, va + 1)  # ptep_clear_flush()
    return True
