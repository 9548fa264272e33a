"""Mutants of mm/rmap.c that cannot be told from it, with the reason: of those that were tried, which are a part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "of an anon_vma that goes while its lock is waited for: the only one here stays": "folio_lock_anon_vma_read: swap 15",
        "nothing comes between the two looks whether the folio is mapped: the second finds what the first found": "folio_lock_anon_vma_read: drop 18",
        "of huge pages, and hugetlb": "try_to_unmap_one: drop 12, 25",
        "of userfaultfd": "try_to_unmap_one: drop 38",
        "one CPU": "try_to_unmap_one: drop 51",
    }
)
