"""mm/vmscan.c: a scan of the lists: several folios are taken off at once, then looked at one after the other.

    isolate_lru_folios()            some of a list, in one go: nobody else isolates them until they are back, and each has a reference more
    for each of them:
        folio_check_references()    used since it was looked at last? then it stays (activate, keep: a second chance)
        shrink_folio_list()         as `vmscan` does with one
    move_folios_to_lru()            those that stay go back, all together

Which folios lie where on which list is nobody's to know: a scan takes any, and whether a CPU has used a page lately may be answered either way. So PG_active, PG_referenced and
a CPU's accessed bit are no part of a state, and activate and keep are one. What a scan does is then what one page at a time does, any of them, at any time, which
may be kept too (`vmscan.reclaim_page_at`, the bound `accessed`): a folio that has been isolated and waits for its turn is one that was taken and put back. The law is a test
(tests/linux/test_vmscan_lists.py), and it is why one folio at a time is the rule (the bound `lru_batch`), in so many passes over memory (`lru_scans`).

The multi-generational LRU (evict_folios()) is the same where it matters here. It asks by clear_young, of the pages around one that is young too (lru_gen_look_around()), where the other asks by
clear_flush_young (in 6.1 it asks no device); and it looks once more at what came back clean: a pass more.

Left out: swap that ends later, after which a folio is looked at again: here a write takes one step; the pages of one who is exiting or was taken by the OOM reaper, which are kept;
demotion to another tier of memory.
"""

from __future__ import annotations

from secondsight.lang import Ref, atomic, bound, choose, milestone, shared_array
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Folio, Gather, Pfn
from secondsight.linux.page_alloc import frames
from secondsight.linux.swap import folio_isolate_lru, folio_putback_lru
from secondsight.linux.vmscan import folio_check_references, free_when_flushed, shrink_one
from secondsight.linux.vmscan_direct import is_on_a_list

__all__ = ["lru_scans", "memory_reclaim", "shrink_inactive_list"]

lru_scans = shared_array(bool, bound("lru_scans", most=4))
"""As long as who looks at all memory does it times. Of size 0 where nobody does."""

lru_batch = shared_array(bool, bound("lru_batch", most=4))
"""As long as how many folios a scan takes off a list at once (SWAP_CLUSTER_MAX, MAX_LRU_BATCH); of size 0 it is one."""


def memory_reclaim() -> None:
    """memory_reclaim(), try_to_free_mem_cgroup_pages() (mm/memcontrol.c, mm/vmscan.c, Linux 6.12), of a cgroup in which all processes are, and more bytes than it has: scan after scan, until
    nothing more goes. How much has gone, which the write to `memory.reclaim` tells (0 or -EAGAIN), is left out."""
    for _ in range(len(lru_scans)):
        shrink_lruvec()


def shrink_lruvec() -> None:
    """shrink_lruvec() (mm/vmscan.c, Linux 6.12): all lists of a cgroup once, so many folios at a time."""
    at: Pfn = 0
    while at < len(frames):
        folios: Gather = []
        with atomic:
            while at < len(frames) and len(folios) < max(1, len(lru_batch)):
                folio = isolate_lru_folio(at)
                at += 1
                if folio is not None:
                    folios.append(folio)
        shrink_inactive_list(folios)


@atomic
def isolate_lru_folio(pfn: Pfn) -> Ref[Folio]:
    """A round of isolate_lru_folios() (mm/vmscan.c, Linux 6.12): a folio, if it is on the list that is scanned, and comes up."""
    folio = frames[pfn]
    if not is_on_a_list(folio):
        return None
    comes_up: bool = choose(2) == 1
    if comes_up and folio_isolate_lru(folio):
        return folio
    return None


@milestone
def shrink_inactive_list(folios: Gather) -> None:
    """shrink_inactive_list(), shrink_folio_list(), move_folios_to_lru() (mm/vmscan.c, Linux 6.12), of folios that are isolated. Those that stay go back when all have been
    looked at."""
    kept: Gather = []
    for folio in folios:
        with atomic:
            stays = not folio.locked and folio_check_references(folio)
        if not stays:
            stays, tail = shrink_one(folio)
            if tail is not None:
                kept.append(tail)
        if stays:
            kept.append(folio)
    if len(mms[0].tlb) > 0:
        free_when_flushed()
    with atomic:
        for folio in kept:
            folio_putback_lru(folio)
