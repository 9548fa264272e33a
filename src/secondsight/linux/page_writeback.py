"""mm/page-writeback.c: a page is dirty: what it holds is nowhere else.

A CPU's store says so in the entry that it goes through, and reclaim looks there when it takes the entry away. A device's store does
not: its driver has to say it, of every page that the device may have written, before the reference to it is dropped, or before the
callback that takes it away returns. What nobody has said is dropped without being written (`vmscan`).

A file's page that is written back (`ext4_inode`) is cleaned first, and written then: whoever writes to it from then on makes it dirty again.

    folio lock
    folio_mkclean()             no entry may write it any more, in notifier brackets (`rmap_mkclean`): a CPU faults, a device asks its driver
    not dirty                   who has pinned it is told nothing of all this
    under writeback; unlock
    the block is written
"""

from __future__ import annotations

from secondsight.lang import atomic, require, wait_until
from secondsight.linux.mm_types import Folio, Pfn, writes_back
from secondsight.linux.page_alloc import frames, page_folio
from secondsight.linux.rmap_mkclean import folio_mkclean
from secondsight.linux.swapops import swap_slots

__all__ = ["folio_clear_dirty_for_io", "folio_mark_dirty", "set_page_dirty", "set_page_dirty_lock"]


def folio_mark_dirty(folio: Folio) -> None:
    """folio_mark_dirty() (mm/page-writeback.c, Linux 6.12). No step where nothing is swapped out or written back: then nobody asks.

    Of a page that is free the kernel finds a bad state of it later; it is the broken rule `use-after-free`. A file system may ask more (`AddressSpace.dirty_folio`); of a page
    that has left its file nobody asks (noop_dirty_folio()).
    """
    if len(swap_slots) + len(writes_back) > 0:
        with atomic:
            whole = page_folio(folio)
            require(whole.refcount > 0, "use-after-free", "marks a page dirty that is free")
            set_dirty(whole)


@atomic
def set_dirty(folio: Folio) -> None:
    """What folio_mark_dirty() (mm/page-writeback.c, Linux 6.12) goes on with: the file's own way of it, or the flag alone."""
    if len(writes_back) > 0:
        mapping = folio.mapping
        if mapping is not None:
            mapping.dirty_folio(folio)
            return
    if len(swap_slots) > 0:
        folio.dirty = True


def set_page_dirty(pfn: Pfn) -> None:
    """set_page_dirty() (mm/folio-compat.c, Linux 6.12), of a frame by its number."""
    folio_mark_dirty(frames[pfn])


def set_page_dirty_lock(folio: Folio) -> None:
    """set_page_dirty_lock() (mm/page-writeback.c, Linux 6.12): the same under the folio lock, which may be waited for.

    For pages to which the caller has a reference, and nobody's callback.
    """
    with atomic:
        whole = page_folio(folio)
        wait_until(not whole.locked)
        if len(swap_slots) + len(writes_back) > 0:
            whole.locked = True
            set_dirty(whole)
            whole.locked = False


def folio_clear_dirty_for_io(folio: Folio) -> None:
    """folio_clear_dirty_for_io() (mm/page-writeback.c, Linux 6.12), of a file's dirty folio that is locked: nobody may write it by an entry any more without a fault, and then it is clean.

    What entries say of it is the folio's first: where one said so, or might have, it is dirty once more, and then not.
    """
    cleaned = folio_mkclean(folio)
    with atomic:
        if cleaned:
            set_dirty(folio)
        folio.dirty = False
