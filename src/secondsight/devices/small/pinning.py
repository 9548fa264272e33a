"""A driver that pins its pages, and such as give them back too early or never."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import Device, DevicePageTable, Promise
from secondsight.lang import Array, Errno, Mutex, Ref
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EFAULT, ENOENT, EOPNOTSUPP
from secondsight.linux.gup import (
    FOLL_LONGTERM,
    FOLL_PIN,
    FOLL_WRITE,
    pin_user_pages_remote,
    unpin_folio,
    unpin_user_page_range_dirty_lock,
)
from secondsight.linux.gup_pages import PageArray, pin_user_pages, unpin_user_pages
from secondsight.linux.mm_types import Flags, Folio, Mm, Pfn, Pgoff, Result, Va
from secondsight.linux.page_alloc import frames, page_to_pfn
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = [
    "KeepsAPartOfItsPages",
    "Pins",
    "PinsAllOrNothing",
    "PinsAllTheSame",
    "PinsFilesForLong",
    "PinsSeveral",
    "PinsSeveralAndMarksNone",
    "StaysPinned",
    "TakesAShortCountForAll",
    "UnpinsBeforeItStops",
    "UnpinsTwice",
]


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
        """Pin the page at `va`, and give it to the device."""
        mm.mmap_lock.read_lock()
        pfn = self.pin_page(mm, va)
        mm.mmap_lock.read_unlock()
        if pfn < 0:
            return pfn
        self.pinned[va] = frames[pfn]
        self.give(va, pfn)
        return 0

    def give(self, va: Va, pfn: Pfn) -> None:
        """The device has the page from now on."""
        self.page_table.map(va, pfn, True)

    def pin_page(self, mm: Mm, va: Va) -> Result:
        """pin_user_pages_remote(FOLL_WRITE | FOLL_LONGTERM): the page at `va`, faulted in and pinned. Device memory is refused."""
        return pin_user_pages_remote(mm, va, LONG)

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
                    self.give_back(frame)

    def give_back(self, folio: Folio) -> None:
        """pin_user_pages_remote() has marked the page dirty: nothing is to be said of it."""
        unpin_folio(folio)


LONG: Flags = FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM
SHORT: Flags = FOLL_PIN | FOLL_WRITE


class PinsAllTheSame(Pins):
    """Says that it pins for long; where that is refused it says that it does not, and keeps the page as long."""

    def pin_page(self, mm: Mm, va: Va) -> Result:
        pfn = pin_user_pages_remote(mm, va, LONG)
        if pfn == -EOPNOTSUPP:
            pfn = pin_user_pages_remote(mm, va, SHORT)
        return pfn


class PinsFilesForLong(Pins):
    """Says that it pins for long where the page is a file's, for else there is nobody to take it back."""

    def pin_page(self, mm: Mm, va: Va) -> Result:
        vma = mm.mm_mt[va]
        of_file = vma is not None and vma.vm_file is not None
        return pin_user_pages_remote(mm, va, LONG if of_file else SHORT)


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


class PinsSeveral(Pins):
    """Right: pins what it needs and all behind it in one call, and takes as many pages as it was given. pin_user_pages() marks none of them dirty: that is done when they are given back."""

    pages: PageArray
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "pin_pages": 2}

    def pin(self, mm: Mm, va: Va) -> Errno:
        wanted = self.wanted(va)
        mm.mmap_lock.read_lock()
        ret = pin_user_pages(mm, va, wanted, LONG, self.pages)
        mm.mmap_lock.read_unlock()
        if ret < 0:
            return ret
        return self.take(va, wanted, ret)

    def wanted(self, va: Va) -> Pgoff:
        """How many pages from `va` on are not pinned yet, and fit into the array."""
        number: Pgoff = 0
        while number < len(self.pages.folios) and va + number < len(self.pinned) and self.pinned[va + number] is None:
            number += 1
        return number

    def take(self, va: Va, wanted: Pgoff, ret: Result) -> Errno:
        """Map the first `ret` pages of the array."""
        for k in range(ret):
            folio = self.pages.folios[k]
            assert folio is not None, "maps a page that it was not given"
            self.pinned[va + k] = folio
            self.page_table.map(va + k, page_to_pfn(folio), True)
            self.pages.folios[k] = None
        return 0


    def give_back(self, folio: Folio) -> None:
        unpin_user_page_range_dirty_lock(folio)


class PinsSeveralAndMarksNone(PinsSeveral):
    """Gives pages back that its device has written, as if pin_user_pages() had marked them dirty."""

    def give_back(self, folio: Folio) -> None:
        unpin_folio(folio)


class TakesAShortCountForAll(PinsSeveral):
    """Takes whatever is no error for all that it asked for."""

    def take(self, va: Va, wanted: Pgoff, ret: Result) -> Errno:
        return PinsSeveral.take(self, va, wanted, wanted)


class PinsAllOrNothing(PinsSeveral):
    """Right: has no use for a part, and gives it back."""

    def take(self, va: Va, wanted: Pgoff, ret: Result) -> Errno:
        if ret < wanted:
            unpin_user_pages(self.pages, ret)
            return -EFAULT
        return PinsSeveral.take(self, va, wanted, ret)


class KeepsAPartOfItsPages(PinsSeveral):
    """Has no use for a part, and forgets that it has it."""

    def take(self, va: Va, wanted: Pgoff, ret: Result) -> Errno:
        if ret < wanted:
            return -EFAULT
        return PinsSeveral.take(self, va, wanted, ret)
