"""A device with memory of its own, which pages of the process are taken into and come back from."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import Arg, ArgType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.operations.memory import SPAN
from secondsight.world.tables import RowNumber, address, pages

__all__: list[str] = []


def as_digit(pages: Result) -> Result:
    """A number of pages as results have it: a character; an error as it is."""
    return pages if pages < 0 else 48 + pages


@operation(device=Arg(ArgType.DEVICE), addr=Arg(ArgType.ADDRESS), pages=SPAN, own=False, loads=True, needs=Needs.MODULE, often=Often(into_its_memory=6))
def device_migrate(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device takes pages into its own memory, where no CPU can reach them (migrate_vma_setup); the result is how many have come, `0`
    to `9`.     Private pages move, and places that nobody has touched, if nobody holds them and there is memory. Fails with -EINVAL (not mapped,
    a udmabuf's mapping), -EFAULT (the process has gone), -EOPNOTSUPP by a driver without memory."""
    assert device is not None
    moved = device.migrate(address[i], pages[i])
    return as_digit(moved)


@operation(device=Arg(ArgType.DEVICE), own=False, loads=True, needs=Needs.MODULE, often=Often(into_its_memory=2))
def device_evict(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device gives everything in its memory back (migrate_device_range); the result is how many pages have gone, `0` to `9`. -EOPNOTSUPP by a
    driver without memory."""
    assert device is not None
    moved = device.evict()
    return as_digit(moved)
