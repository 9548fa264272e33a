"""mm/swap.c, mm/vmscan.c: a folio is on a list of reclaim's, or somebody has taken it off."""

from __future__ import annotations

from secondsight.lang import atomic
from secondsight.linux.mm_types import Folio
from secondsight.linux.page_alloc import get_page, put_page
from secondsight.linux.swapops import swap_slots

__all__ = ["folio_isolate_lru", "folio_mark_dirty", "folio_putback_lru"]


@atomic
def folio_isolate_lru(folio: Folio) -> bool:
    """folio_isolate_lru() (mm/vmscan.c, Linux 6.12): take a folio off its list, with a reference. False: somebody has.

    Left out: batches of new folios that are not on a list yet (lru_add_drain() comes first), unevictable ones.
    """
    if folio.isolated:
        return False
    get_page(folio)
    folio.isolated = True
    return True


@atomic
def folio_putback_lru(folio: Folio) -> None:
    """folio_putback_lru() (mm/vmscan.c, Linux 6.12): back on the list; the reference of the isolation is dropped."""
    folio.isolated = False
    put_page(folio)


def folio_mark_dirty(folio: Folio) -> None:
    """folio_mark_dirty(), set_page_dirty() (mm/page-writeback.c, mm/folio-compat.c, Linux 6.12): what the folio holds is nowhere else.

    For drivers: of every page that the device may have written, before its reference is dropped, or before the callback that
    takes the page away returns. No step where nothing is swapped out.
    """
    if len(swap_slots) > 0:
        folio.dirty = True
