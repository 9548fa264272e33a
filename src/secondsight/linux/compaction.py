"""mm/compaction.c: pages that can be moved come to the end of their zone, so that what is free lies in one piece.

    isolate_migratepages_block()    pages of a block come off their lists; not those that somebody holds
    migrate_pages()                 each moves to a free page near the zone's end (`migrate`), on the same node
    until the two scanners meet

Where a page lies in its zone, and so whether it moves, is nobody's to know: each may. As with a scan of the lists (`vmscan_lists`) what is done to several at a time is done
to one at a time, any of them: a page that has been isolated and is put back is one that did not move.

Here user space asks (/proc/sys/vm/compact_memory), which waits for locks and writes (MIGRATE_SYNC). Who allocates, and kcompactd, try without waiting first (MIGRATE_ASYNC), and
move fewer: locked folios and such as are being written stay. That is what `migrate.migrate_misplaced_folio` does.

Left out: huge pages, which stay (their order is that of a pageblock); blocks that have to stay movable (a scenario has those or this); pages of drivers that move (zsmalloc, balloons).
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, choose, milestone
from secondsight.linux.migrate import migrate_folio
from secondsight.linux.mm_types import Folio, Pfn, huge_pages
from secondsight.linux.page_alloc import frames
from secondsight.linux.pgtable import folio_mapcount
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.vmscan_direct import is_on_a_list
from secondsight.linux.vmscan_lists import lru_scans

__all__ = ["compact_nodes"]


@milestone
def compact_nodes() -> None:
    """sysctl_compaction_handler(), compact_nodes(), compact_node(), compact_zone() (mm/compaction.c, Linux 6.12): all of memory, a folio after the other. Each may move more than once: what has come to where the
    scanner is still to look is found again."""
    for _ in range(len(lru_scans)):
        at: Pfn = 0
        while at < len(frames):
            folio: Ref[Folio] = None
            with atomic:
                while at < len(frames) and folio is None:
                    folio = isolate_migratepages(at)
                    at += 1
            if folio is not None:
                migrate_folio(folio, False)


@atomic
def isolate_migratepages(pfn: Pfn) -> Ref[Folio]:
    """A round of isolate_migratepages_block() (mm/compaction.c, Linux 6.12): a folio, if it is on a list, and nobody but entries and a cache has a reference, and the scanner comes to it."""
    folio = frames[pfn]
    if not is_on_a_list(folio):
        return None
    if len(huge_pages) > 0:
        if folio.tail[0] is not None:
            return None
    if folio.mapping is None and not folio.swapcache and folio.refcount > folio_mapcount(folio):
        return None
    comes_up: bool = choose(2) == 1
    if comes_up and folio_isolate_lru(folio):
        return folio
    return None
