"""mm/hmm.c: what a CPU would find at an address, for a device to find it too.

`hmm_range_fault` reads the CPU's page table without its lock, faulting in what is missing, and says which frame is
there. It takes no reference. What it says may be out of date at once: it becomes true by the interval notifier's
protocol (`mmu_notifier`), i.e. it may be used only under the driver's lock after `mmu_interval_read_retry` has
said no. The caller holds the mmap lock, so no vma goes away meanwhile; entries may.

    hmm_range_fault(notifier, va, write)                     takes and drops the mmap lock by itself
    hmm_range_fault_locked(notifier, seq, va, request)       one page, for those who hold the lock already
    hmm_range_fault_pages(notifier, item)                    the kernel's own form: the pages of a struct hmm_range

Of a huge page all the pages that are asked about are looked at as one entry (hmm_vma_handle_pmd()).

A page in device memory is reported as it is, whatever is asked for, to a driver that can reach it (`Driver.dev_private_owner`); to any other
it is missing.

Left out: entries that say they have no page in a mapping of pages
that do (VM_MIXEDMAP); the page tables themselves: where there are no huge pages an address space lies in one, which is there.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from secondsight.lang import Array, Bounds, Errno, Record, Ref, atomic, hold_point, milestone, require
from secondsight.linux.errno import EBUSY, EFAULT, ENOENT, EPERM
from secondsight.linux.fork import mm_touch
from secondsight.linux.hugetlb_vma_lock import hugetlb_vma_look
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_ERROR, handle_mm_fault, vma_flags
from secondsight.linux.migrate import migration_entry_wait
from secondsight.linux.mm import vma_is_accessible
from secondsight.linux.mm_flags import VM_PFNMAP
from secondsight.linux.mm_types import HPAGE_PMD_NR, Flags, Folio, IntervalNotifier, Mm, Pfn, Pte, Seq, Va, VaEnd, huge_pages
from secondsight.linux.mmu_notifier import mmu_interval_check_retry
from secondsight.linux.page_alloc import ZERO_PFN, frames, page_to_pfn
from secondsight.linux.pgtable import pmd_trans_huge, pte_present
from secondsight.linux.sched_mm import mmget_not_zero, mmput
from secondsight.linux.swapops import is_device_private_entry, is_migration_entry, migrations

__all__ = [
    "HMM_PFN_ERROR",
    "HMM_PFN_NONE",
    "HMM_PFN_NO_PAGE",
    "HMM_PFN_ORDER",
    "HMM_PFN_READ_ONLY",
    "HMM_PFN_REQ_FAULT",
    "HMM_PFN_REQ_WRITE",
    "HMM_PFN_VALID",
    "HMM_PFN_WRITE",
    "HmmPfn",
    "HmmRange",
    "hmm_range_fault",
    "hmm_range_fault_locked",
    "hmm_range_fault_pages",
    "hmm_range_snapshot",
]

HMM_PFN_REQ_FAULT: Final = 1
"""Fault in what is missing."""
HMM_PFN_REQ_WRITE: Final = 2
"""Fault until it can be written; without HMM_PFN_REQ_FAULT it asks for nothing."""

HMM_PFN_NONE: Final = -ENOENT
"""A snapshot's answer where nothing is present (the kernel leaves the entry 0)."""
HMM_PFN_ERROR: Final = -EFAULT
"""A snapshot's answer where nothing can be mirrored: no vma, or a PFN mapping."""

HMM_PFN_VALID: Final = 16
"""An entry of `HmmRange.hmm_pfns`: there is a frame, whose number is in the lowest four bits."""
HMM_PFN_WRITE: Final = 32
"""And it may be written."""
HMM_PFN_NO_PAGE: Final = 64
"""HMM_PFN_ERROR in an entry: nothing can be mirrored there. 0 is an entry without a frame."""
HMM_PFN_ORDER: Final = 128
"""The CPU has a huge page there, of which this is a part (hmm_pfn_to_map_order() is 1): its other page is mapped alike, also where it is
outside of the range that was asked about."""

HMM_PFN_READ_ONLY: Final = -103
"""Instead of the number of a frame in the device's own memory that was asked for to be written, and may not be: such a page is reported without
a fault. (The kernel returns 0, and the entry lacks HMM_PFN_WRITE.)"""

NEED_FAULT: Final = -100
NEED_WRITE_FAULT: Final = -101
NEED_WAIT: Final = -102
"""The page is being moved: migration_entry_wait(), and look again."""


HmmPfn = Annotated[int, Bounds(0, 255)]
"""An entry of `HmmRange.hmm_pfns`: before a call HMM_PFN_REQ_ flags, after it a frame with HMM_PFN_ flags, or one of these."""
Walk = Annotated[int, Bounds(-128, 511)]
"""What a walk ended with: 0, a negative errno, or `faults_wanted`."""


class HmmRange(Record):
    """struct hmm_range (include/linux/hmm.h): the pages `start` to before `end`, what is asked of each, and what is there.

    Of the first page `hmm_pfns[0]` tells. Asked for is what `hmm_pfns` has of `pfn_flags_mask`, and `default_flags`. The
    notifier is given to the functions beside it; its driver says what `dev_private_owner` is.
    """

    notifier_seq: Seq
    start: Va
    end: VaEnd
    hmm_pfns: Array[HmmPfn, Literal["pages"]]
    default_flags: Flags
    pfn_flags_mask: Flags


@milestone
def hmm_range_fault(notifier: IntervalNotifier, va: Va, write: bool) -> Pfn:
    """hmm_range_fault() (mm/hmm.c, Linux 6.12) with what drivers put around it: the frame at `va`, writable if
    `write`.

    Becomes a user of the mm and takes the mmap lock for reading meanwhile. -EBUSY: invalidated since the call
    began, start over. -EFAULT: a CPU access would fail as well, or the process has gone. -EPERM: a write to what
    is mapped read-only. `range.notifier_seq` is read here and not passed: the earlier one would only say -EBUSY
    more often. HMM_PFN_READ_ONLY: the page is in the driver's own memory.
    """
    with atomic:
        mm = notifier.mm
        assert mm is not None
        notifier_seq = notifier.invalidate_seq
        alive = mmget_not_zero(mm)
    if not alive:
        return -EFAULT
    mm.mmap_lock.read_lock()
    request = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE if write else HMM_PFN_REQ_FAULT
    pfn = hmm_range_fault_locked(notifier, notifier_seq, va, request)
    mm.mmap_lock.read_unlock()
    mmput(mm)
    if pfn >= 0:
        hold_point("range_faulted")
    return pfn


@milestone
def hmm_range_snapshot(notifier: IntervalNotifier, va: Va) -> Pfn:
    """hmm_range_fault() without HMM_PFN_REQ_FAULT (mm/hmm.c, Linux 6.12): the frame at `va` as it is, without a
    fault.

    `HMM_PFN_NONE` if there is none, `HMM_PFN_ERROR` where none can be, -EBUSY as above, -EFAULT when the process
    has gone.
    """
    with atomic:
        mm = notifier.mm
        assert mm is not None
        notifier_seq = notifier.invalidate_seq
        alive = mmget_not_zero(mm)
    if not alive:
        return -EFAULT
    mm.mmap_lock.read_lock()
    pfn = hmm_range_fault_locked(notifier, notifier_seq, va, 0)
    mm.mmap_lock.read_unlock()
    mmput(mm)
    return pfn


def hmm_range_fault_locked(notifier: IntervalNotifier, notifier_seq: Seq, va: Va, request: Flags) -> Pfn:
    """hmm_range_fault() (mm/hmm.c, Linux 6.12), for one page; the caller holds the mmap lock.

    `notifier_seq` is from `mmu_interval_read_begin`, `request` HMM_PFN_REQ_ flags or 0 for a snapshot. Each time
    something had to be faulted in it looks again, and says -EBUSY if the range was invalidated meanwhile.
    """
    hold_point("hmm_range_fault:enter")
    while True:
        with atomic:
            mm = notifier.mm
            assert mm is not None
            require(mm.mmap_lock.held_by_me(), "lock-not-held", "hmm_range_fault without the mmap lock")
            collided = notifier.invalidate_seq != notifier_seq
        if collided:
            hold_point("hmm_range_fault:exit")
            return -EBUSY
        pfn = hmm_vma_walk(notifier, mm, va, request)
        if pfn not in (NEED_FAULT, NEED_WRITE_FAULT, NEED_WAIT):
            hold_point("hmm_range_fault:exit")
            return pfn
        if len(migrations) > 0:
            if pfn == NEED_WAIT:
                migration_entry_wait(mm, va)
                continue
        ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE if pfn == NEED_WRITE_FAULT else 0)
        if ret & VM_FAULT_ERROR != 0:
            hold_point("hmm_range_fault:exit")
            return -EFAULT


@atomic
def hmm_vma_walk(notifier: IntervalNotifier, mm: Mm, va: Va, request: Flags) -> Pfn:
    """hmm_vma_walk_test(), hmm_vma_walk_hole(), hmm_vma_handle_pte() (mm/hmm.c, Linux 6.12): one look at one entry.

    The vma is stable under the mmap lock; the entry is read without its lock, once.
    """
    mm_touch(mm)
    vma = mm.mm_mt[va]
    if vma is None or not is_mirrored(mm, va):
        return HMM_PFN_ERROR
    hugetlb_vma_look(vma)
    if len(frames[ZERO_PFN].pgmap) > 0:
        private = own_private_page(notifier, mm.ptes[va])
        if private is not None:
            lacks = request & HMM_PFN_REQ_FAULT != 0 and request & HMM_PFN_REQ_WRITE != 0 and not mm.ptes[va].writable
            return HMM_PFN_READ_ONLY if lacks else page_to_pfn(private)
    frame = pte_present(mm.ptes[va])
    if request & HMM_PFN_REQ_FAULT != 0:
        if len(migrations) > 0:
            if is_migration_entry(mm.ptes[va]):
                return NEED_WAIT
        if request & HMM_PFN_REQ_WRITE != 0 and (frame is None or not mm.ptes[va].writable):
            if not vma.write:
                return -EPERM
            return NEED_WRITE_FAULT
        if frame is None:
            return NEED_FAULT
    return HMM_PFN_NONE if frame is None else page_to_pfn(frame)


@atomic
def own_private_page(notifier: IntervalNotifier, pte: Pte) -> Ref[Folio]:
    """The part of hmm_vma_handle_pte() (mm/hmm.c, Linux 6.12) about a page in device memory: the page, if it is one that the driver can reach."""
    folio = pte.frame
    if folio is None or not is_device_private_entry(pte):
        return None
    pgmap = folio.pgmap[0]
    driver = notifier.driver()
    if driver is None or pgmap is None:
        return None
    return folio if pgmap.owner is driver.dev_private_owner() else None


@atomic
def own_pfn(pte: Pte) -> Pfn:
    """The number of the page that a device-private entry is of."""
    folio = pte.frame
    assert folio is not None
    return page_to_pfn(folio)


# Several pages.


def hmm_range_fault_pages(notifier: IntervalNotifier, item: HmmRange) -> Errno:
    """hmm_range_fault() (mm/hmm.c, Linux 6.12): 0 when all of `item.hmm_pfns` is true, if `mmu_interval_read_retry` says so.

    The caller holds the mmap lock. -EBUSY: the range was invalidated; -EPERM, -EFAULT: of the first page that cannot be had as
    it is asked for; the entries before it are filled in. A look at all the pages is one step: in the kernel something may
    come between two entries, and then the sequence number has moved on.
    """
    hold_point("hmm_range_fault:enter")
    with atomic:
        mm = notifier.mm
        assert mm is not None
        require(mm.mmap_lock.held_by_me(), "lock-not-held", "hmm_range_fault without the mmap lock")
        last = item.start
        collided = mmu_interval_check_retry(notifier, item.notifier_seq)
    while not collided:
        found = hmm_walk(notifier, mm, item, last)
        if len(migrations) > 0:
            if found == -EBUSY:
                last = moving_page(mm, item)
                migration_entry_wait(mm, last)
                collided = mmu_interval_check_retry(notifier, item.notifier_seq)
                continue
        if found <= 0:
            hold_point("hmm_range_fault:exit")
            return found
        last = (found - 1) // 32
        for va in range(last, (found - 1) // 2 % 16):
            ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE if found % 2 == 0 else 0)
            if ret & VM_FAULT_ERROR != 0:
                hold_point("hmm_range_fault:exit")
                return -EFAULT
        collided = mmu_interval_check_retry(notifier, item.notifier_seq)
    hold_point("hmm_range_fault:exit")
    return -EBUSY


@atomic
def hmm_walk(notifier: IntervalNotifier, mm: Mm, item: HmmRange, start: VaEnd) -> Walk:
    """walk_page_range() (mm/pagewalk.c) with hmm_walk_ops (mm/hmm.c, Linux 6.12): look from `start` on and fill in.

    Vma by vma, or hole by hole. 0, a negative errno, or where faults are needed (`faults_wanted`).
    """
    mm_touch(mm)
    va = start
    while va < item.end:
        end = segment_end(mm, va, item.end)
        if is_mirrored(mm, va):
            for i in range(va, end):
                pfn = hmm_vma_walk(notifier, mm, i, requested(item, i))
                if pfn in (NEED_FAULT, NEED_WRITE_FAULT):
                    if len(huge_pages) > 0:
                        if pmd_trans_huge(mm, i):  # the entry is one: each of its pages is faulted in
                            return faults_wanted(va, end, write_wanted(mm, item, va, end))
                    return faults_wanted(i, end, pfn == NEED_WRITE_FAULT)
                if pfn == NEED_WAIT:
                    return -EBUSY
                if pfn == -EPERM:
                    return -EPERM
                if pfn == HMM_PFN_READ_ONLY:
                    pfn = own_pfn(mm.ptes[i])
                flags = HMM_PFN_VALID | HMM_PFN_WRITE if mm.ptes[i].writable else HMM_PFN_VALID
                if len(huge_pages) > 0:
                    if pmd_trans_huge(mm, i):
                        flags |= HMM_PFN_ORDER
                item.hmm_pfns[i - item.start] = 0 if pfn == HMM_PFN_NONE else pfn | flags
        else:
            for i in range(va, end):
                if requested(item, i) & HMM_PFN_REQ_FAULT != 0:
                    return -EFAULT
            for i in range(va, end):
                item.hmm_pfns[i - item.start] = HMM_PFN_NO_PAGE
        va = end
    return 0


@atomic
def write_wanted(mm: Mm, item: HmmRange, start: Va, end: VaEnd) -> bool:
    """hmm_range_need_fault() (mm/hmm.c, Linux 6.12): whether any page of a huge page's part is asked for to be written, and may not be."""
    return any(requested(item, va) & HMM_PFN_REQ_WRITE != 0 and not mm.ptes[va].writable for va in range(start, end))


@atomic
def moving_page(mm: Mm, item: HmmRange) -> Va:
    """The first page of a range that is being moved; its first one where none is any more."""
    for va in range(item.start, item.end):
        if is_migration_entry(mm.ptes[va]) and requested(item, va) & HMM_PFN_REQ_FAULT != 0:
            return va
    return item.start


@atomic
def requested(item: HmmRange, va: Va) -> Flags:
    """The first lines of hmm_pte_need_fault() (mm/hmm.c, Linux 6.12): what is asked of a page."""
    return (item.hmm_pfns[va - item.start] & item.pfn_flags_mask) | item.default_flags


@atomic
def faults_wanted(va: Va, end: VaEnd, write: bool) -> Walk:
    """A walk's result where a page needs a fault: hmm_vma_fault() (mm/hmm.c, Linux 6.12) then handles one for each page from
    `va` to the end of the range in this vma, asked for or not."""
    return 1 + 2 * (16 * va + end) + (1 if write else 0)


@atomic
def is_mirrored(mm: Mm, va: Va) -> bool:
    """hmm_vma_walk_test() (mm/hmm.c, Linux 6.12): whether a page is in a vma whose page table is looked at."""
    vma = mm.mm_mt[va]
    return vma is not None and vma_flags(vma) & VM_PFNMAP == 0 and vma_is_accessible(vma)


@atomic
def segment_end(mm: Mm, start: Va, limit: VaEnd) -> VaEnd:
    """Where the vma at `start` ends, or the hole, or `limit` if that is less; of a vma what lies under one page table, or is one huge page."""
    vma = mm.mm_mt[start]
    if vma is not None:
        if len(huge_pages) > 0:
            return min(vma.vm_end, limit, (start // HPAGE_PMD_NR + 1) * HPAGE_PMD_NR)
        return min(vma.vm_end, limit)
    for va in range(start + 1, limit):
        if mm.mm_mt[va] is not None:
            return va
    return limit
