"""Mutants of mm/mmu_notifier.c, and of `linux.mmu_notifier`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "two statements that do not depend on each other": (
            "mn_itree_inv_start_range: swap 2; __mmu_notifier_register: swap 1, 2, 3, 4, 5, 6; mmu_interval_notifier_remove: "
            "swap 2; mn_hlist_invalidate_range_start: swap 3, 4"
        ),
        "nobody can run between giving a spinlock back, or taking it, and what stands beside it: one CPU": (
            "mn_itree_inv_start_range: swap 4; mn_itree_inv_end: swap 2; mmu_interval_read_begin: swap 3; "
            "__mmu_notifier_register: swap 7, 8; mmu_notifier_unregister: swap 4; mmu_notifier_put: swap 2, 3"
        ),
        "ranges are whole pages: a byte less hits the same": (
            "mn_itree_inv_start_range: off by one 2; mn_itree_inv_next: off by one 1; mn_itree_release: off by one 1"
        ),
        "the model's run ends where the kernel warns": "mn_itree_invalidate: drop 2",
        "it only prints, or checks what the configurations never do wrong": (
            "mn_hlist_invalidate_range_start: drop 5; __mmu_notifier_invalidate_range_end: swap 1; __mmu_notifier_register: "
            "drop 1; mmu_interval_notifier_remove: drop 1; mmu_interval_notifier_remove: swap 1; mmu_notifier_get_locked: drop 1"
        ),
        "the memory is zeroed already, and the stubs have no more to make": "__mmu_notifier_register: drop 3, 5, 6",
        "mm_take_all_locks() never fails here": "__mmu_notifier_register: drop 8, 18; mmu_notifier_get_locked: drop 6, 7",
        "mm_count is never near 0 here": "mmu_notifier_unregister: off by one 1, 2",
        "as many users as there are numbers never come": "find_get_mmu_notifier: drop 4",
        "nobody looks at mm_count meanwhile": "mmu_notifier_free_rcu: swap 1",
        "removing what is not inserted is a broken rule of the model; the C is not asked": (
            "mmu_interval_notifier_remove: drop 6; mmu_interval_notifier_remove: swap 3"
        ),
        "the number that it then waits for to change is never 1": "mmu_interval_notifier_remove: off by one 1",
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = by_name(
    {
        "neither uses what the other writes": (
            "interval_notifier_insert: swap 2, 3, 4, 5; mmu_interval_notifier_remove: swap 3; mn_itree_invalidate: swap 2, 4, 5, 6, 7; "
            "finish_add: swap 1; mn_hlist_invalidate_range_start: swap 1, 2, 8, 9; mn_hlist_invalidate_end: swap 1; "
            "mn_hlist_release: swap 2; mmu_notifier_register_locked: swap 1, 3; mmu_notifier_get_locked: swap 1; hlist_add: swap 1, 2; mmu_notifier_unregister: swap 5"
        ),
        "the model's own, for its rules: what a subscriber has yet to hear, where it may not sleep, whether it is registered": (
            "interval_notifier_insert: drop 8; mn_itree_inv_start_range: drop 5; mn_itree_invalidate: drop 5, 14, 16, 17; "
            "mn_hlist_invalidate_range_start: drop 7, 12; mn_hlist_invalidate_end: drop 6, 11; mn_hlist_release: drop 7, 11; "
            "mn_hlist_release: swap 6; mmu_notifier_register_locked: drop 6, 9; mmu_notifier_unregister: drop 11"
        ),
        "where threads of a real kernel can be held: no step": (
            "mmu_interval_read_retry: negate 1; mn_itree_invalidate: negate 2, 4; mmu_notifier_invalidate_range_end: negate 1, 4; "
            "mmu_notifier_invalidate_range_end: off by one 1, 4"
        ),
        "a rule that a right caller never breaks, and a wrong one leaves the C undefined": (
            "mmu_interval_notifier_remove: drop 6; finish_add: drop 1, 3; hlist_add: drop 1; mmu_notifier_unregister: drop 3; mmu_notifier_register_locked: drop 1; mmu_notifier_get_locked: drop 1"
        ),
        "another value is there before it is used": (
            "mmu_interval_notifier_insert: off by one 1; mn_itree_invalidate: off by one 2; mmu_notifier_unregister: drop 10"
        ),
    }
)
