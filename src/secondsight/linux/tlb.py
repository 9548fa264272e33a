"""mm/mmu_gather.c, arch/x86/mm/tlb.c: what CPUs and devices have of a page whose entry has gone, until their TLBs are flushed.

A zap clears the entries first, and flushes the TLBs of all CPUs when it is done with the range, outside of the page-table lock and of the notifier
bracket; only then the pages are given back:

    zap_pte_range()             the entry has gone: who has it in a TLB may go on
    mmu_notifier_invalidate_range_end()
    tlb_flush_mmu_tlbonly()     nobody may any more
    tlb_finish_mmu()            the references are dropped

So a CPU may load from a page, and store to it, after another has seen that it is not mapped any more. What is stored is lost with an anonymous page, and is in the
file with a file's. This is there where the bound `tlbs` is 1; each access may find the old entry as long as there is one, or not.

Others put flushes off too:

    mprotect()      until all vmas have been done: who could write still can, and so who could read
    userfaultfd     write protection, until the vma has been done, after the bracket; who writes meanwhile, and takes a fault, flushes first (do_wp_page())
    NUMA hints      as mprotect(), vma by vma; who asks which pages are written (clear_refs) as fork()
    fork()          until all is copied: the parent's other threads may write by an entry that is protected already, what the child has too
    MADV_FREE       until the vma has been done: such a store leaves no trace that the page was written
    reclaim         until it has looked at its whole list, or begins to write a page whose entry was dirty (try_to_unmap_flush_dirty()); only then pages are freed.
                    Who faults meanwhile may have the page in another frame, and what a CPU reads by its old entry is what was there before. Who zaps, protects
                    or moves entries of the process flushes first (flush_tlb_batched_pending()), but for the one of a huge page

Left out: flushes that come earlier, as under the page-table lock where a file's dirty page is zapped, or because the CPU changes to another
process (allows more than a kernel does; raises no false alarm in agreement with kernels, and may raise one in a rule about CPUs); that a migration which does not wait puts its flush off until it copies (nobody can tell: who faults waits until it is done); that reclaim of one process
does not flush what another reclaim has put off of another's (may hide a bug); two entries of one page that have both gone: the
later one counts; that a CPU which has looked at the page table since has the new entry (allows more).

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
from secondsight.linux.swapops import swap_slots

__all__ = ["FlushesDue", "entries_change", "flush_secondary_tlbs", "flush_tlb_mm", "flushes_due", "stale_tlb_entry", "tlb_flush_mmu_tlbonly", "tlb_keeps", "tlb_keeps_entry", "tlb_remove_tlb_entry"]


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
def tlb_keeps_entry(mm: Mm, va: Va) -> None:
    """The hardware, before an entry goes or comes to allow less: some CPU may have it as it is until that is flushed. A first store by it, which has to note that the page is dirty, looks at the
    page table."""
    pte = mm.ptes[va]
    frame = pte_present(pte)
    if frame is not None:
        tlb_keeps(mm, va, frame, pte.writable)


@atomic
def tlb_keeps(mm: Mm, va: Va, frame: Folio, writable: bool) -> None:
    """The same, of an entry that has changed already, and was dirty if it is."""
    entry = mm.tlb[0].entries[va]
    stores = writable and (len(swap_slots) == 0 or mm.ptes[va].dirty)
    entry.writable = stores or (entry.writable and entry.frame is frame)
    entry.frame = frame


@atomic
def tlb_remove_tlb_entry(mm: Mm, va: Va) -> None:
    """tlb_remove_tlb_entry() (include/asm-generic/tlb.h, Linux 6.12): an entry goes, and is to be flushed."""
    pte = mm.ptes[va]
    if len(mm.tlb) > 0:
        tlb_keeps_entry(mm, va)
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
def flush_tlb_mm(mm: Mm) -> None:
    """flush_tlb_mm() (arch/x86/include/asm/tlbflush.h, Linux 6.12): nothing of the process is in the TLB of any CPU; what reclaim has put off is done with that."""
    tlb_flush_mmu_tlbonly(mm, 0, len(mm.ptes))
    mm.tlb[0].batched = False
    mm.tlb[0].batch_writable = False


@atomic
def stale_tlb_entry(mm: Mm, va: Va, write: bool) -> Ref[Folio]:
    """The frame that the access finds by an entry that has gone; None: it looks at the page table. A store needs an entry that may be written."""
    if len(mm.tlb) > 0:
        entry = mm.tlb[0].entries[va]
        if entry.frame is not None and (entry.writable or not write):
            if choose(2) == 1:
                return entry.frame
    return None
