"""A device that mirrors the process's memory: its driver's opening and closing, its accesses."""

from __future__ import annotations

from typing import Any

from secondsight.devices.device import Device, accesses_compared, close_device, open_device
from secondsight.lang import Ref, atomic
from secondsight.linux.fault import cpu_read
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import Arg, ArgType, HandleType, Needs, Often, Op
from secondsight.world.declare import before_the_threads, operation
from secondsight.world.tables import CLOSES, DIFFERS, OPENS, Handle, RowNumber, address, handles, makes, value

__all__: list[str] = []

DEVICE = Arg(ArgType.DEVICE)
ADDRESS = Arg(ArgType.ADDRESS)
VALUE = Arg(ArgType.VALUE)


@before_the_threads(makes=HandleType.DEVICE, needs=Needs.MODULE, named=False)
def device(handle: Handle, op: Op, mm: Any, record: Any) -> int:
    """A device that mirrors the process's whole address space (in the setup)."""
    handle.made = True
    return open_device(record, mm)


@before_the_threads(makes=HandleType.DEVICE, needs=Needs.MODULE, named=False)
def closed_device(handle: Handle, op: Op, mm: Any, record: Any) -> int:
    """A device that nobody has opened yet (in the setup); `device.open()` does."""
    record.notifier.mm = mm
    return 0


@operation(device=DEVICE, own=False, turns=OPENS, needs=Needs.MODULE, often=Often())
def device_open(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Somebody opens the device for the process. Fails with what the driver's `open` returns."""
    assert device is not None
    ret = open_device(device, mm)
    if ret != 0:
        return ret
    with atomic:
        handles[makes[i]].made = True
    return 0


@operation(device=DEVICE, addr=ADDRESS, own=False, accesses=True, loads=True, needs=Needs.MODULE, often=Often(by_the_device=3, into_its_memory=3, for_itself=3))
def device_read(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device loads one page's value. Fails with what the driver's `fault` returns."""
    assert device is not None
    return device.read(address[i])


@operation(device=DEVICE, addr=ADDRESS, value=VALUE, own=False, accesses=True, needs=Needs.MODULE, often=Often(by_the_device=2, into_its_memory=2, for_itself=2))
def device_write(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device stores `value` to one page."""
    assert device is not None
    return device.write(address[i], value[i])


# Not drawn: what it says is broken or not, and what drawn scenarios compare are the values that the CPU and the device have read.
@operation(device=DEVICE, addr=ADDRESS, needs=Needs.MODULE, often=Often())
def device_compare(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The CPU reads the page, then the device does: both get the same value, or both fail (rule as-if-cpu). For
    `after()`, when nothing else goes on."""
    assert device is not None
    cpu = cpu_read(mm, address[i])
    found = device.read(address[i])
    accesses_compared(device, address[i], cpu, found)
    return 0 if cpu == found or (cpu < 0 and found < 0) else DIFFERS


@operation(device=DEVICE, own=False, turns=CLOSES, needs=Needs.MODULE, often=Often(by_the_device=1, for_itself=1))
def device_close(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The driver unsubscribes: the device accesses nothing, and no callback runs, once this has returned."""
    assert device is not None
    close_device(device, mm)
    return 0
