"""kernel/locking/ww_mutex.h and mutex.c: mutexes that are taken several at a time in any order.

Who takes several has a *context*, which is as old as it began (`stamp`). One that would wait for an older one while it has locks gets -EDEADLK:
it gives back all that it has, and waits for that lock with nothing held (wait-die, the class that reservation objects are of):

    ww_acquire_init(ctx)
    ww_mutex_lock(a, ctx)            0
    ww_mutex_lock(b, ctx)            0; -EALREADY: it has it; -EDEADLK: unlock a, ww_mutex_lock_slow(b, ctx), and a again
    ww_acquire_done(ctx)             no more are taken
    ww_mutex_unlock(a), ww_mutex_unlock(b)
    ww_acquire_fini(ctx)

Locks of the other class (wound-wait, DEFINE_WW_CLASS) are taken by the same calls, under a context that says so. Then it is the older one that does not
wait for long: where it has locks, and meets a younger one's lock, the younger one is *wounded*. That one gives back all it has (-EDEADLK) as soon as it would wait itself, or
while it does; if it never does it goes on to its end. A younger one that meets an older one's lock waits.

A lock that was taken without a context is waited for, whoever waits: two that take two such locks in both orders do deadlock.

A context is on the stack: `with ww_acquire_ctxs.on_stack() as ctx:`; a machine has as many as the bound `ww_contexts` says, and where the
bound `ww_locks` is 0 mutexes know nothing of contexts; where `ww_wounds` is 0 all contexts are of wait-die. Stamps are those of the contexts that are alive, the oldest is 1: the kernel's go on counting.

What CONFIG_DEBUG_MUTEXES warns of is the broken rule `ww-mutex`. lockdep takes a context for a lock, which its thread has until ww_acquire_fini() (`WwClass`): a thread that ends without it
breaks `lock-held-at-exit`, one that goes on so until there are no more `ww-mutex`.

Left out: that all contexts of one lock are of its class (DEBUG_WW_MUTEXES: may hide a bug); ww_mutex_lock_interruptible(); the -EDEADLK that CONFIG_DEBUG_WW_MUTEX_SLOWPATH makes up; the turn of
a waiter that was woken in vain (one that waits may find the lock taken each time: may raise a false alarm where threads go round for ever).
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import (
    Array,
    Errno,
    Mutex,
    Record,
    Ref,
    atomic,
    bound,
    current,
    milestone,
    pool,
    require,
    shared,
    wait_until,
)
from secondsight.linux.errno import EALREADY, EDEADLK
from secondsight.linux.mm_types import Count

__all__ = [
    "WwAcquireCtx",
    "WwMutex",
    "ww_acquire_ctxs",
    "ww_acquire_done",
    "ww_acquire_fini",
    "ww_acquire_init",
    "ww_mutex_lock",
    "ww_mutex_lock_slow",
    "ww_mutex_trylock",
    "ww_mutex_unlock",
]


bound("ww_wounds", most=1)


class WoundWait(Record):
    """What a context has where there may be such of wound-wait: whether it is one (`is_wait_die` is false), and whether an older one wants a lock of its."""

    is_one: bool
    wounded: bool


class WwAcquireCtx(Record):
    """struct ww_acquire_ctx. `waits_for`: the lock in whose queue it stands; `contending_lock`: the one that it was told to wait for with
    nothing held."""

    stamp: Count
    acquired: Count
    done_acquire: bool
    waits_for: Ref[WwMutex]
    contending_lock: Ref[WwMutex]
    wound: Array[WoundWait, Literal["ww_wounds"]]


bound("ww_locks", most=1)


class WwMutex(Mutex):
    """struct ww_mutex. `ctx[0]`: the context that it was taken under."""

    ctx: Array[Ref[WwAcquireCtx], Literal["ww_locks"]]


ww_acquire_ctxs = pool(WwAcquireCtx, bound("ww_contexts"))


class WwClass(Record):
    """struct ww_class, for what lockdep knows of it (`acquire_name`): each context that has begun and has not ended is a lock of its thread's."""

    acquire: Array[Mutex, Literal["ww_contexts"]]


ww_class = shared(WwClass)


@atomic
def ww_acquire_init(ctx: WwAcquireCtx, wound_wait: bool = False) -> None:
    """ww_acquire_init() (include/linux/ww_mutex.h, Linux 6.12): the youngest of all contexts, with no lock. `wound_wait`: for locks of such a class."""
    begins = False
    for begun in ww_class.acquire:
        if not begins:
            begins = begun.trylock()
    require(begins, "ww-mutex", "begins a context, and others that are gone were never ended")
    youngest: Count = 0
    for other in ww_acquire_ctxs:
        if ww_acquire_ctxs.is_used(other):
            youngest = max(youngest, other.stamp)
    ctx.stamp = youngest + 1
    ctx.acquired = 0
    ctx.done_acquire = False
    if len(ctx.wound) > 0:
        ctx.wound[0].is_one = wound_wait
        ctx.wound[0].wounded = False
    else:
        require(not wound_wait, "left-out", "a context of wound-wait, and the bound `ww_wounds` is 0")


@atomic
def ww_acquire_done(ctx: WwAcquireCtx) -> None:
    """ww_acquire_done() (include/linux/ww_mutex.h, Linux 6.12): it takes no more locks."""
    require(not ctx.done_acquire, "ww-mutex", "says twice that it takes no more locks")
    ctx.done_acquire = True


@atomic
def ww_acquire_fini(ctx: WwAcquireCtx) -> None:
    """ww_acquire_fini() (include/linux/ww_mutex.h, Linux 6.12): the context ends; its locks have been given back."""
    require(ctx.acquired == 0, "ww-mutex", "ends a context that has locks")
    for begun in ww_class.acquire:
        if begun.owner == current():
            begun.unlock()
            break
    for other in ww_acquire_ctxs:
        if ww_acquire_ctxs.is_used(other):
            if other.stamp > ctx.stamp:
                other.stamp -= 1
    ctx.stamp = 0


@atomic
def must_die(lock: WwMutex, ctx: WwAcquireCtx) -> bool:
    """__ww_mutex_check_kill(), and what __ww_mutex_add_waiter() looks at (kernel/locking/ww_mutex.h, Linux 6.12): whether one that has locks would
    wait for an older one, which has this lock or waits for it; of wound-wait whether it was wounded."""
    if ctx.acquired == 0:
        return False
    if len(ctx.wound) > 0:
        if ctx.wound[0].is_one:
            return ctx.wound[0].wounded
    holder = lock.ctx[0]
    if holder is not None:
        if holder.stamp < ctx.stamp:
            return True
    for other in ww_acquire_ctxs:
        if ww_acquire_ctxs.is_used(other):
            if other.waits_for is lock and other.stamp < ctx.stamp:
                return True
    return False


@atomic
def ww_mutex_wound(ctx: WwAcquireCtx, hold_ctx: WwAcquireCtx) -> None:
    """__ww_mutex_wound() (kernel/locking/ww_mutex.h, Linux 6.12): one that has locks and waits for a younger one's wounds it."""
    if ctx.acquired > 0 and hold_ctx.stamp > ctx.stamp:
        hold_ctx.wound[0].wounded = True


@atomic
def ww_mutex_check_waiters(lock: WwMutex, ctx: WwAcquireCtx) -> None:
    """__ww_mutex_check_waiters() (kernel/locking/ww_mutex.h, Linux 6.12), of wound-wait: the lock is the context's by now, and an older one may wait for it."""
    for other in ww_acquire_ctxs:
        if ww_acquire_ctxs.is_used(other):
            if other.waits_for is lock:
                ww_mutex_wound(other, ctx)


@atomic
def ww_mutex_lock_acquired(lock: WwMutex, ctx: WwAcquireCtx) -> None:
    """ww_mutex_lock_acquired() (kernel/locking/ww_mutex.h, Linux 6.12), with its warnings."""
    require(not ctx.done_acquire, "ww-mutex", "takes a lock after it said that it takes no more")
    contending = ctx.contending_lock
    if contending is not None:
        require(contending is lock, "ww-mutex", "takes another lock than the one that it was told to wait for")
        require(ctx.acquired == 0, "ww-mutex", "takes the lock that it was told to wait for, and has others still")
        ctx.contending_lock = None
    ctx.acquired += 1
    lock.ctx[0] = ctx


@atomic
def ww_mutex_kill(lock: WwMutex, ctx: WwAcquireCtx) -> None:
    """__ww_mutex_kill() (kernel/locking/ww_mutex.h, Linux 6.12): remembers the lock; whoever was told before and has not obeyed is in the wrong."""
    require(ctx.contending_lock is None, "ww-mutex", "was told to give its locks back, and asks for one with others held")
    ctx.contending_lock = lock


@atomic
def try_or_queue(lock: WwMutex, ctx: WwAcquireCtx) -> Errno:
    """A round of __mutex_lock_common() (kernel/locking/mutex.c, Linux 6.12): the lock is tried before anybody dies. 1: it has to wait."""
    if lock.ctx[0] is ctx:
        return -EALREADY
    if len(ctx.wound) > 0:
        if ctx.acquired == 0:
            ctx.wound[0].wounded = False
    if lock.trylock():
        ctx.waits_for = None
        if len(ctx.wound) > 0:
            if ctx.wound[0].is_one:
                ww_mutex_check_waiters(lock, ctx)
        ww_mutex_lock_acquired(lock, ctx)
        return 0
    if len(ctx.wound) > 0:
        holder = lock.ctx[0]
        if ctx.wound[0].is_one and holder is not None:
            ww_mutex_wound(ctx, holder)
    if must_die(lock, ctx):
        ctx.waits_for = None
        ww_mutex_kill(lock, ctx)
        return -EDEADLK
    ctx.waits_for = lock
    return 1


@milestone
def ww_mutex_lock(lock: WwMutex, ctx: Ref[WwAcquireCtx]) -> Errno:
    """ww_mutex_lock(), __ww_mutex_lock(), __mutex_lock_common() (kernel/locking/mutex.c, Linux 6.12): 0; -EALREADY: the context has it; -EDEADLK:
    it has to give back what it has. Without a context as mutex_lock()."""
    if ctx is None:
        lock.lock()
        return 0
    ret = try_or_queue(lock, ctx)
    while ret == 1:
        wait_until(lock.owner == 0 or must_die(lock, ctx))
        ret = try_or_queue(lock, ctx)
    return ret


@milestone
def ww_mutex_lock_slow(lock: WwMutex, ctx: WwAcquireCtx) -> None:
    """ww_mutex_lock_slow() (include/linux/ww_mutex.h, Linux 6.12): wait for the lock that it was told to wait for; it has given back all others.

    The kernel looks at no result: one that has others still goes on without the lock. So does this, but that `ww-mutex` is broken before.
    """
    require(ctx.contending_lock is not None, "ww-mutex", "waits for a lock that it was not told to wait for")
    ww_mutex_lock(lock, ctx)


@atomic
def ww_mutex_trylock(lock: WwMutex, ctx: Ref[WwAcquireCtx]) -> bool:
    """ww_mutex_trylock() (kernel/locking/mutex.c, Linux 6.12): whether the lock was free. No deadlock is looked for."""
    if ctx is not None and len(ctx.wound) > 0:
        if ctx.acquired == 0:
            ctx.wound[0].wounded = False
    taken = lock.trylock()
    if taken and ctx is not None:
        if len(ctx.wound) > 0:
            if ctx.wound[0].is_one:
                ww_mutex_check_waiters(lock, ctx)
        ww_mutex_lock_acquired(lock, ctx)
    return taken


@atomic
def ww_mutex_unlock(lock: WwMutex) -> None:
    """ww_mutex_unlock(), __ww_mutex_unlock() (kernel/locking/mutex.c, ww_mutex.h, Linux 6.12)."""
    if len(lock.ctx) > 0:
        ctx = lock.ctx[0]
        if ctx is not None:
            require(ctx.acquired > 0, "ww-mutex", "gives back a lock that its context does not count")
            ctx.acquired -= 1
            lock.ctx[0] = None
    lock.unlock()
