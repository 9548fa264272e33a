"""Mutants of mm/memfd.c, and of `linux.memfd`, that cannot be told from it, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from secondsight.conform.target import by_name

__all__ = ["EQUIVALENT", "EQUIVALENT_MODEL"]

EQUIVALENT: Final[Mapping[str, str]] = by_name(
    {
        "the pause after every 4096 pages: no file here has so many, and the lock that it gives up is merged": (
            "memfd_tag_pins: drop 5, 6, 7, 8, 9; memfd_tag_pins: swap 2, 3, 4, 5, 6; memfd_tag_pins: off by one 1, 2, 3; "
            "memfd_wait_for_pins: drop 11, 12, 13, 14, 15, 16; memfd_wait_for_pins: swap 4, 5, 6, 7, 8; memfd_wait_for_pins: "
            "negate 7; memfd_wait_for_pins: off by one 5, 8, 9"
        ),
        "a CPU's list of pages that are to be put on the LRU: there is none": "memfd_tag_pins: drop 1; memfd_tag_pins: swap 1",
        "how long, and for what, it sleeps: there is no time here, and no fatal signal": (
            "memfd_wait_for_pins: drop 5; memfd_wait_for_pins: negate 2; memfd_wait_for_pins: off by one 6"
        ),
        "neither depends on the other": "memfd_wait_for_pins: swap 1, 3; memfd_add_seals: swap 1, 6",
        "a file that is no memfd": "memfd_add_seals: drop 3, 4; memfd_add_seals: swap 2; memfd_check_seals_mmap: off by one 2",
        "F_SEAL_EXEC": "memfd_add_seals: drop 7; memfd_add_seals: off by one 1",
        "what the compiler makes of a variable without a value: here 0": "memfd_add_seals: drop 14",
        "a command that is neither": "memfd_fcntl: drop 5, 6; memfd_fcntl: swap 4",
    }
)

EQUIVALENT_MODEL: Final[Mapping[str, str]] = {}
