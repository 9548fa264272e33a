"""Drivers whose device can be reset while it is in use, and has then what it had before: one that is right, and such as forget what goes on meanwhile."""

from __future__ import annotations

from typing import Literal

from secondsight.devices.mirror import Mirror
from secondsight.devices.small.opening import ClosesByItsLock
from secondsight.lang import Array, Char, Errno, Ref, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import ENODEV
from secondsight.linux.mm_types import Event, Folio, Range, Result, Seq, Va
from secondsight.linux.page_alloc import page_to_pfn

__all__ = ["ComesBackClosed", "ResetDevice", "Resets", "ResetsInUse", "RestoresItsTable", "StaysOff"]


class ResetDevice(ClosesByItsLock):
    """The hardware: a reset takes its time, and what its engine does meanwhile goes wrong. It has to be stopped before."""

    in_reset: bool

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        if not self.page_table.disabled:
            assert not self.in_reset, "the device's engine goes on while it is reset"
        return ClosesByItsLock.access(self, va, write, value)


class Resets(ResetDevice):
    """Right: saves its table, and puts it back unless something was invalidated meanwhile. The lock is free while the device is reset, which takes its time."""

    saved: Array[Ref[Folio], Literal["pages"]]

    def reset(self) -> Errno:
        seq = mn.mmu_interval_read_begin(self.notifier)
        with self.lock:
            if self.closed:
                return -ENODEV
            self.save()
        with self.lock:
            self.in_reset = False
            if not self.closed:
                self.go_on(seq)
        return 0

    def go_on(self, seq: Seq) -> None:
        """Put back what is true still, and let the device go on."""
        if not mn.mmu_interval_read_retry(self.notifier, seq):
            self.restore()
        self.page_table.enable()

    @atomic
    def save(self) -> None:
        """And the device is stopped, and loses it."""
        self.page_table.disable()
        for va in range(len(self.saved)):
            self.saved[va] = self.page_table.entries[va].frame
        self.page_table.unmap(Range(0, len(self.saved), Event.CLEAR, True))
        self.in_reset = True

    @atomic
    def restore(self) -> None:
        """To be read."""
        for va in range(len(self.saved)):
            frame = self.saved[va]
            if frame is not None:
                self.page_table.map(va, page_to_pfn(frame), False)


class ResetsInUse(Resets):
    """Does not stop the device before it is reset: its engine faults its pages in again, and goes on."""

    @atomic
    def save(self) -> None:
        for va in range(len(self.saved)):
            self.saved[va] = self.page_table.entries[va].frame
        self.page_table.unmap(Range(0, len(self.saved), Event.CLEAR, True))
        self.in_reset = True


class RestoresItsTable(Resets):
    """Puts its table back whatever was invalidated meanwhile."""

    def go_on(self, seq: Seq) -> None:
        self.restore()
        self.page_table.enable()


class ComesBackClosed(Resets):
    """Stops the device when it is closed, and says so to nobody: a reset that is under way lets it go on."""

    def close(self) -> None:
        Mirror.close(self)


class StaysOff(Resets):
    """Lets the device go on only where it can put its table back."""

    def go_on(self, seq: Seq) -> None:
        if not mn.mmu_interval_read_retry(self.notifier, seq):
            self.restore()
            self.page_table.enable()
