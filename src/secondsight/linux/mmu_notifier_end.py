"""mm/mmu_notifier.c: the end of an invalidation, as who does not take the lock sees it.

mn_itree_inv_end() makes the number even, and then does what was deferred, all under `subscriptions->lock`. Who takes the lock to look finds both done or neither: that is one step
(`mmu_notifier.mn_itree_inv_end`). Before 319561669a59 who waited for a removal looked at the number alone: it is even, and the subscription is in the tree still.

That form is there where the bound `removal_looks_unlocked` is 1. Then others that take the lock between the two are not kept out (may raise a false alarm where several
invalidations and removals go on).
"""

from __future__ import annotations

from secondsight.lang import atomic, bound, shared_array
from secondsight.linux.interval_tree import interval_tree_insert, interval_tree_remove
from secondsight.linux.mm_types import Subscriptions

__all__ = ["mn_itree_inv_end_as_it_goes", "removal_looks_unlocked"]

removal_looks_unlocked = shared_array(bool, bound("removal_looks_unlocked", most=1))
"""Of size 1: mmu_interval_notifier_remove() waits for the number to change without the lock."""


def mn_itree_inv_end_as_it_goes(subs: Subscriptions) -> None:
    """mn_itree_inv_end() (mm/mmu_notifier.c, Linux 6.12), in two steps."""
    ended = number_goes_on(subs)
    if ended:
        do_what_was_deferred(subs)


@atomic
def number_goes_on(subs: Subscriptions) -> bool:
    """The first lines of mn_itree_inv_end() (mm/mmu_notifier.c, Linux 6.12): whether this was the last range, and the number is even again."""
    if not subs.has_itree:
        return False
    subs.active_invalidate_ranges -= 1
    if subs.active_invalidate_ranges > 0 or subs.invalidate_seq & 1 == 0:
        return False
    subs.invalidate_seq += 1
    return True


@atomic
def do_what_was_deferred(subs: Subscriptions) -> None:
    """The loop of mn_itree_inv_end() (mm/mmu_notifier.c, Linux 6.12), over `deferred_list`."""
    for i in range(len(subs.deferred_list) - 1, -1, -1):
        sub = subs.deferred_list[i]
        if sub is not None:
            if sub.in_tree:
                interval_tree_remove(subs, sub)
            else:
                interval_tree_insert(subs, sub)
            subs.deferred_list[i] = None
