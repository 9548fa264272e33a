"""What every device is: a page table of its own, accesses through it, and a driver that fills it.

    device.read(va), device.write(va, value)
        the device looks va up in its page table and accesses the frame it finds there, in one step
        an entry that is missing, or may not be written: the driver's `fault(va, write)`, then again

A driver derives from `Device` and writes `fault` and the callbacks it subscribes to. What the device does with its table
is this file's; the table is right or wrong by what the driver does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from secondsight.lang import Array, Char, Errno, Record, Ref, atomic, hold_point, tracepoint
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.device import device_read, device_write
from secondsight.linux.errno import EFAULT
from secondsight.linux.mm_types import Driver, Frame, Mm, Pfn, Pgoff, Range, Result, Va
from secondsight.linux.page_alloc import frames

__all__ = ["DEVICE_FAULT", "Device", "DeviceEntry", "DevicePageTable", "accesses_compared"]

DEVICE_FAULT: Final = -128
"""The device's page table does not allow the access: its driver must act."""


@tracepoint
def accesses_compared(device: Driver, va: Va, cpu: Result, found: Result) -> None:
    """The CPU and then the device read the page at `va`, with nothing else going on: what each got, or its error."""


class DeviceEntry(Record):
    """One entry of a device's page table: the frame, and whether the device may write it. `frame` None: not present."""

    frame: Ref[Frame]
    writable: bool


class DevicePageTable(Record):
    """A device's page table. Each call is one store, or one run of stores that the device cannot look into: one step."""

    entries: Array[DeviceEntry, Literal["pages"]]

    @atomic
    def map(self, va: Va, pfn: Pfn, write: bool) -> None:
        """Point `va` at frame `pfn`, writable or not."""
        self.entries[va].frame = frames[pfn]
        self.entries[va].writable = write

    @atomic
    def unmap(self, rng: Range) -> None:
        """Clear every entry of `rng`."""
        for va in range(rng.start, rng.end):
            self.entries[va].frame = None
            self.entries[va].writable = False


class Device(Driver):
    """A device that accesses one process's memory; derive from it to write a driver.

    `open` subscribes the driver to the process's address space: by default to `mmu_interval_notifier`s over all of it.
    """

    page_table: DevicePageTable

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1}
    """What one such driver needs of the machinery's bounds (`secondsight.linux.bounds`)."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """Begin to mirror `length` pages from `start` of `mm`. 0 or an error."""
        return mn.mmu_interval_notifier_insert(self, mm, start, length)

    def close(self) -> None:
        """Stop mirroring: no callback runs once this has returned."""
        mn.mmu_interval_notifier_remove(self)

    def fault(self, va: Va, write: bool) -> Errno:
        """Make `va` accessible to the device. 0: try again; an error: the access fails."""
        return -EFAULT

    def read(self, va: Va) -> Result:
        """The device reads the page at `va`: its contents, or the driver's error."""
        while True:
            hold_point("accessing")
            value = self.access(va, False, 0)
            if value != DEVICE_FAULT:
                return value
            ret = self.fault(va, False)
            if ret != 0:
                return ret

    def write(self, va: Va, value: Char) -> Result:
        """The device writes the page at `va`: 0, or the driver's error."""
        while True:
            hold_point("accessing")
            done = self.access(va, True, value)
            if done != DEVICE_FAULT:
                return done
            ret = self.fault(va, True)
            if ret != 0:
                return ret

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        """The device's table walk and access, in one step: the contents (0 for a write), or `DEVICE_FAULT`."""
        entry = self.page_table.entries[va]
        frame = entry.frame
        if frame is None or (write and not entry.writable):
            return DEVICE_FAULT
        if write:
            device_write(self, va, frame, value)
            return 0
        return device_read(self, va, frame)
