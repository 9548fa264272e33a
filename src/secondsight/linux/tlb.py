"""mm/mmu_gather.c, arch/x86/mm/tlb.c: what CPUs and devices have of a page whose entry has gone, until their TLBs are flushed.

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

A device that walks the process's page tables has a TLB too. It is flushed where those of the CPUs are, by its driver, who is told
(`mmu_notifier_arch_invalidate_secondary_tlbs`): after a zap or an mprotect() outside of the page-table lock, before a page is given back; of a page that is
copied, moved or reclaimed under that lock; at the end of fork. This is there where the bound `secondary_tlbs` is not 0, as of a driver that has the callback. Then an
access of its device by an entry that has changed is one of before the change, until the driver's callback has returned: from `entries_change` on until
`flush_secondary_tlbs` is over. Left out, of these: that the page-table lock is held while callbacks run, where it is (others may look at the new entry, as
if the callbacks had been faster); that nothing is flushed where no entry was there, and all where many were (may hide a bug); the
flush where a huge page is split: its halves are where they were.
"""

from __future__ import annotations

from secondsight.lang import Record, Ref, atomic, bound, choose, shared_array
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Folio, Mm, PageBits, Va, VaEnd, secondary_tlbs
from secondsight.linux.mmu_notifier import mmu_notifier_arch_invalidate_secondary_tlbs
from secondsight.linux.pgtable import pte_present

__all__ = ["FlushesDue", "entries_change", "flush_secondary_tlbs", "flushes_due", "stale_tlb_entry", "tlb_flush_mmu_tlbonly", "tlb_remove_tlb_entry"]


class FlushesDue(Record):
    """A ghost: the pages of `mm` whose entry was there and has been zapped, until a subscriber is told of the flush. A kernel may tell of more: of
    pages between them, of all where they are many, and of page tables that have gone."""

    mm: Ref[Mm]
    pages: PageBits


flushes_due = shared_array(FlushesDue, bound("flush_watches", most=1))
"""The bound is 0 where nobody asks what was flushed (the operation `flushed`)."""


@atomic
def entries_change(mm: Mm, start: Va, end: VaEnd) -> None:
    """A ghost, before entries change that are flushed by `flush_secondary_tlbs` of the same range: until then, old entries may be used."""
    for va in range(start, end):
        secondary_tlbs[mms.index(mm)].stale[va] += 1


def flush_secondary_tlbs(mm: Mm, start: Va, end: VaEnd) -> None:
    """The last line of flush_tlb_mm_range() (arch/x86/mm/tlb.c, Linux 6.12): the TLBs of devices, after those of the CPUs."""
    mmu_notifier_arch_invalidate_secondary_tlbs(mm, start, end)
    with atomic:
        for va in range(start, end):
            secondary_tlbs[mms.index(mm)].stale[va] -= 1


@atomic
def tlb_remove_tlb_entry(mm: Mm, va: Va) -> None:
    """tlb_remove_tlb_entry() (include/asm-generic/tlb.h, Linux 6.12): an entry goes, and is to be flushed."""
    pte = mm.ptes[va]
    if len(mm.tlb) > 0:
        frame = pte_present(pte)
        if frame is not None:
            mm.tlb[0].entries[va].frame = frame
            mm.tlb[0].entries[va].writable = pte.writable
    if len(flushes_due) > 0:
        if flushes_due[0].mm is mm and pte_present(pte) is not None:
            flushes_due[0].pages |= {va}


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
