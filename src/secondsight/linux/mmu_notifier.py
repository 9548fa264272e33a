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

An invalidation calls the subscriptions in the order of the interval tree: by start address, of equal ones as they were
inserted. What was deferred happens last-in, first-out.

*mmu notifiers* (the older kind, in `mmu_notifier_hlist`) watch a whole mm through `invalidate_range_start` and
`invalidate_range_end`. They are called newest first. One of a device that walks the process's page tables itself has
`arch_invalidate_secondary_tlbs` instead, which is called where the TLBs of the CPUs are flushed (`tlb`).

A *two-pass* interval notifier (Linux 7.x) has `invalidate_start` and `invalidate_finish` in place of `invalidate`: all
subscriptions are started before the first one is finished, so that several devices can be stopped at the same time.

A range that is not blockable (the OOM reaper) allows a callback to give up: the start fails with -EAGAIN, the
entries may not be changed and there is no end.

What the kernel does under `subscriptions->lock`, a spinlock, is one step here.
mmu notifiers that users of a driver share are in `mmu_notifier_get`; who asks whether a device used a page, in `mmu_notifier_young`.

Left out: mm_count; wrap-around of the sequence number. Neither raises a false alarm.
"""

from __future__ import annotations

from secondsight.lang import (
    Bits,
    Errno,
    Ref,
    atomic,
    bound,
    current,
    hold_point,
    milestone,
    out_of_records,
    require,
    shared_array,
    wait_until,
)
from secondsight.linux.errno import EAGAIN, EOVERFLOW
from secondsight.linux.fork import mms
from secondsight.linux.interval_tree import hits, interval_tree_insert, interval_tree_remove
from secondsight.linux.mm_types import (
    Driver,
    Event,
    Finish,
    IntervalNotifier,
    Mm,
    MmuNotifier,
    Owner,
    PageBits,
    Pgoff,
    Range,
    Seq,
    Subscriptions,
    Va,
)
from secondsight.linux.mmu_notifier_end import mn_itree_inv_end_as_it_goes, removal_looks_unlocked
from secondsight.linux.mmu_notifier_hlist import (
    enter_callback,
    is_unregistered,
    leave_callback,
    mmu_notifier_arch_invalidate_secondary_tlbs,
    mmu_notifier_callback,
    mmu_notifier_register,
    mmu_notifier_register_locked,
    mmu_notifier_unregister,
    mn_hlist_invalidate_end,
    mn_hlist_invalidate_range_start,
    mn_hlist_release,
    notifier_registered,
    notifier_unregistered,
)

__all__ = [
    "Driver",
    "Event",
    "IntervalNotifier",
    "MmuNotifier",
    "Range",
    "Seq",
    "is_owner",
    "is_unregistered",
    "mmu_interval_check_retry",
    "mmu_interval_notifier_insert",
    "mmu_interval_notifier_insert_locked",
    "mmu_interval_notifier_remove",
    "mmu_interval_read_begin",
    "mmu_interval_read_retry",
    "mmu_interval_set_seq",
    "mmu_notifier_arch_invalidate_secondary_tlbs",
    "mmu_notifier_callback",
    "mmu_notifier_invalidate_range_end",
    "mmu_notifier_invalidate_range_start",
    "mmu_notifier_invalidate_range_start_nonblock",
    "mmu_notifier_register",
    "mmu_notifier_register_locked",
    "mmu_notifier_release",
    "mmu_notifier_unregister",
    "notifier_registered",
    "notifier_unregistered",
    "owner_of",
    "owners",
]

finishes = shared_array(Finish, bound("finishes"))
"""The `mmu_interval_notifier_finish` structures of all drivers; the bound is 0 where no driver has two passes."""


owners = shared_array(Owner, bound("owners", usual=2))
"""Who may be named as the owner of a range (`Range.owner`), of all drivers; the bound is 0 where nobody has device-exclusive pages."""


@atomic
def owner_of(device: Driver) -> Owner:
    """What a driver gives to make_device_exclusive_range() as its `owner`: its own, the same each time."""
    for owner in owners:
        if owner.driver is None or owner.driver is device:
            owner.driver = device
            return owner
    out_of_records("owners")
    return owners[0]


@atomic
def is_owner(device: Driver, rng: Range) -> bool:
    """Whether a range names a driver as its owner: it asked for the change itself."""
    owner = rng.owner
    return owner is not None and owner.driver is device


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


@atomic
def mmu_interval_check_retry(interval_sub: IntervalNotifier, seq: Seq) -> bool:
    """mmu_interval_check_retry() (include/linux/mmu_notifier.h, Linux 6.12): the same test without the lock.

    True is reliable, False is not.
    """
    return interval_sub.invalidate_seq != seq


def mmu_interval_set_seq(interval_sub: IntervalNotifier, cur_seq: Seq) -> None:
    """mmu_interval_set_seq() (include/linux/mmu_notifier.h, Linux 6.12): called by every `invalidate`, under its lock."""
    interval_sub.invalidate_seq = cur_seq


# Registering and unregistering interval notifiers.


@milestone
def mmu_interval_notifier_insert(interval_sub: IntervalNotifier, mm: Mm, start: Va, length: Pgoff) -> Errno:
    """mmu_interval_notifier_insert() (mm/mmu_notifier.c, Linux 6.12): watch `length` pages from `start`.

    0, or -EOVERFLOW when no page is asked for. While an invalidation runs that somebody
    watches, the insertion is deferred to its end; the subscription starts as if it were being invalidated in both cases
    where one runs. The first insertion into an mm takes the mmap lock for writing.
    """
    with atomic:
        ret = 0
        first = not mm.subscriptions.has_itree
        if not first:
            ret = interval_notifier_insert(interval_sub, mm, start, length)
    if first:
        mmu_notifier_register(None, mm)
        ret = interval_notifier_insert(interval_sub, mm, start, length)
    return ret


def mmu_interval_notifier_insert_locked(interval_sub: IntervalNotifier, mm: Mm, start: Va, length: Pgoff) -> Errno:
    """mmu_interval_notifier_insert_locked() (mm/mmu_notifier.c, Linux 6.12): the same, for who holds the mmap lock for writing already."""
    with atomic:
        require(mm.mmap_lock.owner == current(), "lock-not-held", "inserts an interval notifier without the mmap lock for writing")
        first = not mm.subscriptions.has_itree
    if first:
        mmu_notifier_register_locked(None, mm)
    return interval_notifier_insert(interval_sub, mm, start, length)


@atomic
def interval_notifier_insert(interval_sub: IntervalNotifier, mm: Mm, start: Va, length: Pgoff) -> Errno:
    """__mmu_interval_notifier_insert() (mm/mmu_notifier.c, Linux 6.12).

    The kernel inserts what is in the tree already without a look, and the tree becomes a circle: here it is the broken
    rule `inserted-twice`. WARN_ON(mm_users <= 0) is the broken rule `mm-without-users`.
    """
    subs = mm.subscriptions
    interval_sub.mm = mm
    interval_sub.start = start
    require(
        not interval_sub.in_tree and not any(deferred is interval_sub for deferred in subs.deferred_list),
        "inserted-twice",
        "inserts an interval notifier that is inserted already: the tree becomes a circle",
    )
    if length <= 0:
        return -EOVERFLOW
    require(mm.users > 0, "mm-without-users", "inserts an interval notifier into an mm that has no users")
    interval_sub.end = start + length
    if subs.active_invalidate_ranges > 0:
        if mn_itree_is_invalidating(subs):
            deferred_add(subs, interval_sub)
        else:
            subs.invalidate_seq |= 1
            interval_tree_insert(subs, interval_sub)
        interval_sub.invalidate_seq = subs.invalidate_seq
    else:
        interval_sub.invalidate_seq = subs.invalidate_seq - 1
        interval_tree_insert(subs, interval_sub)
    interval_sub.unregistered = False
    notifier_registered(interval_sub)
    return 0


@milestone
def mmu_interval_notifier_remove(interval_sub: IntervalNotifier) -> None:
    """mmu_interval_notifier_remove() (mm/mmu_notifier.c, Linux 6.12): no callback runs or will run once this
    returns.

    Waits for a running invalidation to end, so the caller may hold no lock that a callback takes, and no callback
    may call it.
    """
    seq = 0
    with atomic:
        mm = interval_sub.mm
        assert mm is not None
        subs = mm.subscriptions
        deferred = any(item is interval_sub for item in subs.deferred_list)
        require(
            interval_sub.in_tree != deferred,
            "removed-twice",
            "removes an interval notifier that is not inserted, or is being removed",
        )
        if mn_itree_is_invalidating(subs):
            if interval_sub.in_tree:
                deferred_add(subs, interval_sub)
                seq = subs.invalidate_seq
            else:
                deferred_del(subs, interval_sub)
        else:
            interval_tree_remove(subs, interval_sub)
    if seq != 0:
        wait_until(mm.subscriptions.invalidate_seq != seq)
    is_unregistered(interval_sub)


@atomic
def deferred_add(subs: Subscriptions, sub: IntervalNotifier) -> None:
    """hlist_add_head() on `deferred_list`, whose first is the last here."""
    for i in range(len(subs.deferred_list)):
        if subs.deferred_list[i] is None:
            subs.deferred_list[i] = sub
            return
    out_of_records("subscribers")


@atomic
def deferred_del(subs: Subscriptions, sub: IntervalNotifier) -> None:
    """hlist_del() from `deferred_list`."""
    gone = False
    for i in range(len(subs.deferred_list)):
        if subs.deferred_list[i] is sub:
            gone = True
        if gone:
            subs.deferred_list[i] = subs.deferred_list[i + 1] if i + 1 < len(subs.deferred_list) else None


# The invalidating side, interval notifiers.


@atomic
def mn_itree_is_invalidating(subs: Subscriptions) -> bool:
    """mn_itree_is_invalidating() (mm/mmu_notifier.c, Linux 6.12)."""
    return subs.invalidate_seq & 1 == 1


@atomic
def mn_itree_inv_start_range(subs: Subscriptions, rng: Range) -> Ref[IntervalNotifier]:
    """mn_itree_inv_start_range() (mm/mmu_notifier.c, Linux 6.12): open a bracket; the first subscription that
    `rng` hits.

    The caller reads `invalidate_seq` in the same step: the kernel hands it out under the same hold of the lock.
    """
    if not subs.has_itree:
        return None
    subs.active_invalidate_ranges += 1
    first: Ref[IntervalNotifier] = None
    for i in range(len(subs.itree)):
        sub = subs.itree[i]
        if sub is not None and hits(sub, rng):
            sub.waiting |= page_bits(rng)
            if first is None:
                first = sub
    if first is not None:
        subs.invalidate_seq |= 1
    return first


@atomic
def mn_itree_inv_next(subs: Subscriptions, interval_sub: IntervalNotifier, rng: Range) -> Ref[IntervalNotifier]:
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
    if not subs.has_itree:
        return
    subs.active_invalidate_ranges -= 1
    if subs.active_invalidate_ranges > 0 or not mn_itree_is_invalidating(subs):
        return
    subs.invalidate_seq += 1
    for i in range(len(subs.deferred_list) - 1, -1, -1):
        sub = subs.deferred_list[i]
        if sub is not None:
            if sub.in_tree:
                interval_tree_remove(subs, sub)
            else:
                interval_tree_insert(subs, sub)
            subs.deferred_list[i] = None


def inv_end(subs: Subscriptions) -> None:
    """mn_itree_inv_end() (mm/mmu_notifier.c, Linux 6.12), as those see it who are there (`mmu_notifier_end`)."""
    if len(removal_looks_unlocked) > 0:
        mn_itree_inv_end_as_it_goes(subs)
    else:
        mn_itree_inv_end(subs)


def mn_itree_invalidate(mm: Mm, rng: Range) -> Errno:
    """mn_itree_invalidate() (mm/mmu_notifier.c, Linux 6.12; 7.2 for drivers with two passes): open a bracket and call
    every subscription that `rng` hits.

    0, or -EAGAIN when one could not without sleeping: then the bracket is closed again, although some were called.
    The kernel warns when a blockable call fails and goes on; here it is the broken rule `notifier-failed`.
    """
    subs = mm.subscriptions
    with atomic:
        sub = mn_itree_inv_start_range(subs, rng)
        cur_seq = subs.invalidate_seq
        enter_callback(sub, rng)
    first: Ref[Finish] = None
    while sub is not None:
        if rng.blockable and rng.event != Event.RELEASE:
            hold_point("invalidate_enter")
        started: Errno = 0
        if len(finishes) > 0:
            started = sub.invalidate_start(rng, cur_seq)
            done = started >= 0
        else:
            done = sub.invalidate(rng, cur_seq)
        if rng.blockable and rng.event != Event.RELEASE:
            hold_point("invalidate_leave")
        with atomic:
            leave_callback(rng)
            require(done or not rng.blockable, "notifier-failed", "invalidate() fails in a blockable range")
            following: Ref[IntervalNotifier] = None
            if done:
                sub.waiting -= page_bits(rng)
                following = mn_itree_inv_next(subs, sub, rng)
                enter_callback(following, rng)
            else:
                forget_waiting(subs, rng)
            if len(finishes) > 0:
                if started > 0:
                    first = finish_add(first, finishes[started - 1], sub)
                if not done and first is None:
                    mn_itree_inv_end(subs)
            elif not done:
                mn_itree_inv_end(subs)
        if len(finishes) > 0:
            if following is None and first is not None:
                mn_itree_finish_pass(first)
                if not done:
                    mn_itree_inv_end(subs)
        if not done:
            return -EAGAIN
        sub = following
    return 0


@atomic
def finish_add(first: Ref[Finish], finish: Finish, sub: IntervalNotifier) -> Finish:
    """__llist_add() on the list of second passes, which is turned round before they run; the list's first."""
    require(not finish.pending, "finish-in-use", "starts a second pass with a structure that waits for one")
    finish.notifier = sub
    finish.pending = True
    finish.next = None
    if first is None:
        return finish
    last = first
    while last.next is not None:
        last = last.next
    last.next = finish
    return first


def mn_itree_finish_pass(first: Ref[Finish]) -> None:
    """mn_itree_finish_pass() (mm/mmu_notifier.c, Linux 7.2): the second pass of those that asked for it."""
    finish = first
    while finish is not None:
        with atomic:
            following = finish.next
            sub = finish.notifier
            finish.pending = False
        assert sub is not None
        sub.invalidate_finish(finish)
        finish = following


def mn_itree_release(mm: Mm) -> bool:
    """mn_itree_release() (mm/mmu_notifier.c, Linux 6.12): the mm goes; one bracket over all of it, event RELEASE.

    Returns whether there are mmu notifiers, which __mmu_notifier_release() looks at next, without a lock.
    """
    mn_itree_invalidate(mm, Range(0, len(mm.ptes), Event.RELEASE, True))
    with atomic:
        mn_itree_inv_end(mm.subscriptions)
        return mm.subscriptions.list != 0


@atomic
def page_bits(rng: Range) -> PageBits:
    """The pages of `rng`."""
    return Bits(range(rng.start, rng.end))


@atomic
def forget_waiting(subs: Subscriptions, rng: Range) -> None:
    """Ghost: the invalidation of `rng` has failed, so nobody waits for it."""
    for i in range(len(subs.itree)):
        sub = subs.itree[i]
        if sub is not None:
            sub.waiting -= page_bits(rng)


# What the rest of mm/ calls.


@milestone
def mmu_notifier_invalidate_range_start(mm: Mm, rng: Range) -> None:
    """mmu_notifier_invalidate_range_start() (include/linux/mmu_notifier.h, Linux 6.12): before entries of `rng` change."""
    if len(mm.subscriptions.itree) > 0:
        mn_itree_invalidate(mm, rng)
    if len(mm.subscriptions.nodes) > 0:
        mn_hlist_invalidate_range_start(mm, rng)


@milestone
def mmu_notifier_invalidate_range_start_nonblock(mm: Mm, rng: Range) -> Errno:
    """mmu_notifier_invalidate_range_start_nonblock() (include/linux/mmu_notifier.h, Linux 6.12): the same without
    sleeping.

    `rng` is not blockable. On -EAGAIN the entries may not change, and there is no end. As in the kernel, a failure
    of the mmu notifiers leaves the interval notifiers' bracket open.
    """
    ret = 0
    if len(mm.subscriptions.itree) > 0:
        ret = mn_itree_invalidate(mm, rng)
    if ret == 0 and len(mm.subscriptions.nodes) > 0:
        ret = mn_hlist_invalidate_range_start(mm, rng)
    return ret


@atomic
def mm_has_notifiers(mm: Mm) -> bool:
    """mm_has_notifiers() (include/linux/mmu_notifier.h, Linux 6.12): whether anybody has ever subscribed, or, of mmu notifiers, does.

    Asked where there are several mms. Where there is one, it is the one that devices are for.
    """
    return mm.subscriptions.has_itree or mm.subscriptions.list != 0


@milestone
def mmu_notifier_invalidate_range_end(mm: Mm, rng: Range) -> None:
    """mmu_notifier_invalidate_range_end() (include/linux/mmu_notifier.h, Linux 6.12): after entries of `rng` changed.

    __mmu_notifier_invalidate_range_end() (mm/mmu_notifier.c) is called where somebody has ever subscribed.
    """
    if len(mms) > 1:
        if mm_has_notifiers(mm):
            hold_point("__mmu_notifier_invalidate_range_end:enter")
    elif len(mm.subscriptions.itree) + len(mm.subscriptions.nodes) > 0:
        hold_point("__mmu_notifier_invalidate_range_end:enter")
    if len(mm.subscriptions.itree) > 0:
        inv_end(mm.subscriptions)
    if len(mm.subscriptions.nodes) > 0:
        mn_hlist_invalidate_end(mm, rng)
    if len(mms) > 1:
        if mm_has_notifiers(mm):
            hold_point("__mmu_notifier_invalidate_range_end:exit")
    elif len(mm.subscriptions.itree) + len(mm.subscriptions.nodes) > 0:
        hold_point("__mmu_notifier_invalidate_range_end:exit")


@milestone
def mmu_notifier_release(mm: Mm) -> None:
    """mmu_notifier_release() (include/linux/mmu_notifier.h, Linux 6.12): the mm is about to go; from exit_mmap()."""
    if len(mm.subscriptions.nodes) == 0:
        if len(mm.subscriptions.itree) > 0:
            mn_itree_release(mm)
    else:
        with atomic:
            watched = mm.subscriptions.has_itree
            listed = mm.subscriptions.list != 0
        if len(mm.subscriptions.itree) > 0:
            if watched:
                listed = mn_itree_release(mm)
        if listed:
            mn_hlist_release(mm)
