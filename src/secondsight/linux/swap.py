"""mm/swap.c, mm/vmscan.c: a folio is on a list of reclaim's, or somebody has taken it off."""

from __future__ import annotations

from secondsight.lang import atomic
from secondsight.linux.mm_types import Folio, coherent_memory
from secondsight.linux.page_alloc import get_page, put_page

__all__ = ["folio_isolate_lru", "folio_putback_lru"]


@atomic
def folio_isolate_lru(folio: Folio) -> bool:
    """folio_isolate_lru() (mm/vmscan.c, Linux 6.12): take a folio off its list, with a reference. False: somebody has.

    Left out: batches of new folios that are not on a list yet (lru_add_drain() comes first), unevictable ones.
    """
    if folio.isolated:
        return False
    if len(coherent_memory) > 0:
        if folio.pgmap[0] is not None:  # on no list
            return False
    get_page(folio)
    folio.isolated = True
    return True


@atomic
def folio_putback_lru(folio: Folio) -> None:
    """folio_putback_lru() (mm/vmscan.c, Linux 6.12): back on the list; the reference of the isolation is dropped."""
    folio.isolated = False
    put_page(folio)
