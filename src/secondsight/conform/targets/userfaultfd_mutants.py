"""Mutants of fs/userfaultfd.c, and of `linux.userfaultfd`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "only who waits alone (WQ_FLAG_EXCLUSIVE) is asked for it, and nobody does": (
            "userfaultfd_wake_function: drop 2; userfaultfd_wake_function: off by one 1"
        ),
        "two statements that do not depend on each other": "userfaultfd_wake_function: swap 3; userfault_msg: swap 2",
        "what a message has beside its page and its reason is not in the model": (
            "userfault_msg: drop 1, 4, 7; userfault_msg: negate 1"
        ),
        "an assertion, or the end of a look at memory that is mapped where it is": (
            "userfaultfd_must_wait: drop 1, 21; userfaultfd_must_wait: swap 1; handle_userfault: drop 2"
        ),
        "every level of the page tables is there, and there is no huge page": (
            "userfaultfd_must_wait: drop 3, 5, 7, 10, 12, 13, 14, 16, 17; userfaultfd_must_wait: swap 6, 7; userfaultfd_must_wait: negate 7"
        ),
        "nobody exits, and nobody faults for the kernel or asks not to wait": (
            "handle_userfault: drop 1, 4, 6, 9; userfaultfd_event_wait_completion: drop 1"
        ),
        "nobody reads it": "userfaultfd_event_wait_completion: drop 2",
        "who does not sleep looks again and again": "userfaultfd_event_wait_completion: drop 7",
        "of fork alone": "userfaultfd_event_wait_completion: drop 10, 11",
        "references are not counted here": "handle_userfault: drop 12",
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = by_name({})
