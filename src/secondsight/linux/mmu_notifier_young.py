"""mm/mmu_notifier.c: whether devices have used a page lately.

    clear_flush_young(mm, start, end)   reclaim asks before it takes a page; the answer is yes once for each time of use
    clear_young(mm, start, end)         idle page tracking and DAMON ask; the same, without a flush of the device's TLB
    test_young(mm, address)             DAMON and khugepaged ask, and nothing changes

A driver whose table has an accessed bit answers by it; one whose table has none may unmap the page, and say that it was there.
Whatever it says, correctness does not rest on it: what it may break is that it is asked under the page-table lock, so it may not sleep; and what it
unmaps, it must unmap as an invalidation does.

Left out: the CPU's own accessed bit, which may say either (`vmscan`). That khugepaged asks too (test_young, in a bracket that has begun), and the multi-generational LRU
(clear_young, where the older lists ask by clear_flush_young): each of the callbacks is asked by somebody else under the same lock.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Record, atomic, shared
from secondsight.linux.mm_types import Folio, Mm, Va, VaEnd
from secondsight.linux.mmu_notifier_hlist import hlist_first, non_block_end, non_block_start, subscriber_of
from secondsight.linux.pgtable import pte_present
from secondsight.linux.rmap import page_vma_mapped_walk
from secondsight.linux.srcutree import srcu_read_lock, srcu_read_unlock

__all__ = [
    "damon_young",
    "folio_referenced",
    "mmu_notifier_clear_flush_young",
    "mmu_notifier_clear_young",
    "mmu_notifier_test_young",
    "page_idle_clear_pte_refs",
    "young_callbacks",
]


class YoungCallbacks(Record):
    """Whether a subscriber has such callbacks."""

    any: Array[bool, Literal["young_callbacks"]]


young_callbacks = shared(YoungCallbacks)


@atomic
def mmu_notifier_clear_flush_young(mm: Mm, start: Va, end: VaEnd) -> bool:
    """__mmu_notifier_clear_flush_young() (mm/mmu_notifier.c, Linux 6.12), called by an inline function of the header: every mmu notifier is asked; true if one says so.

    The caller holds the page-table lock, a spinlock: it is one step, in which nobody may sleep.
    """
    return all_are_asked(mm, start, end, True)


@atomic
def mmu_notifier_clear_young(mm: Mm, start: Va, end: VaEnd) -> bool:
    """__mmu_notifier_clear_young() (mm/mmu_notifier.c, Linux 6.12): the same, and nobody need flush."""
    return all_are_asked(mm, start, end, False)


@atomic
def all_are_asked(mm: Mm, start: Va, end: VaEnd, flush: bool) -> bool:
    """The loop of both, over all of them."""
    young = False
    idx = srcu_read_lock()
    non_block_start()
    node = hlist_first(mm.subscriptions)
    sub = subscriber_of(node)
    while sub is not None:
        if flush:
            if sub.clear_flush_young(mm, start, end):
                young = True
        elif sub.clear_young(mm, start, end):
            young = True
        assert node is not None
        node = node.next
        sub = subscriber_of(node)
    non_block_end()
    srcu_read_unlock(idx)
    return young


@atomic
def folio_referenced(folio: Folio, mm: Mm, va: Va) -> bool:
    """folio_referenced(), folio_referenced_one() (mm/rmap.c, Linux 6.12), at one place: whether a device has used the folio lately there; not if it is mapped elsewhere."""
    if not page_vma_mapped_walk(folio, mm.ptes[va]):
        return False
    return mmu_notifier_clear_flush_young(mm, va, va + 1)


@atomic
def mmu_notifier_test_young(mm: Mm, address: Va) -> bool:
    """__mmu_notifier_test_young() (mm/mmu_notifier.c, Linux 6.12): the mmu notifiers are asked until one says so. Under the page-table lock."""
    young = False
    idx = srcu_read_lock()
    non_block_start()
    node = hlist_first(mm.subscriptions)
    sub = subscriber_of(node)
    while sub is not None and not young:
        if sub.test_young(mm, address):
            young = True
        assert node is not None
        node = node.next
        sub = subscriber_of(node)
    non_block_end()
    srcu_read_unlock(idx)
    return young


@atomic
def page_idle_clear_pte_refs(folio: Folio, mm: Mm, va: Va) -> bool:
    """page_idle_clear_pte_refs_one(), ptep_clear_young_notify() (mm/page_idle.c, include/linux/mmu_notifier.h, Linux 6.12), at the one place that is asked for: whether
    somebody has used the folio since it was marked idle. Left out: that the folio is young for reclaim then (a device that is asked once more says no:
    may take a page sooner, which is allowed)."""
    if not page_vma_mapped_walk(folio, mm.ptes[va]):
        return False
    return mmu_notifier_clear_young(mm, va, va + 1)


@atomic
def damon_young(mm: Mm, va: Va) -> bool:
    """damon_young_pmd_entry() (mm/damon/vaddr.c, Linux 6.12) of one page: whether somebody has used it since it was asked about last. It may have no page."""
    return pte_present(mm.ptes[va]) is not None and mmu_notifier_test_young(mm, va)
