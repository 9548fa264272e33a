"""lib/interval_tree.c: which subscriptions an mm has, in the order of their pages."""

from __future__ import annotations

from secondsight.lang import atomic, out_of_records
from secondsight.linux.mm_types import IntervalNotifier, Range, Subscriptions

__all__ = ["hits", "interval_tree_insert", "interval_tree_remove"]


@atomic
def interval_tree_insert(subs: Subscriptions, sub: IntervalNotifier) -> None:
    """interval_tree_insert() (lib/interval_tree.c, Linux 6.12): the tree is an array here, in the tree's order."""
    if len(subs.itree) == 0:
        out_of_records("subscribers")
    if subs.itree[len(subs.itree) - 1] is not None:
        out_of_records("subscribers")
    at = 0
    for i in range(len(subs.itree)):
        other = subs.itree[i]
        if other is not None and other.start <= sub.start:
            at = i + 1
    for i in range(len(subs.itree) - 1, at, -1):
        subs.itree[i] = subs.itree[i - 1]
    subs.itree[at] = sub
    sub.in_tree = True


@atomic
def interval_tree_remove(subs: Subscriptions, sub: IntervalNotifier) -> None:
    """interval_tree_remove() (lib/interval_tree.c, Linux 6.12)."""
    gone = False
    for i in range(len(subs.itree)):
        if subs.itree[i] is sub:
            gone = True
        if gone:
            subs.itree[i] = subs.itree[i + 1] if i + 1 < len(subs.itree) else None
    sub.in_tree = False


@atomic
def hits(sub: IntervalNotifier, rng: Range) -> bool:
    """Whether the subscription's pages and `rng` overlap."""
    return sub.start < rng.end and rng.start < sub.end
