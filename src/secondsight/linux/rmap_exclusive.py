"""mm/rmap.c: device-exclusive access. (What it walks by is in `rmap`.)

A device whose read-modify-write is not atomic with a CPU's store takes a page for itself for a while:

    make_device_exclusive()                     find the page, writable; lock it
        notifier: event EXCLUSIVE, owner = who asks
        page-table lock: the entry becomes device-exclusive; it keeps its reference
    the driver tests its sequence, maps the page in the device, and then drops the folio lock and its reference
    ... the device has the page ...
    a CPU's access faults, `memory.remove_device_exclusive_entry`:
        folio lock; notifier, owner = none; page-table lock: the entry is present again

The first notifier call hits the driver that asks, too. Its driver passes over it (event and owner), for its sequence would never
be unchanged; everybody else drops the page. While the driver holds the folio lock no fault gives the page back; but a munmap or
MADV_DONTNEED takes it away without that lock, and only the sequence tells.

The entry is *exclusive* to nobody in particular: who asks second takes it from the first, by a fault of its own.

A huge page is split first (FOLL_SPLIT_PMD): each of its pages has an entry of its own then, and the folio stays one. The older form refuses
the folio's second page, and of the first takes the second's entry too; the newer takes the entry that it is asked for.

Until 6.14 the entry is no mapping of the folio (folio_mapped()), and its reference keeps reclaim, migration and the split of a huge page from it. Since 6.15 it is one
(`pgtable.exclusive_is_mapped`): they take it away, and the device is told.

Left out: several pages in one call; the anon_vma lock, held for reading around the notifier call of the older form
(may hide a deadlock); soft-dirty bits.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, milestone
from secondsight.linux.errno import EBUSY, EOPNOTSUPP
from secondsight.linux.filemap import folio_lock, folio_trylock, folio_unlock
from secondsight.linux.fork import mms
from secondsight.linux.gup import FOLL_SPLIT_PMD, FOLL_WRITE, get_user_page_vma_remote
from secondsight.linux.mm_types import (
    HPAGE_PMD_NR,
    Event,
    Folio,
    Mm,
    Owner,
    Pfn,
    PteKind,
    Range,
    Va,
    VaEnd,
    huge_pages,
    secondary_tlbs,
)
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.page_alloc import folio_order, frames, page_folio, put_page
from secondsight.linux.page_writeback import folio_mark_dirty
from secondsight.linux.pgtable import exclusive_is_mapped, folio_mapped, pte_present
from secondsight.linux.swapops import swap_slots
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly

__all__ = ["made_exclusive", "make_device_exclusive", "make_device_exclusive_range", "unlock_and_put"]


@atomic
def folio_test_anon(mm: Mm, va: Va) -> bool:
    """folio_test_anon() (include/linux/page-flags.h, Linux 6.12) of the page at `va`: private memory, and no file's."""
    vma = mm.mm_mt[va]
    return vma is not None and vma.vm_file is None


@atomic
def where_mapped(folio: Folio, mm: Mm) -> VaEnd:
    """page_vma_mapped_walk() (mm/page_vma_mapped.c, Linux 6.12) in the other processes: where `mm` maps a folio; the number of its
    pages where it does not."""
    for va in range(len(mm.ptes)):
        if pte_present(mm.ptes[va]) is folio:
            return va
        if len(huge_pages) > 0:
            if va > 0 and is_tail_of(mm, va, folio):
                return va - 1
    return len(mm.ptes)


def unlock_and_put(pfn: Pfn) -> None:
    """What a driver does when the device has the page: folio_unlock(), folio_put()."""
    folio_unlock(frames[pfn])
    put_page(frames[pfn])


@milestone
def make_device_exclusive_range(mm: Mm, va: Va, owner: Ref[Owner]) -> Pfn:
    """make_device_exclusive_range() (mm/rmap.c, Linux 5.14 to 6.14, read in 6.12) for one page: its number; the folio is locked
    and has a reference.

    The caller holds the mmap lock. -EFAULT: nothing is there that may be written. -EBUSY: the page was found and could not be
    made exclusive (the kernel counts it, and its pointer is NULL): it is locked by somebody, gone, no private memory, or the second
    page of its folio.
    """
    pfn = get_user_page_vma_remote(mm, va, FOLL_WRITE | FOLL_SPLIT_PMD)
    if pfn < 0:
        return pfn
    locked = page_folio(frames[pfn]) is frames[pfn] and folio_trylock(frames[pfn])
    if not locked:
        put_page(frames[pfn])
        return -EBUSY
    done = folio_make_device_exclusive(frames[pfn], mm, va, owner)
    if not done:
        unlock_and_put(pfn)
        return -EBUSY
    return pfn


def folio_make_device_exclusive(folio: Folio, mm: Mm, va: Va, owner: Ref[Owner]) -> bool:
    """folio_make_device_exclusive() (mm/rmap.c, Linux 6.12): in every process that maps it. Whether no CPU can reach it now."""
    anon = folio_test_anon(mm, va)
    if not anon:
        return False
    valid = page_make_device_exclusive_one(folio, mm, va, owner)
    if len(mms) > 1:
        for i in range(len(mms)):
            with atomic:
                other = mms[i]
                at = where_mapped(folio, other)
                elsewhere = other is not mm and at < len(other.ptes)
            if elsewhere:
                page_make_device_exclusive_one(folio, mms[i], at, owner)
    return valid and not folio_mapped(folio)


def page_make_device_exclusive_one(folio: Folio, mm: Mm, va: Va, owner: Ref[Owner]) -> bool:
    """page_make_device_exclusive_one() (mm/rmap.c, Linux 6.12): whether the entry at `va` was the folio's and could be written.

    Subscribers are told, whether the page is there still or not.
    """
    rng = Range(va, va + 1, Event.EXCLUSIVE, True, owner)
    if len(huge_pages) > 0:
        rng = Range(va, end_of_folio(folio, mm, va), Event.EXCLUSIVE, True, owner)
    mmu_notifier_invalidate_range_start(mm, rng)
    if len(secondary_tlbs) > 0:
        entries_change(mm, rng.start, rng.end)
    valid = set_exclusive(folio, mm, va, False)
    if len(secondary_tlbs) > 0:
        flush_secondary_tlbs(mm, rng.start, rng.end)
    mmu_notifier_invalidate_range_end(mm, rng)
    return valid


@atomic
def set_exclusive(folio: Folio, mm: Mm, va: Va, only_writable: bool) -> bool:
    """What is done under the page-table lock: the entry, if it is still the folio's, becomes device-exclusive. It keeps its
    reference. Whether it could be written; `only_writable`: else it stays as it is. Since 6.15 it says neither that it may be written nor that it is dirty."""
    pte = mm.ptes[va]
    if len(huge_pages) > 0:
        if not only_writable and va + 1 < len(mm.ptes) and is_tail_of(mm, va + 1, folio):
            mm.ptes[va + 1].kind = PteKind.DEVICE_EXCLUSIVE
    if pte_present(pte) is not folio or (only_writable and not pte.writable):
        return False
    if len(mm.tlb) > 0:
        tlb_flush_mmu_tlbonly(mm, va, va + 1)  # ptep_clear_flush()
    pte.kind = PteKind.DEVICE_EXCLUSIVE
    if len(swap_slots) > 0:
        if pte.dirty:
            folio_mark_dirty(folio)
    if len(exclusive_is_mapped) > 0:
        pte.writable = False
        pte.dirty = False
        return True
    return pte.writable


@atomic
def end_of_folio(folio: Folio, mm: Mm, va: Va) -> VaEnd:
    """Where the range ends that page_make_device_exclusive_one() (mm/rmap.c, Linux 6.12) says it changes: behind the folio, or its vma."""
    vma = mm.mm_mt[va]
    return va + 1 if vma is None or folio_order(folio) == 0 else min(vma.vm_end, va + HPAGE_PMD_NR)


@atomic
def is_tail_of(mm: Mm, va: Va, folio: Folio) -> bool:
    """Whether the entry at `va` maps the second page of a folio."""
    page = pte_present(mm.ptes[va])
    return page is not None and page is folio.tail[0]


@milestone
def make_device_exclusive(mm: Mm, va: Va, owner: Ref[Owner]) -> Pfn:
    """make_device_exclusive() (mm/rmap.c, Linux 7.2; from 6.15 on): the number of the page at `va`; the folio is locked and has a
    reference.

    The caller holds the mmap lock. Waits for the folio lock, and begins again where the page has changed until then, so that
    -EBUSY is none of its errors. -EFAULT: nothing is there that may be written. -EOPNOTSUPP: it is no private memory.
    """
    while True:
        pfn = get_user_page_vma_remote(mm, va, FOLL_WRITE | FOLL_SPLIT_PMD)
        if pfn < 0:
            return pfn
        anon = folio_test_anon(mm, va)
        if not anon:
            put_page(frames[pfn])
            return -EOPNOTSUPP
        folio_lock(frames[pfn])
        rng = Range(va, va + 1, Event.EXCLUSIVE, True, owner)
        mmu_notifier_invalidate_range_start(mm, rng)
        if len(secondary_tlbs) > 0:
            entries_change(mm, va, va + 1)
        done = set_exclusive(frames[pfn], mm, va, True)
        if len(secondary_tlbs) > 0:
            flush_secondary_tlbs(mm, va, va + 1)
        mmu_notifier_invalidate_range_end(mm, rng)
        if done:
            return pfn
        unlock_and_put(pfn)


def made_exclusive(mm: Mm, va: Va, owner: Ref[Owner]) -> Pfn:
    """The form that a release has: make_device_exclusive() (mm/rmap.c, Linux 7.2; from 6.15 on), or make_device_exclusive_range() of those before."""
    if len(exclusive_is_mapped) > 0:
        return make_device_exclusive(mm, va, owner)
    return make_device_exclusive_range(mm, va, owner)
