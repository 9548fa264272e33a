"""Mutants of mm/rmap.c that cannot be told from it, with the reason: of those that were tried, which are a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "of an anon_vma that goes while its lock is waited for: the only one here stays": "folio_lock_anon_vma_read: swap 15",
        "what a locked folio is of does not change": "folio_lock_anon_vma_read: drop 8",
        "accounting: which pages are locked, how many each process has, which have pages in swap": "try_to_unmap_one: drop 77; try_to_unmap_one: swap 4, 30",
        "an entry is read in the same way": "try_to_unmap_one: negate 8",
        "nothing comes between the two looks whether the folio is mapped: the second finds what the first found": "folio_lock_anon_vma_read: drop 18",
        "of huge pages, and hugetlb": "try_to_unmap_one: drop 12, 25; try_to_unmap_one: swap 17; try_to_migrate_one: drop 10, 23",
        "of userfaultfd": "try_to_unmap_one: drop 38",
        "folios of one page: the address is the same": "page_vma_mkclean_one: drop 3",
        "caches of this architecture that need no flush": "page_vma_mkclean_one: drop 5; page_vma_mkclean_one: swap 3",
        "an entry is made read-only and clean in either order": "page_vma_mkclean_one: swap 5",
        "of huge pages, in mkclean": "page_vma_mkclean_one: drop 13, 15, 17, 19; page_vma_mkclean_one: swap 11",
        "one CPU": "try_to_unmap_one: drop 51",
    }
)
