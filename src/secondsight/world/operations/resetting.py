"""A device that is reset while it is in use."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import Needs, Often
from secondsight.world.declare import operation
from secondsight.world.operations.device import DEVICE
from secondsight.world.tables import RowNumber

__all__: list[str] = []


@operation(device=DEVICE, needs=Needs.MODULE, often=Often(rarely=6))
def device_reset(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device is reset, and goes on; what its engines do meanwhile fails. -EOPNOTSUPP by a driver without `reset`."""
    assert device is not None
    return device.reset()
