"""Implicit synchronisation: whoever asks a buffer's fences whether work is over is told of all that is in his way.

A driver that synchronises so (`BufferDevice.implicit_sync`) has no other word for who comes after: not for the next driver, not for a CPU. What
was queued when a CPU began to ask is over when it may begin: if the job writes, or if the CPU shall. Work that is queued later is nobody's
promise: a CPU keeps no device away. Devices keep each other away: a job begins when those before it are over, if it or they write.
"""

from __future__ import annotations

from typing import Literal

from secondsight.devices.job import job_ended, job_started
from secondsight.devices.moving_buffer import cpu_access_asked, cpu_access_begun
from secondsight.lang import Array, Record, Ref, current, require, rule, shared_array
from secondsight.linux.dma_buf import DmaBuf
from secondsight.linux.dma_fence import DmaFence, dma_fences

__all__ = ["cpu_asks", "cpu_begins_when_it_is_over", "is_under_way", "is_under_way_no_more"]


class UnderWay(Record):
    """A ghost. Of each fence: the buffer on which a job is under way that was queued with it (None: there is none), whether it writes, and, by number of
    thread, whose access it is in the way of."""

    buffer: Ref[DmaBuf]
    writes: bool
    asked: Array[bool, Literal[8]]


under_way = shared_array(UnderWay, "dma_fences")
"""Of each fence, in the order of `dma_fences`."""


@rule("implicit-sync", on=job_started)
def is_under_way(buffer: DmaBuf, fence: DmaFence, write: bool) -> None:
    """A device has a job, and what was queued before by others is over, as far as that is in its way.

    What is in the way of a job that writes is every other, and of one that reads those that write (dma_resv_usage_rw(), include/linux/dma-resv.h, Linux 6.12). A
    device has one job at a time (`BufferDevice.do_job`): the other is another device's.
    """
    for job in under_way:
        in_the_way = job.buffer is buffer and (job.writes or write)
        require(not in_the_way, "implicit-sync", "a device may begin a job, and another device's that is in its way is under way still")
    mine = under_way[dma_fences.index(fence)]
    mine.buffer = buffer
    mine.writes = write


@rule("implicit-sync", on=job_ended)
def is_under_way_no_more(fence: DmaFence) -> None:
    """It is over, and in nobody's way."""
    mine = under_way[dma_fences.index(fence)]
    mine.buffer = None
    mine.writes = False
    for thread in range(8):
        mine.asked[thread] = False


@rule("implicit-sync", on=cpu_access_asked)
def cpu_asks(dmabuf: DmaBuf, write: bool) -> None:
    """What is in a CPU's way is what is under way when it asks, and writes; or reads what the CPU shall write.

    While somebody has the reservation lock a job may be on its way of which nobody can know yet, for the call that makes it has not returned.
    """
    if current() < 8:
        for job in under_way:
            job.asked[current()] = dmabuf.resv.owner == 0 and job.buffer is dmabuf and (job.writes or write)


@rule("implicit-sync", on=cpu_access_begun)
def cpu_begins_when_it_is_over(dmabuf: DmaBuf, write: bool) -> None:
    """A CPU that has asked begins when what was queued before is over, as far as that is in its way.

    Asked of drivers that synchronise implicitly. Broken by a fence of a usage that the CPU does not wait for: READ for a job that writes, BOOKKEEP for any; or
    by none. Sources: include/linux/dma-buf.h (dma_buf.resv, IMPLICIT SYNCHRONIZATION RULES), __dma_buf_begin_cpu_access() (drivers/dma-buf/dma-buf.c, Linux 6.12).
    """
    if current() < 8:
        for job in under_way:
            require(not job.asked[current()], "implicit-sync", "a CPU may use the buffer, and a job that was queued before it asked is under way still")
            job.asked[current()] = False
