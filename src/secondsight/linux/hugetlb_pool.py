"""mm/hugetlb.c: the pool of huge pages of files, and what is reserved of it.

    mmap() of a file            a page that nobody has reserved yet is reserved, for the file: -ENOMEM where the pool has no more. Not with MAP_NORESERVE
    a fault that fills a hole   takes a page from the pool: one that is reserved for that place, or one that is nobody's; else SIGBUS
    a hole is punched           a page that was there goes back to the pool when its last user has gone, and nothing is reserved for its place any more;
                                what is reserved and was never touched stays reserved

So a place that is mapped may have nothing reserved, after a hole: then another file can take what it had, and who touches it gets SIGBUS. Unmapping gives
nothing back: a shared mapping's reservation is the file's.

The pool is limited where a scenario says so (the bound `hugetlb_pool`); else there are always pages.

What private mappings reserve is their own (`hugetlb_resv`).

Left out: surplus pages (nr_overcommit_hugepages); subpools; control groups; the end of a
file, which gives its reservations back (refused: `world.encoder`); memfd_pin_folios(), which takes what others have reserved (refused too); who still has a
page for a moment while a hole takes it: on 7.2 another file's mmap() was seen to fail with -ENOMEM then (may hide).
"""

from __future__ import annotations

from typing import Annotated

from secondsight.lang import Bounds, Record, atomic, bound, shared_array
from secondsight.linux.mm_types import Count

__all__ = ["Hstate", "available_huge_pages", "hstates", "hugetlb_acct_memory", "set_max_huge_pages"]


class Hstate(Record):
    """struct hstate: how many pages the pool has, how many of them are free, and of those how many are reserved: less than none for a while, where a private mapping
    has gone and somebody still has its page (`hugetlb_resv`)."""

    nr_huge_pages: Count
    free_huge_pages: Count
    resv_huge_pages: Annotated[int, Bounds(-15, 15)]


hstates = shared_array(Hstate, bound("hugetlb_pool", most=1))


@atomic
def set_max_huge_pages(count: Count) -> None:
    """set_max_huge_pages() (mm/hugetlb.c, Linux 6.12), before any page is used: the pool has so many."""
    hstates[0].nr_huge_pages = count
    hstates[0].free_huge_pages = count


@atomic
def available_huge_pages() -> Count:
    """available_huge_pages() (mm/hugetlb.c, Linux 6.12): those that are free and not reserved."""
    return hstates[0].free_huge_pages - hstates[0].resv_huge_pages


@atomic
def hugetlb_acct_memory(count: Count) -> bool:
    """hugetlb_acct_memory(), gather_surplus_pages() (mm/hugetlb.c, Linux 6.12): reserve so many pages. False: there are not as many that are not reserved, or not as
    many at all."""
    if count > available_huge_pages() or count > hstates[0].free_huge_pages:
        return False
    hstates[0].resv_huge_pages += count
    return True
