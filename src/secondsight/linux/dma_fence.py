"""drivers/dma-buf/dma-fence.c: a fence says that work on a device has come to its end.

A driver makes a fence for a piece of work (a job, a copy, the end of a preemption) and signals it once, when the work is done.
Others wait for it, or have themselves called. A fence has references; with the last it is freed, and by then it should be signalled.

A fence is of a *context*, in which work ends in the order of `seqno`. `lock` is a spinlock: whoever is called by a signal
(`DmaFenceCb.func`) or asked to begin to signal (`enable_signaling`) must not sleep.

Left out: timeouts and signals, which end a wait early; errors; dma_fence_ops.signaled and .wait; containers of fences; deadlines;
the lockdep map of dma_fence_begin_signalling() (whether what must be done for a signal waits for a signal: that is found as a deadlock).
"""

from __future__ import annotations

from secondsight.lang import Errno, Record, Ref, SpinLock, atomic, bound, milestone, pool, require, wait_until
from secondsight.linux.errno import EINVAL, ENOENT
from secondsight.linux.mm_types import Count

__all__ = [
    "DmaFence",
    "DmaFenceCb",
    "dma_fence_add_callback",
    "dma_fence_enable_sw_signaling",
    "dma_fence_get",
    "dma_fence_init",
    "dma_fence_is_later",
    "dma_fence_is_signaled",
    "dma_fence_put",
    "dma_fence_remove_callback",
    "dma_fence_signal",
    "dma_fence_wait",
    "dma_fences",
]


class DmaFenceCb(Record):
    """struct dma_fence_cb. `node`: the next on the fence's list; `listed`: it is on one."""

    node: Ref[DmaFenceCb]
    listed: bool

    def func(self, fence: DmaFence) -> None:
        """dma_fence_cb.func: the fence is signalled. Its lock is held."""


class DmaFence(Record):
    """struct dma_fence. `cb_list`: the first of its callbacks; `enabled`: DMA_FENCE_FLAG_ENABLE_SIGNAL_BIT."""

    lock: SpinLock
    refcount: Count
    context: Count
    seqno: Count
    signaled: bool
    enabled: bool
    cb_list: Ref[DmaFenceCb]

    def enable_signaling(self) -> bool:
        """dma_fence_ops.enable_signaling: somebody waits now. False: it is signalled already. The fence's lock is held."""
        return True

    def release(self) -> None:
        """dma_fence_ops.release, dma_fence_free(): the last reference is gone."""
        dma_fences.free(self)


dma_fences = pool(DmaFence, bound("dma_fences"))


@atomic
def dma_fence_init(fence: DmaFence, context: Count, seqno: Count) -> None:
    """dma_fence_init() (drivers/dma-buf/dma-fence.c, Linux 6.12): one reference, not signalled."""
    fence.refcount = 1
    fence.context = context
    fence.seqno = seqno


@atomic
def dma_fence_get(fence: DmaFence) -> None:
    """dma_fence_get() (include/linux/dma-fence.h, Linux 6.12)."""
    require(fence.refcount > 0, "refcount", "takes a reference to a fence that has none")
    fence.refcount += 1


@atomic
def dma_fence_put(fence: DmaFence) -> None:
    """dma_fence_put(), dma_fence_release() (drivers/dma-buf/dma-fence.c, Linux 6.12): the last reference frees.

    The kernel's WARN() about callbacks that are still waiting then is the broken rule `fence-never-signaled`.
    """
    require(fence.refcount > 0, "refcount", "drops a reference to a fence that has none")
    fence.refcount -= 1
    if fence.refcount == 0:
        require(
            fence.signaled or fence.cb_list is None, "fence-never-signaled", "frees a fence that was never signalled, and somebody waits"
        )
        fence.release()


@atomic
def dma_fence_is_signaled(fence: DmaFence) -> bool:
    """dma_fence_is_signaled() (include/linux/dma-fence.h, Linux 6.12), for fences without dma_fence_ops.signaled."""
    return fence.signaled


@atomic
def dma_fence_is_later(f1: DmaFence, f2: DmaFence) -> bool:
    """dma_fence_is_later() (include/linux/dma-fence.h, Linux 6.12). The kernel's numbers wrap; these must not."""
    return f1.context == f2.context and f1.seqno > f2.seqno


@milestone
@atomic
def dma_fence_signal(fence: DmaFence) -> Errno:
    """dma_fence_signal() (drivers/dma-buf/dma-fence.c, Linux 6.12): 0, or -EINVAL if it is signalled already.

    Who waits can go on, and callbacks are called, in the order in which they came.
    """
    fence.lock.lock()
    ret = dma_fence_signal_locked(fence)
    fence.lock.unlock()
    return ret


@atomic
def dma_fence_signal_locked(fence: DmaFence) -> Errno:
    """dma_fence_signal_timestamp_locked() (drivers/dma-buf/dma-fence.c, Linux 6.12). Each is off the list when it is called."""
    if fence.signaled:
        return -EINVAL
    fence.signaled = True
    cur = fence.cb_list
    fence.cb_list = None
    while cur is not None:
        after = cur.node
        cur.node = None
        cur.listed = False
        cur.func(fence)
        cur = after
    return 0


@atomic
def dma_fence_enable_signaling(fence: DmaFence) -> bool:
    """__dma_fence_enable_signaling() (drivers/dma-buf/dma-fence.c, Linux 6.12): False if it is signalled. The fence's lock is held."""
    was_set = fence.enabled
    fence.enabled = True
    if fence.signaled:
        return False
    if not was_set and not fence.enable_signaling():
        dma_fence_signal_locked(fence)
        return False
    return True


@atomic
def dma_fence_enable_sw_signaling(fence: DmaFence) -> None:
    """dma_fence_enable_sw_signaling() (drivers/dma-buf/dma-fence.c, Linux 6.12)."""
    fence.lock.lock()
    dma_fence_enable_signaling(fence)
    fence.lock.unlock()


@atomic
def dma_fence_add_callback(fence: DmaFence, cb: DmaFenceCb) -> Errno:
    """dma_fence_add_callback() (drivers/dma-buf/dma-fence.c, Linux 6.12): 0, or -ENOENT if the fence is signalled: `cb` is not called then.

    Either way it makes a list of `cb` anew: one that waits for a fence already is the broken rule `double-add`.
    """
    require(not cb.listed, "double-add", "adds a callback that waits for a fence already")
    if fence.signaled:
        return -ENOENT
    fence.lock.lock()
    ret: Errno = -ENOENT
    if dma_fence_enable_signaling(fence):
        cb_list_add_tail(fence, cb)
        ret = 0
    fence.lock.unlock()
    return ret


@atomic
def cb_list_add_tail(fence: DmaFence, cb: DmaFenceCb) -> None:
    """list_add_tail() to dma_fence.cb_list."""
    cb.listed = True
    cb.node = None
    last = fence.cb_list
    if last is None:
        fence.cb_list = cb
    else:
        while last.node is not None:
            last = last.node
        last.node = cb


@atomic
def dma_fence_remove_callback(fence: DmaFence, cb: DmaFenceCb) -> bool:
    """dma_fence_remove_callback() (drivers/dma-buf/dma-fence.c, Linux 6.12): whether it was on the list, and so will not be called."""
    fence.lock.lock()
    listed = cb.listed
    if listed:
        cb_list_del(fence, cb)
    fence.lock.unlock()
    return listed


@atomic
def cb_list_del(fence: DmaFence, cb: DmaFenceCb) -> None:
    """list_del_init() from dma_fence.cb_list. From another fence's it would go under the wrong lock: the broken rule `another-fence`."""
    before: Ref[DmaFenceCb] = None
    at = fence.cb_list
    while at is not None and at is not cb:
        before = at
        at = at.node
    require(at is cb, "another-fence", "takes a callback back from a fence that it was not added to")
    if before is None:
        fence.cb_list = cb.node
    else:
        before.node = cb.node
    cb.node = None
    cb.listed = False


def dma_fence_wait(fence: DmaFence) -> None:
    """dma_fence_wait(), dma_fence_wait_timeout(), dma_fence_default_wait() (drivers/dma-buf/dma-fence.c, Linux 6.12), until it is signalled.

    The caller holds a reference.
    """
    dma_fence_enable_sw_signaling(fence)
    wait_until(fence.signaled)
