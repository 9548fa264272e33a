"""mm/memory.c: taking page-table entries away. Faults, of the same file, are in `memory`.

Entries go by `zap_pte_range`, always inside a notifier bracket:

    mmu_notifier_invalidate_range_start()
    zap_pte_range()                             one step: the page-table lock
    mmu_notifier_invalidate_range_end()
    tlb_flush_mmu_tlbonly()                     until now CPUs may use their old TLB entries (`tlb`; where it is asked)
    tlb_finish_mmu()                            only now the references that the entries held are dropped

`zap_page_range_single` does this for one vma (MADV_DONTNEED, and `unmap_mapping_range` for each place a file is
mapped at); `unmap_vmas` for munmap and exit, whose callers drop the references.

`unmap_mapping_range` takes no mmap lock: it runs beside faults of the same process.

A huge page of which only a part is zapped is split first (`huge_memory`).

Left out: the early flush of large batches and of dirty
file pages, which drops references already before the end of the bracket (a driver that is late is caught all the
same: it is late at the zap).
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, milestone
from secondsight.linux.huge_memory import (
    is_partly_in,
    split_huge_pmd,
)
from secondsight.linux.hugetlb_resv import hugetlb_entry_has_gone
from secondsight.linux.hugetlb_vma_lock import hugetlb_vma_locks, hugetlb_zap_begin, hugetlb_zap_end, is_hugetlb_vma
from secondsight.linux.mm import folio_test_anon, is_cow_mapping
from secondsight.linux.mm_interval_tree import vma_interval_tree_iter_first, vma_interval_tree_iter_next
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    AddressSpace,
    Event,
    Folio,
    Gather,
    Mm,
    Pgoff,
    PmdKind,
    Pte,
    PteKind,
    Range,
    Va,
    VaEnd,
    Vma,
    huge_pages,
    secondary_tlbs,
    shmem_swap,
)
from secondsight.linux.mmu_gather import TablePlace, gup_walks, table_moves
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start, owners
from secondsight.linux.page_alloc import (
    ZERO_PFN,
    frames,
    page_folio,
    put_page,
)
from secondsight.linux.pgtable import (
    exclusive_is_mapped,
    is_one_entry,
    is_second_half,
    pte_clear,
    pte_none,
    vm_normal_folio,
)
from secondsight.linux.rmap import flush_tlb_batched_pending, folio_remove_rmap
from secondsight.linux.swap_state import (
    free_swap_and_cache,
    free_swap_cache,
)
from secondsight.linux.swapops import (
    is_poisoned_swp_entry,
    is_pte_marker,
    is_swap_entry,
    is_swap_pte,
    migrations,
    pte_markers,
    swap_slots,
)
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, flushes_due, tlb_flush_mmu_tlbonly, tlb_remove_tlb_entry
from secondsight.linux.userfaultfd import pte_install_uffd_wp_if_needed

__all__ = [
    "tlb_finish_mmu",
    "unmap_mapping_folio",
    "unmap_mapping_range",
    "unmap_vmas",
    "zap_page_range_single",
    "zap_pte_range",
    "zap_range",
]


@milestone(quiet=True)
@atomic
def zap_pte_range(mm: Mm, start: Va, end: VaEnd, keep_cows: bool = False, drop_markers: bool = False) -> Gather:
    """zap_pte_range() (mm/memory.c), zap_huge_pmd() (mm/huge_memory.c, Linux 6.12): clear the entries of a range under the page-table lock.

    The folios whose references are now to be dropped, in the order of addresses: the mmu_gather. Entries of a PFN
    mapping, of device memory and of the zero page held none. That of a device-exclusive entry is dropped at once.
    `keep_cows` (zap_details.even_cows, negated): but not the process's own copies of a file's pages. `drop_markers` (ZAP_FLAG_DROP_MARKER): of files' pages no
    markers are left (`swapops`).
    """
    gather: Gather = []
    if len(mm.tlb) > 0:
        flush_tlb_batched_pending(mm)
    for va in range(start, end):
        pte = mm.ptes[va]
        if not pte_none(pte) and not (keep_cows and is_cow_page(mm, va)) and not marker_stays(mm, va, keep_cows, drop_markers):
            folio = vm_normal_folio(pte)
            if folio is not None and not is_second_half(mm, va):
                gather.append(folio)
            zap_entry(mm, va, drop_markers)
    if len(huge_pages) > 0:
        for gone in gather:
            folio_remove_rmap(gone)
    return gather


@atomic
def marker_stays(mm: Mm, va: Va, keep_cows: bool, drop_markers: bool) -> bool:
    """The part of zap_pte_range() (mm/memory.c, Linux 6.12) about markers: of private memory those of write protection go, of a file's only where the mapping goes too; those of
    poison, but where copies of the process's own stay."""
    if len(pte_markers) > 0:
        pte, vma = mm.ptes[va], mm.mm_mt[va]
        if is_pte_marker(pte):
            if is_poisoned_swp_entry(pte):
                return keep_cows
            return not drop_markers and vma is not None and vma.vm_file is not None
    return False


@atomic
def zap_entry(mm: Mm, va: Va, drop_markers: bool = False) -> None:
    """One entry of zap_pte_range() (mm/memory.c, Linux 6.12); of a huge page's both halves go in the same step."""
    pte = mm.ptes[va]
    gone: Ref[Folio] = None
    if len(huge_pages) > 0:
        if is_one_entry(mm, va) and va % HPAGE_PMD_NR != 0:
            if len(frames[ZERO_PFN].restore_reserve) > 0:
                gone = pte.frame
            mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.NONE
            if len(gup_walks) > 0:  # zap_deposited_table()
                table_moves(mm, va, TablePlace.DEPOSITED, TablePlace.FREED, va)
    protected = False
    if len(pte_markers) > 0:
        protected = pte.uffd_wp[0] and not drop_markers
    if len(swap_slots) + len(migrations) + len(owners) > 0:
        if is_swap_pte(pte):
            zap_nonpresent_pte(pte)
    if len(mm.tlb) + len(flushes_due) > 0:
        tlb_remove_tlb_entry(mm, va)
    if len(shmem_swap) > 0:
        folio = vm_normal_folio(pte)
        if folio is not None and folio.anon_vma is None and pte.dirty:
            folio.dirty = True
    pte_clear(pte)
    if len(pte_markers) > 0:
        vma = mm.mm_mt[va]
        if vma is not None:
            pte_install_uffd_wp_if_needed(vma, pte, protected)
    if len(frames[ZERO_PFN].restore_reserve) > 0:
        if gone is not None:
            hugetlb_entry_has_gone(mm, va - 1, page_folio(gone))


def zap_pmd_range(mm: Mm, start: Va, end: VaEnd) -> Gather:
    """zap_pmd_range() (mm/memory.c, Linux 6.12), where there are huge pages: one page table, or one huge page, after another. A huge page of which only
    a part is in the range is split first; if another has come until then, it too."""
    gather: Gather = []
    at: VaEnd = start
    while at < end:
        with atomic:
            stop: VaEnd = min(end, (at // HPAGE_PMD_NR + 1) * HPAGE_PMD_NR)
            partly = is_partly_in(mm, at, stop)
            if not partly:
                if len(mm.tlb) > 0 and not is_one_entry(mm, at):  # zap_huge_pmd() does not
                    flush_tlb_batched_pending(mm)
                for va in range(at, stop):
                    if not pte_none(mm.ptes[va]):
                        folio = vm_normal_folio(mm.ptes[va])
                        if folio is not None and not is_second_half(mm, va):
                            gather.append(folio)
                        zap_entry(mm, va)
                for gone in gather:
                    folio_remove_rmap(gone)
        if partly:
            split_huge_pmd(mm, at)
        else:
            at = stop
    return gather


@atomic
def is_cow_page(mm: Mm, va: Va) -> bool:
    """should_zap_folio(), should_zap_cows() (mm/memory.c, Linux 6.12), negated: an anonymous page, in a private mapping of a file; one in
    swap or in device memory, or that is being moved, too."""
    if len(frames[ZERO_PFN].shared) > 0:
        vma = mm.mm_mt[va]
        folio = mm.ptes[va].frame
        if vma is not None and folio is not None:
            return is_cow_mapping(vma) and folio_test_anon(vma, va, folio)
        if len(swap_slots) > 0:
            return vma is not None and is_cow_mapping(vma) and is_swap_entry(mm.ptes[va])
    return False


@atomic
def zap_nonpresent_pte(pte: Pte) -> None:
    """The part of zap_pte_range() (mm/memory.c, Linux 6.12; zap_nonpresent_ptes() later) about an entry that is not present."""
    folio = pte.frame
    if len(owners) > 0:
        if pte.kind in (PteKind.DEVICE_EXCLUSIVE, PteKind.DEVICE_PRIVATE) and folio is not None:
            if len(huge_pages) > 0 and len(exclusive_is_mapped) > 0:
                pte_clear(pte)
                folio_remove_rmap(folio)
            put_page(folio)
    if len(swap_slots) > 0:
        if is_swap_entry(pte):
            free_swap_and_cache(pte.swap)


@atomic
def tlb_finish_mmu(gather: Gather) -> None:
    """tlb_finish_mmu() (mm/mmu_gather.c), free_pages_and_swap_cache() (mm/swap_state.c, Linux 6.12): drop the references that zapped
    entries held; a page that nothing maps any more leaves the swap cache too."""
    for frame in gather:
        if len(swap_slots) > 0:
            free_swap_cache(frame)
        put_page(frame)


def zap_page_range_single(mm: Mm, start: Va, end: VaEnd, drop_markers: bool = False) -> None:
    """zap_page_range_single() (mm/memory.c, Linux 6.12): take away the entries of a range within one vma. The mmap lock is held, or nothing there is
    of huge pages of a file. `drop_markers`: see `zap_pte_range`."""
    if len(hugetlb_vma_locks) > 0:
        with atomic:
            vma = mm.mm_mt[start]
            is_hugetlb = vma is not None and is_hugetlb_vma(vma)
        if is_hugetlb and vma is not None:
            hugetlb_zap_begin(vma)
            zap_range(mm, start, end, drop_markers)
            hugetlb_zap_end(vma)
            return
    zap_range(mm, start, end, drop_markers)


def zap_range(mm: Mm, start: Va, end: VaEnd, drop_markers: bool) -> None:
    """unmap_single_vma() (mm/memory.c), unmap_hugepage_range() (mm/hugetlb.c, Linux 6.12), in a bracket."""
    rng = Range(start, end, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, end)
    if len(huge_pages) > 0:
        gather = zap_pmd_range(mm, start, end)
    else:
        gather = zap_pte_range(mm, start, end, False, drop_markers)
    mmu_notifier_invalidate_range_end(mm, rng)
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, start, end)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, start, end)
    if gather:
        tlb_finish_mmu(gather)


def zap_file_pages(mm: Mm, start: Va, end: VaEnd, drop_markers: bool) -> None:
    """zap_page_range_single() with zap_details.even_cows false (mm/memory.c, Linux 6.12): the process's own copies stay. `drop_markers`: see `zap_pte_range`."""
    rng = Range(start, end, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, end)
    gather = zap_pte_range(mm, start, end, True, drop_markers)
    mmu_notifier_invalidate_range_end(mm, rng)
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, start, end)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, start, end)
    if gather:
        tlb_finish_mmu(gather)


def unmap_vmas(mm: Mm, start: Va, end: VaEnd) -> Gather:
    """unmap_vmas() (mm/memory.c, Linux 6.12): take away the entries of a range, for munmap and exit.

    Returns the mmu_gather: the caller drops the references (`tlb_finish_mmu`).
    """
    rng = Range(start, end, Event.UNMAP, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, end)
    gather = zap_pte_range(mm, start, end, False, True)
    mmu_notifier_invalidate_range_end(mm, rng)
    return gather


@milestone
def unmap_mapping_range(mapping: AddressSpace, first: Pgoff, last: Pgoff, even_cows: bool = False) -> None:
    """unmap_mapping_range() (mm/memory.c, Linux 6.12): zap pages `first` to `last` of a file; copies that private mappings have made of them stay, unless they go too (`even_cows`)."""
    unmap_mapping_range_tree(mapping, first, last, even_cows, False)


@milestone
def unmap_mapping_folio(mapping: AddressSpace, pgoff: Pgoff) -> None:
    """unmap_mapping_folio() (mm/memory.c, Linux 6.12), of a locked page that is about to leave its file: nothing is left of it, no markers either."""
    unmap_mapping_range_tree(mapping, pgoff, pgoff, False, True)


def unmap_mapping_range_tree(mapping: AddressSpace, first: Pgoff, last: Pgoff, even_cows: bool, drop_markers: bool) -> None:
    """unmap_mapping_range_tree() (mm/memory.c, Linux 6.12), with the lock of the tree.

    Wherever any process maps the pages, one bracket for each vma in the order of the file's tree, under `i_mmap_rwsem` for reading.
    Takes no mmap lock.
    """
    mapping.i_mmap_rwsem.read_lock()
    vma: Ref[Vma] = None
    while True:
        with atomic:
            vma = vma_interval_tree_iter_first(mapping, first, last) if vma is None else vma_interval_tree_iter_next(vma, first, last)
            if vma is None:
                break
            mm = vma.vm_mm
            assert mm is not None
            start = vma.vm_start + first - vma.vm_pgoff if vma.vm_pgoff < first else vma.vm_start
            end = min(vma.vm_end, vma.vm_start + last + 1 - vma.vm_pgoff)
        if len(frames[ZERO_PFN].shared) > 0:
            if even_cows:
                zap_page_range_single(mm, start, end)
            else:
                zap_file_pages(mm, start, end, drop_markers)
        else:
            zap_page_range_single(mm, start, end, drop_markers)
    mapping.i_mmap_rwsem.read_unlock()
