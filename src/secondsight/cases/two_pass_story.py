"""Who meets whom in the cells of the table about notifiers with two passes: a device, and a process whose memory changes, or is reaped."""

from __future__ import annotations

from secondsight.devices.two_pass import TwoPassGpu
from secondsight.lang import Errno, Ref, atomic, require
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EAGAIN
from secondsight.linux.fault import cpu_write
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memory_zap import tlb_finish_mmu, zap_pte_range
from secondsight.linux.mm_types import Event, Finish, Mm, Pgoff, Range, Va
from secondsight.linux.oom_kill import oom_reap_task_mm

__all__ = ["THREADS", "finishes_nobody", "finishes_too_late", "flushes", "forgets", "is_reaped", "uses_both", "uses_one"]


# The device, and the process.


def uses_one(gpu: TwoPassGpu) -> None:
    """The device reads the first page twice."""
    gpu.read(0)
    gpu.read(0)


def uses_both(gpu: TwoPassGpu) -> None:
    """The device reads the pages in turn, each of them twice."""
    for _ in range(2):
        gpu.read(0)
        gpu.read(1)


def flushes(gpu: TwoPassGpu) -> None:
    """The device flushes when it is told to."""
    gpu.work()


def forgets(mm: Mm, va: Va, length: Pgoff) -> None:
    """Pages are forgotten, and the first of them is written again."""
    madvise_dontneed(mm, va, length)
    cpu_write(mm, va, 98)


# The reaper.


def is_reaped(mm: Mm, gpu: TwoPassGpu) -> None:
    """The OOM reaper takes the memory, or what it is allowed to take; then nothing that a driver has is left in use."""
    oom_reap_task_mm(mm)
    all_is_given_back(gpu)


def finishes_nobody(mm: Mm, gpu: TwoPassGpu) -> None:
    """The same, where mn_itree_invalidate() finishes nobody if a later one fails."""
    reap(mm, True)
    all_is_given_back(gpu)


def finishes_too_late(mm: Mm, gpu: TwoPassGpu) -> None:
    """The same, where it closes the bracket first."""
    reap(mm, False)
    all_is_given_back(gpu)


def reap(mm: Mm, finishes_none: bool) -> None:
    """oom_reap_task_mm() of a process that has private memory alone, with another mn_itree_invalidate()."""
    with atomic:
        locked = mm.mmap_lock.read_trylock()
        if locked:
            mm.unstable = True
    if not locked:
        return
    rng = Range(0, len(mm.ptes), Event.UNMAP, False)
    if mn_itree_invalidate(mm, rng, finishes_none) == 0:
        gather = zap_pte_range(mm, 0, len(mm.ptes))
        mn.mmu_notifier_invalidate_range_end(mm, rng)
        if gather:
            tlb_finish_mmu(gather)
    mm.mmap_lock.read_unlock()


def mn_itree_invalidate(mm: Mm, rng: Range, finishes_none: bool) -> Errno:
    """mn_itree_invalidate() (mm/mmu_notifier.c, Linux 7.2) of a range that may not block, with another end where somebody fails: the bracket is
    closed, and then all that began are finished, or none."""
    subs = mm.subscriptions
    with atomic:
        sub = mn.mn_itree_inv_start_range(subs, rng)
        cur_seq = subs.invalidate_seq
    first: Ref[Finish] = None
    while sub is not None:
        started = sub.invalidate_start(rng, cur_seq)
        with atomic:
            if started > 0:
                first = mn.finish_add(first, mn.finishes[started - 1], sub)
            if started < 0:
                mn.forget_waiting(subs, rng)
                mn.mn_itree_inv_end(subs)
            else:
                sub.waiting -= mn.page_bits(rng)
        if started < 0:
            if not finishes_none:
                mn.mn_itree_finish_pass(first)
            return -EAGAIN
        sub = mn.mn_itree_inv_next(subs, sub, rng)
    mn.mn_itree_finish_pass(first)
    return 0


@atomic
def all_is_given_back(gpu: TwoPassGpu) -> None:
    """No structure is in use, and no lock is held for a second pass."""
    require(not any(one.in_use for one in gpu.passes), "left-in-use", "a structure is in use, and nobody will finish it")


THREADS = (uses_one, uses_both, flushes, forgets, is_reaped, finishes_nobody, finishes_too_late)
"""All of them: the cells share their code."""
