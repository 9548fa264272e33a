"""mm/huge_memory.c: the one entry that maps a huge page, or stands for one that is being moved.

    split_huge_pmd_locked()     it becomes two entries, one for each page; the folio stays one
    set_pmd_migration_entry()   it stands for a page that is being moved, as a whole
    remove_migration_pmd()      it maps the page that took the other's place

All of it is done under the page-table lock, in one step. Who tells subscribers is in `huge_memory`, `rmap` and `migrate`.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, milestone
from secondsight.linux.mm import page_anon_exclusive
from secondsight.linux.mm_types import HPAGE_PMD_NR, Folio, Mm, PmdKind, Pte, PteKind, Va
from secondsight.linux.mmu_gather import TablePlace, gup_walks, table_moves
from secondsight.linux.page_alloc import folio_page, get_page, is_zero_page, page_folio, put_page
from secondsight.linux.pgtable import is_one_entry, pmd_trans_huge, pte_clear
from secondsight.linux.swapops import migrations, swap_slots
from secondsight.linux.tlb import tlb_flush_mmu_tlbonly

__all__ = ["freeze_entry", "hpage_start", "remove_migration_pmd", "set_pmd_migration_entry", "split_huge_pmd_locked"]


@atomic
def hpage_start(va: Va) -> Va:
    """The first page of the huge page that `va` would be in: `address & HPAGE_PMD_MASK`."""
    return va // HPAGE_PMD_NR * HPAGE_PMD_NR


@milestone(quiet=True)
@atomic
def split_huge_pmd_locked(mm: Mm, va: Va, only: Ref[Folio], freeze: bool) -> None:
    """split_huge_pmd_locked(), __split_huge_pmd_locked() (mm/huge_memory.c, Linux 6.12): each page has an entry of its own, which says what the one
    said, and a reference of its own. The folio stays one.

    `only`: nothing is done to another folio's. `freeze`: they are migration entries, which hold no reference; not of a folio that may be pinned
    (folio_try_share_anon_rmap_pmd()).
    """
    if not is_one_entry(mm, va):
        return
    start = hpage_start(va)
    page = mm.ptes[start].frame
    assert page is not None
    if only is not None and page is not only:
        return
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, start, start + HPAGE_PMD_NR)  # pmdp_invalidate(), pmdp_huge_clear_flush()
    if mm.ptes[start].special:  # vma_is_special_huge(): a fault brings it back
        mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.NONE
        for at in range(start, start + HPAGE_PMD_NR):
            pte_clear(mm.ptes[at])
        return
    present = pmd_trans_huge(mm, va)
    frozen = False
    mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.TABLE
    if len(gup_walks) > 0:
        table_moves(mm, va, TablePlace.DEPOSITED, TablePlace.IN_TREE, va)
    if len(migrations) > 0:
        frozen = freeze and present and may_be_frozen(page)
        if frozen:
            for at in range(start, start + HPAGE_PMD_NR):
                freeze_entry(mm.ptes[at])
            put_page(page)
    if present and not frozen and not is_zero_page(page):
        for _ in range(HPAGE_PMD_NR - 1):
            get_page(page)


@atomic
def may_be_frozen(folio: Folio) -> bool:
    """Whether folio_try_share_anon_rmap_pmd() (include/linux/rmap.h, Linux 6.12) allows it: not of a page that is the process's alone and may be
    pinned."""
    return folio.pins == 0 or not page_anon_exclusive(folio)


@atomic
def freeze_entry(pte: Pte) -> None:
    """A present entry becomes a migration entry (make_writable_migration_entry() and its kin, include/linux/swapops.h, Linux 6.12)."""
    page = pte.frame
    assert page is not None
    if len(page.shared) > 0:
        pte.exclusive = page_anon_exclusive(page)
    if len(swap_slots) > 0:
        if pte.dirty:
            page_folio(page).dirty = True
    pte.kind = PteKind.MIGRATION


@milestone(quiet=True)
@atomic
def set_pmd_migration_entry(mm: Mm, va: Va) -> bool:
    """set_pmd_migration_entry() (mm/huge_memory.c, Linux 6.12), of the huge page at `va`. False: it may be pinned, and stays where it is."""
    start = hpage_start(va)
    folio = mm.ptes[start].frame
    assert folio is not None
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, start, start + HPAGE_PMD_NR)  # pmdp_invalidate()
    if not may_be_frozen(folio):
        return False
    mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.MIGRATION
    for at in range(start, start + HPAGE_PMD_NR):
        freeze_entry(mm.ptes[at])
    put_page(folio)
    return True


@atomic
def remove_migration_pmd(mm: Mm, va: Va, dst: Folio) -> None:
    """remove_migration_pmd() (mm/huge_memory.c, Linux 6.12): the entry maps `dst`, and holds a reference to it."""
    start = hpage_start(va)
    get_page(dst)
    mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.HUGE
    for i in range(HPAGE_PMD_NR):
        pte = mm.ptes[start + i]
        page = folio_page(dst, i)
        pte.frame = page
        pte.kind = PteKind.PRESENT
        if len(page.shared) > 0:
            page.shared[0] = not pte.exclusive
            pte.exclusive = False
