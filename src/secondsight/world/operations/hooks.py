"""What a process tells a device's library in its own user space. On the model only."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux.mm_types import Mm, Result
from secondsight.world.declare import operation
from secondsight.world.operations.device import ADDRESS, DEVICE
from secondsight.world.operations.memory import SPAN
from secondsight.world.tables import RowNumber, address, pages

__all__: list[str] = []


@operation(device=DEVICE, addr=ADDRESS, pages=SPAN, model_only=True)
def device_forget(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The hook that an allocator calls before it gives pages back: the device's library forgets them, if it has such a hook. On the model only."""
    assert device is not None
    device.forget(address[i], address[i] + pages[i])
    return 0
