"""mm/hmm.c: what a CPU would find at an address, for a device to find it too.

`hmm_range_fault` reads the CPU's page table without its lock, faulting in what is missing, and says which frame is
there. It takes no reference. What it says may be out of date at once: it becomes true by the interval notifier's
protocol (`mmu_notifier`), i.e. it may be used only under the driver's lock after `mmu_interval_read_retry` has
said no. The caller holds the mmap lock, so no vma goes away meanwhile; entries may.

    hmm_range_fault(notifier, va, write)                     takes and drops the mmap lock by itself
    hmm_range_fault_locked(notifier, seq, va, request)       the kernel's own form: for those who hold the lock
    already

Left out: more than one page at a time (a driver that does so calls once for each page under one sequence number,
which is the same but for -EBUSY in between); the per-page request flags; huge pages; device-private and
device-exclusive pages.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import atomic, hold_point, require
from secondsight.linux.errno import EBUSY, EFAULT, ENOENT, EPERM
from secondsight.linux.fork import mm_touch, mmget_not_zero, mmput
from secondsight.linux.memory import FAULT_FLAG_WRITE, VM_FAULT_ERROR, handle_mm_fault, vma_flags
from secondsight.linux.mm_types import VM_PFNMAP, Flags, IntervalNotifier, Mm, Pfn, Seq, Va, VmaState
from secondsight.linux.page_alloc import page_to_pfn

__all__ = [
    "HMM_PFN_ERROR",
    "HMM_PFN_NONE",
    "HMM_PFN_REQ_FAULT",
    "HMM_PFN_REQ_WRITE",
    "hmm_range_fault",
    "hmm_range_fault_locked",
    "hmm_range_snapshot",
]

HMM_PFN_REQ_FAULT: Final = 1
"""Fault in what is missing."""
HMM_PFN_REQ_WRITE: Final = 2
"""Fault until it can be written; without HMM_PFN_REQ_FAULT it asks for nothing."""

HMM_PFN_NONE: Final = -ENOENT
"""A snapshot's answer where nothing is present (the kernel leaves the entry 0)."""
HMM_PFN_ERROR: Final = -EFAULT
"""A snapshot's answer where nothing can be mirrored: no vma, or a PFN mapping."""

NEED_FAULT: Final = -100
NEED_WRITE_FAULT: Final = -101


def hmm_range_fault(notifier: IntervalNotifier, va: Va, write: bool) -> Pfn:
    """hmm_range_fault() (mm/hmm.c, Linux 6.12) with what drivers put around it: the frame at `va`, writable if
    `write`.

    Becomes a user of the mm and takes the mmap lock for reading meanwhile. -EBUSY: invalidated since the call
    began, start over. -EFAULT: a CPU access would fail as well, or the process has gone. -EPERM: a write to what
    is mapped read-only. `range.notifier_seq` is read here and not passed: the earlier one would only say -EBUSY
    more often.
    """
    with atomic:
        mm = notifier.mm
        assert mm is not None
        notifier_seq = notifier.invalidate_seq
        alive = mmget_not_zero(mm)
    if not alive:
        return -EFAULT
    mm.mmap_lock.read_lock()
    request = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE if write else HMM_PFN_REQ_FAULT
    pfn = hmm_range_fault_locked(notifier, notifier_seq, va, request)
    mm.mmap_lock.read_unlock()
    mmput(mm)
    if pfn >= 0:
        hold_point("range_faulted")
    return pfn


def hmm_range_snapshot(notifier: IntervalNotifier, va: Va) -> Pfn:
    """hmm_range_fault() without HMM_PFN_REQ_FAULT (mm/hmm.c, Linux 6.12): the frame at `va` as it is, without a
    fault.

    `HMM_PFN_NONE` if there is none, `HMM_PFN_ERROR` where none can be, -EBUSY as above, -EFAULT when the process
    has gone.
    """
    with atomic:
        mm = notifier.mm
        assert mm is not None
        notifier_seq = notifier.invalidate_seq
        alive = mmget_not_zero(mm)
    if not alive:
        return -EFAULT
    mm.mmap_lock.read_lock()
    pfn = hmm_range_fault_locked(notifier, notifier_seq, va, 0)
    mm.mmap_lock.read_unlock()
    mmput(mm)
    return pfn


def hmm_range_fault_locked(notifier: IntervalNotifier, notifier_seq: Seq, va: Va, request: Flags) -> Pfn:
    """hmm_range_fault() (mm/hmm.c, Linux 6.12), for one page; the caller holds the mmap lock.

    `notifier_seq` is from `mmu_interval_read_begin`, `request` HMM_PFN_REQ_ flags or 0 for a snapshot. Each time
    something had to be faulted in it looks again, and says -EBUSY if the range was invalidated meanwhile.
    """
    hold_point("hmm_range_fault:enter")
    while True:
        with atomic:
            mm = notifier.mm
            assert mm is not None
            require(mm.mmap_lock.held_by_me(), "lock-not-held", "hmm_range_fault without the mmap lock")
            collided = notifier.invalidate_seq != notifier_seq
        if collided:
            hold_point("hmm_range_fault:exit")
            return -EBUSY
        pfn = hmm_vma_walk(mm, va, request)
        if pfn > NEED_FAULT:
            hold_point("hmm_range_fault:exit")
            return pfn
        ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE if pfn == NEED_WRITE_FAULT else 0)
        if ret & VM_FAULT_ERROR != 0:
            hold_point("hmm_range_fault:exit")
            return -EFAULT


@atomic
def hmm_vma_walk(mm: Mm, va: Va, request: Flags) -> Pfn:
    """hmm_vma_walk_test(), hmm_vma_walk_hole(), hmm_vma_handle_pte() (mm/hmm.c, Linux 6.12): one look at one entry.

    The vma is stable under the mmap lock; the entry is read without its lock, once.
    """
    mm_touch(mm)
    vma = mm.vmas[va]
    if vma.state != VmaState.MAPPED or vma_flags(vma) & VM_PFNMAP != 0:
        return HMM_PFN_ERROR
    frame = mm.ptes[va].frame
    if request & HMM_PFN_REQ_FAULT != 0:
        if request & HMM_PFN_REQ_WRITE != 0 and (frame is None or not mm.ptes[va].writable):
            if not vma.write:
                return -EPERM
            return NEED_WRITE_FAULT
        if frame is None:
            return NEED_FAULT
    return HMM_PFN_NONE if frame is None else page_to_pfn(frame)
