"""Buffers whose exporter moves them and takes them away, and devices that are attached to one."""

from __future__ import annotations

from typing import Any

from secondsight.devices.buffer_device import BufferDevice
from secondsight.devices.device import Device
from secondsight.devices.moving_buffer import MovingBuffer, export_buffer
from secondsight.lang import Ref, atomic
from secondsight.linux.dma_buf import dma_buf_end_cpu_access
from secondsight.linux.errno import EINVAL
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario.ops import Arg, ArgType, HandleType, Needs, Often, Op
from secondsight.world.declare import before_the_threads, operation
from secondsight.world.tables import Handle, RowNumber, handles, makes, needs, value

__all__: list[str] = []

BUFFER = Arg(ArgType.BUFFER)


@before_the_threads(
    pages=Arg(ArgType.COUNT),
    makes=HandleType.BUFFER,
    needs=Needs.MODULE,
    named=False,
    takes=lambda args: {"frames": args["pages"], "moving_buffers": 1},
    at_least=lambda args: {"dmabuf_pages": args["pages"]},
)
def buffer(handle: Handle, op: Op, mm: Any, device: Any) -> int:
    """A dma-buf of `pages` pages (in the setup), whose exporter moves it, takes it away and gives it back."""
    handle.made = True
    handle.file = export_buffer(op.args["pages"])  # type: ignore[arg-type]
    return 0


@atomic
def buffer_of(i: RowNumber) -> MovingBuffer:
    """The buffer that an operation is about."""
    file = handles[needs[i]].file
    assert file is not None
    return file  # type: ignore[return-value]


@operation(buffer=BUFFER, makes=HandleType.DEVICE, in_setup=True, needs=Needs.MODULE, named=False)
def attached_device(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """A device that is attached to a buffer (in the setup): its driver is an importer."""
    found = buffer_of(i)
    ret = attach(device, found)  # type: ignore[arg-type]  # looked at when it runs
    with atomic:
        handles[makes[i]].made = ret == 0
    return ret


def attach(device: Ref[BufferDevice], found: MovingBuffer) -> Result:
    """Attach a device to a buffer."""
    if device is None:
        return -EINVAL
    return device.attach_to(found)


@operation(device=Arg(ArgType.DEVICE), value=Arg(ArgType.VALUE), own=False, accesses=True, needs=Needs.MODULE, often=Often(at_a_buffer=6))
def device_job(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device's driver queues a job that stores `value` to the first page of its buffer; ends when the job is done. Fails
    with what the driver's `submit` returns."""
    return do_job(device, i)  # type: ignore[arg-type]  # looked at when it runs


def do_job(device: Ref[BufferDevice], i: RowNumber) -> Result:
    """A job of a device that is attached to a buffer."""
    if device is None:
        return -EINVAL
    return device.do_job(value[i])


@operation(device=Arg(ArgType.DEVICE), own=False, accesses=True, loads=True, needs=Needs.MODULE, often=Often(at_a_buffer=6))
def device_job_read(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The same with a job that loads the first page of the buffer."""
    return do_job_read(device)  # type: ignore[arg-type]  # looked at when it runs


def do_job_read(device: Ref[BufferDevice]) -> Result:
    """A job that reads, of a device that is attached to a buffer."""
    if device is None:
        return -EINVAL
    return device.do_job(0)


@operation(buffer=BUFFER, own=False, needs=Needs.MODULE, often=Often(at_a_buffer=5), named=False)
def buffer_move(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The exporter puts the buffer somewhere else; ends when that is done."""
    found = buffer_of(i)
    return found.move()


@operation(buffer=BUFFER, own=False, needs=Needs.MODULE, often=Often(at_a_buffer=3), named=False)
def buffer_revoke(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The exporter takes the buffer's memory away; ends when nobody uses it any more."""
    found = buffer_of(i)
    found.revoke()
    return 0


@operation(buffer=BUFFER, own=False, needs=Needs.MODULE, often=Often(at_a_buffer=3), named=False, takes=lambda args: {"frames": 1})
def buffer_restore(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The exporter gives a buffer that was revoked memory again."""
    found = buffer_of(i)
    found.restore()
    return 0


WRITE = Arg(ArgType.FLAG, False, keyword=True)


@operation(buffer=BUFFER, write=WRITE, needs=Needs.MODULE, often=Often(at_a_buffer=2))
def buffer_begin_cpu_access(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """DMA_BUF_IOCTL_SYNC of the buffer with DMA_BUF_SYNC_START, to read, or to read and write."""
    found = buffer_of(i)
    return found.begin_cpu(value[i] != 0)


@operation(buffer=BUFFER, write=WRITE, needs=Needs.MODULE, often=Often(at_a_buffer=2))
def buffer_end_cpu_access(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """DMA_BUF_IOCTL_SYNC of the buffer with DMA_BUF_SYNC_END."""
    found = buffer_of(i)
    return dma_buf_end_cpu_access(found, value[i] != 0)
