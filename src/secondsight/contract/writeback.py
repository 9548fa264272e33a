"""No lost write: what is dropped from memory, or left behind in another frame, is kept where the next access finds it."""

from __future__ import annotations

from secondsight.lang import Char, require, rule
from secondsight.linux.highmem import second_half
from secondsight.linux.migrate import folio_migrated
from secondsight.linux.mm_types import Folio
from secondsight.linux.swapops import swap_slots
from secondsight.linux.vmscan import folio_dropped

__all__ = ["moved_as_it_is", "saved_before_it_is_dropped"]


@rule("lost-write", on=folio_dropped)
def saved_before_it_is_dropped(folio: Folio, saved: Char) -> None:
    """A page that reclaim drops holds what its swap slot holds, or zeros if it is a file's that has none.

    Broken by a device that has written to a page which its driver did not mark dirty, or marked before the device was done: a clean page
    is dropped without being written, and the next access reads what was there before. Source: the 2011 thread ("remember to
    SetPageDirty before you do put_page"), __remove_mapping() (mm/vmscan.c, Linux 6.12).
    """
    require(folio.contents == saved, "lost-write", "a page is dropped from memory that holds what was never written to swap, or to its file's block")
    if len(folio.second) > 0:
        second = swap_slots[folio.swap].second[0] if folio.swapcache else 0
        require(second_half(folio) == second, "lost-write", "a page is dropped whose second half was never written to swap")


@rule("lost-write", on=folio_migrated)
def moved_as_it_is(src: Folio, dst: Folio) -> None:
    """A folio that takes the place of another one holds what that one holds.

    Broken by a write to the old one after it was copied. Source: the 2011 thread, __migrate_folio() (mm/migrate.c, Linux 6.12).
    """
    require(src.contents == dst.contents, "lost-write", "a page was moved, and what was written to the old frame since is lost")
    require(second_half(src) == second_half(dst), "lost-write", "a page was moved, and what was written to the second half since is lost")
