"""mm/mmu_notifier.c: mmu notifiers that several users of a driver share, one for each mm and mmu_notifier_ops.

    mmu_notifier_get(ops, mm)    the one that there is, or what the driver's alloc_notifier() makes; each is paired with one
    mmu_notifier_put(mn, mm)     of the last it is called no more by walks that begin; when those that go on have ended,
                                 free_notifier() frees it: some time later, in a context that may not sleep
    mmu_notifier_synchronize(mm) waits for that

Unlike mmu_notifier_unregister(), this calls no `release`: the driver has dropped everything before its last put.

`ops` is the driver here: its `alloc_notifier`, and the callbacks of what that makes. The frees of call_srcu() are made by a thread that
runs `srcu_work`; a driver has it as its `work`.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, current, require, wait_until
from secondsight.linux.mm_types import Driver, HlistNode, Mm, MmuNotifier, Subscriptions
from secondsight.linux.mmu_notifier_hlist import (
    hlist_add,
    hlist_del_init,
    hlist_node,
    is_unregistered,
    mm_take_all_locks,
    non_block_end,
    non_block_start,
    notifier_registered,
)
from secondsight.linux.srcutree import synchronize_srcu

__all__ = ["mmu_notifier_get", "mmu_notifier_get_locked", "mmu_notifier_put", "mmu_notifier_synchronize", "srcu_work"]


def mmu_notifier_get(ops: Driver, mm: Mm) -> Ref[MmuNotifier]:
    """mmu_notifier_get() (include/linux/mmu_notifier.h, Linux 6.12): `mmu_notifier_get_locked` under the mmap lock."""
    mm.mmap_lock.write_lock()
    subscription = mmu_notifier_get_locked(ops, mm)
    mm.mmap_lock.write_unlock()
    return subscription


def mmu_notifier_get_locked(ops: Driver, mm: Mm) -> Ref[MmuNotifier]:
    """mmu_notifier_get_locked() (mm/mmu_notifier.c, Linux 6.12), for who holds the mmap lock for writing already: the driver's mmu notifier in `mm`. None: it cannot make one.

    Waits for the locks of the reverse maps. BUG_ON(mm_users <= 0) is the broken rule `mm-without-users`.
    """
    with atomic:
        require(mm.mmap_lock.owner == current(), "lock-not-held", "gets an mmu notifier without the mmap lock for writing")
        subscription = find_get_mmu_notifier(mm.subscriptions, ops)
    if subscription is None:
        subscription = ops.alloc_notifier(mm)
        if subscription is not None:
            require(mm.users > 0, "mm-without-users", "gets an mmu notifier in an mm that has no users")
            with atomic:
                mm_take_all_locks(mm)
                require(mm.users > 0, "mm-without-users", "the mm's last user goes while an mmu notifier is got")
                hlist_add(mm.subscriptions, subscription)
                node = hlist_node(mm.subscriptions, subscription)
                assert node is not None
                node.ops = ops
                node.users = 1
                notifier_registered(subscription)
    return subscription


@atomic
def find_get_mmu_notifier(subs: Subscriptions, ops: Driver) -> Ref[MmuNotifier]:
    """find_get_mmu_notifier() (mm/mmu_notifier.c, Linux 6.12): the one in the list, which has a user more. None: there is none."""
    for node in subs.nodes:
        if node.hashed and node.ops is ops:
            node.users += 1
            return node.subscription
    return None


@atomic
def mmu_notifier_put(subscription: MmuNotifier, mm: Mm) -> None:
    """mmu_notifier_put() (mm/mmu_notifier.c, Linux 6.12): give back what mmu_notifier_get() gave; it never sleeps. `mm` is `subscription->mm`.

    WARN_ON(!subscription->users) is the broken rule `removed-twice`. Left out: putting what mmu_notifier_register() registered.
    """
    node = hlist_node(mm.subscriptions, subscription)
    require(node is not None and node.users > 0, "removed-twice", "puts an mmu notifier more often than it got it")
    assert node is not None
    node.users -= 1
    if node.users == 0:
        hlist_del_init(mm.subscriptions, node)
        node.freeing = True


def srcu_work(mm: Mm, ops: Ref[Driver] = None) -> None:
    """srcu_invoke_callbacks() (kernel/rcu/srcutree.c, Linux 6.12), mmu_notifier_free_rcu() (mm/mmu_notifier.c): what call_srcu() was asked for, for ever.

    A grace period begins after each put. free_notifier() runs with bottom halves off: it may not sleep. `ops`: those that this driver asked for alone, so that
    each of several drivers may have such a thread; in the kernel each CPU has one.
    """
    subs = mm.subscriptions
    while True:
        with atomic:
            wait_until(any(node.freeing and (ops is None or node.ops is ops) for node in subs.nodes))
            node = put_last(subs, ops)
        synchronize_srcu()
        with atomic:
            assert node is not None
            subscription = node.subscription
            assert subscription is not None
            is_unregistered(subscription)
            node.subscription = None
            node.next = None
            node.ops = None
            node.freeing = False
            non_block_start()
            subscription.free_notifier()
            non_block_end()


@atomic
def put_last(subs: Subscriptions, ops: Ref[Driver]) -> Ref[HlistNode]:
    """One that waits to be freed."""
    for node in subs.nodes:
        if node.freeing and (ops is None or node.ops is ops):
            return node
    return None


def mmu_notifier_synchronize(mm: Mm) -> None:
    """mmu_notifier_synchronize() (mm/mmu_notifier.c, Linux 6.12): wait until all that were put have been freed, as it is documented to. `mm`: here each
    mm waits for its own."""
    wait_until(not any(node.freeing for node in mm.subscriptions.nodes))
