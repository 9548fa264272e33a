"""mm/oom_kill.c: the OOM reaper, which takes a dying process's private memory without ever sleeping on a driver.

It is what makes notifier ranges that are not blockable. A vma whose notifiers would have to sleep is left alone.
"""

from __future__ import annotations

from secondsight.lang import atomic, milestone
from secondsight.linux.memory import tlb_finish_mmu, zap_pte_range
from secondsight.linux.mm import is_cow_mapping
from secondsight.linux.mm_types import Event, Mm, Range, VaEnd
from secondsight.linux.mmu_notifier import (
    mmu_notifier_invalidate_range_end,
    mmu_notifier_invalidate_range_start_nonblock,
)

__all__ = ["oom_reap_task_mm"]


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
                gather = zap_pte_range(mm, start, end)
                mmu_notifier_invalidate_range_end(mm, rng)
                if gather:
                    tlb_finish_mmu(gather)
        start = end
    mm.mmap_lock.read_unlock()
    return ret


@atomic
def next_private(mm: Mm, start: VaEnd) -> VaEnd:
    """The first page from `start` on that is private anonymous memory; the end of the address space if none."""
    for va in range(start, len(mm.ptes)):
        vma = mm.mm_mt[va]
        if vma is not None and is_cow_mapping(vma):
            return va
    return len(mm.ptes)
