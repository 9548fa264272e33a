"""Importers that get one thing wrong: a fence, a wait, a lock, or the end."""

from __future__ import annotations

from typing import ClassVar

from secondsight.devices.fenced_importer import CONTEXT, FencedImporter
from secondsight.devices.job import job_fence, job_prepare, job_start
from secondsight.lang import Char, Errno, Ref, atomic, wait_until
from secondsight.linux.dma_buf import (
    DmaBuf,
    DmaBufAttachment,
    dma_buf_attach,
    dma_buf_detach,
    dma_buf_pin,
    dma_buf_unmap_attachment,
)
from secondsight.linux.dma_fence import (
    DmaFence,
    DmaFenceCb,
    dma_fence_add_callback,
    dma_fence_get,
    dma_fence_put,
    dma_fence_remove_callback,
    dma_fence_wait,
)
from secondsight.linux.dma_resv import (
    DmaResvUsage,
    dma_resv_add_fence,
    dma_resv_lock,
    dma_resv_reserve_fences,
    dma_resv_unlock,
    dma_resv_usage_rw,
    dma_resv_wait_timeout,
)
from secondsight.linux.errno import ENODEV

__all__ = [
    "AddsItsFenceLate",
    "AddsNoFence",
    "AsksToBeCalled",
    "AsksTwice",
    "BeginsBesideOthers",
    "DetachesMapped",
    "DropsTheJobsFence",
    "ForgetsItsWorker",
    "IgnoresMoves",
    "KeepsItsFence",
    "KeepsItsMapping",
    "LocksInItsCallback",
    "ReservesNothing",
    "ReservesTooEarly",
    "PinsUntold",
    "SaysThatItReads",
    "SignalsNothing",
    "StaysAttached",
    "SyncsImplicitly",
    "TakesItsCallbackBack",
    "TakesTheLastForItsOwn",
    "TellsItsOwnAlone",
    "UnmapsUnlocked",
]


class AddsNoFence(FencedImporter):
    """Its jobs are nobody else's business."""

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        with atomic:
            job_prepare(self.job, attach, 0, value, CONTEXT)
            job_start(self.job)


class AddsItsFenceLate(FencedImporter):
    """Adds the fence when the job is on its way, and the lock was free in between."""

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        with atomic:
            job_prepare(self.job, attach, 0, value, CONTEXT)
            job_start(self.job)
        dma_resv_unlock(buffer.resv)
        dma_resv_lock(buffer.resv)
        with atomic:
            fence = self.job.fence
            if fence is not None:
                dma_resv_reserve_fences(buffer.resv, 1)
                dma_resv_add_fence(buffer.resv, fence, DmaResvUsage.BOOKKEEP)


class ReservesTooEarly(FencedImporter):
    """Makes room for its fence, drops the lock, and counts on the room."""

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        dma_resv_reserve_fences(buffer.resv, 1)
        dma_resv_unlock(buffer.resv)
        dma_resv_lock(buffer.resv)
        ret = self.map_locked(buffer, attach)
        if ret == 0:
            with atomic:
                fence = job_prepare(self.job, attach, 0, value, CONTEXT)
                dma_resv_add_fence(buffer.resv, fence, DmaResvUsage.BOOKKEEP)
                job_start(self.job)


class IgnoresMoves(FencedImporter):
    """Takes a mapping for memory that is there."""

    def wait_for_moves(self, buffer: DmaBuf) -> None:
        pass


class KeepsItsMapping(FencedImporter):
    """Goes on as if nobody had said anything."""

    def move_notify(self) -> None:
        pass


class KeepsItsFence(FencedImporter):
    """Waits for a job and keeps the reference that it took for that."""

    def wait_for_jobs(self) -> None:
        fence = job_fence(self.job)
        if fence is not None:
            dma_fence_wait(fence)


class LocksInItsCallback(FencedImporter):
    """Takes the reservation lock in `move_notify`, which is called with it held."""

    def move_notify(self) -> None:
        self.told = True
        self.unmap()


class UnmapsUnlocked(FencedImporter):
    """Its worker unmaps without the reservation lock."""

    def unmap(self) -> None:
        with atomic:
            buffer = self.buffer
            attach = self.attach
            mapped = attach is not None and attach.mapped
            self.told = False
        assert buffer is not None
        if mapped:
            assert attach is not None
            dma_buf_unmap_attachment(buffer, attach)


class SignalsNothing(FencedImporter):
    """Loses an interrupt: the job is done, and its fence is never signalled."""

    def engine(self) -> None:
        wait_until(self.job.queued)
        with atomic:
            self.job.queued = False


class DetachesMapped(FencedImporter):
    """Detaches with its mapping: the exporter waits for the unmapping for ever."""

    def close(self) -> None:
        self.wait_for_jobs()
        with atomic:
            buffer = self.buffer
            attach = self.attach
            self.attach = None
        assert buffer is not None
        assert attach is not None
        dma_buf_detach(buffer, attach)


class StaysAttached(FencedImporter):
    """Gives its mapping back and stays on the exporter's list."""

    def close(self) -> None:
        with atomic:
            buffer = self.buffer
            attach = self.attach
        assert buffer is not None
        assert attach is not None
        dma_resv_lock(buffer.resv)
        self.give_back(buffer, attach)
        dma_resv_unlock(buffer.resv)


class ForgetsItsWorker(FencedImporter):
    """Its worker counts on the attachment, which `close` takes away beside it."""

    def unmap(self) -> None:
        with atomic:
            buffer = self.buffer
            attach = self.attach
        assert buffer is not None
        assert attach is not None, "the worker runs, and its attachment has gone"
        dma_resv_lock(buffer.resv)
        self.give_back(buffer, attach)
        dma_resv_unlock(buffer.resv)


class ReservesNothing(FencedImporter):
    """Asks for room for no fence, since it adds one alone."""

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        with atomic:
            dma_resv_reserve_fences(buffer.resv, 0)
            fence = job_prepare(self.job, attach, 0, value, CONTEXT)
            dma_resv_add_fence(buffer.resv, fence, DmaResvUsage.BOOKKEEP)
            job_start(self.job)


class AsksToBeCalled(FencedImporter):
    """Right: has itself called when a job ends, and waits for that."""

    called: DmaFenceCb

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        with atomic:
            dma_resv_reserve_fences(buffer.resv, 1)
            fence = job_prepare(self.job, attach, 0, value, CONTEXT)
            dma_fence_add_callback(fence, self.called)
            dma_resv_add_fence(buffer.resv, fence, DmaResvUsage.BOOKKEEP)
            job_start(self.job)

    def wait_for_jobs(self) -> None:
        wait_until(not self.called.listed)


class AsksTwice(AsksToBeCalled):
    """Asks again when it is to unmap, with the structure that waits already."""

    def wait_for_jobs(self) -> None:
        with atomic:
            fence = self.job.fence
            if fence is not None:
                dma_fence_add_callback(fence, self.called)
        wait_until(not self.called.listed)


class DropsTheJobsFence(AsksToBeCalled):
    """Takes the job's reference to the fence for its own, and drops it when it has asked to be called; others are not told of the job."""

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        with atomic:
            fence = job_prepare(self.job, attach, 0, value, CONTEXT)
            dma_fence_add_callback(fence, self.called)
            job_start(self.job)
            dma_fence_put(fence)


class SyncsImplicitly(FencedImporter):
    """Right: its jobs wait for those before them that are in their way, and whoever comes after is told what they do with the buffer."""

    implicit_sync: ClassVar[bool] = True

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        dma_resv_wait_timeout(buffer.resv, dma_resv_usage_rw(value != 0))
        with atomic:
            dma_resv_reserve_fences(buffer.resv, 1)
            fence = job_prepare(self.job, attach, 0, value, CONTEXT)
            dma_resv_add_fence(buffer.resv, fence, self.usage(value))
            job_start(self.job)

    @atomic
    def usage(self, value: Char) -> DmaResvUsage:
        """What a job does with the buffer."""
        return DmaResvUsage.WRITE if value != 0 else DmaResvUsage.READ


class SaysThatItReads(SyncsImplicitly):
    """Says of each of its jobs that it reads: nobody who reads waits for one."""

    @atomic
    def usage(self, value: Char) -> DmaResvUsage:
        return DmaResvUsage.READ


class BeginsBesideOthers(SyncsImplicitly):
    """Says what its jobs do, and begins them beside those of others."""

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        with atomic:
            dma_resv_reserve_fences(buffer.resv, 1)
            fence = job_prepare(self.job, attach, 0, value, CONTEXT)
            dma_resv_add_fence(buffer.resv, fence, self.usage(value))
            job_start(self.job)


class TellsItsOwnAlone(SyncsImplicitly):
    """Its devices find each other's jobs, and wait; a CPU, or another driver, does not."""

    def queue(self, buffer: DmaBuf, attach: DmaBufAttachment, value: Char) -> None:
        dma_resv_wait_timeout(buffer.resv, DmaResvUsage.BOOKKEEP)
        SyncsImplicitly.queue(self, buffer, attach, value)

    @atomic
    def usage(self, value: Char) -> DmaResvUsage:
        return DmaResvUsage.BOOKKEEP


class TakesItsCallbackBack(AsksToBeCalled):
    """Right: takes its callback back where it waits for the fence itself."""

    def wait_for_jobs(self) -> None:
        with atomic:
            fence = self.fence_to_wait_for()
            if fence is not None:
                dma_fence_remove_callback(fence, self.called)
        if fence is not None:
            dma_fence_wait(fence)
            dma_fence_put(fence)

    @atomic
    def fence_to_wait_for(self) -> Ref[DmaFence]:
        """Its job's, with a reference."""
        return job_fence(self.job)


class TakesTheLastForItsOwn(TakesItsCallbackBack):
    """Takes the fence that was added last for its own: since then the exporter may have added that of a move."""

    @atomic
    def fence_to_wait_for(self) -> Ref[DmaFence]:
        buffer = self.buffer
        assert buffer is not None
        last: Ref[DmaFence] = None
        for entry in buffer.resv.fences:
            if entry.fence is not None:
                last = entry.fence
        if last is not None:
            dma_fence_get(last)
        return last


class PinsUntold(FencedImporter):
    """Attaches without a `move_notify`, and pins the buffer for its jobs all the same: for such an importer it is pinned at attach."""

    def attach_to(self, buffer: DmaBuf) -> Errno:
        self.buffer = buffer
        attach = dma_buf_attach(buffer, self)
        self.attach = attach
        return 0 if attach is not None else -ENODEV

    def map_locked(self, buffer: DmaBuf, attach: DmaBufAttachment) -> Errno:
        return dma_buf_pin(buffer, attach)
