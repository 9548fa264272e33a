"""Pages that are pinned by their address: for direct I/O, or for as long as user space likes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from secondsight.devices.device import Device
from secondsight.lang import Char, Errno, Ref, atomic, hold_point
from secondsight.linux.errno import EBADF, EFAULT, EPERM
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, unpin_user_page, unpin_user_page_range_dirty_lock
from secondsight.linux.gup_pages import gup_fast_fallback, pin_user_pages
from secondsight.linux.mm_types import Flags, Mm, Pgoff, Result, writes_back
from secondsight.linux.page_alloc import frame_touch
from secondsight.linux.swapops import swap_slots
from secondsight.scenario.ops import Arg, ArgType, Default, HandleType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.tables import Pinned, RowNumber, address, handles, makes, needs, page, pages, pins, value

__all__: list[str] = []

PIN = Arg(ArgType.PIN)


ADDR = Arg(ArgType.ADDRESS)
PAGES = Arg(ArgType.COUNT, Default.SPAN, keyword=True)
LONGTERM, WRITE = Arg(ArgType.FLAG, False, keyword=True), Arg(ArgType.FLAG, True, keyword=True)


def room(args: Mapping[str, Any]) -> dict[str, int]:
    """What the bounds must have for a pin."""
    return {"pin_pages": args["pages"], "completed_faults": int(args["write"])}


@operation(
    addr=ADDR, pages=PAGES, longterm=LONGTERM, write=WRITE, makes=HandleType.PIN, needs=Needs.MODULE,
    takes=lambda args: {"pins": 1, "frames": args["pages"]}, at_least=room, often=Often(beside_a_device=4),
)  # fmt: skip
def pin(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """pin_user_pages_fast(), with FOLL_LONGTERM or without, for writing or for reading only. -EFAULT: not mapped."""
    if len(pins) > 0:
        pinned = begins(i)
        ret = gup_fast_fallback(mm, address[i], pages[i], gup_flags(i), pinned)
        return ends(i, pinned, ret)
    return 0


@operation(
    addr=ADDR, pages=PAGES, longterm=LONGTERM, write=WRITE, makes=HandleType.PIN, needs=Needs.MODULE,
    takes=lambda args: {"pins": 1, "frames": args["pages"]}, at_least=lambda args: {"pin_pages": args["pages"]}, often=Often(beside_a_device=2),
)  # fmt: skip
def pin_locked(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """pin_user_pages() of the same: under the mmap lock from the beginning, which no fault gives up."""
    if len(pins) > 0:
        pinned = begins(i)
        mm.mmap_lock.read_lock()
        ret = pin_user_pages(mm, address[i], pages[i], gup_flags(i), pinned)
        mm.mmap_lock.read_unlock()
        return ends(i, pinned, ret)
    return 0


@atomic
def begins(i: RowNumber) -> Pinned:
    """A pin that has no pages yet."""
    pinned = pins.alloc()
    handles[makes[i]].pinned = pinned
    pinned.write = page[i] != 0
    return pinned


def gup_flags(i: RowNumber) -> Flags:
    """FOLL_ of a pin."""
    return FOLL_PIN | (FOLL_LONGTERM if value[i] != 0 else 0) | (FOLL_WRITE if page[i] != 0 else 0)


@atomic
def ends(i: RowNumber, pinned: Pinned, ret: Result) -> Result:
    """As the module does: what there is of too few is given back."""
    if ret != pages[i]:
        unpin_all(pinned, False)
        return ret if ret < 0 else -EFAULT
    handles[makes[i]].made = True
    return 0


@operation(pin=PIN, page=Arg(ArgType.PAGE, 0, inside=True), needs=Needs.MODULE, loads=True, often=Often(beside_a_device=4))
def pin_read(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device loads the value of the pin's page `page`. -EBADF once it is unpinned."""
    if len(pins) > 0:
        hold_point("accessing")
        return load(handles[needs[i]].pinned, page[i])
    return 0


@operation(pin=PIN, page=Arg(ArgType.PAGE, inside=True), value=Arg(ArgType.VALUE), needs=Needs.MODULE, often=Often(beside_a_device=4))
def pin_write(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device stores `value` to the pin's page `page`. -EPERM if it is pinned for reading; -EBADF once it is unpinned."""
    if len(pins) > 0:
        hold_point("accessing")
        return store(handles[needs[i]].pinned, page[i], value[i])
    return 0


@operation(pin=PIN, needs=Needs.MODULE, often=Often(beside_a_device=4))
def unpin(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """unpin_user_pages(): the device gives the pages back. -EBADF the second time."""
    if len(pins) > 0:
        return give_back(i)
    return 0


@atomic
def load(pinned: Ref[Pinned], k: Pgoff) -> Result:
    """What is in a pinned page."""
    if pinned is None:
        return -EBADF
    folio = pinned.folios[k]
    assert folio is not None
    frame_touch(folio, False)
    return folio.contents


@atomic
def store(pinned: Ref[Pinned], k: Pgoff, letter: Char) -> Errno:
    """Put something into a pinned page."""
    if pinned is None:
        return -EBADF
    if not pinned.write:
        return -EPERM
    folio = pinned.folios[k]
    assert folio is not None
    frame_touch(folio, True)
    folio.contents = letter
    return 0


@atomic
def give_back(i: RowNumber) -> Errno:
    """unpin_user_pages_dirty_lock() (mm/gup.c, Linux 6.12) of what could be written. Left out, where nothing is swapped out or written back: the folio lock; nobody asks whether a page is
    dirty then."""
    pinned = handles[needs[i]].pinned
    if pinned is None:
        return -EBADF
    handles[needs[i]].pinned = None
    unpin_all(pinned, pinned.write)
    return 0


@atomic
def unpin_all(pinned: Pinned, dirty: bool) -> None:
    """Give back every page, and the record. `dirty`: what it holds may have been written."""
    for k in range(len(pinned.folios)):
        folio = pinned.folios[k]
        if folio is not None:
            if len(swap_slots) + len(writes_back) > 0 and dirty:
                unpin_user_page_range_dirty_lock(folio)
            else:
                unpin_user_page(folio)
            pinned.folios[k] = None
    pins.free(pinned)
