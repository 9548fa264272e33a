"""fs/proc/task_mmu.c: which pages a process has written since somebody asked, soft-dirty, is found out by write faults.

    clear_refs_write("4")    the mmap lock for writing; subscribers are told, of the whole address space, with SOFT_DIRTY
                             every entry may be written no more

So the next store of a CPU faults. It finds its page where it was: nothing is copied that a store would not copy anyway. A device that may go on writing
writes what nobody sees.

Whether an entry is write-protected by a userfaultfd a process may read in a file (/proc/PID/pagemap, bit 57).

Left out: the soft-dirty bits themselves (bit 55 of the same), which nothing here reads; that a read of a shared mapping's page enters it without permission to write from
then on, as vma_wants_writenotify() says (here a device may write there without a fault of its own: raises no false alarm, and hides none of a driver's
that is told); the other numbers that may be written, which are about accessed bits.
"""

from __future__ import annotations

from secondsight.lang import atomic, milestone
from secondsight.linux.hugetlb_vma_lock import is_hugetlb_vma
from secondsight.linux.memory import vma_flags
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_flags import VM_PFNMAP
from secondsight.linux.mm_types import Event, Mm, Pte, Range, Va, Vma, secondary_tlbs
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.page_alloc import page_folio
from secondsight.linux.pgtable import pte_page
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, flush_tlb_mm, tlb_keeps_entry

__all__ = ["clear_refs_write", "pagemap_read"]


@milestone
def clear_refs_write(mm: Mm) -> None:
    """clear_refs_write() (fs/proc/task_mmu.c, Linux 6.12), of "4"."""
    mm.mmap_lock.write_lock()
    rng = Range(0, len(mm.ptes), Event.SOFT_DIRTY, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, 0, len(mm.ptes))
    clear_refs_pte_range(mm)
    mmu_notifier_invalidate_range_end(mm, rng)
    if len(mm.tlb) > 0:
        flush_tlb_mm(mm)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, 0, len(mm.ptes))
    mm.mmap_lock.write_unlock()


@milestone(quiet=True)
@atomic
def clear_refs_pte_range(mm: Mm) -> None:
    """clear_refs_pte_range(), clear_refs_test_walk() (fs/proc/task_mmu.c, Linux 6.12): under the page-table lock. Walks pass over memory of hugetlb, as no one gave
    this one a hugetlb_entry, and over PFN mappings."""
    for va in range(len(mm.ptes)):
        vma = mm.mm_mt[va]
        if vma is not None:
            if vma_flags(vma) & VM_PFNMAP == 0 and not is_hugetlb_vma(vma):
                clear_soft_dirty(vma, va, mm.ptes[va])


@atomic
def clear_soft_dirty(vma: Vma, va: Va, pte: Pte) -> None:
    """clear_soft_dirty(), clear_soft_dirty_pmd() (fs/proc/task_mmu.c, Linux 6.12)."""
    pinned = pte_is_pinned(vma, pte)
    if pte_page(pte) is not None and not pinned:
        mm = vma.vm_mm
        if mm is not None:
            if len(mm.tlb) > 0:
                if pte.writable:
                    tlb_keeps_entry(mm, va)
        pte.writable = False


@atomic
def pte_is_pinned(vma: Vma, pte: Pte) -> bool:
    """pte_is_pinned() (fs/proc/task_mmu.c, Linux 6.12): the page of a private mapping that is pinned stays writable. Of a huge page nobody asks, and it makes no
    difference: the next store finds it the process's alone."""
    folio = pte_page(pte)
    return folio is not None and pte.writable and is_cow_mapping(vma) and page_folio(folio).pins > 0


@milestone
def pagemap_read(mm: Mm, va: Va) -> bool:
    """pagemap_read(), pte_to_pagemap_entry() (fs/proc/task_mmu.c, Linux 6.12), of one page: PM_UFFD_WP, whether a page is there, in swap, being moved or yet to come."""
    mm.mmap_lock.read_lock()
    with atomic:
        protected = mm.ptes[va].uffd_wp[0]
        mm.mmap_lock.read_unlock()
    return protected
