"""mm/mempolicy.c: NUMA balancing, which finds out by faults on which node the pages of a process are used.

    task_numa_work()    a thread of the process, now and then, with the mmap lock for reading; vma by vma
    change_prot_numa()  subscribers are told (PROTECTION_VMA); entries are made such that every access faults (_PAGE_PROTNONE)

The fault makes the entry as it was, or moves the page (`memory_numa`). What the process may do has not changed: its vmas are what they were.

Left out: which part of memory is looked at, and when (any, at any time); nodes' policies; huge pages.
"""

from __future__ import annotations

from secondsight.lang import atomic, milestone
from secondsight.linux.hugetlb_vma_lock import is_hugetlb_vma
from secondsight.linux.memremap_private import folio_is_device_coherent
from secondsight.linux.migrate import vma_migratable
from secondsight.linux.mm import is_cow_mapping, vma_is_accessible
from secondsight.linux.mm_types import Event, Mm, Range, Va, VaEnd, Vma, secondary_tlbs
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.page_alloc import is_zero_page, page_folio
from secondsight.linux.pgtable import folio_likely_mapped_shared, pte_page
from secondsight.linux.rmap import flush_tlb_batched_pending
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly, tlb_keeps_entry

__all__ = ["task_numa_work"]


@milestone
def task_numa_work(mm: Mm, start: Va, end: VaEnd) -> None:
    """task_numa_work() (kernel/sched/fair.c, Linux 6.12), of the vmas in a range. Where somebody has the mmap lock for writing it does nothing."""
    locked = mm.mmap_lock.read_trylock()
    if not locked:
        return
    at: VaEnd = start
    while at < end:
        with atomic:
            vma = mm.mm_mt[at]
            first: VaEnd = at
            at = at + 1 if vma is None else min(vma.vm_end, end)
            scans = vma is not None and vma_is_scanned(vma)
        if scans:
            change_prot_numa(mm, first, at)
    mm.mmap_lock.read_unlock()


@atomic
def vma_is_scanned(vma: Vma) -> bool:
    """The tests of task_numa_work() (kernel/sched/fair.c, Linux 6.12): not where pages are nobody's to move, of a file that is only read, or PROT_NONE."""
    return vma_migratable(vma) and not is_hugetlb_vma(vma) and vma_is_accessible(vma) and (vma.write or vma.vm_file is None)


def change_prot_numa(mm: Mm, start: Va, end: VaEnd) -> None:
    """change_prot_numa() (mm/mempolicy.c), change_pud_range() (mm/mprotect.c, Linux 6.12), of a part of one vma."""
    rng = Range(start, end, Event.PROTECTION_VMA, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, end)
    change_pte_range_numa(mm, start, end)
    mmu_notifier_invalidate_range_end(mm, rng)
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, start, end)  # tlb_finish_mmu()
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, start, end)


@milestone(quiet=True)
@atomic
def change_pte_range_numa(mm: Mm, start: Va, end: VaEnd) -> None:
    """change_pte_range(MM_CP_PROT_NUMA) (mm/mprotect.c, Linux 6.12): under the page-table lock. The zero page, a device's memory, and private pages that are pinned or that
    others have too stay as they are."""
    if len(mm.tlb) > 0:
        flush_tlb_batched_pending(mm)
    for va in range(start, end):
        vma = mm.mm_mt[va]
        page = pte_page(mm.ptes[va])
        assert vma is not None
        if page is not None and not mm.ptes[va].special and not is_zero_page(page):
            folio = page_folio(page)
            stays = folio_is_device_coherent(folio) or (is_cow_mapping(vma) and (folio.pins > 0 or folio_likely_mapped_shared(folio)))
            if not stays:
                if len(mm.tlb) > 0:
                    tlb_keeps_entry(mm, va)
                mm.ptes[va].prot_none[0] = True
                mm.ptes[va].writable = False
