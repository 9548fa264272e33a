"""mm/rmap.c: a folio that is to be moved, or split, is taken out of every page table; mm/migrate.c: what takes its place comes in again.

    try_to_migrate()            each entry becomes a migration entry, in a notifier bracket; who faults waits (`migrate.migration_entry_wait`)
    remove_migration_ptes()     each of those maps the new folio, or the old one again: no bracket, nothing was there

The folio is locked. Of a huge page that one entry maps the entry becomes one migration entry, unless it is to be split: then it becomes two first.
"""

from __future__ import annotations

from secondsight.lang import atomic, milestone
from secondsight.linux.highmem import second_half
from secondsight.linux.huge_memory_pmd import hpage_start, remove_migration_pmd, set_pmd_migration_entry, split_huge_pmd_locked
from secondsight.linux.memremap_private import folio_is_device_private
from secondsight.linux.mm import page_anon_exclusive, vma_is_accessible
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Event,
    Folio,
    Mm,
    PmdKind,
    PteKind,
    Range,
    Va,
    VaEnd,
    Vma,
    hints,
    huge_pages,
    page_notifiers,
    secondary_tlbs,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.mmu_notifier_2011 import mmu_notifier_invalidate_page
from secondsight.linux.page_alloc import ZERO_PFN, folio_page, frames, get_page, page_folio, put_page
from secondsight.linux.pgtable import folio_mapped, pmd_trans_huge, pte_clear
from secondsight.linux.rmap import (
    folio_lock_anon_vma_read,
    folio_remove_rmap,
    page_at,
    page_vma_mapped_walk,
    rmap_walk_first,
    rmap_walk_lock,
    rmap_walk_next,
    rmap_walk_unlock,
    vma_address,
    vma_address_end,
)
from secondsight.linux.swapops import is_migration_entry, swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly

__all__ = [
    "remove_migration_ptes",
    "rmap_walk_from_migration",
    "rmap_walk_to_migrate",
    "set_migration_entry",
    "try_to_migrate",
]


@milestone(quiet=True)
def try_to_migrate(folio: Folio) -> None:
    """try_to_migrate() (mm/rmap.c, Linux 6.12): every entry of a locked folio becomes a migration entry."""
    locked = folio_lock_anon_vma_read(folio)
    if locked:
        rmap_walk_to_migrate(folio, False)
        rmap_walk_unlock(folio)


def rmap_walk_to_migrate(folio: Folio, splits: bool) -> None:
    """rmap_walk_locked() with try_to_migrate_one() (mm/rmap.c, Linux 6.12). The caller has the lock of the walk. `splits`: see `try_to_migrate_one`."""
    vma = rmap_walk_first(folio)
    while vma is not None:
        if not try_to_migrate_one(folio, vma, splits):
            break
        with atomic:
            vma = rmap_walk_next(folio, vma) if folio_mapped(folio) else None


def try_to_migrate_one(folio: Folio, vma: Vma, splits: bool) -> bool:
    """try_to_migrate_one() (mm/rmap.c, Linux 6.12), in one vma: false ends the walk. `splits` (TTU_SPLIT_HUGE_PMD): the one entry of a huge page
    becomes two migration entries first, in a bracket of its own."""
    with atomic:
        mm = vma.vm_mm
        assert mm is not None
        va = vma_address(vma, folio)
    if len(huge_pages) > 0:
        return try_to_migrate_large(folio, vma, mm, va, splits)
    if len(page_notifiers) > 0:
        return migrate_and_tell(folio, mm, va)
    rng = Range(va, va + 1, Event.CLEAR, True)
    if len(hints) > 0:
        rng = Range(va, va + 1, Event.CLEAR, True, None, hints[0])
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, va, va + 1)
    ret = set_migration_entry(folio, folio, mm, va)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, va, va + 1)
    mmu_notifier_invalidate_range_end(mm, rng)
    return ret


@atomic
def migrate_and_tell(folio: Folio, mm: Mm, va: Va) -> bool:
    """try_to_unmap_one() with TTU_MIGRATION (mm/rmap.c, Linux 3.2): as `rmap.unmap_and_tell`."""
    mapped = page_vma_mapped_walk(folio, mm.ptes[va])
    ret = set_migration_entry(folio, folio, mm, va)
    if mapped and ret:
        mmu_notifier_invalidate_page(mm, va)
    return ret


def try_to_migrate_large(folio: Folio, vma: Vma, mm: Mm, va: Va, splits: bool) -> bool:
    """The same where there are folios of two pages."""
    with atomic:
        end = vma_address_end(vma, folio)
        low = hpage_start(va)
    if splits:
        whole = Range(low, low + HPAGE_PMD_NR, Event.CLEAR, True)
        mmu_notifier_invalidate_range_start(mm, whole)
        if len(secondary_tlbs) > 0:
            entries_change(mm, low, low + HPAGE_PMD_NR)
        split_huge_pmd_locked(mm, va, folio, True)
        if len(secondary_tlbs) > 0:
            flush_secondary_tlbs(mm, low, low + HPAGE_PMD_NR)
        mmu_notifier_invalidate_range_end(mm, whole)
    rng = Range(va, end, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, va, end)
    ret = set_migration_entries(folio, vma, mm, va, end)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, va, end)
    mmu_notifier_invalidate_range_end(mm, rng)
    return ret


@atomic
def set_migration_entries(folio: Folio, vma: Vma, mm: Mm, va: Va, end: VaEnd) -> bool:
    """The loop of try_to_migrate_one() (mm/rmap.c, Linux 6.12): the one entry of a huge page, or those of one page table."""
    page = mm.ptes[va].frame
    if page is not None and pmd_trans_huge(mm, va):
        return page_folio(page) is not folio or set_pmd_migration_entry(mm, va)
    for at in range(va, end):
        kept = not set_migration_entry(folio, page_at(folio, vma, at), mm, at)
        if kept:
            return False
    return True


@milestone(quiet=True)
@atomic
def set_migration_entry(folio: Folio, page: Folio, mm: Mm, va: Va) -> bool:
    """The part of try_to_migrate_one() under the page-table lock, of one page of a folio. False: an anonymous page that may be pinned stays where
    it is (folio_try_share_anon_rmap_pte())."""
    pte = mm.ptes[va]
    if not page_vma_mapped_walk(page, pte):
        return True
    if len(swap_slots) > 0:
        if pte.dirty:
            folio.dirty = True
    if folio.anon_vma is not None:
        exclusive = page_anon_exclusive(page)
        if exclusive and folio.pins > 0:
            return False
        if len(page.shared) > 0:
            pte.exclusive = exclusive
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, va, va + 1)  # ptep_clear_flush()
    pte.kind = PteKind.MIGRATION
    folio_remove_rmap(page)
    put_page(folio)
    return True


@milestone(quiet=True)
def remove_migration_ptes(src: Folio, dst: Folio) -> None:
    """remove_migration_ptes() (mm/migrate.c, Linux 6.12): the migration entries of `src` map `dst`, which may be `src`."""
    rmap_walk_lock(dst)
    rmap_walk_from_migration(src, dst, False)
    rmap_walk_unlock(dst)


def rmap_walk_from_migration(src: Folio, dst: Folio, zeros: bool) -> None:
    """rmap_walk_locked() with remove_migration_pte() (mm/migrate.c, Linux 6.12). The caller has the lock of the walk. `zeros`
    (RMP_USE_SHARED_ZEROPAGE): a page of zeros is not mapped again, but the zero page."""
    vma = rmap_walk_first(dst)
    while vma is not None:
        with atomic:
            if len(huge_pages) > 0:
                remove_migration_entries(src, dst, vma, zeros)
            else:
                remove_migration_pte(src, dst, vma, vma_address(vma, dst))
            vma = rmap_walk_next(dst, vma)


@atomic
def remove_migration_entries(src: Folio, dst: Folio, vma: Vma, zeros: bool) -> None:
    """The loop of remove_migration_pte() (mm/migrate.c, Linux 6.12): the one entry of a huge page, or those of one page table."""
    mm = vma.vm_mm
    assert mm is not None
    start = vma_address(vma, dst)
    if mm.pmds[start // HPAGE_PMD_NR].kind == PmdKind.MIGRATION:
        if mm.ptes[start].frame is src:
            remove_migration_pmd(mm, start, dst)
        return
    for va in range(start, vma_address_end(vma, dst)):
        pte = mm.ptes[va]
        new = page_at(dst, vma, va)
        page = src if new is dst else folio_page(src, 1)
        if zeros and is_migration_entry(pte) and pte.frame is page and is_filled_with_zeros(page):
            pte_clear(pte)
            pte.frame = frames[ZERO_PFN]
            if len(pte.prot_none) > 0:
                pte.prot_none[0] = not vma_is_accessible(vma)
        else:
            remove_migration_pte(page, new, vma, va)


@atomic
def is_filled_with_zeros(page: Folio) -> bool:
    """try_to_map_unused_to_zeropage() (mm/migrate.c, Linux 6.12): whether nothing was ever written to a page, or zeros."""
    return page.contents == 0 and second_half(page) == 0


@atomic
def remove_migration_pte(src: Folio, dst: Folio, vma: Vma, va: Va) -> None:
    """remove_migration_pte() (mm/migrate.c, Linux 6.12), in one vma, of one page. Nobody is told: nothing was there. A page in device memory has a
    device-private entry."""
    mm = vma.vm_mm
    assert mm is not None
    pte = mm.ptes[va]
    if is_migration_entry(pte) and pte.frame is src:
        get_page(dst)
        pte.frame = dst
        pte.kind = PteKind.PRESENT
        if len(pte.prot_none) > 0:
            pte.prot_none[0] = not vma_is_accessible(vma)
        if len(dst.pgmap) > 0:
            if folio_is_device_private(dst):
                pte.kind = PteKind.DEVICE_PRIVATE
        if len(dst.shared) > 0:
            dst.shared[0] = page_folio(dst).anon_vma is not None and not pte.exclusive
            pte.exclusive = False
