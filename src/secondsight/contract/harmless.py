"""Mutants of the right drivers that ship which no adversary notices, and why they break nothing: generated names, reviewed reasons."""

from __future__ import annotations

__all__ = ["HARMLESS"]

_UNDER_ONE_LOCK = "both stand under the lock that whoever reads them takes: nobody sees one without the other"
_STILL_IN_THE_CALLBACK = (
    "the table is cleared before the callback returns, and from the new sequence number on nobody installs what was collected before: "
    "a fault that takes the lock in between finds that it has to start over"
)

HARMLESS: dict[str, dict[str, str]] = {
    "Mirror": {
        "invalidate: swap 1": _UNDER_ONE_LOCK,
        "invalidate: swap 2": _STILL_IN_THE_CALLBACK,
    },
}
"""By driver and mutant (`driver_mutants`): why it may survive."""
