"""Other processes; a process's end, and the OOM reaper's."""

from __future__ import annotations

from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic, wait_until
from secondsight.linux.exit import exit_mm
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.scenario.ops import HandleType, Often, Op
from secondsight.world.declare import before_the_threads, operation
from secondsight.world.tables import NOT_RUN, Handle, RowNumber, process_of

__all__: list[str] = []


@before_the_threads(makes=HandleType.PROCESS, named=False)
def process(handle: Handle, op: Op, mm: Any, record: Any) -> int:
    """Another process (in the setup), with nothing mapped yet. Its setup stands in `with other:`, its threads are `@other.thread`.
    All processes of a scenario have one table of descriptors (CLONE_FILES): a file that is closed is closed for all."""
    handle.made = True
    return 0


@operation(named=False, often=Often(1, 1, 1), asks={"exit_mm": "exit"})
def exit_(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """End the process and all its threads; other processes go on. Results that are missing then read `exited`."""
    # do_group_exit(): the threads of the process end at their next operation, then the address space goes. One that calls
    # it when another has done so just ends. The operation does not return.
    with atomic:
        current_process = process_of(i)
        first = not current_process.exiting
        current_process.exiting = True
        if len(mm.userfaultfd) > 0:
            mm.userfaultfd[0].dying = True
    if first:
        wait_until(current_process.running <= 1)  # 0 where no thread calls it: before them, or after
        exit_mm(mm)
    return NOT_RUN


@operation(named=False, own=False, model_only=True)
def oom_reap(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The OOM reaper takes the process's private memory, without sleeping. On the model only."""
    oom_reap_task_mm(mm)
    return 0
