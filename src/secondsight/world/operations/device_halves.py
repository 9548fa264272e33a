"""The second half of a page, as a device that mirrors the process's memory uses it."""

from __future__ import annotations

from secondsight.devices.device import Device, accesses_compared
from secondsight.devices.half_page import read_half, write_half
from secondsight.lang import Ref
from secondsight.linux.fault import cpu_read_half
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.scenario.ops import Needs, Often
from secondsight.world.declare import operation
from secondsight.world.operations.device import ADDRESS, DEVICE, VALUE
from secondsight.world.operations.halves import halves
from secondsight.world.tables import DIFFERS, RowNumber, address, value

__all__: list[str] = []


@operation(device=DEVICE, addr=ADDRESS, own=False, accesses=True, loads=True, at_least=halves, needs=Needs.MODULE, often=Often(rarely=4))
def device_read_half(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device loads the value of the second half of one page."""
    assert device is not None
    if len(frames[ZERO_PFN].second) > 0:
        return read_half(device, address[i])
    return 0


@operation(device=DEVICE, addr=ADDRESS, value=VALUE, own=False, accesses=True, at_least=halves, needs=Needs.MODULE, often=Often(rarely=4))
def device_write_half(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device stores `value` to the second half of one page."""
    assert device is not None
    if len(frames[ZERO_PFN].second) > 0:
        return write_half(device, address[i], value[i])
    return 0


@operation(device=DEVICE, addr=ADDRESS, at_least=halves, needs=Needs.MODULE, often=Often())
def device_compare_half(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """As `device_compare`, of the second half of the page."""
    assert device is not None
    if len(frames[ZERO_PFN].second) > 0:
        cpu = cpu_read_half(mm, address[i])
        found = read_half(device, address[i])
        accesses_compared(device, address[i], cpu, found)
        return 0 if cpu == found or (cpu < 0 and found < 0) else DIFFERS
    return 0
