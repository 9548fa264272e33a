"""Mutants of the right drivers that ship which no adversary notices, and why they break nothing: generated names, reviewed reasons."""

from __future__ import annotations

__all__ = ["HARMLESS"]

_UNDER_ONE_LOCK = "both stand under the lock that whoever reads them takes: nobody sees one without the other"
_STILL_IN_THE_CALLBACK = (
    "the table is cleared before the callback returns, and from the new sequence number on nobody installs what was collected before: "
    "a fault that takes the lock in between finds that it has to start over"
)
_SEEN_LATER = "whoever looked before has the lock until the page is pinned, and it is given back after that"
_ASKED_BY_A_VMM = "for a VMM that unmaps and maps again (devices/vmm.py), which no adversary is: tests/devices/test_vmm_discards.py has it"
_PAST_A_LIMIT = "beyond RLIMIT_MEMLOCK, which no adversary sets: tests/devices/test_vmm_discards.py has it"

HARMLESS: dict[str, dict[str, str]] = {
    "Mirror": {
        "invalidate: swap 1": _UNDER_ONE_LOCK,
        "invalidate: swap 2": _STILL_IN_THE_CALLBACK,
    },
    "Pins": {
        "pin: swap 3": _UNDER_ONE_LOCK,
        "unpin: first out of the lock 1": _SEEN_LATER,
    },
    "VfioType1": {
        "map_dma: swap 3": _UNDER_ONE_LOCK,
        "map_dma: drop 7": _PAST_A_LIMIT,
        "close: first out of the lock 1": _SEEN_LATER,
        "unmap_dma: without the lock 1": _ASKED_BY_A_VMM,
        "unmap_dma: drop 1": _ASKED_BY_A_VMM,
        "unmap: drop 2": _ASKED_BY_A_VMM,
        "unmap: swap 3": "the page is out of the device's table already: whether it is counted a moment longer than it is pinned is all the same",
    },
}
"""By driver and mutant (`driver_mutants`): why it may survive."""
