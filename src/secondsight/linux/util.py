"""mm/util.c: how many pages of a process are locked, against RLIMIT_MEMLOCK.

Who keeps pages in memory for as long as user space likes accounts for them here: VFIO, RDMA, io_uring (those two by the user instead,
in `user->locked_vm`). Nothing makes a driver do it. There is a count where the bound `memlock` is as many as there are mms.

mlock(2) counts in the same number (`mlock`). Left out: CAP_IPC_LOCK, which passes the limit over.
"""

from __future__ import annotations

from secondsight.lang import Errno, Record, atomic, bound, milestone, require, shared_array
from secondsight.linux.errno import ENOMEM
from secondsight.linux.fork import mms
from secondsight.linux.mm_flags import VM_LOCKED
from secondsight.linux.mm_types import Count, Mm, Vma

__all__ = ["LockedVm", "account_locked_vm", "counted_by_drivers", "locked_vm", "locked_vms", "vma_is_locked"]


class LockedVm(Record):
    """mm->locked_vm, in pages; `pinned`, mm->pinned_vm, which RDMA counts in; and `limit`, the RLIMIT_MEMLOCK of its process, which is asked of each of the two
    apart: more than there can be, unless somebody sets it."""

    pages: Count
    pinned: Count
    limit: Count = 15


locked_vms = shared_array(LockedVm, bound("memlock", most=8))


@atomic
def locked_vm(mm: Mm) -> LockedVm:
    """What is locked of a process."""
    return locked_vms[mms.index(mm)]


@atomic
def vma_is_locked(vma: Vma) -> bool:
    """VM_LOCKED, of include/linux/mm.h in Linux 6.12: the vma's pages stay in memory (mlock())."""
    if len(locked_vms) > 0:
        if len(vma.flags) > 0:
            return vma.flags[0] & VM_LOCKED != 0
    return False


@atomic
def counted_by_drivers(mm: Mm) -> Count:
    """For rules: how many of the pages that are counted are not those of mlock()."""
    count: Count = locked_vm(mm).pages + locked_vm(mm).pinned
    for va in range(len(mm.ptes)):
        vma = mm.mm_mt[va]
        if vma is not None and vma_is_locked(vma):
            count -= 1
    return count


@milestone
def account_locked_vm(mm: Mm, pages: Count, inc: bool) -> Errno:
    """account_locked_vm() (mm/util.c, Linux 6.12): `pages` more, or fewer: 0, or -ENOMEM beyond the limit. Takes the mmap lock."""
    if pages == 0:
        return 0
    mm.mmap_lock.write_lock()
    ret = __account_locked_vm(mm, pages, inc)
    mm.mmap_lock.write_unlock()
    return ret


@atomic
def __account_locked_vm(mm: Mm, pages: Count, inc: bool) -> Errno:
    """__account_locked_vm() (mm/util.c, Linux 6.12), under the mmap lock. The kernel warns where more is given back than was taken."""
    locked = locked_vm(mm)
    if not inc:
        require(pages <= locked.pages, "memlock", "accounts for fewer locked pages than there are")
        locked.pages -= pages
        return 0
    if locked.pages + pages > locked.limit:
        return -ENOMEM
    locked.pages += pages
    return 0
