"""mm/mmu_gather.c, arch/x86/mm/tlb.c: what CPUs have of a page whose entry has gone, until their TLBs are flushed.

A zap clears the entries first, and flushes the TLBs of all CPUs when it is done with the range, outside of the page-table lock and of the notifier
bracket; only then the pages are given back:

    zap_pte_range()             the entry has gone: who has it in a TLB may go on
    mmu_notifier_invalidate_range_end()
    tlb_flush_mmu_tlbonly()     nobody may any more
    tlb_finish_mmu()            the references are dropped

So a CPU may load from a page, and store to it, after another has seen that it is not mapped any more. What is stored is lost with an anonymous page, and is in the
file with a file's. This is there where the bound `tlbs` is 1; each access may find the old entry as long as there is one, or not.

Left out: flushes that come earlier, as under the page-table lock where a file's dirty page is zapped, or because the CPU changes to another
process (allows more than a kernel does; raises no false alarm in agreement with kernels, and may raise one in a rule about CPUs); what mprotect, fork, reclaim and userfaultfd put off (may hide a bug); two entries of one
page that have both gone: the later one counts.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, choose
from secondsight.linux.mm_types import Folio, Mm, Va, VaEnd
from secondsight.linux.pgtable import pte_present

__all__ = ["stale_tlb_entry", "tlb_flush_mmu_tlbonly", "tlb_remove_tlb_entry"]


@atomic
def tlb_remove_tlb_entry(mm: Mm, va: Va) -> None:
    """tlb_remove_tlb_entry() (include/asm-generic/tlb.h, Linux 6.12): an entry goes, and is to be flushed."""
    pte = mm.ptes[va]
    if len(mm.tlb) > 0:
        frame = pte_present(pte)
        if frame is not None:
            mm.tlb[0].entries[va].frame = frame
            mm.tlb[0].entries[va].writable = pte.writable


@atomic
def tlb_flush_mmu_tlbonly(mm: Mm, start: Va, end: VaEnd) -> None:
    """tlb_flush_mmu_tlbonly() (include/asm-generic/tlb.h), flush_tlb_mm_range() (arch/x86/mm/tlb.c, Linux 6.12): of all CPUs, in one step."""
    if len(mm.tlb) > 0:
        for va in range(start, end):
            mm.tlb[0].entries[va].frame = None
            mm.tlb[0].entries[va].writable = False


@atomic
def stale_tlb_entry(mm: Mm, va: Va, write: bool) -> Ref[Folio]:
    """The frame that the access finds by an entry that has gone; None: it looks at the page table. A store needs an entry that may be written."""
    if len(mm.tlb) > 0:
        entry = mm.tlb[0].entries[va]
        if entry.frame is not None and (entry.writable or not write):
            if choose(2) == 1:
                return entry.frame
    return None
