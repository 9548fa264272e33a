"""mm/mlock.c: pages that stay in memory, counted against RLIMIT_MEMLOCK.

    mlock(2)    the mmap lock for writing: is there room (RLIMIT_MEMLOCK)? vma by vma: VM_LOCKED, `locked_vm`
                the mmap lock for reading: every page is faulted in, as for a write where that would copy it
    munlock(2)  the mmap lock for writing: not VM_LOCKED

A locked page is not taken out and not forgotten: MADV_PAGEOUT and MADV_DONTNEED say -EINVAL, and reclaim passes it over. It stays in no frame for all
that: migration moves it, a fork and a write copy it, munmap and a hole take it away; so a device that uses it has to listen as ever.

The count is `util.locked_vms`, which drivers that pin for long count in too.

Left out: mlockall(), MAP_LOCKED, MLOCK_ONFAULT; CAP_IPC_LOCK; that a locked page gives its place in swap up; PG_mlocked, and the unevictable list.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone
from secondsight.linux.errno import EFAULT, ENOMEM
from secondsight.linux.gup import FOLL_WRITE, get_user_page_vma_remote
from secondsight.linux.madvise import find_vma_from
from secondsight.linux.memory import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_WRITE,
    VM_FAULT_ERROR,
    VM_FAULT_UNLOCKED,
    handle_mm_fault,
    vma_flags,
)
from secondsight.linux.mm import is_cow_mapping, vma_is_accessible
from secondsight.linux.mm_flags import VM_LOCKED, VM_PFNMAP
from secondsight.linux.mm_types import Count, Flags, Mm, Pgoff, Va, VaEnd
from secondsight.linux.page_alloc import frames, is_zero_page, put_page
from secondsight.linux.pgtable import pte_present
from secondsight.linux.util import locked_vm
from secondsight.linux.vma import vma_modify_flags, vmas_changed

__all__ = ["do_mlock", "mm_populate", "munlock", "populate_vma_page_range"]


@milestone
def do_mlock(mm: Mm, start: Va, length: Pgoff, low: Va, high: VaEnd) -> Errno:
    """do_mlock() (mm/mlock.c, Linux 6.12): 0, or -ENOMEM: beyond the limit, not all of it mapped (locked up to there), or a page cannot be faulted in: past the
    end of a file, or PROT_NONE. `low`, `high`: see `vma_merge_new_range`."""
    mm.mmap_lock.write_lock()
    with atomic:
        ret: Errno = -ENOMEM
        locked = locked_vm(mm)
        count: Count = locked.pages + length
        if count > locked.limit:
            count -= count_mm_mlocked_page_nr(mm, start, start + length)
        if count <= locked.limit:
            ret = apply_vma_lock_flags(mm, start, start + length, VM_LOCKED, low, high)
        vmas_changed(mm, start, start + length)
        mm.mmap_lock.write_unlock()
    if ret != 0:
        return ret
    ret = mm_populate(mm, start, start + length)
    return -ENOMEM if ret == -EFAULT else ret


@milestone
def munlock(mm: Mm, start: Va, length: Pgoff, low: Va, high: VaEnd) -> Errno:
    """munlock() (mm/mlock.c, Linux 6.12): 0, locked or not; -ENOMEM: not all of it mapped, done up to there."""
    mm.mmap_lock.write_lock()
    with atomic:
        ret = apply_vma_lock_flags(mm, start, start + length, 0, low, high)
        vmas_changed(mm, start, start + length)
        mm.mmap_lock.write_unlock()
    return ret


@atomic
def count_mm_mlocked_page_nr(mm: Mm, start: Va, end: VaEnd) -> Count:
    """count_mm_mlocked_page_nr() (mm/mlock.c, Linux 6.12): how many pages of the range are locked already."""
    count: Count = 0
    for va in range(start, end):
        vma = mm.mm_mt[va]
        if vma is not None:
            if vma.flags[0] & VM_LOCKED != 0:
                count += 1
    return count


@atomic
def apply_vma_lock_flags(mm: Mm, start: Va, end: VaEnd, locks: Flags, low: Va, high: VaEnd) -> Errno:
    """apply_vma_lock_flags(), mlock_fixup() (mm/mlock.c, Linux 6.12): vma by vma up to the first gap. The pages of a PFN mapping are never locked."""
    at: VaEnd = start
    while at < end:
        vma = mm.mm_mt[at]
        if vma is None:
            return -ENOMEM
        first: VaEnd = at
        at = min(vma.vm_end, end)
        flags = vma.flags[0] & (255 - VM_LOCKED) | locks
        if vma.flags[0] != flags and vma_flags(vma) == 0:
            locked = locked_vm(mm)
            if locks != 0:
                locked.pages += at - first
            else:
                locked.pages -= at - first
            vma_modify_flags(vma, first, at, vma.write, flags, low, high)
    return 0


def mm_populate(mm: Mm, start: Va, end: VaEnd) -> Errno:
    """__mm_populate() (mm/gup.c, Linux 6.12): fault everything in: 0, or -EFAULT where that cannot be. The lock is given up where user space is to answer a
    fault; what is mapped then is looked for anew. What is not mapped by now is passed over."""
    at: VaEnd = start
    ret: Errno = 0
    mm.mmap_lock.read_lock()
    while ret == 0:
        with atomic:
            at = find_vma_from(mm, at, end)
            done = True
            write = False
            if at < end:
                vma = mm.mm_mt[at]
                assert vma is not None
                write = vma.write and is_cow_mapping(vma)
                folio = pte_present(mm.ptes[at])
                done = vma_flags(vma) & VM_PFNMAP != 0 or (folio is not None and (mm.ptes[at].writable or not write))
                if not done and not vma_is_accessible(vma):
                    ret = -EFAULT
        if at == end or ret != 0:
            break
        if done:
            at += 1
        else:
            fault = handle_mm_fault(mm, at, FAULT_FLAG_ALLOW_RETRY | (FAULT_FLAG_WRITE if write else 0))
            if fault & VM_FAULT_UNLOCKED != 0:
                if len(mm.userfaultfd) > 0:
                    if mm.userfaultfd[0].dying:
                        return ret
                mm.mmap_lock.read_lock()
            elif fault & VM_FAULT_ERROR != 0:
                ret = -EFAULT
    mm.mmap_lock.read_unlock()
    return ret


def populate_vma_page_range(mm: Mm, start: Va, end: VaEnd) -> None:
    """populate_vma_page_range() (mm/gup.c, Linux 6.12) without `locked`, of private memory that has just become writable: pages that are shared with others
    are copied now. The mmap lock is held for writing."""
    at: VaEnd = start
    while at < end:
        pfn = get_user_page_vma_remote(mm, at, FOLL_WRITE)
        if pfn < 0:
            break
        folio = frames[pfn]
        if not is_zero_page(folio):
            put_page(folio)
        at += 1
