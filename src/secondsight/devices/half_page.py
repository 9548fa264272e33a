"""A device's access to the second half of a page: as `Device.read` and `Device.write`, which use the first."""

from __future__ import annotations

from secondsight.devices.device import DEVICE_FAULT, Device, access_begins, access_failed
from secondsight.lang import Char, atomic, hold_point
from secondsight.linux.device import device_read_half, device_write_half
from secondsight.linux.errno import EBADF
from secondsight.linux.mm_types import Result, Va

__all__ = ["read_half", "write_half"]


def read_half(device: Device, va: Va) -> Result:
    """The device reads the second half of the page at `va`: its contents, or the driver's error."""
    hold_point("accessing")
    with atomic:
        access_begins(device, va, False)
        value = access_half(device, va, False, 0)
    while value == DEVICE_FAULT:
        ret = device.fault(va, False)
        if ret != 0:
            access_failed(device, va, False, ret)
            return ret
        hold_point("accessing")
        value = access_half(device, va, False, 0)
    return value


def write_half(device: Device, va: Va, value: Char) -> Result:
    """The device writes the second half of the page at `va`: 0, or the driver's error."""
    hold_point("accessing")
    with atomic:
        access_begins(device, va, True)
        done = access_half(device, va, True, value)
    while done == DEVICE_FAULT:
        ret = device.fault(va, True)
        if ret != 0:
            access_failed(device, va, True, ret)
            return ret
        hold_point("accessing")
        done = access_half(device, va, True, value)
    return done


@atomic
def access_half(device: Device, va: Va, write: bool, value: Char) -> Result:
    """`Device.access`, of the second half."""
    if device.page_table.disabled:
        return -EBADF
    entry = device.page_table.entries[va]
    frame = entry.frame
    if frame is None or (write and not entry.writable):
        return DEVICE_FAULT
    if write:
        device_write_half(device, va, frame, value)
        return 0
    return device_read_half(device, va, frame)
