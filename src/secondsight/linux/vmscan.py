"""mm/vmscan.c: reclaim of one folio, of anonymous memory, of a memfd or of a file on a disk.

    isolate the folio; trylock
    add_to_swap()               a slot, the swap cache; the folio is dirty
    try_to_unmap()              its entries become swap entries, in notifier brackets (MMU_NOTIFY_CLEAR)
    dirty?                      pageout(): not dirty any more; unlock; written to the slot; trylock
    __remove_mapping()          only if nobody else holds a reference, and it is still not dirty
    the folio is free

At each question that goes the other way it stays: unlocked, perhaps unmapped, in the swap cache, where the next fault finds it.
*What is not dirty is dropped without being written*: whoever has written to a page otherwise than through the CPU's entries, and
does not mark it (`folio_mark_dirty`), loses what was written.

A memfd's folio gets its slot when nothing maps it any more, in pageout(): from then on the file says where it is (`shmem`). It is unmapped also where it stays,
because somebody holds it or has pinned it. One that is not dirty was never written: it is dropped, and the file has a hole.

The folio of a file that is written back (`ext4_inode`) is unmapped, and dropped if it is clean: reclaim does not write it, where it is dirty it stays. What the file system keeps of one that
is not pinned goes first, its buffers, even if it stays then because somebody holds a reference.

A huge page goes as a whole, to two slots side by side; the one entry that maps it becomes two, and both are unmapped in one bracket. One that is mapped
in part alone is split first (`huge_memory_split`).

Here it is asked for by address (MADV_PAGEOUT, or kswapd); a scan of the lists, which finds pages by itself, is in `vmscan_lists`, allocations that reclaim are in `vmscan_direct`.

Left out: a page that is still being written when reclaim looks again.
"""

from __future__ import annotations

from secondsight.lang import Char, Ref, atomic, bound, choose, milestone, shared_array, tracepoint
from secondsight.linux.filemap import folio_unlock
from secondsight.linux.fork import mms
from secondsight.linux.highmem import slot_store
from secondsight.linux.huge_memory_split import can_split_folio, split_folio_to_list
from secondsight.linux.mm_types import Folio, Gather, Mm, Nid, Va, huge_pages, shmem_swap, writes_back
from secondsight.linux.mmu_notifier_young import folio_referenced, young_callbacks
from secondsight.linux.page_alloc import folio_nr_pages, folio_order, folio_page, frames, page_folio, put_page
from secondsight.linux.pgtable import folio_mapped, vm_normal_folio
from secondsight.linux.rmap import folio_remove_file_rmap, try_to_unmap, try_to_unmap_flush, try_to_unmap_flush_dirty
from secondsight.linux.swap import folio_isolate_lru, folio_putback_lru
from secondsight.linux.swap_state import add_to_swap, delete_from_swap_cache
from secondsight.linux.swapops import swap_slots

__all__ = ["folio_check_references", "folio_dropped", "free_when_flushed", "is_written_back", "reclaim_folio", "reclaim_page_at", "reclaim_pages", "remove_mapping", "shrink_one"]

accessed = shared_array(bool, bound("accessed", most=1))
"""Of size 1 where a CPU may have used a page lately, or not; else none has."""


@tracepoint
def folio_dropped(folio: Folio, saved: Char) -> None:
    """A folio is dropped: what it holds is what its slot holds, `saved`, or lost. Of a file's that has none it is what its block holds, or 0: zeros will be there."""


def reclaim_page_at(mm: Mm, va: Va) -> None:
    """shrink_inactive_list() (mm/vmscan.c, Linux 6.12), as kswapd does it, of a list with one folio: that which is at `va`.

    Nobody is a user of the mm, and no mmap lock is held: the folio was found on a list. It stays there if it was used lately.
    """
    with atomic:
        page = vm_normal_folio(mm.ptes[va])
        folio = None if page is None else page_folio(page)
        isolated = False
        if folio is not None:
            isolated = folio_isolate_lru(folio)
    if isolated:
        assert folio is not None
        if len(young_callbacks.any) + len(accessed) > 0:
            with atomic:
                referenced = not folio.locked and folio_check_references(folio)
            if referenced:
                folio_putback_lru(folio)
                return
        reclaim_folio(folio)


@atomic
def folio_check_references(folio: Folio) -> bool:
    """folio_check_references() (mm/vmscan.c, Linux 6.12): whether a folio that could be reclaimed stays this time (activate, keep): a device has used it lately, which is asked where a subscriber can say so,
    or a CPU has (`accessed`). Left out: that one which is not written may go where it was used only long ago (FOLIOREF_RECLAIM_CLEAN: of files, MADV_FREE's pages among them, which
    are not written anyway); that who has the rmap's lock makes it stay."""
    referenced = False
    if len(young_callbacks.any) > 0:
        for i in range(len(mms)):
            for va in range(len(mms[i].ptes)):
                if folio_referenced(folio, mms[i], va):
                    referenced = True
    if len(accessed) > 0:
        if choose(2) == 1:
            referenced = True
    return referenced


@milestone
def reclaim_folio(folio: Folio) -> None:
    """reclaim_folio_list(), shrink_folio_list() (mm/vmscan.c, Linux 6.12), of one isolated folio, however recently it was used: freed, or back
    on its list."""
    stays, tail = shrink_one(folio)
    if len(mms[0].tlb) > 0:
        free_when_flushed()
    if tail is not None:
        folio_putback_lru(tail)
    if stays:
        folio_putback_lru(folio)


@milestone
def reclaim_pages(folios: Gather) -> None:
    """reclaim_pages(), reclaim_folio_list() (mm/vmscan.c, Linux 6.12), of isolated folios, however recently they were used. Those that stay go back when all have been looked at, one after
    another: until then each is isolated, and has a reference more. Where nodes are told apart, neighbours of one node are a list."""
    kept: Gather = []
    node: Nid = 0
    for folio in folios:
        if len(folio.nid) > 0:
            with atomic:
                ends = folio.nid[0] != node
                node = folio.nid[0]
            if ends:
                if len(mms[0].tlb) > 0:
                    free_when_flushed()
                for back in kept:
                    folio_putback_lru(back)
                kept = []
        stays, tail = shrink_one(folio)
        if tail is not None:
            kept.append(tail)
        if stays:
            kept.append(folio)
    if len(mms[0].tlb) > 0:
        free_when_flushed()
    for back in kept:
        folio_putback_lru(back)


@atomic
def free_when_flushed() -> None:
    """The last lines of shrink_folio_list() (mm/vmscan.c, Linux 6.12): TLBs are flushed, and then what nobody holds any more is free (free_folios)."""
    try_to_unmap_flush()
    for folio in frames:
        if folio.unflushed[0]:
            folio.unflushed[0] = False
            folio.isolated = False
            put_page(folio)


@atomic
def free_it(folio: Folio) -> None:
    """`free_it` of shrink_folio_list() (mm/vmscan.c, Linux 6.12): nobody finds the folio any more. It is freed with all of the list, where CPUs may have it in their TLBs; else at once."""
    if len(folio.unflushed) > 0:
        folio.unflushed[0] = True
    else:
        folio.isolated = False
        put_page(folio)


def shrink_one(folio: Folio) -> tuple[bool, Ref[Folio]]:
    """A round of shrink_folio_list() (mm/vmscan.c, Linux 6.12) of an isolated folio, of one page or two: true if it stays. Where it was split, its second page, if that stays."""
    if len(huge_pages) > 0:
        return shrink_large_folio(folio)
    return not shrink_folio(folio), None


def shrink_large_folio(folio: Folio) -> tuple[bool, Ref[Folio]]:
    """shrink_folio_list() (mm/vmscan.c, Linux 6.12) of an isolated folio that may have two pages: true if it stays. One that is mapped in part is split first, and stays where that fails; its
    second page is a folio of its own then, the next on the list: returned if it stays."""
    with atomic:
        tail = folio.tail[0]
        may_split = tail is not None and lock_to_split(folio)
    if not may_split:
        return not shrink_folio(folio), None
    split = split_folio_to_list(folio) == 0
    folio_unlock(folio)
    if not split:
        return True, None
    stays = not shrink_folio(folio)
    assert tail is not None
    if shrink_folio(tail):
        return stays, None
    return stays, tail


@atomic
def lock_to_split(folio: Folio) -> bool:
    """The lines of shrink_folio_list() (mm/vmscan.c, Linux 6.12) about a folio of two pages: whether it is to be split first, as it is when it is
    mapped in part. It is locked then."""
    if not folio.partially_mapped[0] or folio.locked or folio.writeback or folio.swapcache or folio.pins > 0 or not can_split_folio(folio):
        return False
    folio.locked = True
    return True


def shrink_folio(folio: Folio) -> bool:
    """shrink_folio_list() (mm/vmscan.c, Linux 6.12), of one isolated folio: true if it has been freed."""
    if not lock_and_add_to_swap(folio):
        return False
    if is_mapped(folio):
        try_to_unmap(folio)
    with atomic:
        kept = folio_mapped(folio) or folio.pins > 0
        writes = False
        if len(folio.lazyfree) > 0:
            if folio.lazyfree[0]:  # folio_is_file_lru(): it is not written
                kept = kept or folio.dirty
        if not kept and folio.dirty:
            # pageout(), is_page_cache_freeable(): only if nobody else holds it
            writes = folio.refcount == 1 + folio_nr_pages(folio)
            kept = not writes
        if len(writes_back) > 0:
            if is_written_back(folio):
                kept = kept or folio.dirty
                writes = False
                if not kept:
                    release_folio(folio)
        if writes:
            if len(mms[0].tlb) > 0:
                try_to_unmap_flush_dirty()
            if len(shmem_swap) > 0:
                mapping = folio.mapping
                if mapping is not None:
                    mapping.writepage(folio)
            folio.dirty = False
            folio.writeback = True
        if kept or writes:
            folio.locked = False
    if kept:
        return False
    if writes:
        swap_writepage(folio)
        with atomic:
            kept = folio.locked or folio.dirty
            if not kept:
                folio.locked = True
        if kept:
            return False
    return remove_mapping(folio)


@atomic
def lock_and_add_to_swap(folio: Folio) -> bool:
    """The part of shrink_folio_list() (mm/vmscan.c, Linux 6.12) before anything is unmapped: true if the folio is locked, and has a slot.

    Not where somebody has it locked, or where it may be pinned. A file's gets none yet; one that has left its file stays.
    """
    if folio.locked or folio.writeback:
        return False
    if folio.anon_vma is None:
        if len(shmem_swap) > 0:
            folio.locked = folio.mapping is not None or folio.swapcache
        if len(writes_back) > 0:
            folio.locked = folio.locked or is_written_back(folio)
        return folio.locked
    if len(folio.lazyfree) > 0:
        if folio.lazyfree[0]:
            folio.locked = True
            return True
    if not folio.swapcache:
        if folio.pins > 0:
            return False
        if len(huge_pages) > 0:
            if folio_order(folio) > 0 and not can_split_folio(folio):
                return False
        add_to_swap(folio)
    folio.locked = True
    return True


@atomic
def is_written_back(folio: Folio) -> bool:
    """mapping_can_writeback() (include/linux/backing-dev.h, Linux 6.12) of a folio's file, if it has one still."""
    mapping = folio.mapping
    return mapping is not None and mapping.can_writeback()


@atomic
def release_folio(folio: Folio) -> None:
    """filemap_release_folio() (mm/filemap.c, Linux 6.12), of a locked folio that is clean, and that nobody has pinned."""
    mapping = folio.mapping
    if mapping is not None:
        mapping.release_folio(folio)


@atomic
def is_mapped(folio: Folio) -> bool:
    """folio_mapped() as shrink_folio_list() asks, in a step."""
    return folio_mapped(folio)


@milestone(quiet=True)
@atomic
def swap_writepage(folio: Folio) -> None:
    """swap_writepage(), __swap_writepage() (mm/page_io.c, Linux 6.12), and its end: the slot holds what the folio holds.

    The folio is not locked any more. A slot that no entry stands for is not written: the folio leaves the swap cache.
    """
    for i in range(folio_nr_pages(folio)):
        slot_store(swap_slots[folio.swap + i], folio_page(folio, i))
    folio.writeback = False


@milestone
@atomic
def remove_mapping(folio: Folio) -> bool:
    """__remove_mapping() (mm/vmscan.c, Linux 6.12), of a locked folio: it leaves the swap cache and is freed, unless somebody else
    holds a reference, or it is dirty. One that is lazily freed (MADV_FREE) has no place in the swap cache: it is freed if nobody else holds it."""
    npages = folio_nr_pages(folio)
    if len(folio.lazyfree) > 0:
        if folio.lazyfree[0]:
            folio.locked = False
            if folio.refcount != 1:
                return False
            free_it(folio)
            return True
    if len(shmem_swap) + len(writes_back) > 0:
        if folio.mapping is not None:
            return remove_from_file(folio)
    if folio.refcount != 1 + npages or folio.dirty:
        folio.locked = False
        return False
    for i in range(npages):
        folio_dropped(folio_page(folio, i), swap_slots[folio.swap + i].contents)
    delete_from_swap_cache(folio)
    folio.locked = False
    for _ in range(npages):
        put_page(folio)
    free_it(folio)
    return True


@atomic
def remove_from_file(folio: Folio) -> bool:
    """__remove_mapping() (mm/vmscan.c, Linux 6.12), of a file's folio of one page that is in no swap cache."""
    mapping = folio.mapping
    assert mapping is not None
    folio.locked = False
    if folio.refcount != 2 or folio.dirty:
        return False
    folio_dropped(folio, mapping.saved(folio.index))
    mapping.remove_folio(folio.index)
    folio_remove_file_rmap(folio)
    put_page(folio)
    free_it(folio)
    return True
