"""mm/mmu_notifier.c, the older half: mmu notifiers, which watch a whole mm through `invalidate_range_start` and
`invalidate_range_end`; and what is told when any subscriber is called, comes or goes.

They are in a list, newest first, that is walked under SRCU: one that is unregistered stays where it is until the walks are over.
Registering takes every lock of the mm, so that no invalidation runs meanwhile.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import (
    Array,
    Errno,
    Record,
    Ref,
    SpinLock,
    atomic,
    bound,
    current,
    out_of_records,
    require,
    shared,
    tracepoint,
    wait_until,
)
from secondsight.linux.errno import EAGAIN, EINVAL
from secondsight.linux.fork import vmas
from secondsight.linux.mm_types import (
    Event,
    HlistNode,
    Mm,
    MmuNotifier,
    Range,
    Subscriber,
    Subscriptions,
    Va,
    VaEnd,
    anon_vmas,
    page_notifiers,
    secondary_tlbs,
)
from secondsight.linux.page_alloc_slowpath import GFP_KERNEL, direct_reclaim, might_alloc
from secondsight.linux.srcutree import srcu_read_lock, srcu_read_unlock, synchronize_srcu
from secondsight.linux.vma_lock import vma_start_write

__all__ = [
    "enter_callback",
    "is_unregistered",
    "leave_callback",
    "mmu_notifier_arch_invalidate_secondary_tlbs",
    "mmu_notifier_callback",
    "mmu_notifier_register",
    "mmu_notifier_register_locked",
    "mmu_notifier_unregister",
    "mn_hlist_invalidate_end",
    "mn_hlist_invalidate_range_start",
    "mn_hlist_release",
    "notifier_registered",
    "notifier_unregistered",
]


bound("non_blocks", least=1)


class NonBlock(Record):
    """A ghost: one is held as a spinlock while a callback may not sleep, so that sleeping there breaks `sleep-in-atomic`.

    As many as there can be such callbacks at the same time.
    """

    sections: Array[SpinLock, Literal["non_blocks"]]


non_block = shared(NonBlock)


@tracepoint
def mmu_notifier_callback(subscriber: Subscriber, start: Va, end: VaEnd, event: Event) -> None:
    """A subscriber is about to be called."""


@tracepoint
def notifier_registered(subscriber: Subscriber) -> None:
    """A subscriber was registered; from here on it may be called."""


@tracepoint
def notifier_unregistered(subscriber: Subscriber) -> None:
    """Unregistering a subscriber has returned; it is not called from here on."""


@atomic
def is_unregistered(subscriber: Subscriber) -> None:
    """Unregistering a subscriber returns: the tracepoint, and the ghost that rules look at."""
    subscriber.unregistered = True
    notifier_unregistered(subscriber)


# Around each call.


@atomic
def enter_callback(subscriber: Ref[Subscriber], rng: Range) -> None:
    """Before a subscriber is called: the tracepoint, and non_block_start().

    The kernel forbids sleeping by non_block_start() only around mmu notifiers; interval notifiers may not sleep
    either. In Linux 3.2 nobody may, for it calls under rcu_read_lock().
    """
    if subscriber is not None:
        mmu_notifier_callback(subscriber, rng.start, rng.end, rng.event)
        if not rng.blockable or len(page_notifiers) > 0:
            non_block_start()


@atomic
def leave_callback(rng: Range) -> None:
    """After a subscriber was called: non_block_end()."""
    if not rng.blockable or len(page_notifiers) > 0:
        non_block_end()


@atomic
def non_block_start() -> None:
    """non_block_start() (include/linux/kernel.h, Linux 6.12): the thread may not sleep from here on."""
    for section in non_block.sections:
        if section.owner == 0:
            section.lock()
            return
    out_of_records("non_blocks")


@atomic
def non_block_end() -> None:
    """non_block_end() (include/linux/kernel.h, Linux 6.12)."""
    for section in non_block.sections:
        if section.held_by_me():
            section.unlock()
            return


# The invalidating side.


@atomic
def hlist_first(subs: Subscriptions) -> Ref[HlistNode]:
    """The list's first node."""
    if subs.list == 0:
        return None
    return subs.nodes[subs.list - 1]


@atomic
def subscriber_of(node: Ref[HlistNode]) -> Ref[MmuNotifier]:
    """hlist_entry_safe()."""
    return None if node is None else node.subscription


@atomic
def next_with_range_end(node: Ref[HlistNode], failed: bool) -> Ref[HlistNode]:
    """The first from `node` on whose `mmu_notifier_ops` have an invalidate_range_end; `failed`: for a failed start."""
    while node is not None:
        sub = node.subscription
        if sub is not None and (sub.is_told_of_failure() if failed else sub.has_range_end()):
            return node
        node = node.next
    return None


def mn_hlist_invalidate_range_start(mm: Mm, rng: Range) -> Errno:
    """mn_hlist_invalidate_range_start() (mm/mmu_notifier.c, Linux 6.12): call every mmu notifier of the mm.

    All are called even if one fails; then those that have an `invalidate_range_end` are told that it is over, and -EAGAIN
    is returned. One that may fail must not have one; the kernel warns of that, as it does of another error than -EAGAIN
    and of a failure in a blockable range: here it is the broken rule `notifier-failed`.
    """
    subs = mm.subscriptions
    failed = False
    with atomic:
        if subs.list == 0:
            return 0
        idx = srcu_read_lock()
        node = hlist_first(subs)
        sub = subscriber_of(node)
        enter_callback(sub, rng)
    while sub is not None:
        ret = sub.invalidate_range_start(mm, rng)
        with atomic:
            leave_callback(rng)
            if ret != 0:
                require(
                    ret == -EAGAIN and not rng.blockable,
                    "notifier-failed",
                    "invalidate_range_start() fails in a blockable range, or with another error than -EAGAIN",
                )
                require(not sub.is_told_of_failure(), "notifier-failed", "invalidate_range_start() fails and there is an invalidate_range_end()")
                failed = True
            assert node is not None
            node = node.next
            sub = subscriber_of(node)
            enter_callback(sub, rng)
            if sub is None and failed:
                node = next_with_range_end(hlist_first(subs), True)
    if failed:
        while node is not None:
            sub = subscriber_of(node)
            assert sub is not None
            sub.invalidate_range_end(mm, rng)
            node = next_with_range_end(node.next, True)
    srcu_read_unlock(idx)
    return -EAGAIN if failed else 0


def mn_hlist_invalidate_end(mm: Mm, rng: Range) -> None:
    """mn_hlist_invalidate_end() (mm/mmu_notifier.c, Linux 6.12)."""
    subs = mm.subscriptions
    with atomic:
        if subs.list == 0:
            return
        idx = srcu_read_lock()
        node = next_with_range_end(hlist_first(subs), False)
        sub = subscriber_of(node)
        enter_callback(sub, rng)
    while sub is not None:
        sub.invalidate_range_end(mm, rng)
        with atomic:
            leave_callback(rng)
            assert node is not None
            node = next_with_range_end(node.next, False)
            sub = subscriber_of(node)
            enter_callback(sub, rng)
    srcu_read_unlock(idx)


@atomic
def next_with_secondary_tlbs(node: Ref[HlistNode]) -> Ref[HlistNode]:
    """The first from `node` on whose `mmu_notifier_ops` have an arch_invalidate_secondary_tlbs."""
    while node is not None:
        sub = node.subscription
        if sub is not None and sub.has_secondary_tlbs():
            return node
        node = node.next
    return None


def mmu_notifier_arch_invalidate_secondary_tlbs(mm: Mm, start: Va, end: VaEnd) -> None:
    """mmu_notifier_arch_invalidate_secondary_tlbs() (include/linux/mmu_notifier.h), __mmu_notifier_arch_invalidate_secondary_tlbs()
    (mm/mmu_notifier.c, Linux 6.12): call every mmu notifier that has such a callback.

    Most callers have the page-table lock, a spinlock: none of the callbacks may sleep. (Until 6.4 it is called `invalidate_range`, and called from
    invalidate_range_end() and from other places than the flushes of the CPUs' TLBs.)
    """
    subs = mm.subscriptions
    with atomic:
        if subs.list == 0:
            return
        idx = srcu_read_lock()
        node = next_with_secondary_tlbs(hlist_first(subs))
        sub = subscriber_of(node)
        enter_flush(sub, start, end)
    while sub is not None:
        sub.arch_invalidate_secondary_tlbs(mm, start, end)
        with atomic:
            non_block_end()
            assert node is not None
            node = next_with_secondary_tlbs(node.next)
            sub = subscriber_of(node)
            enter_flush(sub, start, end)
    srcu_read_unlock(idx)


@atomic
def enter_flush(subscriber: Ref[MmuNotifier], start: Va, end: VaEnd) -> None:
    """Before a subscriber is told of a flush: the tracepoint (a flush has no event: it is told as CLEAR), and from here on it may not sleep."""
    if subscriber is not None:
        mmu_notifier_callback(subscriber, start, end, Event.CLEAR)
        non_block_start()


def mn_hlist_release(mm: Mm) -> None:
    """mn_hlist_release() (mm/mmu_notifier.c, Linux 6.12): tell every mmu notifier that the mm goes, then forget
    them."""
    subs = mm.subscriptions
    with atomic:
        idx = srcu_read_lock()
        node = hlist_first(subs)
        sub = subscriber_of(node)
        tell_release(sub, mm)
    while sub is not None:
        sub.release(mm)
        with atomic:
            assert node is not None
            node = node.next
            sub = subscriber_of(node)
            if len(page_notifiers) > 0:
                non_block_end()
            tell_release(sub, mm)
    with atomic:
        while subs.list != 0:
            hlist_del_init(subs, subs.nodes[subs.list - 1])
    srcu_read_unlock(idx)
    synchronize_srcu()


@atomic
def tell_release(sub: Ref[MmuNotifier], mm: Mm) -> None:
    """The tracepoint before a subscriber's `release`; in Linux 3.2 that is under rcu_read_lock() too."""
    if sub is not None:
        mmu_notifier_callback(sub, 0, len(mm.ptes), Event.RELEASE)
        if len(page_notifiers) > 0:
            non_block_start()


# Registering and unregistering.


def mmu_notifier_register(subscription: Ref[MmuNotifier], mm: Mm) -> Errno:
    """mmu_notifier_register() (mm/mmu_notifier.c, Linux 6.12): call `subscription` for everything in `mm` from now
    on: `mmu_notifier_register_locked` under the mmap lock."""
    mm.mmap_lock.write_lock()
    ret = mmu_notifier_register_locked(subscription, mm)
    mm.mmap_lock.write_unlock()
    return ret


def mmu_notifier_register_locked(subscription: Ref[MmuNotifier], mm: Mm) -> Errno:
    """__mmu_notifier_register() (mm/mmu_notifier.c, Linux 6.12), for who holds the mmap lock for writing already.

    None: interval notifiers may be inserted from now on. BUG_ON(mm_users <= 0) is the broken rule `mm-without-users`. -EINVAL, and a warning
    in the kernel: it wants to hear of changes and of flushes. The first allocates what all of an mm have, with the mmap lock held; here also one that comes
    when all others have gone.
    """
    with atomic:
        require(mm.mmap_lock.owner == current(), "lock-not-held", "registers a subscriber without the mmap lock for writing")
        require(mm.users > 0, "mm-without-users", "registers with an mm that has no users")
    if len(secondary_tlbs) > 0:
        if subscription is not None and subscription.has_secondary_tlbs() and (subscription.has_range_start() or subscription.has_range_end()):
            return -EINVAL
    if len(direct_reclaim) > 0:
        with atomic:
            nobody = not mm.subscriptions.has_itree and mm.subscriptions.list == 0
        if nobody:
            might_alloc(GFP_KERNEL)
    with atomic:
        mm_take_all_locks(mm)
        require(mm.users > 0, "mm-without-users", "the mm's last user goes while a subscriber is registered")
        if subscription is None:
            mm.subscriptions.has_itree = True
        elif len(mm.subscriptions.nodes) > 0:
            hlist_add(mm.subscriptions, subscription)
            subscription.unregistered = False
            notifier_registered(subscription)
        else:
            out_of_records("mmu_notifiers")
    return 0


@atomic
def mm_take_all_locks(mm: Mm) -> None:
    """mm_take_all_locks() (mm/vma.c, Linux 6.12): wait until nobody holds a lock of a reverse map of the mm, or of a vma.

    With the mmap lock held for writing no invalidation runs in the mm then. In the kernel they are held until
    mm_drop_all_locks(), those of vmas as long as the mmap lock; here what happens meanwhile is in the same step.
    """
    wait_until(all(rmap_unlocked(mm, va) for va in range(len(mm.ptes))))
    if len(vmas) > 0:
        if len(vmas[0].vm_lock) > 0:
            for va in range(len(mm.ptes)):
                vma = mm.mm_mt[va]
                if vma is not None:
                    vma_start_write(vma)


@atomic
def rmap_unlocked(mm: Mm, va: Va) -> bool:
    """Whether nobody holds the i_mmap_rwsem of the file that is mapped at `va`, the lock of the anon_vma there, or of the vma."""
    vma = mm.mm_mt[va]
    if vma is None:
        return True
    if len(vma.vm_lock) > 0:
        if vma.vm_lock[0].rwsem.readers != 0:
            return False
    if len(anon_vmas) > 0:
        anon_vma = vma.anon_vma
        if anon_vma is not None and (anon_vma.rwsem.owner != 0 or anon_vma.rwsem.readers != 0):
            return False
    file = vma.vm_file
    return file is None or (file.i_mmap_rwsem.owner == 0 and file.i_mmap_rwsem.readers == 0)


@atomic
def hlist_add(subs: Subscriptions, subscription: MmuNotifier) -> None:
    """hlist_add_head_rcu() on the list of mmu notifiers. What is in it already would make it a circle."""
    require(hlist_node(subs, subscription) is None, "inserted-twice", "registers an mmu notifier that is registered already")
    for i in range(len(subs.nodes)):
        if subs.nodes[i].subscription is None:
            subs.nodes[i].subscription = subscription
            subs.nodes[i].next = hlist_first(subs)
            subs.nodes[i].hashed = True
            subs.list = i + 1
            return
    out_of_records("mmu_notifiers")


@atomic
def hlist_node(subs: Subscriptions, subscription: MmuNotifier) -> Ref[HlistNode]:
    """The `hlist` of an mmu notifier; None: it is not registered."""
    for i in range(len(subs.nodes)):
        if subs.nodes[i].subscription is subscription:
            return subs.nodes[i]
    return None


@atomic
def hlist_del_init(subs: Subscriptions, node: HlistNode) -> None:
    """hlist_del_init_rcu() from the list of mmu notifiers: `next` stays, for those that stand on it."""
    if not node.hashed:
        return
    node.hashed = False
    if hlist_first(subs) is node:
        following = node.next
        subs.list = 0 if following is None else subs.nodes.index(following) + 1
    for i in range(len(subs.nodes)):
        if subs.nodes[i].hashed and subs.nodes[i].next is node:
            subs.nodes[i].next = node.next


def mmu_notifier_unregister(subscription: MmuNotifier, mm: Mm) -> None:
    """mmu_notifier_unregister() (mm/mmu_notifier.c, Linux 6.12): no callback runs or will run once this returns.

    `release` runs first if the mm has not gone.
    """
    with atomic:
        node = hlist_node(mm.subscriptions, subscription)
        require(node is not None, "removed-twice", "unregisters an mmu notifier that is not registered")
        assert node is not None
        hashed = node.hashed
    if hashed:
        idx = srcu_read_lock()
        if len(page_notifiers) > 0:
            non_block_start()
        subscription.release(mm)
        if len(page_notifiers) > 0:
            non_block_end()
        srcu_read_unlock(idx)
        hlist_del_init(mm.subscriptions, node)
    synchronize_srcu()
    with atomic:
        node.subscription = None
        node.next = None
        is_unregistered(subscription)
