"""Devices whose translations have keys, and drivers that give a key back while somebody may still use it in a command.

A device's tables are changed by commands on one queue of the device, and a command names the key of what it changes. One that names a key
that was given back fails, and with it the queue, of which all who work with the device have use. So who gives a key back does so under the lock
under which the others look whether it is there, and says so under the same lock: the driver's own for a mirror
(mlx5_ib_dereg_mr(), drivers/infiniband/hw/mlx5/mr.c), the buffer's reservation lock for an importer.
"""

from __future__ import annotations

from secondsight.devices.fenced_importer import FencedImporter
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno, Record, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dma_buf import DmaBuf
from secondsight.linux.dma_resv import dma_resv_lock, dma_resv_unlock
from secondsight.linux.mm_types import Mm, Pgoff, Va

__all__ = [
    "ImporterRevokesItsKey",
    "ImporterRevokesItsKeyUnlocked",
    "Mkey",
    "RevokesItsKey",
    "RevokesItsKeyUnlocked",
]


class Mkey(Record):
    """A key. `live`: the device knows it."""

    live: bool

    @atomic
    def update(self) -> None:
        """A command that changes what the key stands for."""
        assert self.live, "a command names a key that was given back: the queue is in error"

    @atomic
    def destroy(self) -> None:
        """A command that gives the key back."""
        self.update()
        self.live = False


class RevokesItsKey(MirrorInParts):
    """Right: gives the key back, and says so, under its lock."""

    mkey: Mkey
    revoked: bool

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        self.mkey.live = True
        return MirrorInParts.open(self, mm, start, length)

    def drop(self, rng: mn.Range) -> None:
        if not self.revoked:
            self.mkey.update()
        self.page_table.unmap(rng)

    def close(self) -> None:
        self.page_table.disable()
        with self.lock:
            self.revoke()
        mn.mmu_interval_notifier_remove(self.notifier)

    def revoke(self) -> None:
        """The key goes, and nobody uses it from now on."""
        self.mkey.destroy()
        self.revoked = True


class RevokesItsKeyUnlocked(RevokesItsKey):
    """Gives the key back without the lock: an invalidation that is under way names it."""

    def close(self) -> None:
        self.page_table.disable()
        self.revoke()
        mn.mmu_interval_notifier_remove(self.notifier)


class ImporterRevokesItsKey(FencedImporter):
    """Right: an importer that does so under the reservation lock of the buffer."""

    mkey: Mkey
    revoked: bool

    def attach_to(self, buffer: DmaBuf) -> Errno:
        self.mkey.live = True
        return FencedImporter.attach_to(self, buffer)

    def move_notify(self) -> None:
        if not self.revoked:
            self.mkey.update()
        FencedImporter.move_notify(self)

    def close(self) -> None:
        with atomic:
            buffer = self.buffer
        assert buffer is not None
        dma_resv_lock(buffer.resv)
        self.revoke()
        dma_resv_unlock(buffer.resv)
        FencedImporter.close(self)

    def revoke(self) -> None:
        """The key goes, and nobody uses it from now on."""
        self.mkey.destroy()
        self.revoked = True


class ImporterRevokesItsKeyUnlocked(ImporterRevokesItsKey):
    """Gives the key back without the buffer's lock: the exporter's notification names it."""

    def close(self) -> None:
        self.revoke()
        FencedImporter.close(self)
