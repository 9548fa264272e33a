"""include/linux/mm.h, mm/memory.c: the lock of a vma alone (6.4 on), under which a CPU's fault goes on beside changes of other vmas.

    fault       lock_vma_under_rcu(): the vma's lock for reading, unless somebody changes it; else the mmap lock as ever
    change      under the mmap lock for writing; vma_start_write() of each vma that changes: waits for faults on it, and keeps new ones away
                until the mmap lock is given up, or kept for reading only

A fault under the vma's lock that has to wait, or to have what only the mmap lock protects, begins again under the mmap lock (VM_FAULT_RETRY).

The locks are there where the bound `vma_locks` is 1: where it is asked where threads stand (forced runs on kernels). Elsewhere a fault takes the mmap lock, and waits for
changes of other vmas too: may hide a bug in which one does not.

MADV_DONTNEED and MADV_FREE of later releases are under a vma's lock too (`madvise`). Who changes several vmas for one change of mappings marks them in one step, when no fault is on any:
in the kernel one after the other; munmap and MAP_FIXED here too (`lock_vmas_to_unmap`).

User space that fills a page, or moves one, by a userfaultfd is under vmas' locks too (`mm_userfaultfd`). Left out: who else takes a vma's lock: reading /proc/PID/maps.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, current
from secondsight.linux.fork import vmas
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_flags import FAULT_FLAG_VMA_LOCK
from secondsight.linux.mm_types import NOT_PREPARED, Flags, Mm, Va, Vma

__all__ = ["lock_vma_under_rcu", "must_retry_anon_prepare", "release_fault_lock", "vma_end_read", "vma_end_write_all", "vma_start_write"]


@atomic
def vma_start_write(vma: Vma) -> None:
    """vma_start_write() (include/linux/mm.h, Linux 6.12), under the mmap lock for writing: waits for the faults on it in the caller's step."""
    if len(vma.vm_lock) > 0:
        lock = vma.vm_lock[0]
        lock.rwsem.write_lock()
        lock.rwsem.write_unlock()
        lock.writer = current()


@atomic
def vma_end_write_all(mm: Mm) -> None:
    """vma_end_write_all() (include/linux/mmap_lock.h, Linux 6.12): no vma is changed by the calling thread any more. What it has marked counts as long as it
    holds the mmap lock, so it is enough to forget it before the next time."""
    for vma in vmas:
        if len(vma.vm_lock) > 0:
            if vma.vm_mm is mm and vma.vm_lock[0].writer == current():
                vma.vm_lock[0].writer = 0


@atomic
def lock_vma_under_rcu(mm: Mm, va: Va) -> Ref[Vma]:
    """lock_vma_under_rcu(), vma_start_read() (mm/memory.c, include/linux/mm.h, Linux 6.12): the vma at `va`, locked for reading; None: there is none, or
    it is being changed."""
    vma = mm.mm_mt[va]
    if vma is None:
        return None
    lock = vma.vm_lock[0]
    if mm.mmap_lock.owner != 0 and lock.writer == mm.mmap_lock.owner:
        return None
    locked = lock.rwsem.read_trylock()
    return vma if locked else None


@atomic
def vma_end_read(vma: Vma) -> None:
    """vma_end_read() (include/linux/mm.h, Linux 6.12)."""
    vma.vm_lock[0].rwsem.read_unlock()


@atomic
def release_fault_lock(mm: Mm, va: Va, flags: Flags) -> None:
    """release_fault_lock() (include/linux/mm.h, Linux 6.12): give up what the fault holds: the vma's lock, or the mmap lock."""
    if len(vmas) > 0:
        if len(vmas[0].vm_lock) > 0:
            if flags & FAULT_FLAG_VMA_LOCK != 0:
                vma = mm.mm_mt[va]
                assert vma is not None
                vma_end_read(vma)
                return
    mm.mmap_lock.read_unlock()


@atomic
def must_retry_anon_prepare(mm: Mm, vma: Vma, flags: Flags, write: bool) -> bool:
    """__vmf_anon_prepare() (mm/memory.c, Linux 6.12): a first page of private memory needs the mmap lock too, for a moment; who holds it for writing has the fault
    begin again."""
    if len(vma.vm_lock) > 0:
        if flags & FAULT_FLAG_VMA_LOCK != 0 and write and is_cow_mapping(vma):
            return vma.anon_prepared[0] == NOT_PREPARED and mm.mmap_lock.owner != 0
    return False
