"""Work in flight: a job that a device does on a page of a buffer, some time after it was queued, until its fence is signalled.

The job has the frame that the mapping named when it was queued: the command stream has the address, or the device's page table has
it for as long as the job runs. Nobody asks the mapping again.
"""

from __future__ import annotations

from secondsight.lang import Char, Record, Ref, atomic, require, tracepoint
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment
from secondsight.linux.dma_fence import DmaFence, dma_fence_get, dma_fence_init, dma_fence_put, dma_fence_signal, dma_fences
from secondsight.linux.mm_types import Count, Folio, Pgoff
from secondsight.linux.page_alloc import frame_touch

__all__ = ["Job", "job_access", "job_end", "job_ended", "job_prepare", "job_run", "job_start", "job_started"]


@tracepoint
def job_access(buffer: DmaBuf, pgoff: Pgoff, frame: Folio, write: bool) -> None:
    """A device is about to read or write a frame that it takes for page `pgoff` of the buffer."""


@tracepoint
def job_ended(fence: DmaFence) -> None:
    """A device is done with the job of this fence."""


@tracepoint
def job_started(buffer: DmaBuf, fence: DmaFence, write: bool) -> None:
    """A device has a job now."""


class Job(Record):
    """A job. `fence` None: there is none. `queued`: the device may begin. It writes `value`, or reads for `value` 0. `result`: what the
    last one read, or 0."""

    buffer: Ref[DmaBuf]
    fence: Ref[DmaFence]
    frame: Ref[Folio]
    pgoff: Pgoff
    value: Char
    queued: bool
    result: Char


@atomic
def job_prepare(job: Job, attach: DmaBufAttachment, pgoff: Pgoff, value: Char, context: Count) -> DmaFence:
    """Make a job for page `pgoff` as the attachment has it mapped, with a fence that it has a reference to. Returns the fence."""
    require(attach.sgt[pgoff] is not None, "not-mapped", "makes a job on a page that is not mapped")
    fence = dma_fences.alloc()
    dma_fence_init(fence, context, 0)
    job.buffer = attach.dmabuf
    job.fence = fence
    job.frame = attach.sgt[pgoff]
    job.pgoff = pgoff
    job.value = value
    return fence


@atomic
def job_start(job: Job) -> None:
    """Give a job to the device."""
    buffer = job.buffer
    fence = job.fence
    assert buffer is not None
    assert fence is not None
    job_started(buffer, fence, job.value != 0)
    job.queued = True


@atomic
def job_run(job: Job) -> None:
    """The device does its access."""
    frame = job.frame
    buffer = job.buffer
    assert frame is not None
    assert buffer is not None
    job_access(buffer, job.pgoff, frame, job.value != 0)
    frame_touch(frame, job.value != 0)
    job.result = 0
    if job.value != 0:
        frame.contents = job.value
    else:
        job.result = frame.contents


@atomic
def job_end(job: Job) -> None:
    """The device is done: its interrupt signals the fence."""
    fence = job.fence
    assert fence is not None
    job.fence = None
    job.frame = None
    job.buffer = None
    job.pgoff = 0
    job.value = 0
    job.queued = False
    job_ended(fence)
    dma_fence_signal(fence)
    dma_fence_put(fence)


@atomic
def job_fence(job: Job) -> Ref[DmaFence]:
    """The fence of the job in flight, with a reference; None if there is none."""
    fence = job.fence
    if fence is not None:
        dma_fence_get(fence)
    return fence
