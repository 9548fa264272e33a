"""fork(2)."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.fork import mms
from secondsight.linux.fork_dup import dup_mm
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import HandleType, Often
from secondsight.world.declare import operation
from secondsight.world.tables import RowNumber, forks, handles, makes, other_processes, value

__all__: list[str] = []


# Not drawn beside a device: in a forced run what the agent itself shares with the child would be copied on write too (kernels/encode.py).
@operation(
    makes=HandleType.PROCESS,
    forks=True,
    named=False,
    at_least=lambda args: {"cow": 1},
    asks={"dup_mmap": "fork"},
    often=Often(3, 2, 0),
)
def fork(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """fork(): another process, whose memory is a copy of this one's, and which has the mappings that this one has by then at the same
    addresses. It has no device and none of the threads; its own (`@child.thread`) begin when it is there. It does not come to be (ENOMEM) while a
    device has a page for itself and its driver has that locked; then what it would do reads `exited`."""
    if forks[0] != 0:
        error = dup_mm(mms[value[i]], mm)
        if error != 0:
            return error
        with atomic:
            other_processes[value[i] - 1].exiting = False
            handles[makes[i]].made = True
    return 0
