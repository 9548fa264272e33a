"""What every device is: a page table of its own, accesses through it, and a driver that fills it.

    device.read(va), device.write(va, value)
        the device looks va up in its page table and accesses the frame it finds there, in one step
        an entry that is missing, or may not be written: the driver's `fault(va, write)`, then again
        a table that was disabled: -EBADF, and nobody is asked

A driver derives from `Device` and writes `fault` and the callbacks it subscribes to. What the device does with its table
is this file's; the table is right or wrong by what the driver does. Engines of the device may run beside each other, and
beside `open` and `close`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from secondsight.lang import U8, Array, Char, Errno, Record, Ref, atomic, current, hold_point, tracepoint
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.device import device_read, device_write
from secondsight.linux.errno import EBADF, EFAULT, EINVAL, EOPNOTSUPP
from secondsight.linux.memremap import DevPagemap
from secondsight.linux.mm_types import Driver, Folio, Mm, Pfn, Pgoff, Range, Result, Va, VaEnd
from secondsight.linux.page_alloc import frames
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = [
    "DEVICE_FAULT",
    "Device",
    "DeviceEntry",
    "DevicePageTable",
    "Promise",
    "access_begins",
    "access_failed",
    "accesses_compared",
    "all_quiet",
    "close_device",
    "device_closed",
    "device_closing",
    "device_opened",
    "open_device",
    "table_changes",
]

Promise = Literal["mirror", "pinned", "process", "exclusive", "private", "importer"]

DEVICE_FAULT: Final = -128
"""The device's page table does not allow the access: its driver must act."""


@tracepoint
def accesses_compared(device: Driver, va: Va, cpu: Result, found: Result) -> None:
    """The CPU and then the device read the page at `va`, with nothing else going on: what each got, or its error."""


@tracepoint
def access_begins(device: Driver, va: Va, write: bool) -> None:
    """The device is about to read or write the page at `va` for the first time: until it gets there, or `access_failed`."""


@tracepoint
def access_failed(device: Driver, va: Va, write: bool, error: Result) -> None:
    """The device's access fails: its driver's `fault` has said so."""


@tracepoint
def device_opened(device: Driver, mm: Mm, error: Errno) -> None:
    """The driver's `open` has returned 0 or an error."""


@tracepoint
def device_closing(device: Driver, mm: Mm) -> None:
    """The driver's `close` is about to be called."""


@tracepoint
def device_closed(device: Driver, mm: Mm) -> None:
    """The driver's `close` has returned."""


@tracepoint
def all_quiet(device: Driver, mm: Mm, gone: bool) -> None:
    """The driver is closed, or was never opened, every thread has ended, and so has the process if it is `gone`."""


@tracepoint
def table_changes(table: DevicePageTable) -> None:
    """The driver is about to change the device's page table."""


class DeviceEntry(Record):
    """One entry of a device's page table: the frame, and whether the device may write it. `frame` None: not present."""

    frame: Ref[Folio]
    writable: bool


class DevicePageTable(Record):
    """A device's page table.

    `map` and `unmap` are one store each, or one run of stores that the device cannot look into: one step. A driver that looks
    into the table itself (`is_mapped`) takes its time, and needs a lock that every change is made under: rule `table-lock`.
    `walker` is a ghost: the thread that is looking.
    """

    entries: Array[DeviceEntry, Literal["pages"]]
    disabled: bool
    walker: U8

    @atomic
    def disable(self) -> None:
        """The device walks the table no more, whatever is put into it: each access from now on fails with -EBADF.

        What a driver does to the device before it gives up its subscription: the context, or the IOMMU's PASID entry, is
        torn down.
        """
        self.disabled = True

    @atomic
    def enable(self) -> None:
        """The device walks the table again: a device that was reset goes on."""
        self.disabled = False

    @atomic
    def map(self, va: Va, pfn: Pfn, write: bool) -> None:
        """Point `va` at frame `pfn`, writable or not."""
        table_changes(self)
        self.entries[va].frame = frames[pfn]
        self.entries[va].writable = write

    @atomic
    def unmap(self, rng: Range) -> None:
        """Clear every entry of `rng`."""
        table_changes(self)
        for va in range(rng.start, rng.end):
            self.entries[va].frame = None
            self.entries[va].writable = False


    @atomic
    def protect(self, rng: Range) -> None:
        """Take the permission to write away from every entry of `rng`."""
        table_changes(self)
        for va in range(rng.start, rng.end):
            self.entries[va].writable = False

    def is_mapped(self, va: Va, write: bool) -> bool:
        """The driver walks the table: whether the device can read `va`, or write it. Two steps, as a walk takes time."""
        self.walker = current()
        with atomic:
            self.walker = 0
            entry = self.entries[va]
            return entry.frame is not None and (entry.writable or not write)


class Device(Driver):
    """A device that accesses one process's memory; derive from it to write a driver.

    `open` subscribes the driver to the process's address space: by default to a `mmu_interval_notifier` over all of it.
    `notifier.mm` is that address space before `open` is called.
    """

    page_table: DevicePageTable

    promise: ClassVar[Promise] = "mirror"
    """By what the driver is judged: a *mirror* accesses as if it were a CPU. A *pinned* device keeps the pages that it has pinned,
    whatever the process maps there by now. The accesses of a *process*'s own device are made by threads of the process (a vCPU
    of KVM's) and end with it; else as a mirror. Of an *exclusive* device a read-modify-write is atomic with whatever a CPU or
    another device stores; else as a mirror. A *private* device takes pages into memory of its own, where no CPU can reach them; a CPU finds
    there what the device wrote, and the device the same as if it were a CPU: else as a mirror. An *importer* works on a buffer that somebody else exports (`BufferDevice`)."""

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1}
    """What one such driver needs of the machinery's bounds (`secondsight.linux.bounds`)."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """Begin to mirror `length` pages from `start` of `mm`. 0, or -EINVAL when the process has gone.

        Whoever calls it need not be a user of the mm. A driver that refuses leaves nothing behind: `close` is not called.
        """
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        ret = mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)
        mmput(mm)
        return ret

    def close(self) -> None:
        """Stop mirroring: the device accesses nothing, and no callback runs, once this has returned.

        The device is stopped first: from the moment at which the subscription goes, nobody says what its table must drop.
        """
        self.page_table.disable()
        mn.mmu_interval_notifier_remove(self.notifier)

    def fault(self, va: Va, write: bool) -> Errno:
        """Make `va` accessible to the device. 0: try again; an error: the access fails."""
        return -EFAULT

    def forget(self, start: Va, end: VaEnd) -> None:
        """The process says that it is about to give these pages back: a hook in its allocator. Of a driver that is a library in user space."""

    def work(self) -> None:
        """What a worker of the driver's does, for as long as there is a device: a `while True` that waits for work (a work item on a
        workqueue of the kernel's). It has a thread of its own if the driver writes this method, and may wait for ever."""

    def read(self, va: Va) -> Result:
        """The device reads the page at `va`: its contents, or the driver's error."""
        hold_point("accessing")
        with atomic:
            access_begins(self, va, False)
            value = self.access(va, False, 0)
        while value == DEVICE_FAULT:
            ret = self.fault(va, False)
            if ret != 0:
                access_failed(self, va, False, ret)
                return ret
            hold_point("accessing")
            value = self.access(va, False, 0)
        return value

    def write(self, va: Va, value: Char) -> Result:
        """The device writes the page at `va`: 0, or the driver's error."""
        hold_point("accessing")
        with atomic:
            access_begins(self, va, True)
            done = self.access(va, True, value)
        while done == DEVICE_FAULT:
            ret = self.fault(va, True)
            if ret != 0:
                access_failed(self, va, True, ret)
                return ret
            hold_point("accessing")
            done = self.access(va, True, value)
        return done

    def exchange(self, va: Va, value: Char) -> Result:
        """The device reads the page at `va` and writes `value` in its stead, as one: what was there, or the driver's error.

        Of a device that has such accesses: see `exclusive.AtomicDevice`.
        """
        return -EOPNOTSUPP

    def migrate(self, va: Va, pages: Pgoff) -> Result:
        """`pages` pages from `va` on come into the device's own memory: how many have, or an error. Of a device that has some: see
        `private_gpu.PrivateGpu`."""
        return -EOPNOTSUPP

    def evict(self) -> Result:
        """What is in the device's own memory goes back: how many pages have, or an error."""
        return -EOPNOTSUPP

    @atomic
    def pagemap_of(self, frame: Folio, pgmap: Ref[DevPagemap]) -> Ref[DevPagemap]:
        """For a driver that itself looks at the device memory that it maps, so that the memory stays meanwhile: the pagemap of a page, with a reference. `pgmap`: that of
        the page that it looked at before, with its reference. None: it does not look at this one."""
        return None

    def reset(self) -> Errno:
        """The device is reset, and goes on: 0, or an error. What engines do meanwhile fails with -EBADF. Of a device that can be: see
        `small.resetting`."""
        return -EOPNOTSUPP

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        """The device's table walk and access, in one step: the contents (0 for a write), `DEVICE_FAULT`, or -EBADF."""
        if self.page_table.disabled:
            return -EBADF
        entry = self.page_table.entries[va]
        frame = entry.frame
        if frame is None or (write and not entry.writable):
            return DEVICE_FAULT
        if write:
            device_write(self, va, frame, value)
            return 0
        return device_read(self, va, frame)


def open_device(device: Device, mm: Mm) -> Errno:
    """Open a device on the whole address space of a process, as a process does: what the driver's `open` returns."""
    device.notifier.mm = mm
    ret = device.open(mm, 0, len(mm.ptes))
    device_opened(device, mm, ret)
    return ret


def close_device(device: Device, mm: Mm) -> None:
    """Close a device, whether the process still lives or not."""
    device_closing(device, mm)
    device.close()
    device_closed(device, mm)
