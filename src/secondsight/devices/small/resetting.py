"""Drivers whose device can be reset while it is in use: one that is right, and such as forget what goes on meanwhile."""

from __future__ import annotations

from typing import Literal

from secondsight.devices.mirror import Mirror
from secondsight.devices.small.opening import ClosesByItsLock
from secondsight.lang import Array, Errno, Ref, atomic
from secondsight.linux.errno import ENODEV
from secondsight.linux.mm_types import Event, Folio, Range
from secondsight.linux.page_alloc import page_to_pfn

__all__ = ["ComesBackClosed", "Resets", "RestoresItsTable", "StaysOff"]


class Resets(ClosesByItsLock):
    """Right: under its lock the device is stopped, loses its table, and goes on, unless it has been closed."""

    def reset(self) -> Errno:
        with self.lock:
            if self.closed:
                return -ENODEV
            self.page_table.disable()
            self.page_table.unmap(Range(0, len(self.page_table.entries), Event.CLEAR, True))
            self.page_table.enable()
        return 0


class RestoresItsTable(Resets):
    """Saves the table and puts it back; while the device is reset, which takes its time, the lock is free."""

    saved: Array[Ref[Folio], Literal["pages"]]

    def reset(self) -> Errno:
        with self.lock:
            if self.closed:
                return -ENODEV
            self.save()
        with self.lock:
            if not self.closed:
                self.restore()
        return 0

    @atomic
    def save(self) -> None:
        """And stop the device."""
        self.page_table.disable()
        for va in range(len(self.saved)):
            self.saved[va] = self.page_table.entries[va].frame
        self.page_table.unmap(Range(0, len(self.saved), Event.CLEAR, True))

    @atomic
    def restore(self) -> None:
        """To be read; and let it go on."""
        for va in range(len(self.saved)):
            frame = self.saved[va]
            if frame is not None:
                self.page_table.map(va, page_to_pfn(frame), False)
        self.page_table.enable()


class ComesBackClosed(Resets):
    """Stops the device when it is closed, and says so to nobody: a reset that is under way lets it go on."""

    def close(self) -> None:
        Mirror.close(self)


class StaysOff(Resets):
    """Forgets to let the device go on where nothing was in its table."""

    def reset(self) -> Errno:
        with self.lock:
            if self.closed:
                return -ENODEV
            self.page_table.disable()
            if any(entry.frame is not None for entry in self.page_table.entries):
                self.page_table.unmap(Range(0, len(self.page_table.entries), Event.CLEAR, True))
                self.page_table.enable()
        return 0
