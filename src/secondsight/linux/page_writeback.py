"""mm/page-writeback.c: a page is dirty: what it holds is nowhere else.

A CPU's store says so in the entry that it goes through, and reclaim looks there when it takes the entry away. A device's store does
not: its driver has to say it, of every page that the device may have written, before the reference to it is dropped, or before the
callback that takes it away returns. What nobody has said is dropped without being written (`vmscan`).
"""

from __future__ import annotations

from secondsight.lang import atomic, require, wait_until
from secondsight.linux.mm_types import Folio, Pfn
from secondsight.linux.page_alloc import frames, page_folio
from secondsight.linux.swapops import swap_slots

__all__ = ["folio_mark_dirty", "set_page_dirty", "set_page_dirty_lock"]


def folio_mark_dirty(folio: Folio) -> None:
    """folio_mark_dirty() (mm/page-writeback.c, Linux 6.12). No step where nothing is swapped out: then nobody asks.

    Of a page that is free the kernel finds a bad state of it later; it is the broken rule `use-after-free`. Left out: files, whose pages nothing
    here writes back.
    """
    if len(swap_slots) > 0:
        with atomic:
            whole = page_folio(folio)
            require(whole.refcount > 0, "use-after-free", "marks a page dirty that is free")
            whole.dirty = True


def set_page_dirty(pfn: Pfn) -> None:
    """set_page_dirty() (mm/folio-compat.c, Linux 6.12), of a frame by its number."""
    folio_mark_dirty(frames[pfn])


def set_page_dirty_lock(folio: Folio) -> None:
    """set_page_dirty_lock() (mm/page-writeback.c, Linux 6.12): the same under the folio lock, which may be waited for.

    For pages to which the caller has a reference, and nobody's callback.
    """
    with atomic:
        wait_until(not page_folio(folio).locked)
        if len(swap_slots) > 0:
            page_folio(folio).dirty = True
