"""mm/mmu_notifier.c as it was in Linux 3.2: `invalidate_page` and `change_pte`, the interface that the 2011 thread speaks of.

An mmu notifier was told in two ways:

    invalidate_range_start(), invalidate_range_end()    around what takes many pages: munmap, mprotect, mremap, fork, truncate
    invalidate_page()                                   one entry has gone: ptep_clear_flush_notify(), in try_to_unmap_one(), for reclaim and for migration
    change_pte()                                        another page is in the entry: set_pte_at_notify(), for a copy on write (and for KSM)

The last two came when it was done, under the page-table lock, a spinlock, and all of them, `release` too, under rcu_read_lock(): none may sleep, and none can fail. There is no second call when
it is over, so a driver that looks for pages meanwhile must find by itself that it was called (KVM counts `mmu_notifier_seq` on in each). Who has no `change_pte` is called by
`invalidate_page` for that too. Since 3.7 the callbacks are under SRCU, brackets are around reclaim and copies too, and `invalidate_page` came when the spinlock was dropped; 4.14 has
it no more, 6.10 no `change_pte`.

A driver that has one of the two is on such a kernel: the bound `page_notifiers` is 1, and reclaim, migration and copies on write tell it so, and by no bracket. All else is taken
from the files beside this one, from 6.12.

What happens under the page-table lock is one step: the entry, and the call. In 3.2 set_pte_at_notify() sets the entry first, and another CPU may write to the new page before a device has
gone from the old one (mended in 3.7): may hide a bug. Left out: KSM, page_mkclean() of writeback, xip, which call the same; huge pages, which have their brackets here (3.2 split them).
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic
from secondsight.linux.mm_types import Event, Folio, HlistNode, Mm, Va
from secondsight.linux.mmu_notifier_hlist import hlist_first, mmu_notifier_callback, non_block_end, non_block_start, subscriber_of
from secondsight.linux.srcutree import srcu_read_lock, srcu_read_unlock

__all__ = ["mmu_notifier_change_pte", "mmu_notifier_invalidate_page"]


@atomic
def mmu_notifier_invalidate_page(mm: Mm, address: Va) -> None:
    """__mmu_notifier_invalidate_page() (mm/mmu_notifier.c, Linux 3.2): the entry at `address` has gone. Under the page-table lock; the page is not free before
    this returns."""
    idx = srcu_read_lock()
    non_block_start()
    node = hlist_first(mm.subscriptions)
    sub = subscriber_of(node)
    while sub is not None:
        mmu_notifier_callback(sub, address, address + 1, Event.CLEAR)
        sub.invalidate_page(mm, address)
        node = following(node)
        sub = subscriber_of(node)
    non_block_end()
    srcu_read_unlock(idx)


@atomic
def mmu_notifier_change_pte(mm: Mm, address: Va, page: Folio, write: bool) -> None:
    """__mmu_notifier_change_pte() (mm/mmu_notifier.c, Linux 3.2): the entry at `address` is about `page` now, and may be written, or not. Under the page-table lock."""
    idx = srcu_read_lock()
    non_block_start()
    node = hlist_first(mm.subscriptions)
    sub = subscriber_of(node)
    while sub is not None:
        mmu_notifier_callback(sub, address, address + 1, Event.CLEAR)
        if sub.has_change_pte():
            sub.change_pte(mm, address, page, write)
        else:
            sub.invalidate_page(mm, address)
        node = following(node)
        sub = subscriber_of(node)
    non_block_end()
    srcu_read_unlock(idx)


@atomic
def following(node: Ref[HlistNode]) -> Ref[HlistNode]:
    """The next of the list, of one that is there."""
    assert node is not None
    return node.next
