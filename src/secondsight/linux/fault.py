"""arch/x86/mm/fault.c: a CPU's access to memory, and the page fault when the page tables do not allow it.

The hardware looks the entry up and accesses the frame: one step. If it cannot, the fault handler takes the mmap
lock, makes the entry right, and the access is tried again. This is what a device access is compared with. Where there are TLBs (`tlb`) it may find an
entry that has gone.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Char, atomic
from secondsight.linux.errno import SIGBUS, SIGSEGV
from secondsight.linux.fork import vmas
from secondsight.linux.highmem import load, store
from secondsight.linux.memory import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_WRITE,
    VM_FAULT_RETRY,
    VM_FAULT_SIGBUS,
    VM_FAULT_SIGSEGV,
    VM_FAULT_UNLOCKED,
    handle_mm_fault,
)
from secondsight.linux.mm_flags import FAULT_FLAG_VMA_LOCK, VM_FAULT_COMPLETED
from secondsight.linux.mm_types import Flags, Mm, Result, Va, completed_faults, writes_back
from secondsight.linux.page_alloc import frame_touch
from secondsight.linux.pgtable import pte_present
from secondsight.linux.swapops import swap_slots
from secondsight.linux.tlb import stale_tlb_entry
from secondsight.linux.vma_lock import lock_vma_under_rcu, vma_end_read

__all__ = ["FAULT", "cpu_read", "cpu_read_half", "cpu_write", "cpu_write_half", "do_user_addr_fault", "mmu_load", "mmu_store"]

FAULT: Final = -1
"""The page tables do not allow the access."""
KILLED: Final = -127
"""fault_signal_pending() (include/linux/sched/signal.h, Linux 6.12): the thread that waited ends with its process."""


def cpu_read(mm: Mm, va: Va) -> Result:
    """A load instruction: the contents of the page at `va`, or -SIGSEGV, -SIGBUS."""
    while True:
        value = mmu_load(mm, va)
        if value != FAULT:
            return value
        ret = do_user_addr_fault(mm, va, False)
        if ret != 0:
            return ret


def cpu_write(mm: Mm, va: Va, value: Char) -> Result:
    """A store instruction: 0, or -SIGSEGV, -SIGBUS."""
    while True:
        if mmu_store(mm, va, value) != FAULT:
            return 0
        ret = do_user_addr_fault(mm, va, True)
        if ret != 0:
            return ret


def cpu_read_half(mm: Mm, va: Va) -> Result:
    """A load from the second half of the page: as `cpu_read`."""
    while True:
        value = mmu_load(mm, va, True)
        if value != FAULT:
            return value
        ret = do_user_addr_fault(mm, va, False)
        if ret != 0:
            return ret


def cpu_write_half(mm: Mm, va: Va, value: Char) -> Result:
    """A store to the second half of the page: as `cpu_write`."""
    while True:
        if mmu_store(mm, va, value, True) != FAULT:
            return 0
        ret = do_user_addr_fault(mm, va, True)
        if ret != 0:
            return ret


@atomic
def mmu_load(mm: Mm, va: Va, half: bool = False) -> Result:
    """The hardware's page walk and load: the contents, or with `half` those of the second half (`highmem`), or `FAULT`."""
    frame = pte_present(mm.ptes[va])
    if len(mm.tlb) > 0:
        stale = stale_tlb_entry(mm, va, False)
        if stale is not None:
            frame = stale
    if frame is None:
        return FAULT
    frame_touch(frame, False)
    return load(frame, half)


@atomic
def mmu_store(mm: Mm, va: Va, value: Char, half: bool = False) -> Result:
    """The hardware's page walk and store: 0, or `FAULT`."""
    if len(mm.tlb) > 0:
        stale = stale_tlb_entry(mm, va, True)
        if stale is not None:
            frame_touch(stale, True)
            store(stale, value, half)
            return 0
    frame = pte_present(mm.ptes[va])
    if frame is None or not mm.ptes[va].writable:
        return FAULT
    frame_touch(frame, True)
    store(frame, value, half)
    if len(swap_slots) > 0:
        mm.ptes[va].dirty = True
    return 0


def do_user_addr_fault(mm: Mm, va: Va, write: bool) -> Result:
    """do_user_addr_fault() (arch/x86/mm/fault.c, Linux 6.12): 0 when the access is to be tried again, or the
    signal, negated.

    First under the lock of the vma alone, where there is one (`vma_lock`). Left out: FAULT_FLAG_TRIED, that a fault gives the lock up
    only once.
    """
    if len(vmas) > 0:
        if len(vmas[0].vm_lock) > 0:
            vma = lock_vma_under_rcu(mm, va)
            if vma is not None:
                first = handle_mm_fault(mm, va, FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_VMA_LOCK | (FAULT_FLAG_WRITE if write else 0))
                if len(completed_faults) + len(writes_back) > 0:
                    if first & VM_FAULT_COMPLETED != 0:
                        return 0
                if first & VM_FAULT_RETRY == 0:
                    vma_end_read(vma)
                    return signal_of(first)
                if len(mm.userfaultfd) > 0:
                    if mm.userfaultfd[0].dying:
                        return KILLED
    mm.mmap_lock.read_lock()
    ret = handle_mm_fault(mm, va, FAULT_FLAG_ALLOW_RETRY | (FAULT_FLAG_WRITE if write else 0))
    if ret & VM_FAULT_UNLOCKED != 0:
        if len(mm.userfaultfd) > 0:
            if mm.userfaultfd[0].dying:
                return KILLED
        return 0
    mm.mmap_lock.read_unlock()
    if ret & VM_FAULT_SIGSEGV != 0:
        return -SIGSEGV
    if ret & VM_FAULT_SIGBUS != 0:
        return -SIGBUS
    return 0


@atomic
def signal_of(ret: Flags) -> Result:
    """The signal that a fault ends in, negated; 0: the access is to be tried again."""
    if ret & VM_FAULT_SIGSEGV != 0:
        return -SIGSEGV
    if ret & VM_FAULT_SIGBUS != 0:
        return -SIGBUS
    return 0
