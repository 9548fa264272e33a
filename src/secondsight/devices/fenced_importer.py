"""A dynamic importer whose device works on the buffer by itself: jobs with fences (what a GPU driver or an accelerator does).

    submit          under the reservation lock: have a mapping that nobody has taken back; wait for moves; make the job; add its
                    fence; start it
    move_notify     the mapping is to go: leave that to the worker, or to the next job
    work            wait for the own jobs, then, under the reservation lock, unmap
    close           the same, then detach, and take the work back
    engine          the device: does the job, signals its fence (`BufferDevice.engine`)

The fence is of usage BOOKKEEP: it is for who takes the memory away, not for implicit synchronisation. A job that is in flight
when the notification comes goes on by the old mapping, until its fence is signalled. Patterns: amdgpu_dma_buf_move_notify()
(drivers/gpu/drm/amd/amdgpu/amdgpu_dma_buf.c), whose ttm unmaps when the buffer object is idle; ib_umem_dmabuf_map_pages()
(drivers/infiniband/core/umem_dmabuf.c), which waits for the moves when it has mapped.

Other forms are beside it: right ones that leave more to the exporter, and such as do what they must not.

One job at a time, of one page. Left out: pinning; several attachments of one importer.
"""

from __future__ import annotations

from secondsight.devices.buffer_device import BufferDevice
from secondsight.devices.job import job_access, job_fence, job_prepare, job_start
from secondsight.lang import Char, Errno, Ref, atomic, wait_until
from secondsight.linux.dma_buf import (
    DmaBuf,
    DmaBufAttachment,
    dma_buf_detach,
    dma_buf_dynamic_attach,
    dma_buf_map_attachment,
    dma_buf_unmap_attachment,
)
from secondsight.linux.dma_fence import dma_fence_put, dma_fence_wait
from secondsight.linux.dma_resv import (
    DmaResvUsage,
    dma_resv_add_fence,
    dma_resv_lock,
    dma_resv_reserve_fences,
    dma_resv_unlock,
    dma_resv_wait_timeout,
)
from secondsight.linux.errno import ENODEV
from secondsight.linux.mm_types import Folio
from secondsight.linux.page_alloc import frame_touch

__all__ = ["FencedImporter", "ReadsUntilItUnmaps", "UnmapsAtOnce", "UnmapsWithoutWaiting", "UsesTheOldMapping"]

CONTEXT = 1
"""The context of the engine's fences."""


class FencedImporter(BufferDevice):
    """The importer's driver, attached to one buffer. `told`: the mapping, if there is one, is to go. `working`: the worker is at it."""

    attach: Ref[DmaBufAttachment]
    told: bool
    working: bool

    def attach_to(self, buffer: DmaBuf) -> Errno:
        """Attach. Nothing is mapped yet."""
        self.buffer = buffer
        attach = dma_buf_dynamic_attach(buffer, self, True)
        self.attach = attach
        return 0 if attach is not None else -ENODEV

    def submit(self, value: Char) -> Errno:
        """Queue a job on page 0, when there is room for it: it writes `value`, or reads for 0. 0, or the exporter's error."""
        while True:
            wait_until(self.job.fence is None)
            with atomic:
                buffer = self.buffer
                attach = self.attach
            assert buffer is not None
            if attach is None:
                return -ENODEV
            dma_resv_lock(buffer.resv)
            if self.job.fence is None:
                break
            dma_resv_unlock(buffer.resv)
        ret = self.map_locked(buffer, attach)
        if ret == 0:
            self.queue(buffer, attach, value)
        dma_resv_unlock(buffer.resv)
        return ret

    def map_locked(self, buffer: DmaBuf, attach: DmaBufAttachment) -> Errno:
        """Have a mapping to start a job by, and the memory in its place. `resv` is held."""
        if self.told:
            self.give_back(buffer, attach)
        if not attach.mapped:
            ret = dma_buf_map_attachment(buffer, attach)
            if ret != 0:
                return ret
        self.wait_for_moves(buffer)
        return 0

    def wait_for_moves(self, buffer: DmaBuf) -> None:
        """Wait until the memory is where the mapping says. `resv` is held."""
        dma_resv_wait_timeout(buffer.resv, DmaResvUsage.KERNEL)

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        """Make the job and start it. From here on its fence says that the memory is in use. `resv` is held."""
        with atomic:
            dma_resv_reserve_fences(buffer.resv, 1)
            fence = job_prepare(self.job, attach, 0, value, CONTEXT)
            dma_resv_add_fence(buffer.resv, fence, DmaResvUsage.BOOKKEEP)
            job_start(self.job)

    def move_notify(self) -> None:
        """The mapping is to go: queue_work(). `resv` is held by the exporter."""
        self.told = True

    def work(self) -> None:
        """The work queue's thread: unmap when that is to be done."""
        while True:
            with atomic:
                wait_until(self.told)
                self.working = True
            self.wait_for_jobs()
            self.unmap()
            self.working = False

    def wait_for_jobs(self) -> None:
        """Wait until no job uses the mapping."""
        fence = job_fence(self.job)
        if fence is not None:
            dma_fence_wait(fence)
            dma_fence_put(fence)

    def unmap(self) -> None:
        """Give the mapping back, if that is still to be done."""
        buffer = self.buffer
        assert buffer is not None
        dma_resv_lock(buffer.resv)
        with atomic:
            attach = self.attach if self.told else None
            self.told = False
        if attach is not None:
            self.give_back(buffer, attach)
        dma_resv_unlock(buffer.resv)

    def give_back(self, buffer: DmaBuf, attach: DmaBufAttachment) -> None:
        """The mapping goes, when no job uses it: one may have been queued since anybody looked. `resv` is held."""
        self.told = False
        self.wait_for_jobs()
        self.unmap_locked(buffer, attach)

    def unmap_locked(self, buffer: DmaBuf, attach: DmaBufAttachment) -> None:
        """Unmap, if there is a mapping. `resv` is held."""
        if attach.mapped:
            dma_buf_unmap_attachment(buffer, attach)

    def close(self) -> None:
        """Wait for the job, unmap, detach. Whoever calls it queues no jobs meanwhile.

        A notification may still come until the attachment is off the exporter's list: the worker finds that there is nothing to do. When none can
        come any more, the work is taken back, and one that has begun is waited for (cancel_work_sync()).
        """
        with atomic:
            buffer = self.buffer
            attach = self.attach
        assert buffer is not None
        assert attach is not None
        dma_resv_lock(buffer.resv)
        self.give_back(buffer, attach)
        self.attach = None
        dma_resv_unlock(buffer.resv)
        dma_buf_detach(buffer, attach)
        self.told = False
        wait_until(not self.working)


class UsesTheOldMapping(FencedImporter):
    """Wrong: one that starts jobs by its mapping until the worker has unmapped, whatever it was told."""

    def map_locked(self, buffer: DmaBuf, attach: DmaBufAttachment) -> Errno:
        """Any mapping will do."""
        if not attach.mapped:
            ret = dma_buf_map_attachment(buffer, attach)
            if ret != 0:
                return ret
        self.wait_for_moves(buffer)
        return 0


class UnmapsAtOnce(FencedImporter):
    """One that gives its mapping back in the notification, with its fences outstanding: only they say that the memory is in use."""

    def move_notify(self) -> None:
        """Unmap; a job in flight goes on. `resv` is held by the exporter."""
        with atomic:
            buffer = self.buffer
            attach = self.attach
        assert buffer is not None
        if attach is not None:
            self.unmap_locked(buffer, attach)


class UnmapsWithoutWaiting(UsesTheOldMapping):
    """Wrong: the same, whose worker unmaps whatever runs, even a job that was queued after the notification."""

    def wait_for_jobs(self) -> None:
        """Does not."""


class ReadsUntilItUnmaps(FencedImporter):
    """One whose device reads ahead by its page table and discards what it read, without a fence, until it is unmapped.

    Linux 7.2 allows that (dma_buf_invalidate_mappings(): "speculatively read-and-discard"). `entry`: its page table.
    """

    entry: Ref[Folio]

    def engine(self) -> None:
        """The device: reads whatever is in its page table, for ever."""
        while True:
            self.read_ahead()

    @atomic
    def read_ahead(self) -> None:
        """One read, where there is something."""
        wait_until(self.entry is not None)
        frame = self.entry
        buffer = self.buffer
        assert buffer is not None
        assert frame is not None
        job_access(buffer, 0, frame, False)
        frame_touch(frame, False)

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        """No job: to be in the page table is enough."""
        self.entry = attach.sgt[0]

    def unmap_locked(self, buffer: DmaBuf, attach: DmaBufAttachment) -> None:
        """Out of the page table, then give the mapping back."""
        self.entry = None
        FencedImporter.unmap_locked(self, buffer, attach)
