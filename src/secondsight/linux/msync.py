"""mm/msync.c: what has been written to shared mappings of files is on the disk when it returns."""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic
from secondsight.linux.errno import ENOMEM
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import AddressSpace, Mm, Pgoff, Va, VaEnd

__all__ = ["msync"]


def msync(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """msync(MS_SYNC) (mm/msync.c, Linux 6.12), of `length` pages: the files of shared mappings are synced, one after the other, without the mmap lock. -ENOMEM where nothing is mapped, and
    all is done that can be. Left out: MS_INVALIDATE, errors of the disk."""
    unmapped: Errno = 0
    at: VaEnd = va
    mm.mmap_lock.read_lock()
    while at < va + length:
        with atomic:
            start = find_vma_from(mm, at, va + length)
            if start != at:
                unmapped = -ENOMEM
            at = start
            file: Ref[AddressSpace] = None
            first: Pgoff = 0
            pages: Pgoff = 0
            vma = mm.mm_mt[start] if start < va + length else None
            if vma is not None:
                at = min(vma.vm_end, va + length)
                if not is_cow_mapping(vma):
                    file = vma.vm_file
                    first = linear_page_index(vma, start)
                    pages = at - start
        if file is not None:
            mm.mmap_lock.read_unlock()
            file.fsync(first, pages)
            mm.mmap_lock.read_lock()
    mm.mmap_lock.read_unlock()
    return unmapped
