"""mm/khugepaged.c: small pages of private memory become one huge page, because the process asks for it (MADV_COLLAPSE).

    mmap lock for reading: lru_add_drain_all(); hpage_collapse_scan_pmd()        is there a page table, is a page writable, does nobody else hold one?
        not held meanwhile; asked again; what a device has alone comes back to the CPU
    mmap lock for writing: asked again
        mmu_notifier_invalidate_range_start(CLEAR, all of it)
        pmdp_collapse_flush()               one step: the page table is taken out; no CPU finds any of the pages
        mmu_notifier_invalidate_range_end()
        tlb_remove_table_sync_one()         who walks there without a lock is waited for (`mmu_gather`)
        __collapse_huge_page_isolate()      one step: each page locked, if nobody else holds it; else the page table is put back
        __collapse_huge_page_copy()         one step: contents, and the new folio's entry; nobody is told

So the bracket is over before the new page is there, and what keeps a device from finding nothing in between is the mmap lock, which it takes
to look (`hmm`). A page that somebody holds, as by a pin, is not collapsed: -EAGAIN. A page that came since the call began may be held by a CPU's
batch of new pages, and may be not.

The anon_vma lock is held for writing from before the bracket until the pages are locked, where anybody walks (`rmap`).

Left out: files; khugepaged itself; a huge page that cannot be had.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Errno, atomic, bound, choose, milestone, shared_array
from secondsight.linux.errno import EAGAIN, EINVAL, ENOMEM
from secondsight.linux.highmem import copy_highpage
from secondsight.linux.huge_memory import map_huge_folio, thp_vma_suitable_order
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.memory_swap import do_swap_page
from secondsight.linux.memremap_private import folio_is_device_coherent
from secondsight.linux.mm_flags import FAULT_FLAG_ALLOW_RETRY, VM_FAULT_RETRY
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    NOT_PREPARED,
    Count,
    Event,
    Folio,
    Mm,
    Nid,
    Pgoff,
    PmdKind,
    Pte,
    Range,
    Result,
    Va,
    VaEnd,
    Vma,
    anon_vmas,
    secondary_tlbs,
)
from secondsight.linux.mmu_gather import (
    DetachedTable,
    TablePlace,
    detached_tables,
    gup_walks,
    table_moves,
    tlb_remove_table_sync_one,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start, owners
from secondsight.linux.page_alloc import alloc_huge_folio, folio_nr_pages, frames, is_zero_page, page_folio, put_page
from secondsight.linux.pgtable import folio_mapcount, pte_clear, vm_normal_folio
from secondsight.linux.swap_state import free_swap_cache
from secondsight.linux.swapops import is_swap_pte, migrations, swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly

__all__ = ["collapses_read_only", "detached_tables", "madvise_collapse"]

MAPPED: Final = 1
"""A huge page is there already."""
PAGE_RO: Final = -100
"""No page may be written, one is not present, or in a device's coherent memory: -EINVAL, and the next huge page is looked at (SCAN_PAGE_RO,
SCAN_PTE_NON_PRESENT, SCAN_PAGE_NULL)."""


collapses_read_only = shared_array(bool, bound("collapses_read_only", most=1))
"""Of size 1: pages that may not be written, all of them, become a huge page too, as in Linux 7.2."""


collapse_does_not_wait = shared_array(bool, bound("collapse_does_not_wait", most=1))
"""Of size 1: who walks without a lock is not waited for, as before 2ba99c5e0881."""


@milestone
def madvise_collapse(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """MADV_COLLAPSE: madvise_walk_vmas() (mm/madvise.c), madvise_collapse() (mm/khugepaged.c, Linux 6.12), of private anonymous memory.

    Vma by vma, of each the huge pages that lie in the range. 0: all are huge pages now; -EAGAIN: somebody holds a page; -EINVAL: nothing
    there may be written, or no page table is there, or the vma cannot have one; -ENOMEM: something is not mapped, but the rest is done.
    """
    mm.mmap_lock.read_lock()
    ret: Errno = 0
    start: VaEnd = va
    while start < va + length:
        with atomic:
            first = find_vma_from(mm, start, va + length)
            end = first
            if first != start:
                ret = -ENOMEM
            vma = mm.mm_mt[first] if first < va + length else None
            refused = False
            if vma is not None:
                end = min(vma.vm_end, va + length)
                refused = not thp_vma_allowable(vma)
                if not refused:
                    lru_add_drain_all()
        if refused:
            ret = -EINVAL
            break
        if first < end:
            error = collapse_range(mm, first, end)
            if error != 0:
                ret = error
                break
        start = end
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def thp_vma_allowable(vma: Vma) -> bool:
    """thp_vma_allowable_order() (include/linux/huge_mm.h, Linux 6.12) for MADV_COLLAPSE: the vma has room for a huge page, at its end at least,
    and something in it was written once. VM_HUGEPAGE is not asked for."""
    last = vma.vm_end // HPAGE_PMD_NR * HPAGE_PMD_NR
    return vma.vm_file is None and vma.anon_prepared[0] != NOT_PREPARED and last - vma.vm_start >= HPAGE_PMD_NR


@atomic
def lru_add_drain_all() -> None:
    """lru_add_drain_all() (mm/swap.c, Linux 6.12): no CPU's batch holds any page."""
    for frame in frames:
        frame.batched[0] = False


@atomic
def lru_add_drain(mm: Mm, va: Va) -> None:
    """lru_add_drain() (mm/swap.c, Linux 6.12) of this CPU: its batch does not hold the page that it has brought back to `va`."""
    page = mm.ptes[va].frame
    if page is not None and not is_zero_page(page):
        page_folio(page).batched[0] = False


@atomic
def is_batched(folio: Folio) -> bool:
    """Whether a CPU's batch (mm/swap.c, Linux 6.12) holds a folio: a new one, perhaps."""
    if folio.batched[0]:
        if choose(2) == 0:
            return True
        folio.batched[0] = False
    return False


def collapse_range(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """madvise_collapse() (mm/khugepaged.c, Linux 6.12), of one vma. The mmap lock is held for reading, and given up between."""
    at: VaEnd = (start + HPAGE_PMD_NR - 1) // HPAGE_PMD_NR * HPAGE_PMD_NR
    last: VaEnd = end
    failed: Errno = 0
    kept = True
    while at + HPAGE_PMD_NR <= last:
        with atomic:
            result: Result = 0 if kept else revalidated(mm, at)
            if result == 0:
                vma = mm.mm_mt[at]
                assert vma is not None
                last = min(last, vma.vm_end)
                result = hpage_collapse_scan_pmd(mm, at)
        if result == 0:
            result = collapse_huge_page(mm, at)
            mm.mmap_lock.read_lock()
            kept = False
        if result < 0:
            failed = -EINVAL if result == PAGE_RO else result
        if result == -EINVAL:
            break
        at += HPAGE_PMD_NR
    return failed


@atomic
def revalidated(mm: Mm, va: Va) -> Errno:
    """hugepage_vma_revalidate() (mm/khugepaged.c, Linux 6.12): 0, or -EINVAL where by now something else is mapped."""
    vma = mm.mm_mt[va]
    if vma is None or vma.vm_file is not None:
        return -EINVAL
    return 0 if thp_vma_suitable_order(vma, va) and vma.anon_prepared[0] != NOT_PREPARED else -EINVAL


@atomic
def find_pmd_or_thp_or_none(mm: Mm, va: Va) -> Result:
    """find_pmd_or_thp_or_none() (mm/khugepaged.c, Linux 6.12): 0: a page table is there; `MAPPED`; or -EINVAL."""
    kind = mm.pmds[va // HPAGE_PMD_NR].kind
    if kind == PmdKind.HUGE:
        return MAPPED
    if len(migrations) > 0:
        if kind == PmdKind.MIGRATION:
            return PAGE_RO
    return 0 if kind == PmdKind.TABLE else -EINVAL


@atomic
def hpage_collapse_scan_pmd(mm: Mm, va: Va) -> Result:
    """hpage_collapse_scan_pmd() (mm/khugepaged.c, Linux 6.12): 0 if it can be tried; `MAPPED`; or why not."""
    result: Result = find_pmd_or_thp_or_none(mm, va)
    if result != 0:
        return result
    writable = False
    for at in range(va, va + HPAGE_PMD_NR):
        pte = mm.ptes[at]
        folio = vm_normal_folio(pte)
        if folio is not None:
            writable = writable or pte.writable
            whole = page_folio(folio)
            if folio_is_device_coherent(whole):
                return PAGE_RO
            if whole.locked or whole.refcount != folio_mapcount(folio) + cached(whole):
                return -EAGAIN
            if is_batched(whole):
                return -EAGAIN
            if len(migrations) > 0:
                if whole.isolated:
                    return -EAGAIN
    return 0 if writable or len(collapses_read_only) > 0 else PAGE_RO


def collapse_huge_page(mm: Mm, va: Va) -> Result:
    """collapse_huge_page() (mm/khugepaged.c, Linux 6.12): 0, `MAPPED`, `PAGE_RO`, -EINVAL or -EAGAIN. The caller's mmap lock is given up, and not held
    when it returns."""
    mm.mmap_lock.read_unlock()
    mm.mmap_lock.read_lock()
    result: Result = asked_again(mm, va)
    if result != 0:
        mm.mmap_lock.read_unlock()
        return result
    if len(owners) + len(swap_slots) + len(migrations) > 0:
        if not collapse_swapin(mm, va):
            return -EAGAIN
    mm.mmap_lock.read_unlock()
    mm.mmap_lock.write_lock()
    result = asked_again(mm, va)
    if result == 0:
        with detached_tables.on_stack() as table:
            anon_vma_lock_write(mm, va)
            rng = Range(va, va + HPAGE_PMD_NR, Event.CLEAR, True)
            mmu_notifier_invalidate_range_start(mm, rng)
            if len(secondary_tlbs) > 0:
                entries_change(mm, va, va + HPAGE_PMD_NR)
            pmdp_collapse_flush(mm, va, table)
            if len(secondary_tlbs) > 0:
                flush_secondary_tlbs(mm, va, va + HPAGE_PMD_NR)
            mmu_notifier_invalidate_range_end(mm, rng)
            if len(gup_walks) > 0 and len(collapse_does_not_wait) == 0:
                tlb_remove_table_sync_one()
            result = collapse_huge_page_isolate(mm, va, table)
            anon_vma_unlock_write(mm, va)
            if result == 0:
                collapse_huge_page_copy(mm, va, table)
    mm.mmap_lock.write_unlock()
    return result


def anon_vma_lock_write(mm: Mm, va: Va) -> None:
    """anon_vma_lock_write() (include/linux/rmap.h, Linux 6.12) of the vma at `va`: no walk comes to a page table while it is out of the tree."""
    if len(anon_vmas) > 0:
        with atomic:
            vma = mm.mm_mt[va]
            assert vma is not None
            anon_vma = vma.anon_vma
        if anon_vma is not None:
            anon_vma.rwsem.write_lock()


def anon_vma_unlock_write(mm: Mm, va: Va) -> None:
    """anon_vma_unlock_write() (include/linux/rmap.h, Linux 6.12)."""
    if len(anon_vmas) > 0:
        with atomic:
            vma = mm.mm_mt[va]
            assert vma is not None
            anon_vma = vma.anon_vma
        if anon_vma is not None:
            anon_vma.rwsem.write_unlock()


@atomic
def asked_again(mm: Mm, va: Va) -> Result:
    """hugepage_vma_revalidate() and find_pmd_or_thp_or_none(), one after the other (mm/khugepaged.c, Linux 6.12)."""
    result: Result = revalidated(mm, va)
    return result if result != 0 else find_pmd_or_thp_or_none(mm, va)


def collapse_swapin(mm: Mm, va: Va) -> bool:
    """__collapse_huge_page_swapin() (mm/khugepaged.c, Linux 6.12): what is not present is brought back. False: the mmap lock was given up to
    wait, and it fails."""
    for at in range(va, va + HPAGE_PMD_NR):
        away = is_swap_pte(mm.ptes[at])
        if away:
            ret = do_swap_page(mm, at, FAULT_FLAG_ALLOW_RETRY)
            if ret & VM_FAULT_RETRY != 0:
                return False
            lru_add_drain(mm, at)
    return True


@milestone(quiet=True)
@atomic
def pmdp_collapse_flush(mm: Mm, va: Va, table: DetachedTable) -> None:
    """pmdp_collapse_flush() (include/linux/pgtable.h, Linux 6.12): the page table is out of the tree, and its entries where nobody finds them."""
    mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.NONE
    for i in range(HPAGE_PMD_NR):
        move_pte(mm.ptes[va + i], table.ptes[i])
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, va, va + HPAGE_PMD_NR)
    if len(gup_walks) > 0:
        table_moves(mm, va, TablePlace.IN_TREE, TablePlace.DETACHED, va, table)


@atomic
def move_pte(pte: Pte, to: Pte) -> None:
    """An entry is at another place, and empty where it was."""
    to.frame = pte.frame
    to.writable = pte.writable
    if len(pte.prot_none) > 0:
        to.prot_none[0] = pte.prot_none[0]
    if len(owners) + len(swap_slots) + len(migrations) > 0:
        to.kind = pte.kind
    if len(swap_slots) > 0:
        to.swap = pte.swap
        to.dirty = pte.dirty
    if len(swap_slots) + len(migrations) > 0:
        to.exclusive = pte.exclusive
    pte_clear(pte)


@milestone(quiet=True)
@atomic
def collapse_huge_page_isolate(mm: Mm, va: Va, table: DetachedTable) -> Result:
    """__collapse_huge_page_isolate() (mm/khugepaged.c, Linux 6.12): 0, and each folio is locked; or why not, and the page table is back (which
    the kernel does under the page-table lock thereafter: nobody has seen it)."""
    result = isolate_problem(table)
    for i in range(HPAGE_PMD_NR):
        if result == 0:
            folio = vm_normal_folio(table.ptes[i])
            if folio is not None:
                page_folio(folio).locked = True
        else:
            move_pte(table.ptes[i], mm.ptes[va + i])
    if result != 0:
        mm.pmds[va // HPAGE_PMD_NR].kind = PmdKind.TABLE
        if len(gup_walks) > 0:
            table_moves(mm, va, TablePlace.DETACHED, TablePlace.IN_TREE, va)
    return result


@atomic
def isolate_problem(table: DetachedTable) -> Result:
    """What __collapse_huge_page_isolate() (mm/khugepaged.c, Linux 6.12) asks: something that is not present, a folio that is locked, or one
    that somebody holds beside the page tables, this one too; and whether no page may be written."""
    writable = False
    for i in range(HPAGE_PMD_NR):
        pte = table.ptes[i]
        if len(owners) + len(swap_slots) + len(migrations) > 0:
            if is_swap_pte(pte):
                return PAGE_RO
        folio = vm_normal_folio(pte)
        if folio is not None:
            writable = writable or pte.writable
            whole = page_folio(folio)
            if folio_is_device_coherent(whole):
                return PAGE_RO
            if whole.locked or whole.refcount != folio_mapcount(folio) + entries_of(table, whole) + cached(whole):
                return -EAGAIN
            if is_batched(whole):
                return -EAGAIN
            if len(migrations) > 0:
                if whole.isolated:
                    return -EAGAIN
    return 0 if writable or len(collapses_read_only) > 0 else PAGE_RO


@atomic
def cached(folio: Folio) -> Count:
    """The part of is_refcount_suitable() (mm/khugepaged.c, Linux 6.12) about the swap cache: its references to a folio."""
    if len(swap_slots) > 0:
        return folio_nr_pages(folio) if folio.swapcache else 0
    return 0


@atomic
def entries_of(table: DetachedTable, folio: Folio) -> Count:
    """How many entries of a page table that was taken out map a folio."""
    found: Count = 0
    for i in range(HPAGE_PMD_NR):
        page = vm_normal_folio(table.ptes[i])
        if page is not None:
            if page_folio(page) is folio:
                found += 1
    return found


@atomic
def hpage_collapse_find_target_node(table: DetachedTable) -> Nid:
    """hpage_collapse_find_target_node() (mm/khugepaged.c, Linux 6.12): the node of most of the pages, of as many the first. Left out: it counts them before they come out
    of swap."""
    node: Nid = 0
    for i in range(HPAGE_PMD_NR):
        page = table.ptes[i].frame
        if page is not None and not is_zero_page(page):
            if page_folio(page).nid[0] == 0:
                return 0
            node = 1
    return node


@milestone(quiet=True)
@atomic
def collapse_huge_page_copy(mm: Mm, va: Va, table: DetachedTable) -> None:
    """__collapse_huge_page_copy(), __collapse_huge_page_copy_succeeded() and the end of collapse_huge_page() (mm/khugepaged.c, Linux 6.12): the
    new folio has the contents, and zeros where nothing was; the old pages are given back."""
    vma = mm.mm_mt[va]
    assert vma is not None
    folio = alloc_huge_folio()
    if len(folio.nid) > 0:
        folio.nid[0] = hpage_collapse_find_target_node(table)
    map_huge_folio(vma, va, folio)
    for i in range(HPAGE_PMD_NR):
        page = table.ptes[i].frame
        copy = mm.ptes[va + i].frame
        if page is not None and copy is not None:
            copy_highpage(copy, page)
            if not is_zero_page(page):
                page_folio(page).locked = False
                if len(swap_slots) > 0:
                    free_swap_cache(page)
                put_page(page)
        pte_clear(table.ptes[i])
    if len(gup_walks) > 0:
        table_moves(mm, va, TablePlace.DETACHED, TablePlace.DEPOSITED, va)
