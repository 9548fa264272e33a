"""mm/huge_memory.c: transparent huge pages of private anonymous memory.

One entry of the middle level maps a whole folio (`Mm.pmds`, PmdKind.HUGE). A fault makes one where huge pages are wanted
(MADV_HUGEPAGE), the vma has all of it, and no page table is there:

    handle_mm_fault: pmd_none?              do_huge_pmd_anonymous_page()
    all of it goes, or changes              zap_huge_pmd(), change_huge_pmd(): as one entry
    a part of it goes, or changes           __split_huge_pmd(): first it becomes two entries, then as of any page

    __split_huge_pmd:
        mmu_notifier_invalidate_range_start(CLEAR, all of the huge page)
        split_huge_pmd_locked()             one step: the page-table lock (`huge_memory_pmd`)
        mmu_notifier_invalidate_range_end()

So MADV_DONTNEED of a part calls subscribers twice, the second time within the first, and the second time for more than the part. munmap and
mprotect of a part split the vma, and the huge page with it, before they call anybody for the part (`vma_adjust_trans_huge`). The folio
stays one: its pages have an entry each, and each entry a reference. The folio itself is split by who wants a part of it to go elsewhere (`huge_memory_split`).

PageAnonExclusive is kept of both pages, also while one entry maps them.

A read of what nobody has written finds the huge zero page; here it is the zero page at both halves. The kernel's is another folio, and a split puts the
zero page in its place: a driver that keeps it beyond the split keeps zeros (raises no false alarm; forced runs see another frame).

Left out: huge pages of files (those of hugetlbfs are in `hugetlb`); userfaultfd; khugepaged, which does by itself what
`khugepaged.madvise_collapse` does when it is asked; a huge page that cannot be had, on which a fault falls back to one page; folios
of other sizes (mTHP).
"""

from __future__ import annotations

from secondsight.lang import atomic, bound, milestone, shared_array, wait_until
from secondsight.linux.huge_memory_pmd import hpage_start, split_huge_pmd_locked
from secondsight.linux.mm import page_anon_exclusive, vma_is_accessible
from secondsight.linux.mm_flags import VM_HUGEPAGE
from secondsight.linux.mm_types import HPAGE_PMD_NR, Event, Folio, Mm, PmdKind, Range, Va, VaEnd, Vma, huge_pages, secondary_tlbs
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.page_alloc import ZERO_PFN, alloc_huge_folio, frames, get_page, is_zero_page
from secondsight.linux.pgtable import is_one_entry, pmd_trans_huge
from secondsight.linux.rmap import anon_vma_is_prepared, folio_add_new_anon_rmap
from secondsight.linux.swapops import swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly, tlb_keeps_entry

__all__ = [
    "can_have_huge_pmd",
    "copy_huge_pmd",
    "do_huge_pmd_anonymous_page",
    "do_huge_zero_wp_pmd",
    "huge_pmd_can_be_written",
    "huge_zero_replaced",
    "is_partly_in",
    "map_huge_folio",
    "next_pinned_huge_pmd",
    "pte_alloc",
    "split_huge_pmd",
    "thp_vma_suitable_order",
    "vma_adjust_trans_huge",
]


@atomic
def pte_alloc(mm: Mm, va: Va) -> None:
    """pte_alloc() (include/linux/mm.h, Linux 6.12): there is a page table for `va`, unless a huge page is there."""
    if len(huge_pages) > 0:
        if mm.pmds[va // HPAGE_PMD_NR].kind == PmdKind.NONE:
            mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.TABLE


@atomic
def thp_vma_suitable_order(vma: Vma, va: Va) -> bool:
    """thp_vma_suitable_order() (include/linux/huge_mm.h, Linux 6.12), of anonymous memory: the vma has all of the huge page."""
    start = hpage_start(va)
    return vma.vm_start <= start and start + HPAGE_PMD_NR <= vma.vm_end


@atomic
def can_have_huge_pmd(vma: Vma, va: Va) -> bool:
    """The question of __handle_mm_fault() (mm/memory.c), and thp_vma_allowable_order() (include/linux/huge_mm.h, Linux 6.12): whether a
    fault makes a huge page. `transparent_hugepage/enabled` is `madvise`."""
    mm = vma.vm_mm
    assert mm is not None
    if mm.pmds[va // HPAGE_PMD_NR].kind != PmdKind.NONE or vma.vm_file is not None:
        return False
    if len(vma.flags) > 0:
        return vma.flags[0] & VM_HUGEPAGE != 0 and thp_vma_suitable_order(vma, va)
    return False


@milestone(quiet=True)
@atomic
def do_huge_pmd_anonymous_page(vma: Vma, va: Va, write: bool) -> None:
    """do_huge_pmd_anonymous_page(), __do_huge_pmd_anonymous_page() (mm/huge_memory.c, Linux 6.12): a new zeroed folio for a write, the
    huge zero page for a read. (The caller has looked whether the address space is stable.)"""
    mm = vma.vm_mm
    assert mm is not None
    start = hpage_start(va)
    anon_vma_is_prepared(mm, start)
    if write:
        map_huge_folio(vma, start, alloc_huge_folio())
    else:
        mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.HUGE
        for at in range(start, start + HPAGE_PMD_NR):
            mm.ptes[at].frame = frames[ZERO_PFN]
            mm.ptes[at].writable = False


@atomic
def map_huge_folio(vma: Vma, start: Va, folio: Folio) -> None:
    """The end of __do_huge_pmd_anonymous_page() (mm/huge_memory.c), and of collapse_huge_page() (mm/khugepaged.c, Linux 6.12): the entry
    takes the new folio's reference. It may be written if the vma may."""
    mm = vma.vm_mm
    assert mm is not None
    mm.pmds[start // HPAGE_PMD_NR].kind = PmdKind.HUGE
    mm.ptes[start].frame = folio
    mm.ptes[start].writable = vma.write
    if len(huge_pages) > 0:
        mm.ptes[start + 1].frame = folio.tail[0]
    mm.ptes[start + 1].writable = vma.write
    folio_add_new_anon_rmap(folio, vma, start)
    if len(mm.ptes[start].prot_none) > 0:
        for at in range(start, start + HPAGE_PMD_NR):
            mm.ptes[at].prot_none[0] = not vma_is_accessible(vma)
    if len(swap_slots) > 0:
        for at in range(start, start + HPAGE_PMD_NR):
            mm.ptes[at].dirty = True


@atomic
def huge_pmd_can_be_written(vma: Vma, va: Va, write: bool) -> bool:
    """do_huge_pmd_wp_page() (mm/huge_memory.c, Linux 6.12), all but the split: true if the folio is the process's alone, and the entry may
    be written now (not for FAULT_FLAG_UNSHARE). False: it is to be split, and the page copied, as the huge zero page always is."""
    mm = vma.vm_mm
    assert mm is not None
    start = hpage_start(va)
    folio = mm.ptes[start].frame
    assert folio is not None
    if is_zero_page(folio):
        return False
    if not page_anon_exclusive(folio):
        wait_until(not folio.locked)
        if folio.refcount != 1:
            return False
        for at in range(start, start + HPAGE_PMD_NR):
            page = mm.ptes[at].frame
            if page is not None and len(page.shared) > 0:
                page.shared[0] = False
    if write:
        for at in range(start, start + HPAGE_PMD_NR):
            mm.ptes[at].writable = True
            if len(swap_slots) > 0:
                mm.ptes[at].dirty = True
    return True


huge_zero_replaced = shared_array(bool, bound("huge_zero_replaced", most=1))
"""Of size 1: a write to the huge zero page brings a huge page, as in Linux 7.2; else it splits it, and brings a small one."""


@milestone(quiet=True)
def do_huge_zero_wp_pmd(mm: Mm, va: Va) -> None:
    """do_huge_zero_wp_pmd() (mm/huge_memory.c, Linux 7.2): a new huge page instead of the huge zero page, if that is still there."""
    start = hpage_start(va)
    rng = Range(start, start + HPAGE_PMD_NR, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, start + HPAGE_PMD_NR)
    with atomic:
        vma = mm.mm_mt[va]
        folio = mm.ptes[start].frame
        if vma is not None and folio is not None and pmd_trans_huge(mm, va) and not mm.unstable:
            if is_zero_page(folio):
                map_huge_folio(vma, start, alloc_huge_folio())
                if len(mm.tlb) > 0:
                    tlb_flush_mmu_tlbonly(mm, start, start + HPAGE_PMD_NR)  # pmdp_huge_clear_flush()
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, start, start + HPAGE_PMD_NR)
    mmu_notifier_invalidate_range_end(mm, rng)


@milestone(quiet=True)
def split_huge_pmd(mm: Mm, va: Va) -> None:
    """__split_huge_pmd() (mm/huge_memory.c, Linux 6.12): subscribers are called whether there is a huge page still or not."""
    start = hpage_start(va)
    rng = Range(start, start + HPAGE_PMD_NR, Event.CLEAR, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    split_huge_pmd_locked(mm, start, None, False)
    mmu_notifier_invalidate_range_end(mm, rng)


@atomic
def is_partly_in(mm: Mm, start: Va, end: VaEnd) -> bool:
    """Whether the pages `start` to before `end`, which lie under one page table, are a part of a huge page, or of one that is being moved."""
    return is_one_entry(mm, start) and end - start != HPAGE_PMD_NR


def vma_adjust_trans_huge(mm: Mm, start: Va, end: VaEnd) -> None:
    """vma_adjust_trans_huge(), split_huge_pmd_if_needed() (mm/huge_memory.c, Linux 6.12): a vma is to end and another to begin at `start`, and
    at `end`: what is one huge page, or could be, is split first, and subscribers are called in any case. The mmap lock is held for writing.

    In the kernel the locks of the vma's file and anon_vma are held too, for writing: may hide a deadlock.
    """
    if len(huge_pages) > 0:
        first = is_within_vma(mm, start)
        if first:
            split_huge_pmd(mm, start)
        last = is_within_vma(mm, end)
        if last:
            split_huge_pmd(mm, end)


@atomic
def is_within_vma(mm: Mm, va: VaEnd) -> bool:
    """Whether `va` is in the middle of a huge page's address range, of which one vma has all."""
    if va % HPAGE_PMD_NR == 0:
        return False
    vma = mm.mm_mt[va]
    return vma is not None and thp_vma_suitable_order(vma, va)


@atomic
def copy_huge_pmd(mm: Mm, oldmm: Mm, va: Va) -> None:
    """copy_huge_pmd() (mm/huge_memory.c, Linux 6.12), of a page that nobody has pinned: the child maps the folio too, and neither may write
    it. `va`: its first page."""
    folio = oldmm.ptes[va].frame
    assert folio is not None
    if not is_zero_page(folio):
        get_page(folio)
    mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.HUGE
    for at in range(va, va + HPAGE_PMD_NR):
        page = oldmm.ptes[at].frame
        assert page is not None
        if len(page.shared) > 0 and not is_zero_page(page):
            page.shared[0] = True
        if len(mm.tlb) > 0:
            if oldmm.ptes[at].writable:
                tlb_keeps_entry(oldmm, at)
        oldmm.ptes[at].writable = False
        mm.ptes[at].frame = page
        mm.ptes[at].writable = False
        if len(mm.ptes[at].prot_none) > 0:
            mm.ptes[at].prot_none[0] = oldmm.ptes[at].prot_none[0]
        if len(swap_slots) > 0:
            mm.ptes[at].dirty = oldmm.ptes[at].dirty


@atomic
def next_pinned_huge_pmd(mm: Mm, start: Va, end: VaEnd) -> VaEnd:
    """folio_try_dup_anon_rmap_pmd() (include/linux/rmap.h, Linux 6.12): the first huge page of a range that is the process's alone and may be
    pinned; `end` if there is none."""
    for va in range(start, end):
        folio = mm.ptes[va].frame
        if folio is not None and va % HPAGE_PMD_NR == 0 and pmd_trans_huge(mm, va):
            if folio.pins > 0 and page_anon_exclusive(folio):
                return va
    return end
