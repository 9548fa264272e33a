"""mm/mremap.c: a mapping moves to a given address (MREMAP_FIXED), and is longer or shorter there.

    do_munmap(new place)            all of the new length, whatever comes of the rest
    do_munmap(behind the new end)   of the old place, if it becomes shorter
    vma_to_resize()                 what is left must be one vma. From 6.17 on this comes first, and nothing has gone where it fails
    as in `mremap`                  the new vma with the new length, the entries, the old place
    mm_populate()                   what is new of a locked mapping
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone
from secondsight.linux.errno import EFAULT, EINVAL
from secondsight.linux.mlock import mm_populate
from secondsight.linux.mm_types import Count, Mm, Pgoff, Result, Va, VaEnd
from secondsight.linux.mremap import counts_locked, do_munmap, move_vma, moves_several, mremap_to, tell, vma_to_resize
from secondsight.linux.userfaultfd import userfaultfd_unmap_complete
from secondsight.linux.util import locked_vms
from secondsight.linux.vma import vmas_changed

__all__ = ["mremap_resized"]


@milestone
def mremap_resized(mm: Mm, addr: Va, old_len: Pgoff, new_addr: Va, new_len: Pgoff, low: Va, high: VaEnd) -> Result:
    """mremap(), mremap_to() (mm/mremap.c, Linux 6.12), MREMAP_MAYMOVE with MREMAP_FIXED, to another length: `new_addr`, or -EINVAL: the two overlap; -EFAULT: not mapped, or
    the pages that move are not all of one vma, or it is to grow and is a udmabuf's; -EAGAIN: it is to grow, is locked, and beyond the limit. `low`, `high`: see
    `vma.vma_merge_new_range`, of the new place. The length may be the same: then from 6.17 on several vmas move."""
    if new_len == old_len:
        return mremap_to(mm, addr, old_len, new_addr, low, high)
    overlap = addr + old_len > new_addr and new_addr + new_len > addr
    if len(moves_several) > 0:
        if overlap:
            return -EINVAL
    moved_len: Pgoff = min(old_len, new_len)
    mm.mmap_lock.write_lock()
    with atomic:
        ret: Errno = -EFAULT if mm.mm_mt[addr] is None else -EINVAL if overlap else 0
        if len(moves_several) > 0:
            if ret == 0:
                ret = vma_to_resize(mm, addr, moved_len, new_len)
    if ret != 0:
        mm.mmap_lock.write_unlock()
        return ret
    early = do_munmap(mm, new_addr, new_addr + new_len)
    behind: Count = 0
    if new_len < old_len:
        behind = do_munmap(mm, addr + new_len, addr + old_len)
    ret = vma_to_resize(mm, addr, moved_len, new_len)
    remap = False
    late: Count = 0
    locked = False
    if ret == 0:
        remap = move_vma(mm, addr, moved_len, new_addr, new_len, low, high, False)
        late = do_munmap(mm, addr, addr + moved_len)
        locked = counts_locked(mm, new_addr, new_len)
    with atomic:
        vmas_changed(mm, addr, addr + old_len)
        vmas_changed(mm, new_addr, new_addr + new_len)
        mm.mmap_lock.write_unlock()
    if len(locked_vms) > 0:
        if locked and new_len > old_len:
            mm_populate(mm, new_addr + old_len, new_addr + new_len)
    if len(mm.userfaultfd) > 0:
        for _ in range(early):
            userfaultfd_unmap_complete(mm, new_addr, new_addr + new_len)
        tell(mm, addr, moved_len, new_addr, 0, remap, 0)
        for _ in range(behind):
            userfaultfd_unmap_complete(mm, addr + new_len, addr + old_len)
        for _ in range(late):
            userfaultfd_unmap_complete(mm, addr, addr + moved_len)
    return new_addr if ret == 0 else ret
