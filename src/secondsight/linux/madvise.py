"""mm/madvise.c: MADV_DONTNEED and MADV_PAGEOUT. Both hold the mmap lock for reading, so they run beside page faults of the same process."""

from __future__ import annotations

from secondsight.lang import Errno, atomic
from secondsight.linux.errno import EINVAL, ENOMEM
from secondsight.linux.memory import vma_flags, zap_page_range_single
from secondsight.linux.mm_types import VM_PFNMAP, Gather, Mm, Pgoff, Va, VaEnd
from secondsight.linux.pgtable import folio_mapcount, vm_normal_folio
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.vmscan import reclaim_folio

__all__ = ["find_vma_from", "madvise_dontneed", "madvise_pageout"]


def madvise_dontneed(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_dontneed_free() (mm/madvise.c, Linux 6.12): forget what `length` pages hold.

    Private anonymous memory reads as zero afterwards; a file's page is found again in the file. Left out: locked and huge pages.
    """
    mm.mmap_lock.read_lock()
    ret = 0
    at: VaEnd = va
    while at < va + length:
        start, at, error = next_part(mm, at, va + length)
        if error != 0:
            ret = error
        if start < at:
            zap_page_range_single(mm, start, at)
    mm.mmap_lock.read_unlock()
    return ret


def madvise_pageout(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_pageout(), madvise_cold_or_pageout_pte_range() (mm/madvise.c, Linux 6.12): reclaim `length` pages, if they can be.

    Pages that are present, and mapped here alone, are taken off their lists first, those of a vma together, then reclaimed one after
    the other.
    """
    mm.mmap_lock.read_lock()
    ret = 0
    at: VaEnd = va
    while at < va + length:
        start, at, error = next_part(mm, at, va + length)
        if error != 0:
            ret = error
        if start < at:
            folios = isolate_range(mm, start, at)
            for folio in folios:
                reclaim_folio(folio)
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def next_part(mm: Mm, at: Va, end: VaEnd) -> tuple[VaEnd, VaEnd, Errno]:
    """A round of madvise_walk_vmas() (mm/madvise.c, Linux 6.12): where the next vma's part of `at` to `end` starts, and where it ends.

    -ENOMEM where something before it is not mapped: it goes on nevertheless. -EINVAL where it is a VM_PFNMAP one
    (can_madv_lru_vma()): the rest is nothing then.
    """
    start = find_vma_from(mm, at, end)
    error = 0 if start == at else -ENOMEM
    if start == end:
        return end, end, error
    vma = mm.mm_mt[start]
    assert vma is not None
    if vma_flags(vma) & VM_PFNMAP:
        return end, end, -EINVAL
    return start, min(vma.vm_end, end), error


@atomic
def find_vma_from(mm: Mm, start: VaEnd, end: VaEnd) -> VaEnd:
    """find_vma() (mm/mmap.c, Linux 6.12): the first mapped page from `start` on; `end` if there is none before."""
    for i in range(start, end):
        if mm.mm_mt[i] is not None:
            return i
    return end


@atomic
def isolate_range(mm: Mm, start: Va, end: VaEnd) -> Gather:
    """The part of madvise_cold_or_pageout_pte_range() (mm/madvise.c, Linux 6.12) under the page-table lock: the folios to reclaim."""
    folios: Gather = []
    for va in range(start, end):
        folio = vm_normal_folio(mm.ptes[va])
        if folio is not None:
            if folio_mapcount(folio) == 1:
                if folio_isolate_lru(folio):
                    folios.append(folio)
    return folios
