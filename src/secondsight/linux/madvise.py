"""mm/madvise.c: MADV_DONTNEED. It holds the mmap lock for reading, so it runs beside page faults of the same process."""

from __future__ import annotations

from secondsight.lang import Errno, atomic
from secondsight.linux.errno import EINVAL, ENOMEM
from secondsight.linux.memory import vma_flags, zap_page_range_single
from secondsight.linux.mm_types import VM_PFNMAP, Mm, Pgoff, Va, VaEnd

__all__ = ["madvise_dontneed"]


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
            zap_page_range_single(mm, first, end)
        start = end
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def find_vma_from(mm: Mm, start: VaEnd, end: VaEnd) -> VaEnd:
    """find_vma() (mm/mmap.c, Linux 6.12): the first mapped page from `start` on; `end` if there is none before."""
    for i in range(start, end):
        if mm.mm_mt[i] is not None:
            return i
    return end
