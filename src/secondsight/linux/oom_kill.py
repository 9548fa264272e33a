"""mm/oom_kill.c: the OOM reaper, which takes a dying process's private memory without ever sleeping on a driver.

It is what makes notifier ranges that are not blockable. A vma whose notifiers would have to sleep is left alone.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone
from secondsight.linux.errno import EAGAIN, ESRCH
from secondsight.linux.memory_zap import tlb_finish_mmu, zap_pte_range
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_types import Event, Mm, Range, VaEnd, secondary_tlbs
from secondsight.linux.mmu_notifier import (
    mmu_notifier_invalidate_range_end,
    mmu_notifier_invalidate_range_start_nonblock,
)
from secondsight.linux.tlb import entries_change, flush_secondary_tlbs, tlb_flush_mmu_tlbonly

__all__ = ["oom_reap_task_mm", "process_mrelease"]


@milestone
def oom_reap_task_mm(mm: Mm) -> bool:
    """oom_reap_task_mm(), __oom_reap_task_mm() (mm/oom_kill.c, Linux 6.12): reap private memory. False: not all of
    it.

    Left out: who is chosen and that it is being killed; the retries.
    """
    with atomic:
        locked = mm.mmap_lock.read_trylock()
        if locked:
            mm.unstable = True
    if not locked:
        return False
    ret = reap_private(mm)
    mm.mmap_lock.read_unlock()
    return ret


def reap_private(mm: Mm) -> bool:
    """The loop of __oom_reap_task_mm() (mm/oom_kill.c, Linux 6.12), under the mmap lock."""
    ret = True
    start: VaEnd = 0
    while start < len(mm.ptes):
        with atomic:
            start = next_private(mm, start)
            end = start
            if start < len(mm.ptes):
                vma = mm.mm_mt[start]
                assert vma is not None
                end = vma.vm_end
        if start < len(mm.ptes):
            rng = Range(start, end, Event.UNMAP, False)
            if mmu_notifier_invalidate_range_start_nonblock(mm, rng) != 0:
                ret = False
            else:
                if len(secondary_tlbs) > 0:
                    entries_change(mm, start, end)
                gather = zap_pte_range(mm, start, end)
                mmu_notifier_invalidate_range_end(mm, rng)
                if len(mm.tlb) > 0:
                    tlb_flush_mmu_tlbonly(mm, start, end)
                if len(secondary_tlbs) > 0:
                    flush_secondary_tlbs(mm, start, end)
                if gather:
                    tlb_finish_mmu(gather)
        start = end
    return ret


@milestone
def process_mrelease(mm: Mm) -> Errno:
    """process_mrelease() (mm/oom_kill.c, Linux 6.12) of a process that is ending: 0; -ESRCH: nobody has its memory any more; -EAGAIN: not all of it could be
    reaped.

    It waits for the mmap lock, where the reaper tries it. Left out: MMF_OOM_SKIP: where the end of the process has come first, it looks at what is left.
    """
    with atomic:
        if mm.users == 0:
            return -ESRCH
    mm.mmap_lock.read_lock()
    mm.unstable = True
    done = reap_private(mm)
    mm.mmap_lock.read_unlock()
    return 0 if done else -EAGAIN


@atomic
def next_private(mm: Mm, start: VaEnd) -> VaEnd:
    """The first page from `start` on that is private anonymous memory; the end of the address space if none."""
    for va in range(start, len(mm.ptes)):
        vma = mm.mm_mt[va]
        if vma is not None and is_cow_mapping(vma):
            return va
    return len(mm.ptes)
