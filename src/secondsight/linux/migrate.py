"""mm/migrate.c: a folio's contents move to another one, and everything that maps it follows.

    isolate the folio, lock it
    try_to_migrate()            its entries become migration entries, in notifier brackets; who faults waits
    expected references?        those of the page cache or the swap cache, and ours: if there is one more, -EAGAIN
    copy; the cache has the new folio
    remove_migration_ptes()     the entries map the new folio; after an error, the old one again: no bracket, nothing was there
    unlock: who waits goes on

The brackets say MMU_NOTIFY_CLEAR, as those of reclaim do: MMU_NOTIFY_MIGRATE is for device-private memory (migrate_device.c).
A page that somebody holds a reference to is never moved, and one that is pinned not even unmapped, if it is anonymous.

Who wants it: move_pages(2), here; memory offline and CMA (`page_isolation`); a long-term pin (`gup`); a fault, where NUMA balancing has hinted (`memory_numa`). Which of two nodes a page is on is kept where a scenario can
tell (`Folio.nid`). Compaction (`compaction`) moves any page to the same node. Left out: batches. One attempt, at any time, does what the last of several does: where subscribers' calls are
counted (a forced run), the bound `migration_passes` has them all.

A huge page moves as a whole: the one entry that maps it becomes one migration entry (`huge_memory_pmd`). One that is mapped in part alone is split
first (`huge_memory_split`), and both its pages are moved.
"""

from __future__ import annotations

from typing import Final

from secondsight.lang import Errno, Ref, atomic, bound, milestone, out_of_records, shared_array, tracepoint, wait_until
from secondsight.linux.errno import EACCES, EAGAIN, EBUSY, EFAULT, ENOENT
from secondsight.linux.filemap import folio_unlock
from secondsight.linux.highmem import copy_highpage
from secondsight.linux.huge_memory_split import split_folio_to_list
from secondsight.linux.memremap_private import folio_is_device_coherent
from secondsight.linux.mm_types import Count, Folio, Mm, Nid, Result, Va, Vma, completed_faults, huge_pages, writes_back
from secondsight.linux.mmzone import pageblocks
from secondsight.linux.page_alloc import (
    alloc_huge_folio,
    alloc_page,
    alloc_unmovable_page,
    folio_nr_pages,
    folio_order,
    folio_page,
    get_page,
    is_zero_page,
    page_folio,
    put_page,
)
from secondsight.linux.pgtable import folio_likely_mapped_shared, folio_mapped, pte_none, pte_page, pte_present
from secondsight.linux.rmap_migrate import remove_migration_ptes, try_to_migrate
from secondsight.linux.swap import folio_isolate_lru, folio_putback_lru
from secondsight.linux.swapops import is_migration_entry, migrations, swap_slots

__all__ = ["do_pages_stat", "folio_migrated", "migrate_folio", "migrate_misplaced_folio", "migration_entry_wait", "move_page"]


@tracepoint
def folio_migrated(src: Folio, dst: Folio) -> None:
    """From now on `dst` stands where `src` stood."""


@atomic
def do_pages_stat(mm: Mm, va: Va, empty_is_bad: bool = False) -> Result:
    """do_pages_stat_array() (mm/migrate.c, Linux 6.12) of one page, what move_pages(2) says that is given no nodes: its node; -EFAULT: nothing mapped, or the zero
    page; -ENOENT: nothing is there. One step: the mmap lock is waited for, and given up, in it. `empty_is_bad`: as of `move_page`."""
    mm.mmap_lock.read_lock()
    node: Result = -EFAULT
    if mm.mm_mt[va] is not None:
        page = pte_present(mm.ptes[va]) if empty_is_bad else pte_page(mm.ptes[va])
        if page is None or folio_is_device_coherent(page):
            node = -ENOENT
        elif not is_zero_page(page):
            node = page_folio(page).nid[0]
    mm.mmap_lock.read_unlock()
    return node


def move_page(mm: Mm, va: Va, empty_is_bad: bool = False, node: Nid = 0) -> Errno:
    """move_pages(2) of one page: add_folio_for_migration(), do_move_pages_to_node() (mm/migrate.c, Linux 6.12).

    To `node`, where nodes are told apart; else to the other one. 0: it has moved, or is on that node; -ENOENT: nothing is there (a page in swap neither); -EFAULT: the zero page, nothing mapped, or pages that are
    nobody's to move (vma_migratable()); -EBUSY: somebody else has taken the page off its list; -EAGAIN: somebody holds it (the system
    call says how many pages it could not move); -EACCES: it is mapped elsewhere too (without MPOL_MF_MOVE_ALL).
    `empty_is_bad`: see `releases` (empty-page-is-a-bad-address, protected-page-is-not-found). There the page is also held before it is isolated
    (FOLL_GET; folio_walk_start() later): who moves it at that moment gets -EAGAIN, where others may notice (`migrations`).
    """
    mm.mmap_lock.read_lock()
    with atomic:
        vma = mm.mm_mt[va]
        page = pte_page(mm.ptes[va])
        folio = None if page is None else page_folio(page)
        if empty_is_bad and folio is not None and pte_present(mm.ptes[va]) is None:
            ret = -ENOENT
        elif vma is None or (folio is not None and is_zero_page(folio)) or not vma_migratable(vma):
            ret = -EFAULT
        elif folio is None:
            ret = -EFAULT if empty_is_bad and vma.vm_file is None and pte_none(mm.ptes[va]) else -ENOENT
        elif folio_is_device_coherent(folio):
            ret = -ENOENT
        elif is_on(folio, node):
            folio = None
            ret = 0
        elif folio_likely_mapped_shared(folio):
            ret = -EACCES
        elif len(migrations) > 1 and empty_is_bad:
            get_page(folio)
            ret = 0
        else:
            ret = 0 if folio_isolate_lru(folio) else -EBUSY
    if len(migrations) > 1:
        if empty_is_bad and ret == 0 and folio is not None:
            ret = isolate_held(folio)
    mm.mmap_lock.read_unlock()
    if ret != 0 or folio is None:
        return ret
    return migrate_folio(folio)


@atomic
def is_on(folio: Folio, node: Nid) -> bool:
    """folio_nid() (include/linux/mm.h, Linux 6.12) is that node; false where nodes are not told apart."""
    return len(folio.nid) > 0 and folio.nid[0] == node


@atomic
def isolate_held(folio: Folio) -> Errno:
    """The end of add_page_for_migration() (mm/migrate.c, Linux 6.1): 0, or -EBUSY: somebody else has taken the page off its list."""
    ret = 0 if folio_isolate_lru(folio) else -EBUSY
    put_page(folio)
    return ret


@atomic
def vma_migratable(vma: Vma) -> bool:
    """vma_migratable() (mm/mempolicy.c, Linux 6.12): not where the pages are device memory's, or nobody's."""
    file = vma.vm_file
    return file is None or file.vm_flags() == 0


@milestone
def migrate_folio(src: Folio, movable: bool = True) -> Errno:
    """migrate_pages(MIGRATE_SYNC), migrate_pages_batch() (mm/migrate.c, Linux 6.12), of one isolated folio: 0 or -EAGAIN.

    The caller's reference, that of the isolation, is dropped. The new folio is locked until its entries are there: who finds it in the page cache
    before (a hole that is being punched) waits. `movable`: it may come into a block that has to stay movable (`mmzone`).
    """
    if len(huge_pages) > 0:
        tail = split_if_partially_mapped(src)
        if tail is not None:
            first = migrate_one(src, movable)
            second = migrate_one(tail, movable)
            return second if first == 0 else first
    return migrate_one(src, movable)


def split_if_partially_mapped(src: Folio) -> Ref[Folio]:
    """try_split_folio() (mm/migrate.c, Linux 6.12), of a folio on the deferred split list: its second page, which is an isolated folio of its own
    now. None: it is none, or somebody holds it."""
    with atomic:
        if folio_order(src) == 0 or not src.partially_mapped[0]:
            return None
        tail = src.tail[0]
        wait_until(not src.locked)
        src.locked = True
    split = split_folio_to_list(src) == 0
    folio_unlock(src)
    return tail if split else None


migration_passes = shared_array(bool, bound("migration_passes", most=2))
"""Of size 1 where each attempt of a migration shows; of size 2 where each of them unmaps the page anew: see `releases` (a-migration-unmaps-once-a-stage)."""

NR_MAX_MIGRATE_PAGES_RETRY: Final = 10
NR_MAX_MIGRATE_SYNC_RETRY: Final = 7


def migrate_one(src: Folio, movable: bool) -> Errno:
    """migrate_folio_unmap(), migrate_folio_move() (mm/migrate.c, Linux 6.12)."""
    if len(migration_passes) > 0:
        return migrate_in_passes(src, movable)
    slot: Count = 0
    mapped = False
    with atomic:
        wait_until(not src.locked and not src.writeback)
        freed = src.refcount == 1
        if freed:
            folio_putback_lru(src)
        else:
            src.locked = True
            slot = migration_begins(src, movable)
            mapped = migrations[slot].was_mapped
    if freed:
        return 0
    return migrate_locked(src, slot, mapped)


@milestone
def migrate_misplaced_folio(src: Folio) -> Errno:
    """migrate_misplaced_folio(), migrate_pages(MIGRATE_ASYNC) (mm/migrate.c, Linux 6.12), of one isolated folio: 0 or -EAGAIN. Waits for no folio lock, for whoever calls it
    handles a fault; at a folio that is locked it gives up."""
    slot: Count = 0
    mapped = False
    with atomic:
        freed = src.refcount == 1
        locked = src.locked or src.writeback
        if freed or locked:
            folio_putback_lru(src)
        else:
            src.locked = True
            slot = migration_begins(src, True)
            mapped = migrations[slot].was_mapped
    if freed:
        return 0
    if locked:
        return -EAGAIN
    return migrate_locked(src, slot, mapped)


def migrate_locked(src: Folio, slot: Count, mapped: bool) -> Errno:
    """The rest of migrate_folio_unmap(), and migrate_folio_move(), migrate_folio_done() (mm/migrate.c, Linux 6.12), of a folio that is locked. Nobody walks over a folio
    that nothing maps, so no subscriber hears of it."""
    if mapped:
        try_to_migrate(src)
    ret = migrate_folio_move(src, slot)
    with atomic:
        migration_ends(src, slot)
        if ret == 0:
            put_page(src)  # it is on no list, also where somebody holds it still
        else:
            folio_putback_lru(src)
    return ret


def migrate_in_passes(src: Folio, movable: bool) -> Errno:
    """migrate_pages_sync(), migrate_pages_batch() (mm/migrate.c, Linux 6.12) of one folio: up to three passes that wait for nothing, then up to seven that do. Once it was
    unmapped, the passes of that stage are about its references alone: here one. One that is written (-EBUSY) has no more passes that wait for nothing."""
    passes: Count = NR_MAX_MIGRATE_PAGES_RETRY
    ret: Errno = -EAGAIN
    while passes > 0 and ret == -EAGAIN:
        slot: Count = 0
        mapped = False
        with atomic:
            wait_until(passes > NR_MAX_MIGRATE_SYNC_RETRY or (not src.locked and not src.writeback))
            freed = src.refcount == 1
            if freed:
                folio_putback_lru(src)
            begins = not freed and not src.locked and not src.writeback
            written = not src.locked and src.writeback
            if begins:
                src.locked = True
                slot = migration_begins(src, movable)
                mapped = migrations[slot].was_mapped
        unmapped = False
        if freed:
            ret = 0
        elif begins:
            if mapped:
                try_to_migrate(src)
            with atomic:
                unmapped = not folio_mapped(src)
            ret = migrate_folio_move(src, slot)
            with atomic:
                migration_ends(src, slot)
                if ret == 0:
                    put_page(src)
        if (unmapped or written) and len(migration_passes) == 1:
            passes = NR_MAX_MIGRATE_SYNC_RETRY if passes > NR_MAX_MIGRATE_SYNC_RETRY else 0
        else:
            passes -= 1
    if ret != 0:
        with atomic:
            folio_putback_lru(src)
    return ret


def migrate_folio_move(src: Folio, slot: Count) -> Errno:
    """migrate_folio_move() (mm/migrate.c, Linux 6.12): the new folio has what the old one had, and the entries map it; after an error, the old one again."""
    ret = copy_folio(slot)
    if ret == 0:
        ret = folio_migrate_mapping(slot)
    with atomic:
        dst = migrations[slot].dst
        assert dst is not None
        mapped = migrations[slot].was_mapped
    if mapped:
        if ret == 0:
            remove_migration_ptes(src, dst)
        else:
            remove_migration_ptes(src, src)
    if len(migrations) > 1:
        folio_unlock(dst)  # who looks now finds one reference more than those of entries and caches
    return ret


@atomic
def migration_ends(src: Folio, slot: Count) -> None:
    """migrate_folio_done(), migrate_folio_undo_src(), migrate_folio_undo_dst() (mm/migrate.c, Linux 6.12): the folios are unlocked, and noted no more."""
    dst = migrations[slot].dst
    assert dst is not None
    if len(migrations) == 1:
        folio_unlock(dst)
    folio_unlock(src)
    put_page(dst)
    migrations[slot].src = None
    migrations[slot].dst = None
    migrations[slot].moved = False
    migrations[slot].was_mapped = False


@atomic
def migration_begins(src: Folio, movable: bool) -> Count:
    """migrate_folio_unmap() (mm/migrate.c, Linux 6.12): the folio that is to take the place of `src`, and where both are noted. Who wants it on another node, or off
    its own (do_migrate_range(), mm/memory_hotplug.c), gets it on the other one, and a long-term pin on the same. Left out: that CMA does so too."""
    for i in range(len(migrations)):
        if migrations[i].src is None:
            migrations[i].src = src
            migrations[i].was_mapped = folio_mapped(src)
            dst = new_folio(src, movable)
            dst.locked = True
            if len(src.nid) > 0:
                dst.nid[0] = 1 - src.nid[0] if movable else src.nid[0]
            migrations[i].dst = dst
            return i
    out_of_records("migrations")
    return 0


@atomic
def new_folio(src: Folio, movable: bool) -> Folio:
    """alloc_migration_target() (mm/migrate.c, Linux 6.12): one of as many pages."""
    if len(huge_pages) > 0:
        if folio_order(src) > 0:
            return alloc_huge_folio()
    if len(pageblocks) > 0 and not movable:
        return alloc_unmovable_page()
    return alloc_page()


@atomic
def folio_expected_refs(folio: Folio) -> Count:
    """folio_expected_ref_count() (include/linux/mm.h) + 1 (mm/migrate.c, Linux 6.12), of a folio that nothing maps: the cache's, and ours."""
    return 1 + folio_nr_pages(folio) if folio.mapping is not None or folio.swapcache else 1


@milestone(quiet=True)
@atomic
def copy_folio(slot: Count) -> Errno:
    """__migrate_folio(), folio_mc_copy() (mm/migrate.c, mm/util.c, Linux 6.12): the new folio has the contents; -EAGAIN: it is mapped still, or
    somebody holds it."""
    src, dst = migrations[slot].src, migrations[slot].dst
    assert src is not None and dst is not None
    if folio_mapped(src) or src.refcount != folio_expected_refs(src):
        return -EAGAIN
    for i in range(folio_nr_pages(src)):
        copy_highpage(folio_page(dst, i), folio_page(src, i))
    return 0


@milestone
@atomic
def folio_migrate_mapping(slot: Count) -> Errno:
    """__folio_migrate_mapping(), folio_migrate_flags() (mm/migrate.c, Linux 6.12): the new folio takes the place of the old one in the page cache or the
    swap cache. -EAGAIN: somebody holds the old one by now; nobody can where it was in no cache."""
    src, dst = migrations[slot].src, migrations[slot].dst
    assert src is not None and dst is not None
    mapping = src.mapping
    if mapping is not None or src.swapcache:
        if src.refcount != folio_expected_refs(src):
            return -EAGAIN
        for _ in range(folio_nr_pages(src)):
            get_page(dst)
    dst.anon_vma = src.anon_vma
    dst.mapping = mapping
    dst.index = src.index
    if mapping is not None:
        mapping.migrate_folio(src.index, dst)
        src.mapping = None
        put_page(src)
    if len(swap_slots) + len(completed_faults) + len(writes_back) > 0:
        dst.dirty = src.dirty
        src.dirty = False
    if len(swap_slots) > 0:
        if len(dst.lazyfree) > 0:
            dst.lazyfree[0] = src.lazyfree[0]
        if src.swapcache:
            dst.swapcache = True
            dst.swap = src.swap
            src.swapcache = False
            for i in range(folio_nr_pages(src)):
                swap_slots[src.swap + i].cache = dst
                put_page(src)
            src.swap = 0
    if len(huge_pages) > 0:
        dst.partially_mapped[0] = src.partially_mapped[0]
    migrations[slot].moved = True
    for i in range(folio_nr_pages(src)):
        folio_migrated(folio_page(src, i), folio_page(dst, i))
    return 0


@milestone(quiet=True)
def migration_entry_wait(mm: Mm, va: Va) -> bool:
    """migration_entry_wait() (mm/migrate.c), migration_entry_wait_on_locked() (mm/filemap.c, Linux 6.12): if the page is being moved, wait
    until the old one is unlocked; true. The mmap lock is held all the time.

    The kernel's waiter sleeps until the folio is unlocked, also where its entry has gone before.
    """
    with atomic:
        pte = mm.ptes[va]
        folio = pte.frame
        waits = is_migration_entry(pte)
    if waits:
        assert folio is not None
        wait_until(not page_folio(folio).locked or not is_migration_entry(mm.ptes[va]))
    return waits
