"""mm/madvise.c: MADV_REMOVE: a hole is punched into the file that is mapped, by the address of a mapping.

The file is looked up under the mmap lock, which is given up before the hole is punched (its lock order: the inode lock comes first); user space has been told
by then, where it has asked for that (`userfaultfd`). So another thread may map something else there meanwhile: the hole is in the file that was there.
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic, milestone
from secondsight.linux.errno import EACCES, EINVAL, ENOMEM
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.mm import vma_is_shared_maywrite
from secondsight.linux.mm_interval_tree import linear_page_index
from secondsight.linux.mm_types import AddressSpace, Mm, Pgoff, Va, VaEnd
from secondsight.linux.userfaultfd import userfaultfd_remove
from secondsight.linux.util import vma_is_locked

__all__ = ["madvise_remove"]


@milestone
def madvise_remove(mm: Mm, va: Va, length: Pgoff) -> Errno:
    """madvise_remove(), madvise_walk_vmas() (mm/madvise.c, Linux 6.12), vma by vma: 0; -ENOMEM where nothing is mapped, done all the same where something
    is; and at the first vma where it cannot be -EINVAL (no file's, or locked), -EACCES (not shared, or never to be written), or what the file
    says (-EPERM: sealed; -ENODEV: no regular file)."""
    mm.mmap_lock.read_lock()
    ret: Errno = 0
    start: VaEnd = va
    while start < va + length:
        with atomic:
            first = find_vma_from(mm, start, va + length)
            end: VaEnd = first
            pgoff: Pgoff = 0
            file: Ref[AddressSpace] = None
            refused: Errno = 0
            if first != start:
                ret = -ENOMEM
            vma = mm.mm_mt[first] if first < va + length else None
            if vma is not None:
                end = min(vma.vm_end, va + length)
                file = vma.vm_file
                if vma_is_locked(vma) or file is None:
                    refused = -EINVAL
                elif not vma_is_shared_maywrite(vma):
                    refused = -EACCES
                else:
                    pgoff = linear_page_index(vma, first)
        if refused != 0:
            ret = refused
            break
        if end > first and file is not None:
            kept = True
            if len(mm.userfaultfd) > 0:
                kept = userfaultfd_remove(mm, first, end)
            if kept:
                mm.mmap_lock.read_unlock()
            refused = file.fallocate_punch_hole(pgoff, end - first)
            mm.mmap_lock.read_lock()
            if refused != 0:
                ret = refused
                break
        start = end
    mm.mmap_lock.read_unlock()
    return ret
