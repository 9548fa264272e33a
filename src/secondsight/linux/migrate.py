"""mm/migrate.c: a folio's contents move to another one, and everything that maps it follows.

    isolate the folio, lock it
    try_to_migrate()            its entries become migration entries, in notifier brackets; who faults waits
    expected references?        those of the page cache or the swap cache, and ours: if there is one more, -EAGAIN
    copy; the cache has the new folio
    remove_migration_ptes()     the entries map the new folio; after an error, the old one again: no bracket, nothing was there
    unlock: who waits goes on

The brackets say MMU_NOTIFY_CLEAR, as those of reclaim do: MMU_NOTIFY_MIGRATE is for device-private memory (migrate_device.c).
A page that somebody holds a reference to is never moved, and one that is pinned not even unmapped, if it is anonymous.

Who wants it: move_pages(2), here; memory offline and CMA (`page_isolation`); a long-term pin (`gup`). Left out: NUMA balancing, compaction; where to;
the retries: one attempt, at any time, does what the last of several does; folios of several pages; batches.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone, out_of_records, tracepoint, wait_until
from secondsight.linux.errno import EACCES, EAGAIN, EBUSY, EFAULT, ENOENT
from secondsight.linux.highmem import copy_highpage
from secondsight.linux.mm import page_anon_exclusive
from secondsight.linux.mm_types import Count, Event, Folio, Mm, PteKind, Range, Va, Vma, hints
from secondsight.linux.mmu_notifier import mmu_notifier_invalidate_range_end, mmu_notifier_invalidate_range_start
from secondsight.linux.mmzone import pageblocks
from secondsight.linux.page_alloc import alloc_page, alloc_unmovable_page, get_page, is_zero_page, put_page
from secondsight.linux.pgtable import folio_mapcount, folio_mapped, pte_none, pte_page, pte_present
from secondsight.linux.rmap import (
    page_vma_mapped_walk,
    rmap_walk_first,
    rmap_walk_lock,
    rmap_walk_next,
    rmap_walk_unlock,
    vma_address,
)
from secondsight.linux.swap import folio_isolate_lru, folio_putback_lru
from secondsight.linux.swapops import is_migration_entry, migrations, swap_slots

__all__ = ["folio_migrated", "migrate_folio", "migration_entry_wait", "move_page"]


@tracepoint
def folio_migrated(src: Folio, dst: Folio) -> None:
    """From now on `dst` stands where `src` stood."""


def move_page(mm: Mm, va: Va, empty_is_bad: bool = False) -> Errno:
    """move_pages(2) of one page: add_folio_for_migration(), do_move_pages_to_node() (mm/migrate.c, Linux 6.12).

    0: it has moved; -ENOENT: nothing is there (a page in swap neither); -EFAULT: the zero page, nothing mapped, or pages that are
    nobody's to move (vma_migratable()); -EBUSY: somebody else has taken the page off its list; -EAGAIN: somebody holds it (the system
    call says how many pages it could not move); -EACCES: it is mapped elsewhere too (without MPOL_MF_MOVE_ALL).
    `empty_is_bad`: see `releases` (empty-page-is-a-bad-address, protected-page-is-not-found).
    """
    mm.mmap_lock.read_lock()
    with atomic:
        vma = mm.mm_mt[va]
        folio = pte_page(mm.ptes[va])
        if empty_is_bad and folio is not None and pte_present(mm.ptes[va]) is None:
            ret = -ENOENT
        elif vma is None or (folio is not None and is_zero_page(folio)) or not vma_migratable(vma):
            ret = -EFAULT
        elif folio is None:
            ret = -EFAULT if empty_is_bad and vma.vm_file is None and pte_none(mm.ptes[va]) else -ENOENT
        elif folio_mapcount(folio) > 1:
            ret = -EACCES
        elif not folio_isolate_lru(folio):
            ret = -EBUSY
        else:
            ret = 0
    mm.mmap_lock.read_unlock()
    if ret != 0:
        return ret
    assert folio is not None
    return migrate_folio(folio)


@atomic
def vma_migratable(vma: Vma) -> bool:
    """vma_migratable() (mm/mempolicy.c, Linux 6.12): not where the pages are device memory's, or nobody's."""
    file = vma.vm_file
    return file is None or file.vm_flags() == 0


@milestone
def migrate_folio(src: Folio, movable: bool = True) -> Errno:
    """migrate_pages(MIGRATE_SYNC), migrate_folio_unmap(), migrate_folio_move() (mm/migrate.c, Linux 6.12), of one isolated folio: 0 or -EAGAIN.

    The caller's reference, that of the isolation, is dropped. The new folio is locked until its entries are there: who finds it in the page cache
    before (a hole that is being punched) waits. `movable`: it may come into a block that has to stay movable (`mmzone`).
    """
    slot: Count = 0
    with atomic:
        wait_until(not src.locked and not src.writeback)
        freed = src.refcount == 1
        if freed:
            folio_putback_lru(src)
        else:
            src.locked = True
            slot = migration_begins(src, movable)
    if freed:
        return 0
    try_to_migrate(src)
    ret = copy_folio(slot)
    if ret == 0:
        ret = folio_migrate_mapping(slot)
    with atomic:
        dst = migrations[slot].dst
        assert dst is not None
    if ret == 0:
        remove_migration_ptes(src, dst)
    else:
        remove_migration_ptes(src, src)
    with atomic:
        dst.locked = False
        src.locked = False
        folio_putback_lru(src)
        put_page(dst)
        migrations[slot].src = None
        migrations[slot].dst = None
        migrations[slot].moved = False
    return ret


@atomic
def migration_begins(src: Folio, movable: bool) -> Count:
    """migrate_folio_unmap() (mm/migrate.c, Linux 6.12): the folio that is to take the place of `src`, and where both are noted."""
    for i in range(len(migrations)):
        if migrations[i].src is None:
            migrations[i].src = src
            dst = new_folio(movable)
            dst.locked = True
            migrations[i].dst = dst
            return i
    out_of_records("migrations")
    return 0


@atomic
def new_folio(movable: bool) -> Folio:
    """alloc_migration_target() (mm/migrate.c, Linux 6.12)."""
    if len(pageblocks) > 0 and not movable:
        return alloc_unmovable_page()
    return alloc_page()


@atomic
def folio_expected_refs(folio: Folio) -> Count:
    """folio_expected_ref_count() (include/linux/mm.h) + 1 (mm/migrate.c, Linux 6.12), of a folio that nothing maps: the cache's, and ours."""
    return 2 if folio.mapping is not None or folio.swapcache else 1


@milestone(quiet=True)
@atomic
def copy_folio(slot: Count) -> Errno:
    """__migrate_folio(), folio_mc_copy() (mm/migrate.c, mm/util.c, Linux 6.12): the new folio has the contents; -EAGAIN: it is mapped still, or
    somebody holds it."""
    src, dst = migrations[slot].src, migrations[slot].dst
    assert src is not None and dst is not None
    if folio_mapped(src) or src.refcount != folio_expected_refs(src):
        return -EAGAIN
    copy_highpage(dst, src)
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
        get_page(dst)
    dst.anon_vma = src.anon_vma
    dst.mapping = mapping
    dst.index = src.index
    if mapping is not None:
        mapping.migrate_folio(src.index, dst)
        src.mapping = None
        put_page(src)
    if len(swap_slots) > 0:
        dst.dirty = src.dirty
        src.dirty = False
        if src.swapcache:
            dst.swapcache = True
            dst.swap = src.swap
            swap_slots[src.swap].cache = dst
            src.swapcache = False
            src.swap = 0
            put_page(src)
    migrations[slot].moved = True
    folio_migrated(src, dst)
    return 0


# The entries.


@milestone(quiet=True)
def try_to_migrate(folio: Folio) -> None:
    """try_to_migrate() (mm/rmap.c, Linux 6.12): every entry of a locked folio becomes a migration entry."""
    rmap_walk_lock(folio)
    vma = rmap_walk_first(folio)
    while vma is not None:
        if not try_to_migrate_one(folio, vma):
            break
        with atomic:
            vma = rmap_walk_next(folio, vma) if folio_mapped(folio) else None
    rmap_walk_unlock(folio)


def try_to_migrate_one(folio: Folio, vma: Vma) -> bool:
    """try_to_migrate_one() (mm/rmap.c, Linux 6.12), in one vma: false ends the walk."""
    with atomic:
        mm = vma.vm_mm
        assert mm is not None
        va = vma_address(vma, folio)
    rng = Range(va, va + 1, Event.CLEAR, True)
    if len(hints) > 0:
        rng = Range(va, va + 1, Event.CLEAR, True, None, hints[0])
    mmu_notifier_invalidate_range_start(mm, rng)
    ret = set_migration_entry(folio, mm, va)
    mmu_notifier_invalidate_range_end(mm, rng)
    return ret


@milestone(quiet=True)
@atomic
def set_migration_entry(folio: Folio, mm: Mm, va: Va) -> bool:
    """The part of try_to_migrate_one() under the page-table lock. False: an anonymous page that may be pinned stays where it is
    (folio_try_share_anon_rmap_pte())."""
    pte = mm.ptes[va]
    if not page_vma_mapped_walk(folio, pte):
        return True
    if folio.anon_vma is not None:
        exclusive = page_anon_exclusive(folio)
        if exclusive and folio.pins > 0:
            return False
        if len(folio.shared) > 0:
            pte.exclusive = exclusive
    if len(swap_slots) > 0:
        if pte.dirty:
            folio.dirty = True
    pte.kind = PteKind.MIGRATION
    put_page(folio)
    return True


@milestone(quiet=True)
def remove_migration_ptes(src: Folio, dst: Folio) -> None:
    """remove_migration_ptes() (mm/migrate.c, Linux 6.12): the migration entries of `src` map `dst`, which may be `src`."""
    rmap_walk_lock(dst)
    vma = rmap_walk_first(dst)
    while vma is not None:
        with atomic:
            remove_migration_pte(src, dst, vma)
            vma = rmap_walk_next(dst, vma)
    rmap_walk_unlock(dst)


@atomic
def remove_migration_pte(src: Folio, dst: Folio, vma: Vma) -> None:
    """remove_migration_pte() (mm/migrate.c, Linux 6.12), in one vma. Nobody is told: nothing was there. A page in device memory has a
    device-private entry."""
    mm = vma.vm_mm
    assert mm is not None
    pte = mm.ptes[vma_address(vma, dst)]
    if is_migration_entry(pte) and pte.frame is src:
        get_page(dst)
        pte.frame = dst
        pte.kind = PteKind.PRESENT
        if len(dst.pgmap) > 0:
            if dst.pgmap[0] is not None:
                pte.kind = PteKind.DEVICE_PRIVATE
        if len(dst.shared) > 0:
            dst.shared[0] = dst.anon_vma is not None and not pte.exclusive
            pte.exclusive = False


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
        wait_until(not folio.locked or not is_migration_entry(mm.ptes[va]))
    return waits
