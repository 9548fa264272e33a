"""Pages that are pinned by their address: for direct I/O, or for as long as user space likes."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Char, Errno, Ref, atomic, hold_point
from secondsight.linux.errno import EBADF, EFAULT, EPERM
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, unpin_user_page, unpin_user_page_range_dirty_lock
from secondsight.linux.gup_pages import gup_fast_fallback
from secondsight.linux.mm_types import Mm, Pgoff, Result
from secondsight.linux.page_alloc import frame_touch
from secondsight.linux.swapops import swap_slots
from secondsight.scenario.ops import Arg, ArgType, Default, HandleType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.tables import Pinned, RowNumber, address, handles, makes, needs, page, pages, pins, value

__all__: list[str] = []

PIN = Arg(ArgType.PIN)


@operation(
    addr=Arg(ArgType.ADDRESS),
    pages=Arg(ArgType.COUNT, Default.SPAN, keyword=True),
    longterm=Arg(ArgType.FLAG, False, keyword=True),
    write=Arg(ArgType.FLAG, True, keyword=True),
    makes=HandleType.PIN,
    needs=Needs.MODULE,
    takes=lambda args: {"pins": 1, "frames": args["pages"]},
    at_least=lambda args: {"pin_pages": args["pages"], "completed_faults": int(args["write"])},
    often=Often(beside_a_device=4),
)
def pin(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """pin_user_pages(), with FOLL_LONGTERM or without, for writing or for reading only. -EFAULT: not mapped."""
    if len(pins) > 0:
        with atomic:
            pinned = pins.alloc()
            handles[makes[i]].pinned = pinned
            pinned.write = page[i] != 0
        flags = FOLL_PIN | (FOLL_LONGTERM if value[i] != 0 else 0) | (FOLL_WRITE if page[i] != 0 else 0)
        ret = gup_fast_fallback(mm, address[i], pages[i], flags, pinned)
        if ret != pages[i]:  # as the module does: what there is of too few is given back
            unpin_all(pinned, False)
            return ret if ret < 0 else -EFAULT
        with atomic:
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
    """unpin_user_pages_dirty_lock() (mm/gup.c, Linux 6.12) of what could be written. Left out, where nothing is swapped out: the folio lock; nobody asks whether a page is
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
            if len(swap_slots) > 0 and dirty:
                unpin_user_page_range_dirty_lock(folio)
            else:
                unpin_user_page(folio)
            pinned.folios[k] = None
    pins.free(pinned)
