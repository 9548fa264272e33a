"""mm/cma.c, and alloc_contig_range() of mm/page_alloc.c: a device has a block of memory in one piece, whose pages were others' meanwhile.

Left out: areas of several blocks, of which it tries one after the other.
"""

from __future__ import annotations

from secondsight.lang import Errno, atomic, milestone, require
from secondsight.linux.errno import EBUSY
from secondsight.linux.mmzone import pageblocks
from secondsight.linux.page_alloc import put_page
from secondsight.linux.page_isolation import migrate_range, start_isolate_page_range, test_pages_isolated, undo_isolate_page_range

__all__ = ["alloc_contig_range", "cma_alloc", "cma_release"]


@milestone
def cma_alloc() -> Errno:
    """cma_alloc() (mm/cma.c, Linux 6.12), of all of the area: 0, or why there is none (the kernel's returns NULL then)."""
    return alloc_contig_range()


def alloc_contig_range() -> Errno:
    """alloc_contig_range(MIGRATE_CMA) (mm/page_alloc.c, Linux 6.12): the block, emptied by migration; -EBUSY if it cannot be. A folio
    that does not move is tried five times; one that is held meanwhile is held every time."""
    block = pageblocks[0]
    if block.allocated[0]:
        return -EBUSY
    ret = start_isolate_page_range(True)
    if ret != 0:
        return ret
    migrate_range(block)
    with atomic:
        block.allocated[0] = test_pages_isolated(block)
        if block.allocated[0]:
            for k in range(len(block.folios)):
                folio = block.folios[k]
                if folio is not None:
                    folio.refcount = 1
        undo_isolate_page_range()
        return 0 if block.allocated[0] else -EBUSY


@atomic
def cma_release() -> None:
    """cma_release(), free_contig_range() (mm/cma.c, mm/page_alloc.c, Linux 6.12): the block is for everybody again."""
    block = pageblocks[0]
    require(block.allocated[0], "bad-page", "gives back a block that nobody has")
    block.allocated[0] = False
    for k in range(len(block.folios)):
        folio = block.folios[k]
        if folio is not None:
            put_page(folio)
