"""mm/madvise.c: MADV_DONTNEED. It holds the mmap lock for reading, so it runs beside page faults of the same process."""

from __future__ import annotations

from secondsight.lang import Errno, atomic
from secondsight.linux.errno import EINVAL, ENOMEM
from secondsight.linux.memory import vma_flags, zap_page_range_single
from secondsight.linux.mm_types import VM_PFNMAP, Mm, Pgoff, Va, VaEnd, VmaState

__all__ = ["madvise_dontneed"]


def madvise_dontneed(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_dontneed_free(), madvise_dontneed_single_vma() (mm/madvise.c, Linux 6.12): forget what `length`
    pages hold.

    Private anonymous memory reads as zero afterwards; a file's page is found again in the file. -EINVAL for
    VM_PFNMAP, -ENOMEM where nothing is mapped; in both cases nothing is done. Left out: ranges of several vmas
    (one bracket for all here), locked and huge pages.
    """
    mm.mmap_lock.read_lock()
    ret = madvise_dontneed_valid(mm, va, va + length)
    if ret == 0:
        zap_page_range_single(mm, va, va + length)
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def madvise_dontneed_valid(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """madvise_dontneed_free_valid_vma() (mm/madvise.c, Linux 6.12)."""
    for i in range(start, end):
        vma = mm.vmas[i]
        if vma.state != VmaState.MAPPED:
            return -ENOMEM
        if vma_flags(vma) & VM_PFNMAP != 0:
            return -EINVAL
    return 0
