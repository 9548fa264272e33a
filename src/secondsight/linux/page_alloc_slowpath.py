"""mm/page_alloc.c, the slow half: an allocation that finds no memory at once.

Who may sleep reclaims some itself (direct reclaim), in the middle of the allocation, with every lock held that it holds:

    kmalloc(GFP_KERNEL)
        __alloc_pages_slowpath()
            __perform_reclaim()             PF_MEMALLOC: what allocates within it reclaims nothing
                try_to_free_pages()         some page of some process (`vmscan_direct`)
                    try_to_unmap()
                        mmu_notifier_invalidate_range_start()       may sleep, whoever allocates

So a lock that a callback takes may not be held by who allocates with GFP_KERNEL; nor may a callback wait for who allocates so. (lockdep says it
by two maps, `fs_reclaim` and `mmu_notifier_invalidate_range_start`, taken in fs_reclaim_acquire() by each allocation that may reclaim.) GFP_NOWAIT,
GFP_ATOMIC and allocations under memalloc_noreclaim_save() do not reclaim, and may fail. GFP_NOFS and GFP_NOIO reclaim: they keep out of file systems
and of writing, and pages that need neither are unmapped all the same. To private memory GFP_NOFS is as GFP_KERNEL; to a memfd's page, which is a file's, as GFP_NOIO.

Whether memory is short is a scenario's to say (`memory_pressure`, the bound `direct_reclaim`); else there is always some, and nothing here is a step but for
might_sleep(). `short` allocations find none: each whenever it likes, so those before it found some.

The pages are taken by a thread of their own, for which who allocates waits: what it holds meanwhile is the same, and a lock of its own that a callback takes
is a deadlock of the two. Only one reclaims at a time: who comes meanwhile finds memory. May hide a bug that takes two.

Whether allocations fail, of who may sleep too, is a scenario's to say (`allocations_fail`, the bound of that name): so many of kmalloc()'s, each whenever it likes. Else what may sleep does not
fail, as small allocations do not.

Left out: the size of what is allocated; watermarks, kswapd, which reclaims beside all this (the operation `reclaim`), compaction, the OOM killer; failing allocations of the kernel's own
functions, which drivers call (may hide a bug in handling their -ENOMEM); __GFP_NOFAIL. Within an atomic step of the model nothing is reclaimed (may hide a bug).
"""

from __future__ import annotations

from typing import Annotated, Final

from secondsight.lang import U8, Bounds, Record, atomic, bound, choose, current, milestone, require, shared_array, wait_until
from secondsight.linux.mm_types import shmem_swap

__all__ = [
    "GFP_ATOMIC",
    "GFP_HIGHUSER_MOVABLE",
    "GFP_KERNEL",
    "GFP_NOFS",
    "GFP_NOIO",
    "GFP_NOWAIT",
    "Gfp",
    "direct_reclaim",
    "failing_allocations",
    "kmalloc",
    "memalloc_noreclaim_restore",
    "memalloc_noreclaim_save",
    "might_alloc",
    "might_sleep",
    "reclaims_again",
]

Gfp = Annotated[int, Bounds(0, 63)]
"""gfp_t (include/linux/gfp_types.h, Linux 6.12): what of it matters here."""

DIRECT_RECLAIM: Final = 1
KSWAPD_RECLAIM: Final = 2
IO: Final = 4
FS: Final = 8
HIGH: Final = 16
HIGHMEM_MOVABLE: Final = 32

GFP_ATOMIC: Final = HIGH | KSWAPD_RECLAIM
GFP_NOWAIT: Final = KSWAPD_RECLAIM
GFP_NOIO: Final = DIRECT_RECLAIM | KSWAPD_RECLAIM
GFP_NOFS: Final = GFP_NOIO | IO
GFP_KERNEL: Final = GFP_NOFS | FS
GFP_HIGHUSER_MOVABLE: Final = GFP_KERNEL | HIGHMEM_MOVABLE


class DirectReclaim(Record):
    """That memory is short, and who reclaims.

    `short`: how many allocations find none yet. `task`: the thread for which pages are taken; 0: nobody waits. `io`, `fs`: __GFP_IO and __GFP_FS of its allocation,
    scan_control.gfp_mask; the latter where there are files.
    `memalloc`: the set of threads that have PF_MEMALLOC in `current->flags`.
    """

    short: U8
    task: U8
    io: bool
    fs: bool
    memalloc: U8


direct_reclaim = shared_array(DirectReclaim, bound("direct_reclaim", most=1))
"""One where a scenario says that memory is short; else there is none."""


class FailingAllocations(Record):
    """That allocations fail. `left`: how many do yet. `failed`: one has; what was refused for it may say so (-ENOMEM)."""

    left: U8
    failed: bool


failing_allocations = shared_array(FailingAllocations, bound("allocations_fail", most=1))
"""One where a scenario says that allocations fail; else there is none."""


def might_sleep() -> None:
    """might_sleep() (include/linux/kernel.h, Linux 6.12): under a spinlock, or where the caller may not sleep, the rule `sleep-in-atomic` is broken."""
    wait_until(True)


@milestone
def kmalloc(flags: Gfp) -> bool:
    """kmalloc() (include/linux/slab.h, Linux 6.12): whether there is memory. With GFP_KERNEL there is, after direct reclaim perhaps, unless a scenario says that allocations fail.

    Left out: what is allocated, which is a record of the driver's own, and kfree().
    """
    if flags & DIRECT_RECLAIM != 0:
        might_sleep()
    if len(failing_allocations) > 0:
        fails = should_failslab()
        if fails:
            return False
    if len(direct_reclaim) > 0:
        return __alloc_pages_slowpath(flags)
    return True


@atomic
def should_failslab() -> bool:
    """should_failslab() (mm/failslab.c, Linux 6.12): whether this allocation is one of those that fail."""
    failing = failing_allocations[0]
    if failing.left == 0:
        return False
    fails: bool = choose(2) == 1
    if fails:
        failing.left -= 1
        failing.failed = True
    return fails


def might_alloc(flags: Gfp) -> None:
    """might_alloc() (include/linux/sched/mm.h, Linux 6.12): here memory may be allocated, which is there in the end.

    In functions of the kernel's own, only where memory is short: else it costs a step.
    """
    if flags & DIRECT_RECLAIM != 0:
        might_sleep()
    if len(direct_reclaim) > 0:
        __alloc_pages_slowpath(flags)


def __alloc_pages_slowpath(flags: Gfp) -> bool:
    """__alloc_pages_slowpath(), __perform_reclaim() (mm/page_alloc.c, Linux 6.12): whether there is memory, which there is for who may reclaim."""
    with atomic:
        reclaim = direct_reclaim[0]
        reclaims = need_reclaim(flags)
        found = reclaim.short == 0 or (reclaims and reclaim.task != 0)
        if not found:
            found = choose(2) == 0
        if not found:
            reclaim.short -= 1
            if reclaims:
                reclaim.task = current()
                reclaim.io = flags & IO != 0
                if len(shmem_swap) > 0:
                    reclaim.fs = flags & FS != 0
    if found or not reclaims:
        return found
    wait_for_reclaim()
    return True


def wait_for_reclaim() -> None:
    """__alloc_pages_direct_reclaim() (mm/page_alloc.c, Linux 6.12): pages are taken, and there is memory."""
    wait_until(direct_reclaim[0].task != current())


@atomic
def need_reclaim(flags: Gfp) -> bool:
    """__need_reclaim() (mm/page_alloc.c, Linux 6.12): whether who allocates reclaims itself if there is nothing."""
    return flags & DIRECT_RECLAIM != 0 and direct_reclaim[0].memalloc & (1 << (current() - 1)) == 0


@atomic
def memalloc_noreclaim_save() -> bool:
    """memalloc_noreclaim_save() (include/linux/sched/mm.h, Linux 6.12): from here on the thread's allocations reclaim nothing, and may fail. Give what it returns to
    `memalloc_noreclaim_restore`. In the kernel they may use the last reserves, and are for who is about to free memory."""
    if len(direct_reclaim) > 0:
        before = direct_reclaim[0].memalloc & (1 << (current() - 1)) != 0
        direct_reclaim[0].memalloc |= 1 << (current() - 1)
        return before
    return False


@atomic
def memalloc_noreclaim_restore(flags: bool) -> None:
    """memalloc_noreclaim_restore() (include/linux/sched/mm.h, Linux 6.12): as it was before."""
    if len(direct_reclaim) > 0:
        if not flags:
            direct_reclaim[0].memalloc &= ~(1 << (current() - 1))


@atomic
def reclaims_again() -> None:
    """A thread is about to go back to its program: what it allocates from now on, in whichever call, may reclaim. No check of the kernel's own: a thread that keeps PF_MEMALLOC uses
    up the last reserves, and its small allocations fail where others would wait. It is the rule `memalloc-left`; the thread may be one in which a callback was called."""
    require(direct_reclaim[0].memalloc & (1 << (current() - 1)) == 0, "memalloc-left", "goes back to its program with PF_MEMALLOC: memalloc_noreclaim_restore() is missing")
