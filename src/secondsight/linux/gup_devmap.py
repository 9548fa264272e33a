"""mm/gup.c: the walk without a lock over one entry that maps several pages of a device's memory (pmd_devmap), as it was until Linux 6.16.

    look      the entry, once
    page      its dev_pagemap, which has to be alive: that of the page before, if it is of that one too; then a reference, and a pin
    border    at a page of another pagemap the reference to the first one's is dropped before the other is looked for
    recheck   is the entry what it was? If it is not, or a pagemap was killed, all that was taken is given back

What was taken keeps no pagemap (`memremap`): only while it looks does the walk hold one, and one at a time. Behind a border it gives pages back whose pagemap it
holds no more: safe where no entry spans two, which sub-sections see to (`sparse`).

From Linux 6.17 on there is no such walk: an entry of device memory holds a reference as any other does. Left out: entries of the level above; memory of PCI devices (P2PDMA).
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, milestone
from secondsight.linux.gup_fast import gup_put_folio, try_grab_folio_fast
from secondsight.linux.huge_memory_devmap import pmd_devmap
from secondsight.linux.memremap import DevPagemap, get_dev_pagemap, put_dev_pagemap
from secondsight.linux.mm_flags import FOLL_LONGTERM, FOLL_WRITE
from secondsight.linux.mm_types import Flags, Gather, Mm, Va, VaEnd

__all__ = ["gup_fast_devmap_leaf", "gup_fast_devmap_pmd_leaf", "gup_fast_undo_dev_pagemap"]


def gup_fast_devmap_pmd_leaf(mm: Mm, va: Va, end: VaEnd, flags: Flags) -> Gather:
    """gup_fast_pmd_leaf(), gup_fast_devmap_pmd_leaf() (mm/gup.c, Linux 6.12): the pages `va` to before `end`, all of them grabbed; or none, and the slow path
    is to try it: of no such entry, for long, or where something has changed meanwhile."""
    folios = pmd_pages(mm, va, end, flags)
    grabbed = gup_fast_devmap_leaf(folios, flags)
    if len(grabbed) > 0:
        same = pmd_maps(mm, va, folios)
        if not same:
            gup_fast_undo_dev_pagemap(grabbed, flags)
            grabbed = []
    return grabbed


@milestone(quiet=True)
@atomic
def pmd_pages(mm: Mm, va: Va, end: VaEnd, flags: Flags) -> Gather:
    """pmd_access_permitted() and pmd_pfn() (arch/x86/include/asm/pgtable.h, Linux 6.12), as gup_fast_pmd_leaf() has them: the pages that the entry maps; none, if they
    may not be taken by it."""
    folios: Gather = []
    if pmd_devmap(mm, va) and flags & FOLL_LONGTERM == 0 and (flags & FOLL_WRITE == 0 or mm.ptes[va].writable):
        for at in range(va, end):
            folio = mm.ptes[at].frame
            assert folio is not None
            folios.append(folio)
    return folios


@milestone(quiet=True)
@atomic
def pmd_maps(mm: Mm, va: Va, folios: Gather) -> bool:
    """The second look of gup_fast_devmap_pmd_leaf() (mm/gup.c, Linux 6.12) at the entry."""
    if not pmd_devmap(mm, va):
        return False
    at: VaEnd = va
    for folio in folios:
        if mm.ptes[at].frame is not folio:
            return False
        at += 1
    return True


def gup_fast_devmap_leaf(folios: Gather, flags: Flags) -> Gather:
    """gup_fast_devmap_leaf() (mm/gup.c, Linux 6.12): each page of what one entry maps is grabbed, while its pagemap is held; or none is."""
    grabbed: Gather = []
    pgmap: Ref[DevPagemap] = None
    for folio in folios:
        pgmap = get_dev_pagemap(folio, pgmap)
        taken = False
        if pgmap is not None:
            taken = try_grab_folio_fast(folio, flags)
        if not taken:
            gup_fast_undo_dev_pagemap(grabbed, flags)
            grabbed = []
            break
        grabbed.append(folio)
    if pgmap is not None:
        put_dev_pagemap(pgmap)
    return grabbed


def gup_fast_undo_dev_pagemap(grabbed: Gather, flags: Flags) -> None:
    """gup_fast_undo_dev_pagemap() (mm/gup.c, Linux 6.12): each page is given back."""
    for folio in grabbed:
        gup_put_folio(folio, flags)
