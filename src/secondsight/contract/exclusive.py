"""What a device with exclusive access promises: nobody comes between its load and its store."""

from __future__ import annotations

from typing import Literal

from secondsight.devices.exclusive import atomic_begins, atomic_ends
from secondsight.lang import Array, Record, Ref, current, require, rule, shared
from secondsight.linux.device import invalidation_waits
from secondsight.linux.mm_types import Driver, Folio, PteKind, Va
from secondsight.linux.page_alloc import frame_touch

__all__ = ["has_it_alone", "is_atomic", "nobody_stores_meanwhile"]


class InFlight(Record):
    """A ghost. By number of thread: the page that the device is reading, modifying and writing, and whether somebody stored to it."""

    frame: Array[Ref[Folio], Literal[8]]
    disturbed: Array[bool, Literal[8]]


in_flight = shared(InFlight)


@rule("exclusive", on=atomic_begins)
def has_it_alone(device: Driver, va: Va, frame: Folio) -> None:
    """A device reads, modifies and writes a page only where no CPU can reach it: the CPU's entry is device-exclusive.

    Until an invalidation that covers the address has called the driver and the call has returned, the old page is allowed.
    Source: Documentation/mm/hmm.rst (Exclusive access memory).
    """
    mm = device.notifier.mm
    if current() < 8:
        in_flight.frame[current()] = frame
        in_flight.disturbed[current()] = False
    if mm is not None and not invalidation_waits(device, va):
        pte = mm.ptes[va]
        require(
            pte.kind == PteKind.DEVICE_EXCLUSIVE and pte.frame is frame,
            "exclusive",
            "the device reads, modifies and writes a page that it does not have for itself: a CPU can reach it, or it has gone",
        )


@rule("exclusive", on=frame_touch)
def nobody_stores_meanwhile(frame: Folio, write: bool) -> None:
    """Whoever stores to a page that a device is in the middle of reading, modifying and writing is noted."""
    if write:
        for thread in range(1, 8):
            if thread != current() and in_flight.frame[thread] is frame:
                in_flight.disturbed[thread] = True


@rule("exclusive", on=atomic_ends)
def is_atomic(device: Driver, va: Va, frame: Folio) -> None:
    """A device's read-modify-write is atomic with every store of a CPU or another device.

    Broken by a store between its load and its store, which is then lost.
    """
    if current() < 8:
        require(
            not in_flight.disturbed[current()],
            "exclusive",
            "somebody stored to the page between the device's load and its store: that store is lost",
        )
        in_flight.frame[current()] = None
        in_flight.disturbed[current()] = False
