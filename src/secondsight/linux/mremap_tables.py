"""mm/mremap.c: page tables of a mapping that moves (`mremap`). The mmap lock is held for writing.

    mmu_notifier_invalidate_range_start(UNMAP)      of the old place
    move_ptes()                                     one step: both page-table locks, the TLB is flushed under them
        or move_huge_pmd(), move_normal_pmd()       the one entry of a huge page, or that of a page table
    mmu_notifier_invalidate_range_end()

A huge page of which only a part moves has an entry for each page first, in a bracket of its own.

Left out: several page tables, where there are no huge pages: what a call moves, it moves in one step; huge pages that move to a place which does not
begin as they do; that a move which begins within a page table may take all of that, and says so to subscribers (try_realign_addr(): nothing
is mapped there).
"""

from __future__ import annotations

from secondsight.lang import atomic, milestone
from secondsight.linux.huge_memory import is_partly_in, pte_alloc, split_huge_pmd
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Event,
    Mm,
    Pgoff,
    PmdKind,
    PteKind,
    Range,
    Va,
    VaEnd,
    Vma,
    anon_vmas,
    huge_pages,
    secondary_tlbs,
    writes_back,
)
from secondsight.linux.mmu_gather import TablePlace, gup_walks, table_moves
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start, owners
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.pgtable import pte_clear
from secondsight.linux.rmap import flush_tlb_batched_pending
from secondsight.linux.swapops import is_pte_marker, migrations, pte_markers, swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly

__all__ = ["move_page_tables"]


def move_page_tables(mm: Mm, addr: Va, length: Pgoff, new_addr: Va, need_rmap_locks: bool) -> None:
    """move_page_tables() (mm/mremap.c, Linux 6.12): subscribers hear of the old place, as of an unmapping."""
    rng = Range(addr, addr + length, Event.UNMAP, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, addr, addr + length)
    if len(huge_pages) > 0:
        move_pmds(mm, addr, addr + length, new_addr, need_rmap_locks)
    else:
        move_ptes(mm, addr, length, new_addr, need_rmap_locks)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, addr, addr + length)
    mmu_notifier_invalidate_range_end(mm, rng)


def move_pmds(mm: Mm, addr: Va, end: VaEnd, new_addr: Va, need_rmap_locks: bool) -> None:
    """The loop of move_page_tables() (mm/mremap.c, Linux 6.12), where there are huge pages: one page table, or one huge page, after another. A huge page
    of which only a part moves is split first; if another has come until then, it too."""
    at: VaEnd = addr
    while at < end:
        with atomic:
            to: Va = new_addr + at - addr
            npages: Pgoff = min(end - at, HPAGE_PMD_NR - at % HPAGE_PMD_NR)
            split = is_partly_in(mm, at, at + npages)
            if not split:
                move_pmd(mm, at, npages, to, need_rmap_locks)
        if split:
            split_huge_pmd(mm, at)
        else:
            at += npages


@atomic
def move_pmd(mm: Mm, at: Va, npages: Pgoff, to: Va, need_rmap_locks: bool) -> None:
    """move_pgt_entry() with move_huge_pmd() or move_normal_pmd() where all of an entry of the middle level moves, else pte_alloc() and move_ptes()
    (mm/mremap.c, mm/huge_memory.c, Linux 6.12): under both page-table locks, and with a page table take_rmap_locks() too."""
    kind = mm.pmds[at // HPAGE_PMD_NR].kind
    if kind == PmdKind.NONE:
        return
    whole = npages == HPAGE_PMD_NR
    move_ptes(mm, at, npages, to, need_rmap_locks or (whole and kind == PmdKind.TABLE))
    if whole:
        mm.pmds[to // HPAGE_PMD_NR].kind = kind
        mm.pmds[at // HPAGE_PMD_NR].kind = PmdKind.NONE
        if len(gup_walks) > 0:
            table_moves(mm, at, TablePlace.IN_TREE, TablePlace.IN_TREE, to)
            table_moves(mm, at, TablePlace.DEPOSITED, TablePlace.DEPOSITED, to)
    else:
        pte_alloc(mm, to)


@milestone(quiet=True)
@atomic
def move_ptes(mm: Mm, addr: Va, length: Pgoff, new_addr: Va, need_rmap_locks: bool) -> None:
    """move_ptes() (mm/mremap.c, Linux 6.12): under both page-table locks, and take_rmap_locks() where they are needed: waited for in the same step."""
    vma = mm.mm_mt[addr]
    assert vma is not None
    file = vma.vm_file
    if need_rmap_locks:
        if file is not None:
            file.i_mmap_rwsem.write_lock()
            file.i_mmap_rwsem.write_unlock()
        wait_for_walks(vma)
    if len(mm.tlb) > 0:
        flush_tlb_batched_pending(mm)
    for k in range(length):
        move_pte(mm, addr + k, new_addr + k)
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, addr, addr + length)


@atomic
def wait_for_walks(vma: Vma) -> None:
    """anon_vma_lock_write() (include/linux/rmap.h, Linux 6.12), and anon_vma_unlock_write() in the same step."""
    if len(anon_vmas) > 0:
        anon_vma = vma.anon_vma
        if anon_vma is not None:
            anon_vma.rwsem.write_lock()
            anon_vma.rwsem.write_unlock()


@atomic
def move_pte(mm: Mm, old: Va, new: Va) -> None:
    """One entry of move_ptes() (mm/mremap.c, Linux 6.12). Write protection by a userfaultfd that is not told of moves does not move."""
    source = mm.ptes[old]
    target = mm.ptes[new]
    if len(pte_markers) > 0:
        if is_pte_marker(source) and source.uffd_wp[0] and not mm.userfaultfd[0].events:
            pte_clear(source)
            return
    target.frame = source.frame
    target.writable = source.writable
    target.special = source.special
    if len(target.prot_none) > 0:
        target.prot_none[0] = source.prot_none[0]
    if len(target.uffd_wp) > 0:
        target.uffd_wp[0] = source.uffd_wp[0] and mm.userfaultfd[0].events
    if len(swap_slots) + len(writes_back) > 0:
        target.dirty = source.dirty
    if len(swap_slots) > 0:
        target.swap = source.swap
    if len(swap_slots) + len(migrations) > 0:
        if len(frames[ZERO_PFN].shared) > 0:
            target.exclusive = source.exclusive
    if len(swap_slots) + len(migrations) + len(owners) + len(pte_markers) > 0:
        target.kind = source.kind
        source.kind = PteKind.PRESENT
    pte_clear(source)
