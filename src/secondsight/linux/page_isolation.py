"""mm/page_isolation.c: a pageblock from which nothing is allocated, so that it can become empty.

    start_isolate_page_range()      nothing new comes
    isolate_folio_to_list(), migrate_pages()   what is there moves to other blocks (`memory_hotplug`, `cma`)
    test_pages_isolated()           is it empty?
    undo_isolate_page_range()

Left out: the per-CPU lists and the LRU's batches, which are drained and switched off meanwhile; what is neither free nor movable (raises
no false alarm: here all that lies in such a block is some process's or file's).
"""

from __future__ import annotations

from secondsight.lang import Errno, Ref, atomic, milestone
from secondsight.linux.errno import EBUSY
from secondsight.linux.migrate import migrate_folio
from secondsight.linux.mm_types import Folio
from secondsight.linux.mmzone import Pageblock, pageblocks
from secondsight.linux.page_alloc import take_isolated_pages
from secondsight.linux.swap import folio_isolate_lru

__all__ = ["migrate_range", "start_isolate_page_range", "test_pages_isolated", "undo_isolate_page_range"]


@milestone
@atomic
def start_isolate_page_range(cma: bool) -> Errno:
    """start_isolate_page_range(), set_migratetype_isolate(), has_unmovable_pages() (mm/page_isolation.c, Linux 6.12): 0, or -EBUSY where
    somebody is about it already, or the block is of CMA and it is not CMA that asks."""
    block = pageblocks[0]
    if block.isolated or block.offline or cma != (len(block.allocated) > 0):
        return -EBUSY
    block.isolated = True
    return 0


def migrate_range(block: Pageblock) -> None:
    """do_migrate_range() (mm/memory_hotplug.c), __alloc_contig_migrate_range() (mm/page_alloc.c, Linux 6.12): each folio of the block moves
    to another, if nobody holds it. Tried once each: a later try does what this one would do later."""
    for k in range(len(block.folios)):
        with atomic:
            folio = block.folios[k]
            isolated = isolate_folio(folio)
        if isolated:
            assert folio is not None
            migrate_folio(folio)


@atomic
def isolate_folio(folio: Ref[Folio]) -> bool:
    """isolate_folio_to_list() (mm/migrate.c, Linux 6.12), of a folio that is not free."""
    if folio is None or folio.refcount == 0:
        return False
    return folio_isolate_lru(folio)


@atomic
def test_pages_isolated(block: Pageblock) -> bool:
    """test_pages_isolated() (mm/page_isolation.c, Linux 6.12): all of it is free. Then nobody but the caller gets it
    (`page_alloc.take_isolated_pages`)."""
    for k in range(len(block.folios)):
        folio = block.folios[k]
        if folio is not None and folio.refcount > 0:
            return False
    take_isolated_pages()
    return True


@atomic
def undo_isolate_page_range() -> None:
    """undo_isolate_page_range() (mm/page_isolation.c, Linux 6.12)."""
    pageblocks[0].isolated = False
