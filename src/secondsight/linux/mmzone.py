"""include/linux/mmzone.h: of what kind the memory is that a frame lies in.

Most frames are of ZONE_NORMAL. A few may be one pageblock whose contents have to stay movable: of ZONE_MOVABLE, that it can be taken
offline, or of CMA (MIGRATE_CMA), that a device can have it in one piece. Pages of processes and files come from there first; what is
kept for as long as user space likes does not belong there (`folio_is_longterm_pinnable`).

The block is on a machine where the bound `pageblocks` is 1, with as many frames as the bound `pageblock_frames` says (`page_alloc.mem_init`).

Left out: nodes (which of two a folio is on: `Folio.nid`); several blocks.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Record, Ref, atomic, bound, shared_array
from secondsight.linux.mm_types import Folio, coherent_memory

__all__ = ["Pageblock", "folio_is_longterm_pinnable", "in_pageblock", "pageblocks"]


bound("pageblock_frames", most=7)
bound("cma", most=1)


class Pageblock(Record):
    """A pageblock, and what get_pageblock_migratetype() says of it: MIGRATE_CMA where the bound `cma` is 1; else it is of ZONE_MOVABLE.
    `isolated`: MIGRATE_ISOLATE: nothing is allocated from it. `offline`: its frames are no memory any more. `allocated`, of CMA: somebody has
    all of it (cma_alloc())."""

    folios: Array[Ref[Folio], Literal["pageblock_frames"]]
    isolated: bool
    offline: bool
    allocated: Array[bool, Literal["cma"]]


pageblocks = shared_array(Pageblock, bound("pageblocks", most=1))


@atomic
def in_pageblock(folio: Ref[Folio]) -> bool:
    """folio_is_zone_movable() or is_migrate_cma_folio() (include/linux/mmzone.h, Linux 6.12)."""
    if len(pageblocks) > 0:
        block = pageblocks[0]
        return any(block.folios[k] is folio for k in range(len(block.folios)))
    return False


@atomic
def folio_is_longterm_pinnable(folio: Folio) -> bool:
    """folio_is_longterm_pinnable() (include/linux/mm.h, Linux 6.12): it is in no block that has to stay movable, and not in device-coherent
    memory."""
    if len(coherent_memory) > 0:
        pgmap = folio.pgmap[0]
        if pgmap is not None and pgmap.coherent[0]:
            return False
    return not in_pageblock(folio)
