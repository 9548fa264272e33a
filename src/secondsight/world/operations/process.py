"""The process's end, and the OOM reaper's."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic, wait_until
from secondsight.linux.exit import exit_mm
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.world.declare import operation
from secondsight.world.tables import NOT_RUN, RowNumber
from secondsight.world.tables import process as current_process

__all__: list[str] = []


@operation(named=False, asks={"exit_mm": "exit"})
def exit_(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """End the process and all its threads. Results that are missing then read `exited`."""
    # do_group_exit(): the threads of the process end at their next operation, then the address space goes. One that calls
    # it when another has done so just ends. The operation does not return.
    with atomic:
        first = not current_process.exiting
        current_process.exiting = True
    if first:
        wait_until(current_process.running == 1)
        exit_mm(mm)
    return NOT_RUN


@operation(named=False, own=False, model_only=True)
def oom_reap(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The OOM reaper takes the process's private memory, without sleeping. On the model only."""
    oom_reap_task_mm(mm)
    return 0
