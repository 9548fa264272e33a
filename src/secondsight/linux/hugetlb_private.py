"""mm/hugetlb.c: private mappings of huge pages (MAP_PRIVATE): copies on write, and fork.

    a fault         where the file has the page, that, and nobody may write it; where it has none, a page of the process's own at once, for a read too
    a write         of a page that is anonymous and mapped once: it is written as it is, however many hold it
                    of any other: a copy takes its place, in a bracket (CLEAR). The fault mutex and the vma's lock are held meanwhile
    fork            one bracket (CLEAR); a page that the parent has pinned is copied at once, others nobody may write any more

Where the pool has no page for an owner's copy the page is taken away from those that have it from the owner by fork (unmap_ref_private()), each in a
bracket of its own, and the owner has it for itself. Who lost it gets SIGBUS where it looks for a page that is not there, and no zeros.

A hole in the file takes copies away too (`hugetlb.hugetlb_vmdelete_list`): the next access finds the file's page, which is zeroed.

Left out: the folio lock, which a fault on an anonymous page takes and does not wait for; userfaultfd; mremap().
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, milestone, wait_until
from secondsight.linux.highmem import copy_highpage
from secondsight.linux.hugetlb_resv import (
    HPAGE_RESV_OWNER,
    HPAGE_RESV_UNMAPPED,
    alloc_hugetlb_folio,
    is_vma_resv_set,
    restore_reserve_on_error,
)
from secondsight.linux.memory_zap import zap_range
from secondsight.linux.mm import folio_test_anon, is_cow_mapping, page_anon_exclusive
from secondsight.linux.mm_flags import VM_FAULT_SIGBUS
from secondsight.linux.mm_interval_tree import linear_page_index, vma_interval_tree_iter_first, vma_interval_tree_iter_next
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Event,
    Flags,
    Folio,
    Mm,
    Pgoff,
    PmdKind,
    Range,
    Va,
    VaEnd,
    Vma,
    secondary_tlbs,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.page_alloc import folio_page, get_page, put_page
from secondsight.linux.pgtable import folio_mapcount, pmd_trans_huge, pte_none
from secondsight.linux.rmap import anon_vma_is_prepared
from secondsight.linux.shmem import ShmemFile
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly, tlb_keeps_entry

__all__ = ["copy_hugetlb_page_range", "hugetlb_no_page_private", "hugetlb_wp", "page_for_copy", "unmap_ref_private"]


@atomic
def set_huge_pte_at(mm: Mm, start: Va, folio: Folio, writable: bool) -> None:
    """set_huge_pte_at() (arch/x86/include/asm/hugetlb.h, Linux 6.12): one entry maps the folio."""
    mm.pmds[start // HPAGE_PMD_NR].kind = PmdKind.HUGE
    for i in range(HPAGE_PMD_NR):
        mm.ptes[start + i].frame = folio_page(folio, i)
        mm.ptes[start + i].writable = writable


@atomic
def hugetlb_add_new_anon_rmap(mm: Mm, start: Va, folio: Folio) -> None:
    """hugetlb_add_new_anon_rmap() (mm/rmap.c), __vmf_anon_prepare() (mm/memory.c, Linux 6.12): the page is the process's alone, and nothing is reserved in its place."""
    if len(folio.restore_reserve) > 0:
        folio.restore_reserve[0] = False
    anon_vma_is_prepared(mm, start)


@atomic
def set_exclusive(folio: Folio, exclusive: bool) -> None:
    """SetPageAnonExclusive(), ClearPageAnonExclusive() (include/linux/page-flags.h, Linux 6.12), which of hugetlb is the folio's."""
    for i in range(HPAGE_PMD_NR):
        page = folio_page(folio, i)
        if len(page.shared) > 0:
            page.shared[0] = not exclusive


@atomic
def copy_user_large_folio(to: Folio, of: Folio) -> None:
    """copy_user_large_folio() (mm/memory.c, Linux 6.12)."""
    for i in range(HPAGE_PMD_NR):
        copy_highpage(folio_page(to, i), folio_page(of, i))


# Faults.


@atomic
def page_for_copy(vma: Vma, va: Va, before: Ref[Folio], unshare: bool) -> tuple[Flags, Ref[Folio], Ref[Folio]]:
    """The first part of hugetlb_wp() (mm/hugetlb.c, Linux 6.12): what is wrong, the page to copy, which is held then, and the copy. Without a page nothing is to be copied;
    without a copy an owner is to take the page away from others and ask again, with that page as `before`: if the entry is another one by then, all is done."""
    if before is not None and before is not mapped_now(vma, va):
        return 0, None, None
    old = hugetlb_wp_avoidcopy(vma, va, unshare)
    if old is None:
        return 0, None, None
    from_owner = is_vma_resv_set(vma, HPAGE_RESV_OWNER) and folio_test_anon(vma, va - va % HPAGE_PMD_NR, old)
    new = alloc_hugetlb_folio(vma, va, from_owner)
    if new is None:
        return (0 if from_owner else VM_FAULT_SIGBUS), old, None
    get_page(old)
    copy_user_large_folio(new, old)
    return 0, old, new


@milestone(quiet=True)
@atomic
def hugetlb_no_page_private(file: ShmemFile, vma: Vma, va: Va, pgoff: Pgoff) -> Flags:
    """hugetlb_no_page() (mm/hugetlb.c, Linux 6.12), of a private mapping: 0, also where an entry is there; VM_FAULT_SIGBUS past the end of the file, where the pool has no
    page, and where an owner has taken one away (HPAGE_RESV_UNMAPPED)."""
    mm = vma.vm_mm
    assert mm is not None
    start = va - va % HPAGE_PMD_NR
    if not pte_none(mm.ptes[start]):
        return 0
    if is_vma_resv_set(vma, HPAGE_RESV_UNMAPPED):
        return VM_FAULT_SIGBUS
    folio = file.pages[pgoff - pgoff % HPAGE_PMD_NR]
    if folio is not None:
        wait_until(not folio.locked)
        get_page(folio)
        set_huge_pte_at(mm, start, folio, False)
        return 0
    if pgoff // HPAGE_PMD_NR >= file.nr_pages // HPAGE_PMD_NR:
        return VM_FAULT_SIGBUS
    new = alloc_hugetlb_folio(vma, start, False)
    if new is None:
        return VM_FAULT_SIGBUS
    hugetlb_add_new_anon_rmap(mm, start, new)
    set_huge_pte_at(mm, start, new, False)
    return 0


@atomic
def mapped_now(vma: Vma, va: Va) -> Ref[Folio]:
    """The page that the entry maps now (pte_same() after the locks were given up)."""
    mm = vma.vm_mm
    assert mm is not None
    return mm.ptes[va - va % HPAGE_PMD_NR].frame


@atomic
def hugetlb_wp_avoidcopy(vma: Vma, va: Va, unshare: bool) -> Ref[Folio]:
    """The first part of hugetlb_wp() (mm/hugetlb.c, Linux 6.12), under the page-table lock: the page to copy; None: none is to be, for the entry may be written by now, or
    is only not to be shared."""
    mm = vma.vm_mm
    assert mm is not None
    start = va - va % HPAGE_PMD_NR
    folio = mm.ptes[start].frame
    if folio is None or mm.ptes[start].writable:
        return None
    if folio_test_anon(vma, start, folio) and folio_mapcount(folio) == 1:
        set_exclusive(folio, True)
        if not unshare:
            set_huge_pte_at(mm, start, folio, True)
        return None
    return folio


@milestone
def hugetlb_wp(vma: Vma, va: Va, old: Folio, new: Folio, unshare: bool) -> None:
    """The second part of hugetlb_wp() (mm/hugetlb.c, Linux 6.12): the copy takes the place of the page, unless the entry has changed."""
    with atomic:
        mm = vma.vm_mm
        assert mm is not None
        start = va - va % HPAGE_PMD_NR
    rng = Range(start, start + HPAGE_PMD_NR, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, start + HPAGE_PMD_NR)
    with atomic:
        same = mm.ptes[start].frame is old and pmd_trans_huge(mm, start) and not mm.ptes[start].writable
        if same:
            if len(mm.tlb) > 0:
                tlb_flush_mmu_tlbonly(mm, start, start + HPAGE_PMD_NR)  # huge_ptep_clear_flush()
            hugetlb_add_new_anon_rmap(mm, start, new)
            set_huge_pte_at(mm, start, new, not unshare)
        else:
            restore_reserve_on_error(vma, start, new)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, start, start + HPAGE_PMD_NR)
    mmu_notifier_invalidate_range_end(mm, rng)
    with atomic:
        put_page(old)
        put_page(old if same else new)


@milestone
def unmap_ref_private(file: ShmemFile, owner: Vma, folio: Folio, va: Va) -> None:
    """unmap_ref_private() (mm/hugetlb.c, Linux 6.12): the page goes from all that have it by fork, at the address that the owner has it at."""
    with atomic:
        start = va - va % HPAGE_PMD_NR
        pgoff = linear_page_index(owner, start)
    file.i_mmap_rwsem.write_lock()
    vma: Ref[Vma] = None
    while True:
        with atomic:
            vma = vma_interval_tree_iter_first(file, pgoff, pgoff) if vma is None else vma_interval_tree_iter_next(vma, pgoff, pgoff)
            while vma is not None and (vma is owner or not is_cow_mapping(vma) or is_vma_resv_set(vma, HPAGE_RESV_OWNER)):
                vma = vma_interval_tree_iter_next(vma, pgoff, pgoff)
            if vma is None:
                break
            mm = vma.vm_mm
            assert mm is not None
            maps = mm.ptes[start].frame is folio
            if maps:
                vma.hugetlb_resv[0] = vma.hugetlb_resv[0] | HPAGE_RESV_UNMAPPED
        unmap_hugepage(mm, start, maps)
    file.i_mmap_rwsem.write_unlock()


def unmap_hugepage(mm: Mm, start: Va, maps: bool) -> None:
    """unmap_hugepage_range() (mm/hugetlb.c, Linux 6.12), of one page: subscribers are called whether it is there or not."""
    if maps:
        zap_range(mm, start, start + HPAGE_PMD_NR, False)
    else:
        rng = Range(start, start + HPAGE_PMD_NR, Event.CLEAR, True)
        mmu_notifier_invalidate_range_start(mm, rng)
        mmu_notifier_invalidate_range_end(mm, rng)


# fork.


def copy_hugetlb_page_range(mm: Mm, oldmm: Mm, start: Va, end: VaEnd) -> bool:
    """copy_hugetlb_page_range() (mm/hugetlb.c, Linux 6.12), of a private mapping: whether it came to the end; else the pool has no page for a copy (-ENOSPC)."""
    rng = Range(start, end, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(oldmm, rng)
    if len(mm.write_protect_seq) > 0:
        with atomic:
            oldmm.write_protect_seq[0] += 1
    copied = copy_huge_ptes(mm, oldmm, start, end)
    if len(mm.write_protect_seq) > 0:
        with atomic:
            oldmm.write_protect_seq[0] += 1
    mmu_notifier_invalidate_range_end(oldmm, rng)
    return copied


@milestone(quiet=True)
@atomic
def copy_huge_ptes(mm: Mm, oldmm: Mm, start: Va, end: VaEnd) -> bool:
    """The loop of copy_hugetlb_page_range() (mm/hugetlb.c, Linux 6.12), under both page-table locks: whether it came to the end."""
    for va in range(start, end):
        folio = oldmm.ptes[va].frame
        vma = oldmm.mm_mt[va]
        new = mm.mm_mt[va]
        if va % HPAGE_PMD_NR == 0 and folio is not None and vma is not None and new is not None:
            anon = folio_test_anon(vma, va, folio)
            if anon and folio.pins > 0 and page_anon_exclusive(folio):
                copy = alloc_hugetlb_folio(new, va, False)
                if copy is None:
                    return False
                copy_user_large_folio(copy, folio)
                hugetlb_add_new_anon_rmap(mm, va, copy)
                set_huge_pte_at(mm, va, copy, new.write)
            else:
                if anon:
                    set_exclusive(folio, False)
                get_page(folio)
                if len(mm.tlb) > 0:
                    for at in range(va, va + HPAGE_PMD_NR):
                        if oldmm.ptes[at].writable:
                            tlb_keeps_entry(oldmm, at)
                set_huge_pte_at(oldmm, va, folio, False)
                set_huge_pte_at(mm, va, folio, False)
            for i in range(HPAGE_PMD_NR):
                if len(mm.ptes[va + i].prot_none) > 0:
                    mm.ptes[va + i].prot_none[0] = oldmm.ptes[va + i].prot_none[0]
    return True
