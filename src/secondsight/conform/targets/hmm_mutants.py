"""Mutants of mm/hmm.c, and of `linux.hmm`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "nobody calls it without a required fault": "hmm_vma_fault: drop 1",
        "neither uses what the other writes": "hmm_vma_fault: swap 1; hmm_vma_walk_hole: swap 1, 2",
        "1 has neither HMM_PFN_VALID nor HMM_PFN_WRITE, as 0": (
            "hmm_vma_walk_hole: off by one 1; hmm_vma_handle_pte: off by one 1, 5; hmm_vma_walk_test: off by one 2"
        ),
        "only for a NUMA hint, which is not in the model; 1 has neither HMM_PFN_VALID nor HMM_PFN_WRITE, as 0": (
            "pte_to_hmm_pfn_flags: off by one 1"
        ),
        "only for migration, device-exclusive and poisoned entries, which are not compared": (
            "hmm_vma_handle_pte: drop 11, 12, 13, 14, 15; hmm_vma_handle_pte: swap 3, 4; hmm_vma_handle_pte: negate 9, 10"
        ),
        "only for an entry without a page in a mapping of pages that have one, which is not in the model": (
            "hmm_vma_handle_pte: drop 19, 20; hmm_vma_handle_pte: negate 13; hmm_vma_handle_pte: off by one 8, 9"
        ),
        "only for huge pages and damaged page tables, which are not in the model": (
            "hmm_vma_walk_pmd: drop 2, 3, 4, 5; hmm_vma_walk_pmd: swap 1; hmm_vma_walk_pmd: negate 3, 5, 7, 9; "
            "hmm_vma_walk_pmd: off by one 2, 3, 4, 5"
        ),
        "only where a page table goes while it is walked, which another CPU would have to do": (
            "hmm_vma_walk_pmd: drop 7; hmm_vma_walk_pmd: off by one 1"
        ),
        "pte_unmap() does not look at the address": "hmm_vma_walk_pmd: off by one 8",
        "any positive number skips the vma": "hmm_vma_walk_test: off by one 3",
        "walk_page_range() asserts the same": "hmm_range_fault: drop 1",
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = by_name(
    {
        "a test of the model's own, for an mm that has gone: nobody here calls it then": "hmm_vma_walk: drop 1; hmm_walk: drop 1",
        "neither uses what the other writes": (
            "hmm_range_fault_locked: swap 1; hmm_range_fault_pages: swap 1, 2; hmm_vma_walk: swap 1; hmm_walk: swap 1"
        ),
        "what faults_wanted() returns is 3 at least": "hmm_range_fault_pages: off by one 1",
        "the end, added to 32 times the page, is greater than the page: the division comes to the same": (
            "hmm_range_fault_pages: off by one 2, 3"
        ),
    }
)
