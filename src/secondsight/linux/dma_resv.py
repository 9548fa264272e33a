"""drivers/dma-buf/dma-resv.c: a buffer's lock, and the fences of the work that uses it.

Whoever lets a device loose on the buffer puts the work's fence here, under the lock, and says how the work uses it; whoever has to
know when that is over waits for the fences of a usage and of all below it: KERNEL < WRITE < READ < BOOKKEEP.

    dma_resv_lock
    dma_resv_reserve_fences     may fail; before the point of no return
    dma_resv_add_fence          cannot fail
    dma_resv_unlock             what was reserved and not used is gone

The kernel keeps an array and replaces it when it is too small; `fences` is the array in use, without gaps, and `array` says which one
it is (of the last 16): a walk that does not hold the lock begins again when it was replaced. `max_fences`: for how many there is room; as with
CONFIG_DEBUG_MUTEXES no room is left over when the lock is dropped.

A machine whose bound `resv_fences` is 0 has no fences: the lock is all that there is, and to wait is nothing. The locks of several buffers are
taken under a context (`ww_mutex`). Left out: failing allocations; timeouts.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

from secondsight.lang import U8, Array, Errno, Record, Ref, atomic, bound, count, milestone, out_of_records, require
from secondsight.linux.dma_fence import (
    DmaFence,
    dma_fence_get,
    dma_fence_is_later,
    dma_fence_put,
    dma_fence_wait,
)
from secondsight.linux.mm_types import Count
from secondsight.linux.page_alloc_slowpath import GFP_KERNEL, direct_reclaim, might_alloc
from secondsight.linux.ww_mutex import WwAcquireCtx, WwMutex, ww_mutex_lock, ww_mutex_lock_slow, ww_mutex_unlock

__all__ = [
    "DmaResv",
    "DmaResvEntry",
    "DmaResvUsage",
    "dma_resv_add_fence",
    "dma_resv_lock",
    "dma_resv_lock_slow",
    "dma_resv_replace_fences",
    "dma_resv_reserve_fences",
    "dma_resv_test_signaled",
    "dma_resv_trylock",
    "dma_resv_unlock",
    "dma_resv_usage_rw",
    "dma_resv_wait_timeout",
]


class DmaResvUsage(IntEnum):
    """enum dma_resv_usage: what the work of a fence is to the buffer. Who asks for one gets those below as well."""

    KERNEL = 0
    """Memory management: moves and clears. Everybody waits for them."""
    WRITE = 1
    READ = 2
    BOOKKEEP = 3
    """All else: nobody waits for them but who takes the memory away."""


class DmaResvEntry(Record):
    """An entry of struct dma_resv_list. `fence` None: behind the last one."""

    fence: Ref[DmaFence]
    usage: DmaResvUsage


bound("resv_fences")


class DmaResv(WwMutex):
    """struct dma_resv: a lock, and with it fences."""

    fences: Array[DmaResvEntry, Literal["resv_fences"]]
    max_fences: U8
    array: Count


def dma_resv_lock(obj: DmaResv, ctx: Ref[WwAcquireCtx] = None) -> Errno:
    """dma_resv_lock() (include/linux/dma-resv.h, Linux 6.12): 0. With a context -EALREADY: it has the lock; -EDEADLK: it gives back what it has, and then
    calls `dma_resv_lock_slow`."""
    if len(obj.ctx) > 0:
        if ctx is not None:
            return ww_mutex_lock(obj, ctx)
    obj.lock()
    return 0


def dma_resv_lock_slow(obj: DmaResv, ctx: WwAcquireCtx) -> None:
    """dma_resv_lock_slow() (include/linux/dma-resv.h, Linux 6.12): after -EDEADLK, with no other lock of the context held."""
    ww_mutex_lock_slow(obj, ctx)


def dma_resv_trylock(obj: DmaResv) -> bool:
    """dma_resv_trylock() (include/linux/dma-resv.h, Linux 6.12)."""
    return obj.trylock()


def dma_resv_unlock(obj: DmaResv) -> None:
    """dma_resv_unlock() (include/linux/dma-resv.h, Linux 6.12), with dma_resv_reset_max_fences() of CONFIG_DEBUG_MUTEXES."""
    with atomic:
        if len(obj.fences) > 0:
            obj.max_fences = num_fences(obj)
        ww_mutex_unlock(obj)


@atomic
def num_fences(obj: DmaResv) -> Count:
    """dma_resv_list.num_fences."""
    found: Count = count(entry.fence is not None for entry in obj.fences)
    return found


def dma_resv_usage_rw(write: bool) -> DmaResvUsage:
    """dma_resv_usage_rw() (include/linux/dma-resv.h, Linux 6.12): what new work waits for that writes the buffer, or reads it."""
    return DmaResvUsage.READ if write else DmaResvUsage.WRITE


def dma_resv_reserve_fences(obj: DmaResv, count: Count) -> None:
    """dma_resv_reserve_fences() (drivers/dma-buf/dma-resv.c, Linux 6.12): room for so many more. Left out: -ENOMEM.

    If the array has to grow it is made again, without fences that are signalled: it is allocated, with GFP_KERNEL, under the lock. As many slots as
    kmalloc() happens to give are not counted on. The kernel's WARN_ON() about none at all is the broken rule `no-fences`.
    """
    if len(direct_reclaim) > 0:
        with atomic:
            grows = has_no_room(obj, count)
        if grows:
            might_alloc(GFP_KERNEL)
    make_room(obj, count)


@atomic
def has_no_room(obj: DmaResv, count: Count) -> bool:
    """The test of dma_resv_reserve_fences() (drivers/dma-buf/dma-resv.c, Linux 6.12)."""
    return obj.max_fences == 0 or num_fences(obj) + count > obj.max_fences


@atomic
def make_room(obj: DmaResv, count: Count) -> None:
    """dma_resv_reserve_fences() (drivers/dma-buf/dma-resv.c, Linux 6.12), once there is memory."""
    require(obj.held_by_me(), "lock-not-held", "reserves fences without the reservation lock")
    require(count > 0, "no-fences", "reserves room for no fence")
    used = num_fences(obj)
    if not has_no_room(obj, count):
        return
    if obj.max_fences > 0:
        obj.max_fences = max(used + count, obj.max_fences * 2)
    else:
        obj.max_fences = max(4, roundup_pow_of_two(count))
    obj.array = (obj.array + 1) % 16
    kept = 0
    for i in range(len(obj.fences)):
        fence = obj.fences[i].fence
        usage = obj.fences[i].usage
        if fence is not None:
            obj.fences[i].fence = None
            obj.fences[i].usage = DmaResvUsage.KERNEL
            if fence.signaled:
                dma_fence_put(fence)
            else:
                obj.fences[kept].fence = fence
                obj.fences[kept].usage = usage
                kept += 1


def roundup_pow_of_two(n: Count) -> Count:
    """roundup_pow_of_two() (include/linux/log2.h)."""
    found: Count = 1
    for power in range(1, 4):
        if n > 1 << (power - 1):
            found = min(1 << power, 15)
    return found


@milestone
@atomic
def dma_resv_add_fence(obj: DmaResv, fence: DmaFence, usage: DmaResvUsage) -> None:
    """dma_resv_add_fence() (drivers/dma-buf/dma-resv.c, Linux 6.12): in the place of one that it makes needless, or as the last.

    Needless is one that is signalled, or an earlier one of the same context whose usage is not below. The kernel's BUG_ON() about
    room that was not reserved is the broken rule `not-reserved`.
    """
    require(obj.held_by_me(), "lock-not-held", "adds a fence without the reservation lock")
    dma_fence_get(fence)
    used = num_fences(obj)
    for i in range(used):
        old = obj.fences[i].fence
        assert old is not None
        if old.signaled or (obj.fences[i].usage >= usage and (old is fence or dma_fence_is_later(fence, old))):
            obj.fences[i].fence = fence
            obj.fences[i].usage = usage
            dma_fence_put(old)
            return
    require(used < obj.max_fences, "not-reserved", "adds a fence for which no room was reserved")
    if used == len(obj.fences):
        out_of_records("resv_fences")
    obj.fences[used].fence = fence
    obj.fences[used].usage = usage


@atomic
def dma_resv_replace_fences(obj: DmaResv, context: Count, replacement: DmaFence, usage: DmaResvUsage) -> None:
    """dma_resv_replace_fences() (drivers/dma-buf/dma-resv.c, Linux 6.12): put another in the place of all fences of a context."""
    require(obj.held_by_me(), "lock-not-held", "replaces fences without the reservation lock")
    for entry in obj.fences:
        old = entry.fence
        if old is not None and old.context == context:
            dma_fence_get(replacement)
            entry.fence = replacement
            entry.usage = usage
            dma_fence_put(old)


@atomic
def next_unsignaled(obj: DmaResv, usage: DmaResvUsage, at: Count, end: Count) -> Count:
    """dma_resv_iter_walk_unlocked(): the place, from `at` to before `end`, of the next fence of the usage that is not signalled, or `end`."""
    for i in range(len(obj.fences)):
        fence = obj.fences[i].fence
        if at <= i < end and fence is not None and not fence.signaled and usage >= obj.fences[i].usage:
            return i
    return end


@atomic
def fence_at(obj: DmaResv, at: Count, end: Count) -> Ref[DmaFence]:
    """The fence at a place, with a reference (dma_fence_get_rcu()); None at the end."""
    if at >= end:
        return None
    fence = obj.fences[at].fence
    if fence is not None:
        dma_fence_get(fence)
    return fence


def dma_resv_wait_timeout(obj: DmaResv, usage: DmaResvUsage) -> None:
    """dma_resv_wait_timeout() (drivers/dma-buf/dma-resv.c, Linux 6.12): wait for the fences of a usage and below, with or without the lock.

    Without it, of fences that come meanwhile those are waited for that come into the place of one which it has not passed yet; and all,
    if the array was replaced: then it begins again.
    """
    if len(obj.fences) > 0:
        with atomic:
            array = obj.array
            end = num_fences(obj)
            at = next_unsignaled(obj, usage, 0, end)
            fence = fence_at(obj, at, end)
        while fence is not None:
            dma_fence_wait(fence)
            with atomic:
                dma_fence_put(fence)
                at += 1
                if obj.array != array:
                    array = obj.array
                    end = num_fences(obj)
                    at = 0
                at = next_unsignaled(obj, usage, at, end)
                fence = fence_at(obj, at, end)


@atomic
def dma_resv_test_signaled(obj: DmaResv, usage: DmaResvUsage) -> bool:
    """dma_resv_test_signaled() (drivers/dma-buf/dma-resv.c, Linux 6.12): whether all fences of a usage and below are signalled."""
    end = num_fences(obj)
    at = next_unsignaled(obj, usage, 0, end)
    return at == end
