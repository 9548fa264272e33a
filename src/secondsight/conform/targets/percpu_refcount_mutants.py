"""Mutants of lib/percpu-refcount.c, and of `linux.percpu_refcount`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "memory is there always": "percpu_ref_init: drop 3, 4; percpu_ref_init: swap 1; percpu_ref_init: off by one 3",
        "nobody goes back to each CPU's own counter, or begins anew": (
            "percpu_ref_init: drop 5, 8; __percpu_ref_switch_mode: drop 4"
        ),
        "nobody asks for a count that is dead from the start": "percpu_ref_init: drop 10",
        "the memory is zero already": "percpu_ref_init: drop 14",
        "neither uses what the other writes": (
            "percpu_ref_init: swap 2, 3, 5, 6, 7, 8; __percpu_ref_switch_to_atomic: swap 1, 2"
        ),
        "the switch is over at once, so that nobody waits for it": (
            "percpu_ref_call_confirm_rcu: drop 3; percpu_ref_call_confirm_rcu: swap 2; __percpu_ref_switch_mode: drop 2"
        ),
        "what is printed": (
            "percpu_ref_switch_to_atomic_rcu: drop 2, 4, 5; percpu_ref_switch_to_atomic_rcu: swap 3; "
            "percpu_ref_switch_to_atomic_rcu: off by one 3"
        ),
        "whoever kills and the switch itself hold a reference each: it is never 1": (
            "percpu_ref_switch_to_atomic_rcu: off by one 2"
        ),
        "the counters' bias keeps the count above zero until they are added": "percpu_ref_kill_and_confirm: swap 4",
        "nobody can run between giving the spinlock back and what stands beside it: one CPU": (
            "percpu_ref_kill_and_confirm: swap 5"
        ),
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = by_name(
    {
        "a new record is zero": "percpu_ref_init: drop 2",
    }
)
