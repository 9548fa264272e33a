"""mm/madvise.c: MADV_DONTNEED and MADV_PAGEOUT. Both hold the mmap lock for reading, so they run beside page faults of the same process."""

from __future__ import annotations

from secondsight.lang import Errno, atomic
from secondsight.linux.errno import EINVAL, ENOMEM
from secondsight.linux.memory import vma_flags, zap_page_range_single
from secondsight.linux.mm_types import VM_PFNMAP, Gather, Mm, Pgoff, Va, VaEnd
from secondsight.linux.pgtable import folio_mapcount, vm_normal_folio
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.userfaultfd import userfaultfd_remove
from secondsight.linux.vmscan import reclaim_folio

__all__ = ["find_vma_from", "madvise_dontneed", "madvise_pageout"]


def madvise_dontneed(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_walk_vmas(), madvise_dontneed_free() (mm/madvise.c, Linux 6.12): forget what `length` pages hold.

    Private anonymous memory reads as zero afterwards; a file's page is found again in the file. Vma by vma: where nothing
    is mapped it goes on, and says -ENOMEM at the end; at a VM_PFNMAP one it stops with -EINVAL. Left out: locked and huge
    pages.
    """
    mm.mmap_lock.read_lock()
    ret = 0
    start: VaEnd = va
    while start < va + length:
        with atomic:
            first = find_vma_from(mm, start, va + length)
            end = first
            invalid = False
            if first != start:
                ret = -ENOMEM
            if first < va + length:
                vma = mm.mm_mt[first]
                assert vma is not None
                end = min(vma.vm_end, va + length)
                invalid = vma_flags(vma) & VM_PFNMAP != 0
        if invalid:
            ret = -EINVAL
            break
        if first < end:
            if len(mm.userfaultfd) > 0:
                error = dontneed_told(mm, first, end)
                if error != 0:
                    ret = error
                    break
            else:
                zap_page_range_single(mm, first, end)
        start = end
    mm.mmap_lock.read_unlock()
    return ret


def dontneed_told(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """The part of madvise_dontneed_free() (mm/madvise.c, Linux 6.12) about one vma, where user space may have to be told first
    (userfaultfd_remove()): 0, or an error that ends it all. What is mapped there may be another vma then; what lies behind its end is left
    alone. The mmap lock is held for reading, then and now."""
    at_once = userfaultfd_remove(mm, start, end)
    if not at_once:
        mm.mmap_lock.read_lock()
        with atomic:
            vma = mm.mm_mt[start]
            if vma is None:
                return -ENOMEM
            if vma_flags(vma) & VM_PFNMAP != 0:
                return -EINVAL
            end = min(end, vma.vm_end)
    zap_page_range_single(mm, start, end)
    return 0


@atomic
def find_vma_from(mm: Mm, start: VaEnd, end: VaEnd) -> VaEnd:
    """find_vma() (mm/mmap.c, Linux 6.12): the first mapped page from `start` on; `end` if there is none before."""
    for i in range(start, end):
        if mm.mm_mt[i] is not None:
            return i
    return end


def madvise_pageout(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_pageout(), madvise_cold_or_pageout_pte_range() (mm/madvise.c, Linux 6.12): reclaim `length` pages, if they can be.

    Pages that are present, and mapped here alone, are taken off their lists first, those of a vma together, then reclaimed one after
    the other. -ENOMEM, -EINVAL as MADV_DONTNEED.
    """
    mm.mmap_lock.read_lock()
    ret = 0
    start: VaEnd = va
    while start < va + length:
        with atomic:
            first = find_vma_from(mm, start, va + length)
            end = first
            invalid = False
            if first != start:
                ret = -ENOMEM
            if first < va + length:
                vma = mm.mm_mt[first]
                assert vma is not None
                end = min(vma.vm_end, va + length)
                invalid = vma_flags(vma) & VM_PFNMAP != 0
        if invalid:
            ret = -EINVAL
            break
        if first < end:
            folios = isolate_range(mm, first, end)
            for folio in folios:
                reclaim_folio(folio)
        start = end
    mm.mmap_lock.read_unlock()
    return ret


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
