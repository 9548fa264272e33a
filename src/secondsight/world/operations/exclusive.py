"""A device that takes a page for itself for a while: make_device_exclusive()."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.mmu_notifier import owners
from secondsight.linux.rmap_exclusive import made_exclusive, unlock_and_put
from secondsight.scenario.ops import Arg, ArgType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.tables import RowNumber, address, value

__all__: list[str] = []


@operation(
    device=Arg(ArgType.DEVICE),
    addr=Arg(ArgType.ADDRESS),
    value=Arg(ArgType.VALUE),
    own=False,
    accesses=True,
    loads=True,
    needs=Needs.MODULE,
    often=Often(for_itself=6),
)
def device_exclusive(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device exchanges the page's value while no CPU can reach it (make_device_exclusive); the result is the old
    value. -EOPNOTSUPP by a driver that has no such access, and on a kernel without CONFIG_DEVICE_PRIVATE."""
    assert device is not None
    return device.exchange(address[i], value[i])


@operation(addr=Arg(ArgType.ADDRESS), own=False, needs=Needs.MODULE, at_least=lambda args: {"owners": 1}, often=Often(for_itself=2))
def make_device_exclusive(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Some other device takes the page for itself, and is done with it: the next access gives it back to the CPU. Fails with -EFAULT
    (not mapped, or not for writing), -EBUSY (in use, or no private memory)."""
    if len(owners) > 0:
        mm.mmap_lock.read_lock()
        pfn = made_exclusive(mm, address[i], None)
        mm.mmap_lock.read_unlock()
        if pfn < 0:
            return pfn
        unlock_and_put(pfn)
    return 0
