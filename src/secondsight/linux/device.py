"""Where a device touches memory: the tracepoint, and the accesses that fire it.

The kernel has no file for this: here hardware acts, by the tables its driver keeps. A device does not know whether
what its table says is still true; rules (`contract/`) do.
"""

from __future__ import annotations

from secondsight.lang import Char, Ref, atomic, milestone, tracepoint
from secondsight.linux.fork import mms
from secondsight.linux.highmem import second_half
from secondsight.linux.mm_types import Driver, Folio, IntervalNotifier, Result, Va, secondary_tlbs
from secondsight.linux.mmzone import pageblocks
from secondsight.linux.page_alloc import frame_touch
from secondsight.linux.util import locked_vms

__all__ = [
    "counted_access",
    "device_access",
    "device_read",
    "device_read_half",
    "device_write",
    "device_write_half",
    "invalidation_waits",
    "is_of",
    "movable_access",
]


@tracepoint
def device_access(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """A device is about to read or write `frame`, which its own table has for `va` of the mm it mirrors."""


@tracepoint
def movable_access(device: Driver, frame: Folio) -> None:
    """The same, on a machine that has memory which must stay movable."""


@tracepoint
def counted_access(device: Driver, frame: Folio) -> None:
    """The same, on a machine where locked memory is counted."""


@atomic
def device_touches(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """Tell of an access, before it is made."""
    device_access(device, va, frame, write)
    if len(pageblocks) > 0:
        movable_access(device, frame)
    if len(locked_vms) > 0:
        counted_access(device, frame)
    frame_touch(frame, write)


@milestone
@atomic
def device_read(device: Driver, va: Va, frame: Folio) -> Result:
    """The device reads `frame` as the page at `va`: its contents."""
    device_touches(device, va, frame, False)
    return frame.contents


@milestone
@atomic
def device_write(device: Driver, va: Va, frame: Folio, value: Char) -> None:
    """The device writes `frame` as the page at `va`."""
    device_touches(device, va, frame, True)
    frame.contents = value


@milestone
@atomic
def device_read_half(device: Driver, va: Va, frame: Folio) -> Result:
    """The device reads the second half of `frame` as that of the page at `va`: its contents."""
    device_touches(device, va, frame, False)
    return second_half(frame)


@milestone
@atomic
def device_write_half(device: Driver, va: Va, frame: Folio, value: Char) -> None:
    """The device writes the second half of `frame`."""
    device_touches(device, va, frame, True)
    frame.second[0] = value


@atomic
def invalidation_waits(device: Driver, va: Va) -> bool:
    """For rules: whether an invalidation of `va` is going on that still waits for this driver's `invalidate` to return; or a flush that
    still waits for its `arch_invalidate_secondary_tlbs`.
    """
    mm = device.notifier.mm
    if len(secondary_tlbs) > 0:
        if mm is not None and (device.walks_page_tables() or device.has_secondary_tlbs()):
            return secondary_tlbs[mms.index(mm)].stale[va] > 0
    if va in device.notifier.waiting or mm is None:
        return va in device.notifier.waiting
    return any(is_of(sub, device) and sub is not None and va in sub.waiting for sub in mm.subscriptions.itree)


@atomic
def is_of(sub: Ref[IntervalNotifier], device: Driver) -> bool:
    """For rules: whether a subscription is the driver's, or does not say whose it is."""
    if sub is None:
        return False
    of = sub.driver()
    return of is None or of is device
