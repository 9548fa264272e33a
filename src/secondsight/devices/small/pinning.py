"""A driver that pins its pages, and such as give them back too early or never."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import Device, DevicePageTable, Promise
from secondsight.lang import Array, Errno, Mutex, Ref
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EFAULT, ENOENT, EOPNOTSUPP
from secondsight.linux.fork import mmget_not_zero, mmput
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, pin_user_pages_remote, unpin_folio
from secondsight.linux.mm_types import Flags, Folio, Mm, Pgoff, Va
from secondsight.linux.page_alloc import frames

__all__ = ["Pins", "PinsAllTheSame", "PinsFilesForLong", "StaysPinned", "UnpinsBeforeItStops", "UnpinsTwice"]


class Pins(Device):
    """Right: pins what it maps, and keeps it whatever the process does, until it is closed."""

    promise: ClassVar[Promise] = "pinned"
    lock: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    pinned: Array[Ref[Folio], Literal["pages"]]
    closed: bool
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return 0

    def fault(self, va: Va, write: bool) -> Errno:
        with self.lock:
            if self.closed:
                return -ENOENT
            mm = self.notifier.mm
            assert mm is not None
            alive = mmget_not_zero(mm)
            if not alive:
                return -EFAULT
            ret: Errno = 0
            if self.pinned[va] is None:
                ret = self.pin(mm, va)
            mmput(mm)
            return ret

    def pin(self, mm: Mm, va: Va) -> Errno:
        """pin_user_pages_remote(FOLL_WRITE | FOLL_LONGTERM): the page at `va`, faulted in and pinned. Device memory is refused."""
        mm.mmap_lock.read_lock()
        pfn = pin_user_pages_remote(mm, va, LONG)
        mm.mmap_lock.read_unlock()
        if pfn < 0:
            return pfn
        self.pinned[va] = frames[pfn]
        self.page_table.map(va, pfn, True)
        return 0

    def close(self) -> None:
        self.page_table.disable()
        self.unpin()

    def unpin(self) -> None:
        """Give back all that is pinned, and pin nothing any more."""
        with self.lock:
            self.closed = True
            for va in range(len(self.pinned)):
                frame = self.pinned[va]
                if frame is not None:
                    unpin_folio(frame)


LONG: Flags = FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM
SHORT: Flags = FOLL_PIN | FOLL_WRITE


class PinsAllTheSame(Pins):
    """Says that it pins for long; where that is refused it says that it does not, and keeps the page as long."""

    def pin(self, mm: Mm, va: Va) -> Errno:
        mm.mmap_lock.read_lock()
        pfn = pin_user_pages_remote(mm, va, LONG)
        if pfn == -EOPNOTSUPP:
            pfn = pin_user_pages_remote(mm, va, SHORT)
        mm.mmap_lock.read_unlock()
        if pfn < 0:
            return pfn
        self.pinned[va] = frames[pfn]
        self.page_table.map(va, pfn, True)
        return 0


class PinsFilesForLong(Pins):
    """Says that it pins for long where the page is a file's, for else there is nobody to take it back."""

    def pin(self, mm: Mm, va: Va) -> Errno:
        mm.mmap_lock.read_lock()
        vma = mm.mm_mt[va]
        of_file = vma is not None and vma.vm_file is not None
        pfn = pin_user_pages_remote(mm, va, LONG if of_file else SHORT)
        mm.mmap_lock.read_unlock()
        if pfn < 0:
            return pfn
        self.pinned[va] = frames[pfn]
        self.page_table.map(va, pfn, True)
        return 0


class UnpinsBeforeItStops(Pins):
    """Gives its pages back while the device goes on with them."""

    def close(self) -> None:
        self.unpin()
        self.page_table.disable()


class StaysPinned(Pins):
    """Stops, and keeps its pins."""

    def close(self) -> None:
        self.page_table.disable()


class UnpinsTwice(Pins):
    """Gives its pages back when it stops, and once more when it has."""

    def close(self) -> None:
        self.page_table.disable()
        self.unpin()
        self.unpin()
