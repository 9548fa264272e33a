"""What runs a scenario's operations on the model: one function in the protocol language, the operations as tables.

The program is the same for every scenario with the same bounds and driver and the same families of operations; a scenario is
data (`const` tables, one row an operation: `tables`). Each thread runs `run_ops` over its rows. An operation's result goes into
`results`, if somebody asks for it, a handle that came into being into `handles`.
"""

from __future__ import annotations

from secondsight.devices.device import Device, all_quiet, close_device
from secondsight.lang import Ref, atomic, hold_point, wait_until
from secondsight.linux.exit import exit_mm
from secondsight.linux.fork import mms, vmas
from secondsight.linux.mm_types import Mm, Result
from secondsight.linux.page_alloc_slowpath import direct_reclaim, reclaims_again
from secondsight.linux.vma_lock import vma_end_write_all
from secondsight.world.declare import ACTS
from secondsight.world.tables import (
    NOT_RUN,
    OPENS,
    SKIPPED,
    SUCCESS,
    WHOLE,
    DeviceNumber,
    RowNumber,
    closes,
    counts,
    device_number,
    devices,
    forks,
    handles,
    keeps,
    kind,
    needs,
    needs_at,
    other_processes,
    parents,
    process,
    process_number,
    process_of,
    range_first,
    range_handle,
    ranges,
    results,
    successes,
    turn_first,
    turn_row,
    turns,
)

__all__ = ["end_when_killed", "made", "run_final", "run_in_turn", "run_ops"]


def run_ops(first: RowNumber, end: RowNumber, mm: Mm, device: Ref[Device], own: bool) -> None:
    """One thread: the rows `first` to before `end`. `own`: a thread of the process, that ends with it. One of a process that comes
    into being by fork begins then."""
    if forks[0] != 0 and own:
        wait_for_fork(first)
    for i in range(first, end):
        hold_point("op")
        if counts[0] != 0 and own:
            if process_of(first).exiting:
                break
        result = run_op(i, mm, device)
        if result == NOT_RUN:  # it was the process's end
            break
        if len(mm.userfaultfd) > 0:
            if mm.userfaultfd[0].dying and own:  # it may have waited, and was killed
                break
        if len(process.killed) > 0:
            if process_of(first).killed[0] and own:  # before it could say what it has found
                break
        if len(direct_reclaim) > 0:
            reclaims_again()
        keep(i, result)
    if counts[0] != 0:
        thread_ends(first, own)


def end_when_killed(number: RowNumber, mm: Mm) -> None:
    """A thread for the end of one of the other processes, whoever kills it: get_signal(), do_group_exit() (kernel/signal.c, kernel/exit.c, Linux 6.12)."""
    if len(other_processes) > 0:
        if len(other_processes[0].killed) > 0:
            wait_until(other_processes[number - 1].killed[0])
            wait_until(other_processes[number - 1].running == 0)
            exit_mm(mm)


def keep(i: RowNumber, result: Result) -> None:
    """Note the result of row `i`, as far as somebody asks for it."""
    if keeps[i] == WHOLE:
        results[i].value = result
    elif keeps[i] == SUCCESS and result >= 0:
        successes[i] = True


@atomic
def wait_for_fork(first: RowNumber) -> None:
    """Wait until the process has been forked, or cannot be any more: then it is gone, as it was before."""
    number = process_number[first]
    parent = parents[number]
    if parent != number:
        forking = process if parent == 0 else other_processes[parent - 1]
        wait_until(not other_processes[number - 1].exiting or forking.running == 0)


def run_final(first: RowNumber, end: RowNumber, mm: Mm, device: Ref[Device]) -> None:
    """What runs when every thread has ended. Where there are several processes each row is done by its own, unless that has gone."""
    with atomic:
        if len(other_processes) > 0:
            wait_until(process.running == 0 and process.others == 0 and all(other.running == 0 for other in other_processes))
            gone = False
        else:
            wait_until(process.running == 0 and process.others == 0)
            gone = process.exiting
    if not gone:
        for i in range(first, end):
            if len(other_processes) > 0:
                if not process_of(i).exiting:
                    result = run_op(i, mms[process_number[i]], device)
                    keep(i, result)
            else:
                result = run_op(i, mm, device)
                if result == NOT_RUN:
                    gone = True
                    break
                keep(i, result)
    if closes[0] != 0:
        if len(devices) > 1:
            for k in range(len(devices)):
                close_if_open(devices[k].device, mm, k)
            for k in range(len(devices)):
                is_quiet(devices[k].device, mm, gone)
        else:
            close_if_open(device, mm, 0)
            is_quiet(device, mm, gone)


def run_in_turn(first: RowNumber, end: RowNumber, device: Ref[Device]) -> None:
    """Rows of several processes, one after another with nothing beside them; those of a process that has gone are not run."""
    for i in range(first, end):
        if not process_of(i).exiting:
            result = run_op(i, mms[process_number[i]], device)
            keep(i, result)


def close_if_open(device: Ref[Device], mm: Mm, number: DeviceNumber) -> None:
    """Close a device that is not closed by then. `mm`: its process's, where there is one."""
    open_still = is_open(number)
    if open_still:
        assert device is not None
        if len(other_processes) > 0:
            close_device(device, space_of(device))
        else:
            close_device(device, mm)


@atomic
def is_quiet(device: Ref[Device], mm: Mm, gone: bool) -> None:
    """Everything has ended, and the device is closed. `mm`, `gone`: its process's, where there is one."""
    assert device is not None
    if len(other_processes) > 0:
        mm = space_of(device)
        number = mms.index(mm)
        all_quiet(device, mm, process.exiting if number == 0 else other_processes[number - 1].exiting)
    else:
        all_quiet(device, mm, gone)


@atomic
def space_of(device: Device) -> Mm:
    """The address space of the process that a device is for."""
    mm = device.notifier.mm
    assert mm is not None
    return mm


@atomic
def is_open(number: DeviceNumber) -> bool:
    """Whether a device was opened, if that is an operation, and not closed."""
    for k in range(turn_first[number], turn_first[number + 1]):
        if len(results) > 0:
            done = results[turn_row[k]].value == 0
        else:
            done = successes[turn_row[k]]
        if done != (turns[turn_row[k]] == OPENS):
            return False
    return True


@atomic
def thread_ends(first: RowNumber, own: bool) -> None:
    """A thread is done; the process's end has said so already for the one that called it."""
    if not own:
        process.others -= 1
    else:
        mine = process_of(first)
        if not mine.exiting or mine.running > 0:
            mine.running -= 1


@atomic
def made(i: RowNumber) -> bool:
    """Whether the handles that row `i` needs came into being."""
    for k in range(ranges[i]):
        if not handles[range_handle[range_first[i] + k]].made:
            return False
    if needs_at[i] >= 0:
        if not handles[needs_at[i]].made:
            return False
    return needs[i] < 0 or handles[needs[i]].made


def run_op(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """One operation; its result."""
    if needs[i] >= 0 or needs_at[i] >= 0 or ranges[i] > 0:
        there = made(i)
        if not there:
            return SKIPPED
    if len(vmas) > 0:
        if len(vmas[0].vm_lock) > 0:
            vma_end_write_all(mm)
    if len(devices) > 1:
        return ACTS[kind[i]](i, mm, devices[device_number[i]].device)
    return ACTS[kind[i]](i, mm, device)
