"""A process that another one kills, and whose memory is taken before it has ended."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Ref, atomic
from secondsight.linux.errno import EINVAL
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.oom_kill import process_mrelease as mrelease
from secondsight.scenario.ops import Arg, ArgType, Often
from secondsight.world.declare import operation
from secondsight.world.tables import RowNumber, other_processes, value

__all__: list[str] = []

PROCESS = Arg(ArgType.PROCESS)


@operation(process=PROCESS, at_least=lambda args: {"kills": 1}, often=Often(0, 2, 8))
def kill(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """kill(SIGKILL) of another process, in a thread: its threads end where they are, what an operation of theirs says then is lost, and its memory
    goes, at some time. Results that are missing then read `exited`."""
    if len(other_processes) > 0:
        if len(other_processes[0].killed) > 0:
            with atomic:
                target = other_processes[value[i] - 1]
                if not target.exiting:
                    target.exiting = True
                    target.killed[0] = True
                    if len(mm.userfaultfd) > 0:
                        mms[value[i]].userfaultfd[0].dying = True
    return 0


@operation(process=PROCESS, at_least=lambda args: {"kills": 1}, often=Often(0, 3, 6))
def process_mrelease(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """process_mrelease(2), in a thread: take the private memory of a process that is being killed, or ends, as the OOM reaper does. Fails with -EINVAL (it is not
    ending), -ESRCH (it has ended), -EAGAIN (a device would have to sleep: some is left)."""
    if len(other_processes) > 0:
        if len(other_processes[0].killed) > 0:
            if not other_processes[value[i] - 1].exiting:
                return -EINVAL
            return mrelease(mms[value[i]])
    return 0
