"""The second half of a page: the CPU's, and direct I/O's, which reads into half a page from a disk. A page's value is its first half's."""

from __future__ import annotations

from secondsight.devices.device import Device
from secondsight.lang import Char, Errno, Ref, atomic, hold_point
from secondsight.linux.bio import blkdev_direct_read
from secondsight.linux.errno import EBADF, EPERM
from secondsight.linux.fault import cpu_read_half, cpu_write_half
from secondsight.linux.highmem import second_half
from secondsight.linux.mm_types import Mm, Pgoff, Result
from secondsight.linux.page_alloc import ZERO_PFN, frame_touch, frames
from secondsight.scenario.ops import Arg, ArgType, Needs, Often
from secondsight.world.declare import operation
from secondsight.world.operations.memory import ADDRESS
from secondsight.world.operations.pins import PIN
from secondsight.world.tables import BY_REFERENCE, Pinned, RowNumber, address, flags, handles, needs, page, pins, value

__all__ = ["halves"]

VALUE = Arg(ArgType.VALUE)


def halves(args: object) -> dict[str, int]:
    """What all of these need: that pages have two halves."""
    return {"halves": 1}


@operation(addr=ADDRESS, value=VALUE, at_least=halves, faults=True, asks={"cpu_write_half": "write_half"}, often=Often(3, 3, 2))
def write_half(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Store `value` to the second half of the page. What `write` and `read` use is the first."""
    if len(frames[ZERO_PFN].second) > 0:
        return cpu_write_half(mm, address[i], value[i])
    return 0


@operation(addr=ADDRESS, at_least=halves, loads=True, faults=True, asks={"cpu_read_half": "read_half"}, often=Often(3, 3, 2))
def read_half(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Load the value of the second half of the page."""
    if len(frames[ZERO_PFN].second) > 0:
        return cpu_read_half(mm, address[i])
    return 0


@operation(addr=ADDRESS, value=VALUE, at_least=lambda args: halves(args) | {"completed_faults": 1}, needs=Needs.SWAP, asks={"blkdev_direct_read": "direct_read"}, often=Often(beside_a_device=2))
def direct_read(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """read(2) of a disk that is opened with O_DIRECT, into the second half of the page: `value` is what is read. -EFAULT: not mapped,
    or not to be written."""
    if len(frames[ZERO_PFN].second) > 0:
        return blkdev_direct_read(mm, address[i], value[i], flags[i] & BY_REFERENCE != 0)
    return 0


@operation(pin=PIN, page=Arg(ArgType.PAGE, 0, inside=True), at_least=halves, needs=Needs.MODULE, loads=True, often=Often(beside_a_device=1))
def pin_read_half(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device loads the value of the second half of the pin's page `page`. -EBADF once it is unpinned."""
    if len(frames[ZERO_PFN].second) > 0:
        if len(pins) > 0:
            hold_point("accessing")
            return load_half(handles[needs[i]].pinned, page[i])
    return 0


@operation(pin=PIN, page=Arg(ArgType.PAGE, inside=True), value=VALUE, at_least=halves, needs=Needs.MODULE, often=Often(beside_a_device=1))
def pin_write_half(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """The device stores `value` to the second half of the pin's page `page`. Fails as `pin_write` does."""
    if len(frames[ZERO_PFN].second) > 0:
        if len(pins) > 0:
            hold_point("accessing")
            return store_half(handles[needs[i]].pinned, page[i], value[i])
    return 0


@atomic
def load_half(pinned: Ref[Pinned], k: Pgoff) -> Result:
    """What is in the second half of a pinned page."""
    if pinned is None:
        return -EBADF
    folio = pinned.folios[k]
    assert folio is not None
    frame_touch(folio, False)
    return second_half(folio)


@atomic
def store_half(pinned: Ref[Pinned], k: Pgoff, letter: Char) -> Errno:
    """Put something into the second half of a pinned page."""
    if pinned is None:
        return -EBADF
    if not pinned.write:
        return -EPERM
    folio = pinned.folios[k]
    assert folio is not None
    frame_touch(folio, True)
    folio.second[0] = letter
    return 0
