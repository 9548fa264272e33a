"""mm/mprotect.c: what may be done with pages that are mapped.

The mmap lock is held for writing throughout, so no fault comes between; accesses by entries that are there do. Vma by vma:

    vma_modify_flags: the part is split off, or goes to a neighbour that has the flags already; VM_WRITE
    mmu_notifier_invalidate_range_start(PROTECTION_VMA)
    change_pte_range()                          one step: the page-table lock
    mmu_notifier_invalidate_range_end()

Private memory that is locked (mlock()) and comes to be writable is copied at once, where others have it too.

So a vma that may not be written has entries that still may, until its subscribers have been called.

Left out: PROT_EXEC, protection keys, NUMA hints, mseal(2), limits, and accounting but for the flag; that no subscriber is
called where the page table of the whole region is not there (an address space here lies in one, which is there: may call
subscribers once more than the kernel; raises no false alarm).
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic, bound, milestone, shared_array
from secondsight.linux.errno import EACCES, ENOMEM
from secondsight.linux.hugetlb_vma_lock import is_hugetlb_vma
from secondsight.linux.memory_wp import can_change_pte_writable
from secondsight.linux.mlock import populate_vma_page_range
from secondsight.linux.mm import is_cow_mapping, vma_is_accessible
from secondsight.linux.mm_flags import (
    VM_ACCOUNT,
    VM_AS_IT_WAS,
    VM_HUGEPAGE,
    VM_LOCKED,
    VM_NONE,
    VM_PRIVATE,
    VM_SEALED,
    VM_UFFD_FLAGS,
)
from secondsight.linux.mm_types import (
    NOT_PREPARED,
    Event,
    Flags,
    Mm,
    Pgoff,
    PteKind,
    Range,
    Va,
    VaEnd,
    Vma,
    huge_pages,
    secondary_tlbs,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start, owners
from secondsight.linux.pgtable import is_one_entry, pte_none_mostly, pte_page, pte_present
from secondsight.linux.rmap import flush_tlb_batched_pending
from secondsight.linux.swapops import is_migration_entry, migrations
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly, tlb_keeps
from secondsight.linux.util import locked_vms, vma_is_locked
from secondsight.linux.vma import prepare_splits, vma_modify_flags, vmas_changed

__all__ = ["change_protection", "change_pte_range", "change_pte_range_unflushed", "do_mprotect_pkey"]

stays_accounted = shared_array(bool, bound("stays_accounted", most=1))
"""Of size 1 where a release says so: see `releases` (untouched-memory-stays-accounted)."""


def do_mprotect_pkey(mm: Mm, start: Va, length: Pgoff, write: bool, low: Va, high: VaEnd, none: bool = False) -> Errno:
    """do_mprotect_pkey() (mm/mprotect.c, Linux 6.12): PROT_READ, with PROT_WRITE if `write`, or PROT_NONE, for `length` pages from
    `start`.

    Vma by vma, up to the first that it cannot do: -ENOMEM where nothing is mapped, -EACCES where it may never be written,
    -EINVAL where it would begin or end within a huge page of a file.
    `low`, `high`: see `vma_merge_new_range`.
    """
    mm.mmap_lock.write_lock()
    ret: Errno = 0
    at: VaEnd = start
    while ret == 0 and at < start + length:
        with atomic:
            vma = mm.mm_mt[at]
            ret = mprotect_problem(vma, write)
            first: VaEnd = at
            changes = False
            populates = False
            if ret == 0:
                assert vma is not None
                at = min(vma.vm_end, start + length)
                flags = flags_for(vma, none)
                changes = vma.write != write or differ(vma, flags)
                if len(locked_vms) > 0:
                    populates = write and not vma.write and vma_is_locked(vma) and is_cow_mapping(vma)
                if len(huge_pages) == 0:
                    if changes:
                        vma_modify_flags(vma, first, at, write, flags, low, high, more_flags_for(vma, write))
        if changes:
            if len(huge_pages) > 0:
                assert vma is not None
                ret = prepare_splits(mm, first, at)
                if ret != 0:
                    break
                with atomic:
                    vma_modify_flags(vma, first, at, write, flags_for(vma, none), low, high, more_flags_for(vma, write))
            change_protection(mm, first, at)
            if len(locked_vms) > 0:
                if populates:
                    populate_vma_page_range(mm, first, at)
    with atomic:
        if len(mm.tlb) > 0:
            tlb_flush_mmu_tlbonly(mm, start, start + length)
        vmas_changed(mm, start, at)
        mm.mmap_lock.write_unlock()
    return ret


@atomic
def flags_for(vma: Vma, none: bool) -> Flags:
    """The flags of a vma that are not VM_WRITE, as they come to be."""
    if len(vma.flags) > 0:
        return (vma.flags[0] & (VM_SEALED | VM_PRIVATE | VM_HUGEPAGE | VM_LOCKED | VM_UFFD_FLAGS)) | (VM_NONE if none else 0)
    return 0


@atomic
def more_flags_for(vma: Vma, write: bool) -> Flags:
    """VM_ACCOUNT as mprotect_fixup() (mm/mprotect.c, Linux 6.12) has it, with what else is in `Vma.more_flags`: private memory counts when it comes to be
    writable, and for ever then; but memory that nobody has touched counts no more when it may not be written (`stays_accounted`: it does).
    """
    if len(vma.more_flags) > 0 and len(vma.anon_prepared) > 0:
        more_flags = vma.more_flags[0]
        if write:
            if not vma.write and is_cow_mapping(vma):
                return more_flags | VM_ACCOUNT
        elif len(stays_accounted) == 0 and vma.vm_file is None and vma.anon_prepared[0] == NOT_PREPARED:
            return more_flags & (255 - VM_ACCOUNT)
    return VM_AS_IT_WAS


@atomic
def differ(vma: Vma, flags: Flags) -> bool:
    """Whether a vma has others."""
    if len(vma.flags) > 0:
        return vma.flags[0] != flags
    return False


@atomic
def mprotect_problem(vma: Ref[Vma], write: bool) -> Errno:
    """The checks of do_mprotect_pkey() (mm/mprotect.c, Linux 6.12)."""
    if vma is None:
        return -ENOMEM
    if write and len(vma.flags) > 0:
        if vma.flags[0] & VM_SEALED != 0:
            return -EACCES
    return 0


def change_protection(mm: Mm, start: Va, end: VaEnd) -> None:
    """change_protection(), change_pud_range() (mm/mprotect.c, Linux 6.12): the entries of a part of one vma come to be as the vma
    says. The mmap lock is held for writing."""
    rng = Range(start, end, Event.PROTECTION_VMA, True)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, start, end)
    if len(mm.tlb) > 0:
        change_pte_range_unflushed(mm, start, end)
        if is_hugetlb_at(mm, start):  # hugetlb_change_protection() (mm/hugetlb.c) flushes in the bracket
            tlb_flush_mmu_tlbonly(mm, start, end)
    else:
        change_pte_range(mm, start, end)
    mmu_notifier_invalidate_range_end(mm, rng)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, start, end)


@atomic
def is_hugetlb_at(mm: Mm, va: Va) -> bool:
    """is_vm_hugetlb_page() (include/linux/hugetlb_inline.h, Linux 6.12) of the vma there."""
    vma = mm.mm_mt[va]
    return vma is not None and is_hugetlb_vma(vma)


@atomic
def change_pte_range_unflushed(mm: Mm, start: Va, end: VaEnd) -> None:
    """change_pte_range() (mm/mprotect.c, Linux 6.12) where CPUs have TLBs: one may use an entry as it was until tlb_finish_mmu(), at the end of the system call. What reclaim has put off
    is flushed first where there is a page table: a huge page's entry is changed without (change_huge_pmd())."""
    if any(not is_one_entry(mm, va) for va in range(start, end)):
        flush_tlb_batched_pending(mm)
    for va in range(start, end):
        frame = pte_present(mm.ptes[va])
        writable = mm.ptes[va].writable
        change_pte_range(mm, va, va + 1)
        if frame is not None:
            if pte_present(mm.ptes[va]) is None or (writable and not mm.ptes[va].writable):
                tlb_keeps(mm, va, frame, writable)


@milestone(quiet=True)
@atomic
def change_pte_range(mm: Mm, start: Va, end: VaEnd) -> None:
    """change_pte_range() (mm/mprotect.c), change_huge_pmd() (mm/huge_memory.c, Linux 6.12): under the page-table lock. A huge page that has
    pages outside of the range has been split by now, with the vma."""
    for va in range(start, end):
        vma = mm.mm_mt[va]
        pte = mm.ptes[va]
        assert vma is not None
        if len(pte.prot_none) > 0:
            pte.prot_none[0] = not vma_is_accessible(vma) and not pte_none_mostly(pte)
        if pte_page(pte) is not None:
            pte.writable = vma.write and can_change_pte_writable(vma, va)
        if len(migrations) > 0:
            if is_migration_entry(pte):  # made readable, whatever is asked for: the next write faults
                pte.writable = False
        if len(owners) > 0:
            if pte.kind in (PteKind.DEVICE_EXCLUSIVE, PteKind.DEVICE_PRIVATE):  # the same
                pte.writable = False
