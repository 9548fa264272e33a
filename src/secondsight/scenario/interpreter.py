"""What runs a scenario's operations on the model: one function in the protocol language, the operations as tables.

The program is the same for every scenario with the same bounds and driver; a scenario is data (`const` tables, one row an
operation). Each thread runs `run_ops` over its rows. An operation's result goes into `results`, a handle that came into
being into `handles`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final

from secondsight.devices.device import Device, accesses_compared, all_quiet, close_device, open_device
from secondsight.lang import Bounds, Record, Ref, atomic, const, hold_point, shared, shared_array, wait_until
from secondsight.linux.dax import DevDax, dax_mmap, dev_dax_invalidate, kill_dax, synchronize_dax
from secondsight.linux.dma_buf import dma_buf_fget, dma_buf_fput, dma_buf_mmap
from secondsight.linux.errno import EBADF, EBADFD, EINVAL
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_add_seals, memfd_create
from secondsight.linux.memremap import dev_pagemap_drain, dev_pagemap_kill, dev_pagemap_remove
from secondsight.linux.mm_types import Count, Mm, Result
from secondsight.linux.mmap import do_mmap, do_mmap_fixed, vm_munmap
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.linux.shmem import ShmemFile, shmem_fallocate_punch_hole
from secondsight.linux.udmabuf import Udmabuf, create_items, udmabuf_create, udmabuf_create_list, udmabufs

__all__ = ["DIFFERS", "NOT_RUN", "SKIPPED", "Handle", "OpKind", "handles", "process", "results", "run_ops", "run_final"]

NOT_RUN: Final = -127
"""The operation was never reached: the process had ended."""
SKIPPED: Final = -126
"""A handle that the operation needs never came into being."""

DIFFERS: Final = -125
"""Of `device_compare`: the device's access ended otherwise than the CPU's."""

FIXED: Final = 1
SEALS_LATE: Final = 2
"""The differences `future-write-seal-is-asked-late` and `merged-mapping-ignores-the-seal` of `linux.releases`."""
READ_ONLY: Final = 4
"""PROT_READ without PROT_WRITE."""

RowNumber = Annotated[int, Bounds(0, 64)]


class OpKind(IntEnum):
    """The operations, `mmap` by what is mapped."""

    MEMFD_CREATE = 0
    MMAP_ANONYMOUS = 1
    MMAP_MEMFD = 2
    MMAP_UDMABUF = 3
    MMAP_DAX = 4
    MUNMAP = 5
    WRITE = 6
    READ = 7
    PUNCH_HOLE = 8
    DONTNEED = 9
    UDMABUF_CREATE = 10
    UDMABUF_CREATE_LIST = 11
    UDMABUF_CREATE_HALVES = 12
    ADD_SEALS = 13
    CLOSE = 14
    EXIT = 15
    OOM_REAP = 16
    DEVICE_READ = 17
    DEVICE_WRITE = 18
    DEVICE_COMPARE = 19
    DEVICE_OPEN = 20
    DEVICE_CLOSE = 21
    DAX_DISABLE = 22
    DAX_INVALIDATE = 23
    DAX_DRAIN = 24
    READY = 25
    """A device: it is there from the start."""


class Outcome(Record):
    """One operation's result: 0 or a page's contents, a negative errno or signal, `NOT_RUN` or `SKIPPED`."""

    value: Annotated[int, Bounds(-128, 127)] = NOT_RUN


class Handle(Record):
    """What a handle stands for; `made`: it came into being. A mapping needs no more: its address is in the tables."""

    made: bool
    closed: bool
    memfd: Ref[ShmemFile]
    udmabuf: Ref[Udmabuf]
    dax: Ref[DevDax]


class Process(Record):
    """The scenario's process: `exiting` once it has called exit, `running` threads of it, `others` that are not its own."""

    exiting: bool
    running: Count
    others: Count


results = shared_array(Outcome, "ops")
handles = shared_array(Handle, "handles")
process = shared(Process)

kind = const("op.kind", OpKind)
address = const("op.address")
pages = const("op.pages")
value = const("op.value")
page = const("op.page")
needs = const("op.needs")
"""The handle that must have come into being, or -1; the ranges of a list must have too, and what `needs_at` names: the mapping
that `at` is in, the device that an operation of the scenario opens."""
needs_at = const("op.needs_at")
makes = const("op.makes")
"""The handle that comes into being, or -1; of `DEVICE_OPEN`, the device's."""
fixed = const("op.fixed")
"""`FIXED` for MAP_FIXED, `SEALS_LATE` where the release asks for seals late, `READ_ONLY`: any of them, or 0."""
low = const("op.low")
"""For MAP_FIXED: where the mapping that it maps over begins, and in `high` where it ends."""
high = const("op.high")
range_first = const("op.range_first")
range_memfd = const("range.handle")
range_page = const("range.page")
range_pages = const("range.pages")
counts = const("program.counts")
"""Whether anybody waits for threads to end: then each thread says so."""
closes = const("program.closes")
"""Whether the driver is closed in the end, if it is not closed by then, and looked at when all is quiet."""


def run_ops(first: RowNumber, end: RowNumber, mm: Mm, device: Ref[Device], own: bool) -> None:
    """One thread: the rows `first` to before `end`. `own`: a thread of the process, that ends with it."""
    for i in range(first, end):
        hold_point("op")
        if counts[0] != 0 and own:
            if process.exiting:
                break
        if kind[i] == OpKind.EXIT:
            exit_group(mm)
            break
        result = run_op(i, mm, device)
        results[i].value = result
    if counts[0] != 0:
        thread_ends(own)


def run_final(first: RowNumber, end: RowNumber, mm: Mm, device: Ref[Device]) -> None:
    """What runs when every thread has ended."""
    with atomic:
        wait_until(process.running == 0 and process.others == 0)
        gone = process.exiting
    if not gone:
        for i in range(first, end):
            result = run_op(i, mm, device)
            results[i].value = result
    if closes[0] != 0:
        assert device is not None
        open_still = is_open()
        if open_still:
            close_device(device, mm)
        all_quiet(device, mm, gone)


@atomic
def is_open() -> bool:
    """Whether the device was opened, if that is an operation, and not closed."""
    for i in range(len(results)):
        if i < len(kind):
            if kind[i] == OpKind.DEVICE_OPEN and results[i].value != 0:
                return False
            if kind[i] == OpKind.DEVICE_CLOSE and results[i].value == 0:
                return False
    return True


@atomic
def thread_ends(own: bool) -> None:
    """A thread is done; `exit_group` has said so already for the one that called it."""
    if not own:
        process.others -= 1
    elif not process.exiting or process.running > 0:
        process.running -= 1


def exit_group(mm: Mm) -> None:
    """do_group_exit(): the threads of the process end at their next operation, then the address space goes. One that calls
    it when another has done so just ends."""
    with atomic:
        first = not process.exiting
        process.exiting = True
    if first:
        wait_until(process.running == 1)
        exit_mm(mm)


@atomic
def made(i: RowNumber) -> bool:
    """Whether the handles that row `i` needs came into being."""
    if kind[i] == OpKind.UDMABUF_CREATE_LIST:
        return all(handles[range_memfd[range_first[i] + k]].made for k in range(pages[i]))
    if needs_at[i] >= 0:
        if not handles[needs_at[i]].made:
            return False
    return needs[i] < 0 or handles[needs[i]].made


def run_op(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """One operation; its result."""
    if needs[i] >= 0 or needs_at[i] >= 0 or kind[i] == OpKind.UDMABUF_CREATE_LIST:
        there = made(i)
        if not there:
            return SKIPPED
    if kind[i] == OpKind.MEMFD_CREATE:
        return run_memfd_create(i)
    if kind[i] <= OpKind.MMAP_DAX:
        return run_mmap(i, mm)
    if kind[i] <= OpKind.READ:
        return run_access(i, mm)
    if kind[i] <= OpKind.CLOSE:
        return run_file_op(i, mm)
    if kind[i] == OpKind.OOM_REAP:
        oom_reap_task_mm(mm)
        return 0
    if kind[i] <= OpKind.DEVICE_CLOSE:
        return run_device_op(i, mm, device)
    if kind[i] == OpKind.READY:
        return 0
    return run_dax_op(i)


@atomic
def run_memfd_create(i: RowNumber) -> Result:
    """memfd_create, ftruncate, F_ADD_SEALS."""
    handles[makes[i]].memfd = memfd_create(pages[i], value[i])
    handles[makes[i]].made = True
    return 0


def run_mmap(i: RowNumber, mm: Mm) -> Result:
    """mmap() of anonymous memory or a file."""
    ret: Result = 0
    write = fixed[i] & READ_ONLY == 0
    if kind[i] == OpKind.MMAP_ANONYMOUS:
        if fixed[i] & FIXED != 0:
            ret = do_mmap_fixed(mm, address[i], pages[i], None, 0, write)
        else:
            ret = do_mmap(mm, address[i], pages[i], None, 0, write)
    else:
        with atomic:
            closed = handles[needs[i]].closed
            memfd = handles[needs[i]].memfd
            udmabuf = handles[needs[i]].udmabuf
            dax = handles[needs[i]].dax
            if udmabuf is not None and not closed:
                dma_buf_fget(udmabuf)
        if closed:
            return -EBADF
        if memfd is not None:
            if fixed[i] & FIXED != 0:
                ret = do_mmap_fixed(
                    mm, address[i], pages[i], memfd, page[i], write, fixed[i] & SEALS_LATE != 0, low[i], high[i]
                )
            else:
                ret = do_mmap(mm, address[i], pages[i], memfd, page[i], write, fixed[i] & SEALS_LATE != 0)
        elif udmabuf is not None:
            if fixed[i] & FIXED != 0:
                ret = do_mmap_fixed(mm, address[i], pages[i], udmabuf, page[i], True)
            else:
                ret = dma_buf_mmap(udmabuf, mm, address[i], pages[i], page[i], True)
            dma_buf_fput(udmabuf)
        elif dax is not None:
            ret = dax_mmap(dax, mm, address[i], pages[i], page[i], True)
    if ret < 0:
        return ret
    with atomic:
        handles[makes[i]].made = True
    return 0


def run_access(i: RowNumber, mm: Mm) -> Result:
    """munmap, and the process's own loads and stores."""
    if kind[i] == OpKind.MUNMAP:
        return vm_munmap(mm, address[i], pages[i])
    if kind[i] == OpKind.READ:
        return cpu_read(mm, address[i])
    for k in range(pages[i]):
        ret = cpu_write(mm, address[i] + k, value[i])
        if ret != 0:
            return ret
    return 0


def run_file_op(i: RowNumber, mm: Mm) -> Result:
    """fallocate, madvise, udmabufs, seals, close."""
    if kind[i] == OpKind.DONTNEED:
        return madvise_dontneed(mm, address[i], pages[i])
    if kind[i] == OpKind.UDMABUF_CREATE_LIST:
        return run_create_list(i)
    with atomic:
        closed = handles[needs[i]].closed
        memfd = handles[needs[i]].memfd
        if not closed and kind[i] == OpKind.CLOSE:
            handles[needs[i]].closed = True
            udmabuf = handles[needs[i]].udmabuf
            if udmabuf is not None:
                dma_buf_fput(udmabuf)
    if kind[i] == OpKind.UDMABUF_CREATE:
        if closed:
            return -EBADFD
        ret = udmabuf_create(memfd, page[i], pages[i])
        return made_udmabuf(i, ret)
    if kind[i] == OpKind.UDMABUF_CREATE_HALVES:
        return run_create_halves(i, memfd, closed)
    if closed:
        return -EBADF
    if kind[i] == OpKind.CLOSE:
        return 0
    assert memfd is not None
    if kind[i] == OpKind.ADD_SEALS:
        return memfd_add_seals(memfd, value[i])
    return shmem_fallocate_punch_hole(memfd, page[i], pages[i])


def run_create_halves(i: RowNumber, memfd: Ref[ShmemFile], closed: bool) -> Result:
    """UDMABUF_CREATE of the row's half pages. udmabuf_create() (drivers/dma-buf/udmabuf.c, Linux 6.12) wants whole pages,
    and looks for that before it looks for the file."""
    if page[i] % 2 == 1 or pages[i] % 2 == 1:
        return -EINVAL
    if closed:
        return -EBADFD
    ret = udmabuf_create(memfd, page[i] // 2, pages[i] // 2)
    return made_udmabuf(i, ret)


def run_create_list(i: RowNumber) -> Result:
    """UDMABUF_CREATE_LIST of the row's ranges."""
    with atomic:
        for k in range(pages[i]):
            entry = handles[range_memfd[range_first[i] + k]]
            create_items[k].memfd = entry.memfd if not entry.closed else None
            create_items[k].offset = range_page[range_first[i] + k]
            create_items[k].size = range_pages[range_first[i] + k]
    ret = udmabuf_create_list(pages[i])
    return made_udmabuf(i, ret)


@atomic
def made_udmabuf(i: RowNumber, ret: Result) -> Result:
    """The new file descriptor of a udmabuf: its handle comes into being."""
    if ret < 0:
        return ret
    handles[makes[i]].udmabuf = udmabufs[ret]
    handles[makes[i]].made = True
    return 0


def run_device_op(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device's loads and stores, and the driver's end."""
    assert device is not None
    if kind[i] == OpKind.DEVICE_READ:
        return device.read(address[i])
    if kind[i] == OpKind.DEVICE_WRITE:
        return device.write(address[i], value[i])
    if kind[i] == OpKind.DEVICE_COMPARE:
        cpu = cpu_read(mm, address[i])
        found = device.read(address[i])
        accesses_compared(device, address[i], cpu, found)
        return 0 if cpu == found or (cpu < 0 and found < 0) else DIFFERS
    if kind[i] == OpKind.DEVICE_OPEN:
        ret = open_device(device, mm)
        if ret != 0:
            return ret
        with atomic:
            handles[makes[i]].made = True
        return 0
    close_device(device, mm)
    return 0


def run_dax_op(i: RowNumber) -> Result:
    """A part of the teardown of device memory."""
    with atomic:
        dax = handles[needs[i]].dax
        assert dax is not None
        pgmap = dax.pgmap
    assert pgmap is not None
    if kind[i] == OpKind.DAX_INVALIDATE:
        dev_dax_invalidate(dax)
        return 0
    if kind[i] == OpKind.DAX_DISABLE:
        kill_dax(dax)
        synchronize_dax(dax)
        dev_pagemap_kill(pgmap)
        return 0
    dev_pagemap_drain(pgmap)
    dev_pagemap_remove(pgmap)
    return 0
