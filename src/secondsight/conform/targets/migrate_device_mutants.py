"""Mutants of mm/migrate_device.c and of its model that cannot be told from them, each with the reason.

They are of Linux 6.12, and of a sample: of the C every sixth has been tried, and all of the first two functions and of migrate_vma_check_page(); of the model the first half of such a sample. Of
other releases none yet.
"""

from __future__ import annotations

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT = by_name(
    {
        "of huge pages, which are not here": (
            "migrate_vma_collect_pmd: drop 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11; migrate_vma_collect_pmd: swap 2; migrate_vma_collect_pmd: negate 5; "
            "migrate_device_unmap: off by one 12"
        ),
        "a page table that is there stays": "migrate_vma_collect_pmd: drop 13",
        "a hint to a hypervisor": "migrate_vma_collect_pmd: drop 14",
        "two statements that do not depend on each other": "migrate_vma_collect_hole: swap 1, 3; migrate_vma_setup: swap 2",
        "the pages are counted anew when they are unmapped: whether there are any is all that is asked here": "migrate_vma_collect_hole: off by one 3",
        "which entries were written, and when a TLB is flushed, is not compared": (
            "migrate_vma_collect_pmd: drop 53; migrate_vma_collect_pmd: negate 29; migrate_vma_collect_pmd: swap 25; migrate_vma_insert_page: drop 34"
        ),
        "the walk writes to each place of the array": "migrate_vma_setup: drop 3",
        "no page is mapped elsewhere too": "migrate_device_unmap: drop 11",
        "less than none is not none either": "migrate_device_unmap: off by one 6",
        "the array is the driver's, and nobody reads it meanwhile": "migrate_device_unmap: swap 10",
        "somebody holds the page beside, and it is not freed": "migrate_device_unmap: swap 5",
        "nothing fails for want of memory": "migrate_vma_insert_page: drop 4, 10, 22",
        "no userfaultfd is here": "migrate_vma_insert_page: drop 28",
        "a new page is on the list from the start here": "migrate_vma_insert_page: negate 19",
        "no page is of a file, nor in the swap cache": "migrate_vma_check_page: drop 2; migrate_vma_check_page: off by one 3; __migrate_device_pages: swap 7",
        "no page goes to other memory of a device's than private": "__migrate_device_pages: drop 17",
    }
)
EQUIVALENT_MODEL = by_name(
    {
        "what is on a stack begins empty": "migrate_vma_collect_pmd: drop 6",
        "neither uses what the other writes": "migrate_vma_collect_pmd: swap 2",
        "whether there are any is all that is asked": "migrate_vma_collect_pmd: off by one 3",
        "no memory is coherent here, and nothing else is found of a page": "selected: negate 3",
    }
)
