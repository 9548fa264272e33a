"""An exporter that moves its buffer, and takes it away and gives it back: right in all that it does, so that importers are put to the test.

    move        tell importers; new memory, which is copied to when all work on the old has ended: the fence of the copy is of usage
                KERNEL, and whoever gets a mapping of the new memory has to wait for it; the old is freed
    revoke      as `RearmsAtRevoke`
    restore     memory again

The copy goes on while importers map already, as ttm has it done by the device (ttm_bo_move_accel_cleanup(),
drivers/gpu/drm/ttm/ttm_bo_util.c); it waits for the fences that were there when it was queued. `target`: what is mapped; `storage`: the
memory that is valid. They differ while a copy is under way, and a second move waits for that.
"""

from __future__ import annotations

from typing import Literal

from secondsight.devices.revocable_buffer import RearmsAtRevoke
from secondsight.lang import Array, Errno, Ref, atomic, bound, count, pool, tracepoint, wait_until
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment, dma_buf_begin_cpu_access, dma_buf_move_notify
from secondsight.linux.dma_fence import (
    DmaFence,
    dma_fence_get,
    dma_fence_init,
    dma_fence_put,
    dma_fence_signal,
    dma_fence_wait,
    dma_fences,
)
from secondsight.linux.dma_resv import DmaResvUsage, dma_resv_add_fence, dma_resv_lock, dma_resv_reserve_fences, dma_resv_unlock
from secondsight.linux.errno import ENODEV
from secondsight.linux.highmem import copy_highpage
from secondsight.linux.kref import kref_get
from secondsight.linux.mm_types import Count, Folio, Pgoff
from secondsight.linux.page_alloc import alloc_page, put_page

__all__ = ["MovingBuffer", "cpu_access_asked", "cpu_access_begun", "export_buffer", "fences_held_by_buffers", "held_by_buffers", "moving_buffers"]

CONTEXT = 2
"""The context of the copies' fences."""


@tracepoint
def cpu_access_asked(dmabuf: DmaBuf, write: bool) -> None:
    """A CPU is about to ask whether it may use the buffer: to read, or to write too."""


@tracepoint
def cpu_access_begun(dmabuf: DmaBuf, write: bool) -> None:
    """It may."""


class MovingBuffer(RearmsAtRevoke):
    """The buffer. `waits_for`: the fences that the copy waits for."""

    target: Array[Ref[Folio], Literal["dmabuf_pages"]]
    waits_for: Array[Ref[DmaFence], Literal["resv_fences"]]

    @atomic
    def take_memory(self) -> None:
        """The memory is there."""
        for i in range(self.nr_pages):
            frame = alloc_page()
            self.storage[i] = frame
            self.target[i] = frame

    @atomic
    def lose_memory(self) -> None:
        """It is somebody else's. No copy is under way: its fence was waited for."""
        for i in range(self.nr_pages):
            frame = self.storage[i]
            self.storage[i] = None
            self.target[i] = None
            if frame is not None:
                put_page(frame)

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        """Where the memory is, or will be when the copy is done."""
        with atomic:
            if self.revoked:
                return -ENODEV
            for i in range(self.nr_pages):
                attach.sgt[i] = self.target[i]
            kref_get(self.kref)
        return 0

    def begin_cpu(self, write: bool) -> Errno:
        """A CPU asks whether it may use the buffer (dma_buf_begin_cpu_access())."""
        cpu_access_asked(self, write)
        ret = dma_buf_begin_cpu_access(self, write)
        if ret == 0:
            cpu_access_begun(self, write)
        return ret

    def move(self) -> Errno:
        """Put the buffer somewhere else: 0 when it is there, -ENODEV while it is revoked."""
        while True:
            wait_until(not self.is_being_copied())
            dma_resv_lock(self.resv)
            if not self.is_being_copied():
                break
            dma_resv_unlock(self.resv)
        if self.revoked:
            dma_resv_unlock(self.resv)
            return -ENODEV
        dma_buf_move_notify(self)
        fence = self.queue_copy()
        dma_resv_unlock(self.resv)
        for i in range(len(self.waits_for)):
            before = self.waits_for[i]
            if before is not None:
                dma_fence_wait(before)
        self.copy(fence)
        return 0

    @atomic
    def is_being_copied(self) -> bool:
        """Whether a move is under way."""
        return self.target[0] is not self.storage[0]

    @atomic
    def queue_copy(self) -> DmaFence:
        """Take the new memory, and add the fence of a copy that waits for all that is there. `resv` is held."""
        for i in range(len(self.waits_for)):
            before = self.resv.fences[i].fence
            if before is not None and not before.signaled:
                dma_fence_get(before)
                self.waits_for[i] = before
        fence = dma_fences.alloc()
        dma_fence_init(fence, CONTEXT, 0)
        dma_resv_reserve_fences(self.resv, 1)
        dma_resv_add_fence(self.resv, fence, DmaResvUsage.KERNEL)
        for i in range(self.nr_pages):
            self.target[i] = alloc_page()
        return fence

    @atomic
    def copy(self, fence: DmaFence) -> None:
        """The copy: from now on the new memory is the buffer's, and the old is somebody else's."""
        for i in range(self.nr_pages):
            old = self.storage[i]
            new = self.target[i]
            assert old is not None
            assert new is not None
            copy_highpage(new, old)
            self.storage[i] = new
            put_page(old)
        for i in range(len(self.waits_for)):
            before = self.waits_for[i]
            if before is not None:
                self.waits_for[i] = None
                dma_fence_put(before)
        dma_fence_signal(fence)
        dma_fence_put(fence)


moving_buffers = pool(MovingBuffer, bound("moving_buffers"))


def export_buffer(nr_pages: Pgoff) -> MovingBuffer:
    """A new buffer. Part of setting up."""
    buffer = moving_buffers.alloc()
    buffer.open(nr_pages)
    return buffer


@atomic
def held_by_buffers() -> Count:
    """How many references to frames buffers hold. No copy is under way."""
    held: Count = 0
    for i in range(len(moving_buffers)):
        if moving_buffers.is_used(moving_buffers[i]):
            held += count(frame is not None for frame in moving_buffers[i].storage)
    return held


@atomic
def fences_held_by_buffers(fence: DmaFence) -> Count:
    """How many references to a fence the reservation objects of buffers hold. No copy is under way."""
    held: Count = 0
    for i in range(len(moving_buffers)):
        held += count(entry.fence is fence for entry in moving_buffers[i].resv.fences)
    return held
