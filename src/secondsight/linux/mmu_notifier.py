"""mm/mmu_notifier.c: who hears of changes to a process's page tables, when, and the sequence protocol around it.

Whoever changes page-table entries of a range brackets the change:

    mmu_notifier_invalidate_range_start(mm, rng)    every subscriber is called; each has dropped its copies on
    return ... entries change, under the page-table lock ...
    mmu_notifier_invalidate_range_end(mm, rng)      pages are freed only by those who hold no more than this

*Interval notifiers* watch a part of an mm. They guard the making of copies by a collision-retry scheme; brackets
may nest and overlap, so it is a sequence count with several writers:

* `invalidate_seq` even: nothing that anybody watches is being invalidated. Odd: something is; the tree cannot
  change.
* start: `active_invalidate_ranges` + 1; if the range hits a subscription, `invalidate_seq |= 1`; then each hit
  subscription's `invalidate` runs and stores the number (`mmu_interval_set_seq`) under the driver's lock.
* end: `active_invalidate_ranges` - 1; at 0, if odd, the number goes up by one, deferred insertions and removals
  happen, and waiters wake.
* reader: `seq = mmu_interval_read_begin()` (waits while its own subscription's number is the current one: it was
  called and the bracket is still open); collect pages; take the driver's lock; `mmu_interval_read_retry(seq)`: the
  subscription's number moved, so start over; else publish, still under the lock.

A subscription's number is always odd, `invalidate_seq` is even at rest: they differ until the next invalidation.
While the number is odd, insertion and removal are put on `deferred_list`; removal then waits for the number to
move on.

*mmu notifiers* (the older kind) watch a whole mm through `invalidate_range_start` and `invalidate_range_end`.

A range that is not blockable (the OOM reaper) allows a callback to give up: the start fails with -EAGAIN, the
entries may not be changed and there is no end.

What the kernel does under `subscriptions->lock`, a spinlock, is one step here.
Left out: SRCU's grace periods are waits for the readers of one counter; mm_count; wrap-around of the sequence
number; arch_invalidate_secondary_tlbs and the young/test_young callbacks. None of these raises a false alarm; a
driver that relies on the last two cannot be written yet.
"""

from __future__ import annotations

from secondsight.lang import (
    Errno,
    Record,
    Ref,
    SpinLock,
    atomic,
    hold_point,
    out_of_records,
    require,
    shared,
    tracepoint,
    wait_until,
)
from secondsight.linux.errno import EAGAIN, EINVAL
from secondsight.linux.mm_types import (
    Count,
    Driver,
    Event,
    Flags,
    IntervalNotifier,
    Mm,
    MmuNotifier,
    PageBits,
    Pgoff,
    Range,
    Seq,
    Subscriptions,
    Va,
    VaEnd,
)

__all__ = [
    "Driver",
    "Event",
    "IntervalNotifier",
    "MmuNotifier",
    "Range",
    "Seq",
    "is_unregistered",
    "mmu_interval_check_retry",
    "mmu_interval_notifier_insert",
    "mmu_interval_notifier_remove",
    "mmu_interval_read_begin",
    "mmu_interval_read_retry",
    "mmu_interval_set_seq",
    "mmu_notifier_callback",
    "mmu_notifier_invalidate_range_end",
    "mmu_notifier_invalidate_range_start",
    "mmu_notifier_invalidate_range_start_nonblock",
    "mmu_notifier_register",
    "mmu_notifier_release",
    "mmu_notifier_unregister",
    "notifier_registered",
    "notifier_unregistered",
]


class Srcu(Record):
    """The file's `srcu`: how many walks over lists of mmu notifiers are running, in all mms."""

    readers: Count


class NonBlock(Record):
    """A ghost: held as a spinlock while a callback may not sleep, so that sleeping there breaks `sleep-in-atomic`."""

    section: SpinLock


srcu = shared(Srcu)
non_block = shared(NonBlock)


@tracepoint
def mmu_notifier_callback(subscriber: MmuNotifier, start: Va, end: VaEnd, event: Event) -> None:
    """A subscriber is about to be called."""


@tracepoint
def notifier_registered(subscriber: MmuNotifier) -> None:
    """A subscriber was registered; from here on it may be called."""


@tracepoint
def notifier_unregistered(subscriber: MmuNotifier) -> None:
    """Unregistering a subscriber has returned; it is not called from here on."""


@atomic
def is_unregistered(subscriber: MmuNotifier) -> None:
    """Unregistering a subscriber returns: the tracepoint, and the ghost that rules look at."""
    subscriber.unregistered = True
    notifier_unregistered(subscriber)


# The reader's side.


def mmu_interval_read_begin(interval_sub: IntervalNotifier) -> Seq:
    """mmu_interval_read_begin() (mm/mmu_notifier.c, Linux 6.12): the sequence number to give to
    `mmu_interval_read_retry`.

    Waits while the subscription's last invalidation is still going on. Does not promise that none is: an
    invalidation that has started but not yet called this driver is caught by the retry test.
    """
    with atomic:
        mm = interval_sub.mm
        assert mm is not None
        seq = interval_sub.invalidate_seq
        is_invalidating = seq == mm.subscriptions.invalidate_seq
    if is_invalidating:
        wait_until(mm.subscriptions.invalidate_seq != seq)
    hold_point("read_begun")
    return seq


def mmu_interval_read_retry(interval_sub: IntervalNotifier, seq: Seq) -> bool:
    """mmu_interval_read_retry() (include/linux/mmu_notifier.h, Linux 6.12): whether an invalidation came in
    between.

    The caller holds the lock under which its `invalidate` calls `mmu_interval_set_seq`.
    """
    retry = interval_sub.invalidate_seq != seq
    if not retry:
        hold_point("tested")
    return retry


def mmu_interval_check_retry(interval_sub: IntervalNotifier, seq: Seq) -> bool:
    """mmu_interval_check_retry() (include/linux/mmu_notifier.h, Linux 6.12): the same test without the lock.

    True is reliable, False is not.
    """
    return interval_sub.invalidate_seq != seq


def mmu_interval_set_seq(interval_sub: IntervalNotifier, cur_seq: Seq) -> None:
    """mmu_interval_set_seq() (include/linux/mmu_notifier.h, Linux 6.12): called by every `invalidate`, under its lock."""
    interval_sub.invalidate_seq = cur_seq


# Registering and unregistering interval notifiers.


@atomic
def mmu_interval_notifier_insert(interval_sub: Driver, mm: Mm, start: Va, length: Pgoff) -> Errno:
    """mmu_interval_notifier_insert() (mm/mmu_notifier.c, Linux 6.12): watch `length` pages from `start` for this
    driver.

    0, or -EINVAL when no page is asked for or the mm has no users (the kernel's own codes are -EOVERFLOW and
    -EINVAL). While an invalidation runs that somebody watches, the insertion is deferred to its end; the
    subscription starts as if it were being invalidated in both cases where one runs.
    Left out: the first insertion's wait for the mmap lock (see `Subscriptions`).
    """
    if length <= 0 or mm.users == 0:
        return -EINVAL
    subs = mm.subscriptions
    node = interval_sub.notifier
    node.mm = mm
    node.start = start
    node.end = start + length
    node.in_tree = False
    if subs.active_invalidate_ranges > 0:
        if mn_itree_is_invalidating(subs):
            deferred_add(subs, interval_sub)
        else:
            subs.invalidate_seq |= 1
            interval_tree_insert(subs, interval_sub)
        node.invalidate_seq = subs.invalidate_seq
    else:
        node.invalidate_seq = subs.invalidate_seq - 1
        interval_tree_insert(subs, interval_sub)
    interval_sub.unregistered = False
    notifier_registered(interval_sub)
    return 0


def mmu_interval_notifier_remove(interval_sub: Driver) -> None:
    """mmu_interval_notifier_remove() (mm/mmu_notifier.c, Linux 6.12): no callback runs or will run once this
    returns.

    Waits for a running invalidation to end, so the caller may hold no lock that a callback takes, and no callback
    may call it.
    """
    seq = 0
    with atomic:
        mm = interval_sub.notifier.mm
        assert mm is not None
        if mn_itree_is_invalidating(mm.subscriptions):
            if interval_sub.notifier.in_tree:
                deferred_add(mm.subscriptions, interval_sub)
                seq = mm.subscriptions.invalidate_seq
            else:
                deferred_del(mm.subscriptions, interval_sub)
        else:
            interval_tree_remove(mm.subscriptions, interval_sub)
    if seq != 0:
        wait_until(mm.subscriptions.invalidate_seq != seq)
    is_unregistered(interval_sub)


@atomic
def interval_tree_insert(subs: Subscriptions, sub: Driver) -> None:
    """interval_tree_insert(): the tree is an array here; its order is that of insertion, not of addresses."""
    for i in range(len(subs.itree)):
        if subs.itree[i] is None:
            subs.itree[i] = sub
            sub.notifier.in_tree = True
            return
    out_of_records("subscribers")


@atomic
def interval_tree_remove(subs: Subscriptions, sub: Driver) -> None:
    """interval_tree_remove()."""
    for i in range(len(subs.itree)):
        if subs.itree[i] is sub:
            subs.itree[i] = None
    sub.notifier.in_tree = False


@atomic
def deferred_add(subs: Subscriptions, sub: Driver) -> None:
    """hlist_add_head() on `deferred_list`."""
    for i in range(len(subs.deferred_list)):
        if subs.deferred_list[i] is None:
            subs.deferred_list[i] = sub
            return
    out_of_records("subscribers")


@atomic
def deferred_del(subs: Subscriptions, sub: Driver) -> None:
    """hlist_del() from `deferred_list`."""
    for i in range(len(subs.deferred_list)):
        if subs.deferred_list[i] is sub:
            subs.deferred_list[i] = None


# The invalidating side, interval notifiers.


@atomic
def mn_itree_is_invalidating(subs: Subscriptions) -> bool:
    """mn_itree_is_invalidating() (mm/mmu_notifier.c, Linux 6.12)."""
    return subs.invalidate_seq & 1 == 1


@atomic
def mn_itree_inv_start_range(subs: Subscriptions, rng: Range) -> Ref[Driver]:
    """mn_itree_inv_start_range() (mm/mmu_notifier.c, Linux 6.12): open a bracket; the first subscription that
    `rng` hits.

    The caller reads `invalidate_seq` in the same step: the kernel hands it out under the same hold of the lock.
    """
    subs.active_invalidate_ranges += 1
    first: Ref[Driver] = None
    for i in range(len(subs.itree)):
        sub = subs.itree[i]
        if sub is not None and hits(sub, rng):
            sub.notifier.waiting |= page_bits(rng)
            if first is None:
                first = sub
    if first is not None:
        subs.invalidate_seq |= 1
    return first


@atomic
def mn_itree_inv_next(subs: Subscriptions, interval_sub: Driver, rng: Range) -> Ref[Driver]:
    """mn_itree_inv_next() (mm/mmu_notifier.c, Linux 6.12): the next subscription that `rng` hits.

    The kernel walks without the lock: while the number is odd the tree does not change.
    """
    seen = False
    for i in range(len(subs.itree)):
        sub = subs.itree[i]
        if sub is not None and seen and hits(sub, rng):
            return sub
        if sub is interval_sub:
            seen = True
    return None


@atomic
def mn_itree_inv_end(subs: Subscriptions) -> None:
    """mn_itree_inv_end() (mm/mmu_notifier.c, Linux 6.12): close a bracket; with the last one, do what was deferred.

    Waiters wake by themselves: they wait for the number to change.
    """
    subs.active_invalidate_ranges -= 1
    if subs.active_invalidate_ranges > 0 or not mn_itree_is_invalidating(subs):
        return
    subs.invalidate_seq += 1
    for i in range(len(subs.deferred_list)):
        sub = subs.deferred_list[i]
        if sub is not None:
            if sub.notifier.in_tree:
                interval_tree_remove(subs, sub)
            else:
                interval_tree_insert(subs, sub)
            subs.deferred_list[i] = None


def mn_itree_invalidate(mm: Mm, rng: Range) -> Errno:
    """mn_itree_invalidate() (mm/mmu_notifier.c, Linux 6.12): open a bracket and call every subscription that `rng`
    hits.

    0, or -EAGAIN when one could not without sleeping: then the bracket is closed again, although some were called.
    The kernel warns when a blockable call fails and goes on; here it is the broken rule `notifier-failed`.
    """
    subs = mm.subscriptions
    with atomic:
        sub = mn_itree_inv_start_range(subs, rng)
        cur_seq = subs.invalidate_seq
        enter_callback(sub, rng)
    while sub is not None:
        if rng.blockable and rng.event != Event.RELEASE:
            hold_point("invalidate_enter")
        done = sub.invalidate(rng, cur_seq)
        if rng.blockable and rng.event != Event.RELEASE:
            hold_point("invalidate_leave")
        with atomic:
            leave_callback(rng)
            require(done or not rng.blockable, "notifier-failed", "invalidate() fails in a blockable range")
            following: Ref[Driver] = None
            if done:
                sub.notifier.waiting &= ~page_bits(rng)
                following = mn_itree_inv_next(subs, sub, rng)
                enter_callback(following, rng)
            else:
                forget_waiting(subs, rng)
                mn_itree_inv_end(subs)
        if not done:
            return -EAGAIN
        sub = following
    return 0


def mn_itree_release(mm: Mm) -> None:
    """mn_itree_release() (mm/mmu_notifier.c, Linux 6.12): the mm goes; one bracket over all of it, event RELEASE."""
    mn_itree_invalidate(mm, Range(0, len(mm.vmas), Event.RELEASE, True))
    mn_itree_inv_end(mm.subscriptions)


@atomic
def hits(sub: Driver, rng: Range) -> bool:
    """Whether the subscription's pages and `rng` overlap."""
    return sub.notifier.start < rng.end and rng.start < sub.notifier.end


@atomic
def page_bits(rng: Range) -> PageBits:
    """The pages of `rng`, one bit each."""
    return (1 << rng.end) - (1 << rng.start)


@atomic
def forget_waiting(subs: Subscriptions, rng: Range) -> None:
    """Ghost: the invalidation of `rng` has failed, so nobody waits for it."""
    for i in range(len(subs.itree)):
        sub = subs.itree[i]
        if sub is not None:
            sub.notifier.waiting &= ~page_bits(rng)


@atomic
def enter_callback(subscriber: Ref[MmuNotifier], rng: Range) -> None:
    """Before a subscriber is called: the tracepoint, and non_block_start().

    The kernel forbids sleeping by non_block_start() only around mmu notifiers; interval notifiers may not sleep
    either.
    """
    if subscriber is not None:
        mmu_notifier_callback(subscriber, rng.start, rng.end, rng.event)
        if not rng.blockable:
            non_block.section.lock()


@atomic
def leave_callback(rng: Range) -> None:
    """After a subscriber was called: non_block_end()."""
    if not rng.blockable:
        non_block.section.unlock()


# The invalidating side, mmu notifiers.


def mn_hlist_invalidate_range_start(mm: Mm, rng: Range) -> Errno:
    """mn_hlist_invalidate_range_start() (mm/mmu_notifier.c, Linux 6.12): call every mmu notifier of the mm.

    All are called even if one fails; then those that did not fail are told that it is over, and -EAGAIN is
    returned.
    """
    subs = mm.subscriptions
    failed: Flags = 0
    srcu.readers += 1
    for i in range(len(subs.list)):
        with atomic:
            sub = subs.list[i]
            enter_callback(sub, rng)
        if sub is not None:
            ret = sub.invalidate_range_start(mm, rng)
            with atomic:
                leave_callback(rng)
                require(
                    ret == 0 or (ret == -EAGAIN and not rng.blockable),
                    "notifier-failed",
                    "invalidate_range_start() fails in a blockable range, or with another error than -EAGAIN",
                )
            if ret != 0:
                failed |= 1 << i
    if failed != 0:
        for i in range(len(subs.list)):
            with atomic:
                sub = subs.list[i]
            if sub is not None and failed & (1 << i) == 0:
                sub.invalidate_range_end(mm, rng)
    srcu.readers -= 1
    return 0 if failed == 0 else -EAGAIN


def mn_hlist_invalidate_end(mm: Mm, rng: Range) -> None:
    """mn_hlist_invalidate_end() (mm/mmu_notifier.c, Linux 6.12)."""
    subs = mm.subscriptions
    srcu.readers += 1
    for i in range(len(subs.list)):
        with atomic:
            sub = subs.list[i]
            enter_callback(sub, rng)
        if sub is not None:
            sub.invalidate_range_end(mm, rng)
            leave_callback(rng)
    srcu.readers -= 1


def mn_hlist_release(mm: Mm) -> None:
    """mn_hlist_release() (mm/mmu_notifier.c, Linux 6.12): tell every mmu notifier that the mm goes, then forget
    them.

    Left out: the wait for an unregistration that has begun ->release itself.
    """
    subs = mm.subscriptions
    srcu.readers += 1
    for i in range(len(subs.list)):
        with atomic:
            sub = subs.list[i]
            if sub is not None:
                mmu_notifier_callback(sub, 0, len(mm.vmas), Event.RELEASE)
        if sub is not None:
            sub.release(mm)
    with atomic:
        for i in range(len(subs.list)):
            subs.list[i] = None
        srcu.readers -= 1


# What the rest of mm/ calls.


def mmu_notifier_invalidate_range_start(mm: Mm, rng: Range) -> None:
    """mmu_notifier_invalidate_range_start() (include/linux/mmu_notifier.h, Linux 6.12): before entries of `rng` change."""
    if len(mm.subscriptions.itree) > 0:
        mn_itree_invalidate(mm, rng)
    if len(mm.subscriptions.list) > 0:
        mn_hlist_invalidate_range_start(mm, rng)


def mmu_notifier_invalidate_range_start_nonblock(mm: Mm, rng: Range) -> Errno:
    """mmu_notifier_invalidate_range_start_nonblock() (include/linux/mmu_notifier.h, Linux 6.12): the same without
    sleeping.

    `rng` is not blockable. On -EAGAIN the entries may not change, and there is no end. As in the kernel, a failure
    of the mmu notifiers leaves the interval notifiers' bracket open.
    """
    ret = 0
    if len(mm.subscriptions.itree) > 0:
        ret = mn_itree_invalidate(mm, rng)
    if ret == 0 and len(mm.subscriptions.list) > 0:
        ret = mn_hlist_invalidate_range_start(mm, rng)
    return ret


def mmu_notifier_invalidate_range_end(mm: Mm, rng: Range) -> None:
    """mmu_notifier_invalidate_range_end() (include/linux/mmu_notifier.h, Linux 6.12): after entries of `rng` changed.

    __mmu_notifier_invalidate_range_end() (mm/mmu_notifier.c) is called where somebody has ever subscribed.
    """
    if len(mm.subscriptions.itree) + len(mm.subscriptions.list) > 0:
        hold_point("__mmu_notifier_invalidate_range_end:enter")
    if len(mm.subscriptions.itree) > 0:
        mn_itree_inv_end(mm.subscriptions)
    if len(mm.subscriptions.list) > 0:
        mn_hlist_invalidate_end(mm, rng)
    if len(mm.subscriptions.itree) + len(mm.subscriptions.list) > 0:
        hold_point("__mmu_notifier_invalidate_range_end:exit")


def mmu_notifier_release(mm: Mm) -> None:
    """mmu_notifier_release() (include/linux/mmu_notifier.h, Linux 6.12): the mm is about to go; from exit_mmap()."""
    if len(mm.subscriptions.itree) > 0:
        mn_itree_release(mm)
    if len(mm.subscriptions.list) > 0:
        mn_hlist_release(mm)


# Registering and unregistering mmu notifiers.


def mmu_notifier_register(subscription: MmuNotifier, mm: Mm) -> Errno:
    """mmu_notifier_register() (mm/mmu_notifier.c, Linux 6.12): call `subscription` for everything in `mm` from now
    on.

    Holding the mmap lock for writing and every rmap lock (mm_take_all_locks) keeps it out of running
    invalidations: here the one step in which it happens waits until none runs.
    """
    with atomic:
        mm.mmap_lock.write_lock()
        wait_until(mm.subscriptions.active_invalidate_ranges == 0)
        hlist_add(mm.subscriptions, subscription)
        subscription.unregistered = False
        notifier_registered(subscription)
        mm.mmap_lock.write_unlock()
    return 0


@atomic
def hlist_add(subs: Subscriptions, subscription: MmuNotifier) -> None:
    """hlist_add_head_rcu() on the list of mmu notifiers."""
    for i in range(len(subs.list)):
        if subs.list[i] is None:
            subs.list[i] = subscription
            return
    out_of_records("mmu_notifiers")


def mmu_notifier_unregister(subscription: MmuNotifier, mm: Mm) -> None:
    """mmu_notifier_unregister() (mm/mmu_notifier.c, Linux 6.12): no callback runs or will run once this returns.

    `release` runs first if the mm has not gone. synchronize_srcu() is a wait for a moment without readers; the
    kernel's waits only for those that were there when it began.
    """
    with atomic:
        hashed = is_hashed(mm.subscriptions, subscription)
    if hashed:
        subscription.release(mm)
        hlist_del(mm.subscriptions, subscription)
    wait_until(srcu.readers == 0)
    is_unregistered(subscription)


@atomic
def is_hashed(subs: Subscriptions, subscription: MmuNotifier) -> bool:
    """!hlist_unhashed()."""
    return any(subs.list[i] is subscription for i in range(len(subs.list)))


@atomic
def hlist_del(subs: Subscriptions, subscription: MmuNotifier) -> None:
    """hlist_del_init_rcu() from the list of mmu notifiers."""
    for i in range(len(subs.list)):
        if subs.list[i] is subscription:
            subs.list[i] = None
