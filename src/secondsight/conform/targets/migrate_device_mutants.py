"""Mutants of mm/migrate_device.c and of its model that cannot be told from them, each with the reason.

They are of Linux 6.12. Of the C those of the first two functions have been tried and a part of the third's; of the rest a few, of the model's
and of other releases none yet.
"""

from __future__ import annotations

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT = by_name(
    {
        "of huge pages, which are not here": "migrate_vma_collect_pmd: drop 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11",
        "a page table that is there stays": "migrate_vma_collect_pmd: drop 13",
        "a hint to a hypervisor": "migrate_vma_collect_pmd: drop 14",
        "the caller's array begins with zeroes": "migrate_vma_collect_hole: drop 2",
        "two statements that do not depend on each other": "migrate_vma_collect_hole: swap 1, 3",
    }
)
EQUIVALENT_MODEL = by_name({})
