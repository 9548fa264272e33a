"""mm/memory.c: faults at pages of which NUMA balancing wants to know who uses them (`mempolicy`).

    do_numa_page()      the entry is as the mapping says again; or the page moves to the node of whoever came, in the middle of the fault

So a fault may call subscribers, with the mmap lock held for reading, and wait for their locks.

Left out: why a page moves or not (numa_migrate_check(): either may be); GUP without FOLL_HONOR_NUMA_FAULT, which takes a page by such an entry (here it faults first:
raises no false alarm).
"""

from __future__ import annotations

from secondsight.lang import atomic, choose, milestone
from secondsight.linux.memory_wp import can_change_pte_writable
from secondsight.linux.migrate import migrate_misplaced_folio
from secondsight.linux.mm_types import Flags, Mm, Va
from secondsight.linux.page_alloc import page_folio
from secondsight.linux.pgtable import pte_page
from secondsight.linux.swap import folio_isolate_lru

__all__ = ["do_numa_page"]


@milestone
def do_numa_page(mm: Mm, va: Va) -> Flags:
    """do_numa_page() (mm/memory.c, Linux 6.12): 0, the access is tried again. migrate_misplaced_folio_prepare() (mm/migrate.c) is in it: the folio is isolated.

    After a move that failed the entry is as the mapping says, for the page's entries have gone and come back.
    """
    with atomic:
        page = pte_page(mm.ptes[va])
        moves = False
        if page is not None and mm.ptes[va].prot_none[0]:
            if choose(2) == 1:
                moves = folio_isolate_lru(page_folio(page))
            if not moves:
                numa_rebuild_single_mapping(mm, va)
    if moves:
        assert page is not None
        ret = migrate_misplaced_folio(page_folio(page))
        if ret != 0:
            with atomic:
                if pte_page(mm.ptes[va]) is page and mm.ptes[va].prot_none[0]:
                    numa_rebuild_single_mapping(mm, va)
    return 0


@atomic
def numa_rebuild_single_mapping(mm: Mm, va: Va) -> None:
    """numa_rebuild_single_mapping() (mm/memory.c, Linux 6.12): the entry is as the mapping says."""
    vma = mm.mm_mt[va]
    assert vma is not None
    mm.ptes[va].prot_none[0] = False
    mm.ptes[va].writable = vma.write and can_change_pte_writable(vma, va)
