"""Importers whose jobs use two buffers, and take both reservation locks: in one order to queue a job, in the other to take the mapping away.

Who takes several has a context (`ww_mutex`): told -EDEADLK it gives back all that it has, and what it has looked at under those locks is worth nothing any more.
"""

from __future__ import annotations

from typing import ClassVar

from secondsight.devices.fenced_importer import FencedImporter
from secondsight.lang import Char, Errno, atomic, wait_until
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment, dma_buf_map_attachment
from secondsight.linux.dma_resv import DmaResv, dma_resv_lock, dma_resv_lock_slow, dma_resv_unlock
from secondsight.linux.errno import EDEADLK, ENODEV
from secondsight.linux.ww_mutex import WwAcquireCtx, ww_acquire_ctxs, ww_acquire_done, ww_acquire_fini, ww_acquire_init

__all__ = ["ForgetsItsContext", "KeepsWhatItHas", "LocksBoth", "LocksOneByItself", "TrustsItsFirstLook"]


class LocksBoth(FencedImporter):
    """Right: its jobs have the buffer that it imports and one of its own (`own`): its page table's, say."""

    own: DmaResv
    bounds: ClassVar[dict[str, int]] = {**FencedImporter.bounds, "ww_contexts": 2, "ww_locks": 1}

    def submit(self, value: Char) -> Errno:
        while True:
            wait_until(self.job.fence is None)
            with atomic:
                buffer = self.buffer
                attach = self.attach
            assert buffer is not None
            if attach is None:
                return -ENODEV
            with ww_acquire_ctxs.on_stack() as ctx:
                ww_acquire_init(ctx)
                mapped = self.lock_to_submit(buffer, attach, ctx)
                if self.job.fence is None:
                    ret = self.map_again(buffer, attach, mapped)
                    if ret == 0:
                        self.queue(buffer, attach, value)
                    self.unlock_both(buffer, ctx)
                    return ret
                self.unlock_both(buffer, ctx)

    def lock_to_submit(self, buffer: DmaBuf, attach: DmaBufAttachment, ctx: WwAcquireCtx) -> bool:
        """Take both locks, the buffer's first; whether there is a mapping then."""
        self.lock_both(buffer.resv, self.own, ctx)
        return attach.mapped

    def map_again(self, buffer: DmaBuf, attach: DmaBufAttachment, mapped: bool) -> Errno:
        """Have a mapping to start a job by, and the memory in its place. Both locks are held."""
        if self.told:
            self.give_back(buffer, attach)
            mapped = False
        if not mapped:
            ret = dma_buf_map_attachment(buffer, attach)
            if ret != 0:
                return ret
        self.wait_for_moves(buffer)
        return 0

    def lock_both(self, first: DmaResv, second: DmaResv, ctx: WwAcquireCtx) -> None:
        """Take both locks; when it has to give one back it waits for the other with nothing held, and begins with that."""
        dma_resv_lock(first, ctx)
        self.lock_the_other(first, second, ctx)
        ww_acquire_done(ctx)

    def lock_the_other(self, held: DmaResv, wanted: DmaResv, ctx: WwAcquireCtx) -> None:
        """Take the second lock, with the first one held."""
        ret = dma_resv_lock(wanted, ctx)
        while ret == -EDEADLK:
            dma_resv_unlock(held)
            dma_resv_lock_slow(wanted, ctx)
            other = held
            held = wanted
            wanted = other
            ret = dma_resv_lock(wanted, ctx)

    def unlock_both(self, buffer: DmaBuf, ctx: WwAcquireCtx) -> None:
        """Give both back."""
        dma_resv_unlock(self.own)
        dma_resv_unlock(buffer.resv)
        ww_acquire_fini(ctx)

    def unmap(self) -> None:
        buffer = self.buffer
        assert buffer is not None
        with ww_acquire_ctxs.on_stack() as ctx:
            ww_acquire_init(ctx)
            self.lock_both(self.own, buffer.resv, ctx)
            with atomic:
                attach = self.attach if self.told else None
                self.told = False
            if attach is not None:
                self.give_back(buffer, attach)
            self.unlock_both(buffer, ctx)


class LocksOneByItself(LocksBoth):
    """Takes its second lock without the context: nobody can tell it to give the first one back."""

    def lock_both(self, first: DmaResv, second: DmaResv, ctx: WwAcquireCtx) -> None:
        dma_resv_lock(first, ctx)
        ww_acquire_done(ctx)
        dma_resv_lock(second)


class KeepsWhatItHas(LocksBoth):
    """Told to give its lock back, it waits for the other with that held."""

    def lock_both(self, first: DmaResv, second: DmaResv, ctx: WwAcquireCtx) -> None:
        dma_resv_lock(first, ctx)
        ret = dma_resv_lock(second, ctx)
        if ret == -EDEADLK:
            dma_resv_lock_slow(second, ctx)
        ww_acquire_done(ctx)


class ForgetsItsContext(LocksBoth):
    """Gives its locks back, and does not say that the context has ended."""

    def unlock_both(self, buffer: DmaBuf, ctx: WwAcquireCtx) -> None:
        dma_resv_unlock(self.own)
        dma_resv_unlock(buffer.resv)


class TrustsItsFirstLook(LocksBoth):
    """Looks for its mapping under the first lock that it gets, and believes that when it had to give the lock back."""

    def lock_to_submit(self, buffer: DmaBuf, attach: DmaBufAttachment, ctx: WwAcquireCtx) -> bool:
        dma_resv_lock(buffer.resv, ctx)
        mapped = attach.mapped
        ret = dma_resv_lock(self.own, ctx)
        if ret == -EDEADLK:
            dma_resv_unlock(buffer.resv)
            dma_resv_lock_slow(self.own, ctx)
            self.lock_the_other(self.own, buffer.resv, ctx)
        ww_acquire_done(ctx)
        return mapped
