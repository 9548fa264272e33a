"""What happens in the cells of the 2023-06 table: the display, the guest, the VMM, and who wants the memory or the page.

Each function is a thread, or asks at the end of one whether the property holds.
"""

from __future__ import annotations

from secondsight.contract.balance import held_by_tables
from secondsight.devices.display import Display
from secondsight.devices.udmabuf_held import UdmabufHeld
from secondsight.devices.vfio_type1 import VfioType1
from secondsight.devices.vmm import Vmm
from secondsight.lang import U8, Char, Record, Ref, atomic, count, require, shared, wait_until
from secondsight.linux.cma import cma_alloc
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.memory_hotplug import offline_pages
from secondsight.linux.mm_types import Count, Folio, Mm, Pgoff, Result, Va
from secondsight.linux.page_alloc import ZERO_PFN, frames, put_page
from secondsight.linux.shmem import ShmemFile
from secondsight.linux.util import locked_vm

__all__ = [
    "PinsStory",
    "all_is_given_back",
    "all_views_show",
    "allocates_cma",
    "guest_discards",
    "guest_reboots",
    "guest_writes",
    "is_hidden_again",
    "is_made_beside_vfio",
    "is_shown_once",
    "more_than_may_be_locked",
    "pairs_with_vfio",
    "shows_frames",
    "takes_offline",
]


class PinsStory(Record):
    """`showing`: displays that have frames to show; at 0 the last frame has been shown and no other begins by itself."""

    showing: U8


pins_story = shared(PinsStory)


# The display and the guest.


def shows_frames(display: Display, times: U8) -> None:
    """So many frames, at any time."""
    for _ in range(times):
        display.frame()
    pins_story.showing -= 1


def guest_writes(mm: Mm, va: Va, value: Char) -> None:
    """A CPU of the guest draws."""
    cpu_write(mm, va, value)


# Who wants the memory.


def takes_offline() -> None:
    """The host takes the memory offline. It may take until the display is between two frames, but not until the buffer has gone."""
    ret = offline_pages()
    if ret != 0:
        wait_until(pins_story.showing == 0)
        ret = offline_pages()
    require(ret == 0, "movable", "the memory cannot be taken offline: a page of it is held for as long as the buffer is there")


def allocates_cma() -> None:
    """A driver wants its CMA block, now: it is told whether it can have it, and does not wait."""
    ret = cma_alloc()
    require(ret == 0, "movable", "CMA cannot be allocated: a page of it is held")


def pairs_with_vfio(vfio: VfioType1, mm: Mm, va: Va) -> None:
    """A device is given to the guest by VFIO, with the same page."""
    ret = vfio.map_dma(mm, va)
    with atomic:
        require(ret == 0, "pairing", "VFIO cannot pin the page: it does not move, for somebody holds it where it must not stay")
        require(vfio.pinned[va] is mm.ptes[va].frame, "pairing", "VFIO has pinned another page than the guest has")


def is_made_beside_vfio(display: Display, buffer: UdmabufHeld, memfd: Ref[ShmemFile], mm: Mm, vfio: VfioType1, va: Va) -> None:
    """The guest has a device by VFIO, with the page; then the buffer is made and shown."""
    ret = buffer.create(memfd, mm, va, va, 1)
    require(ret == 0, "pairing", "the buffer cannot be made beside VFIO")
    ret = display.show(buffer)
    require(ret == 0, "pairing", "the buffer cannot be shown beside VFIO")
    cpu_write(mm, va, ord("c"))
    shows_what_the_guest_has(display, mm, va)
    require(vfio.pinned[va] is mm.ptes[va].frame, "pairing", "VFIO has another page than the guest by now")


def all_views_show(mm: Mm, display: Display, buffer: UdmabufHeld, va: Va, view: Va) -> None:
    """The guest draws to its page at `va`, which is in the middle of a huge page. By its own mapping, the device's, a process's (`view`) and a
    driver's it is the same page then."""
    cpu_write(mm, va, ord("c"))
    shown: Result = display.frame()
    seen = cpu_read(mm, view)
    with atomic:
        page = buffer.vmap_page(0)
        has = mm.ptes[va].frame
        require(shown == ord("c"), "sub-page", "the device is shown another part of the huge page")
        require(seen == ord("c"), "sub-page", "mmap(2) of the buffer shows another part of the huge page")
        require(page is not None and page is has, "sub-page", "vmap of the buffer shows another part of the huge page")


# Who discards it.


def guest_discards(vmm: Vmm, mm: Mm, display: Display, va: Va, other: Va) -> None:
    """The guest gives the page away, has it again and draws; in between somebody else may get what was discarded. Then the display shows
    what the guest has drawn last."""
    vmm.balloon_inflate(va)
    cpu_write(mm, other, ord("x"))
    cpu_write(mm, va, ord("c"))
    wait_until(pins_story.showing == 0)
    shows_what_the_guest_has(display, mm, va)


def shows_what_the_guest_has(display: Display, mm: Mm, va: Va) -> None:
    """With nothing else going on."""
    shown = display.frame()
    has: Result = cpu_read(mm, va)
    require(shown == has, "same-page", "guest and device have different pages: the display does not show what the guest has drawn")


def guest_reboots(vmm: Vmm, mm: Mm, display: Display, buffer: UdmabufHeld, memfd: Ref[ShmemFile], va: Va) -> None:
    """The guest's resources are given up; its memory is discarded, and the host takes the block offline meanwhile; a new guest draws, and
    its resources are made."""
    is_hidden_again(display, buffer)
    disabled = vmm.discard_is_disabled()
    if disabled:
        vmm.discard_disable(False)
    vmm.balloon_inflate(va)
    ret = offline_pages()
    require(ret == 0, "movable", "the memory cannot be taken offline, although nobody uses it")
    cpu_write(mm, va, ord("c"))
    if disabled:
        vmm.discard_disable(True)
    ret = buffer.create(memfd, mm, va, va, 1)
    require(ret == 0, "reboot", "the buffer cannot be made again")
    ret = display.show(buffer)
    require(ret == 0, "reboot", "the buffer cannot be shown again")
    shows_what_the_guest_has(display, mm, va)


def is_hidden_again(display: Display, buffer: UdmabufHeld) -> None:
    """The display shows the buffer no more, and the buffer is closed."""
    display.hide()
    buffer.close()


# What is counted, and what is left.


def more_than_may_be_locked(display: Display, buffer: UdmabufHeld, memfd: Ref[ShmemFile], mm: Mm) -> None:
    """One buffer is there, of as much as may be locked. A second one of the next page is made and shown, if it can be."""
    ret = buffer.create(memfd, mm, 1, 1, 1)
    if ret == 0:
        display.show(buffer)
    pins_story.showing -= 1
    wait_until(pins_story.showing == 0)
    with atomic:
        held = pages_held()
        require(
            held <= locked_vm(mm).limit,
            "memlock",
            "the process keeps more pages from being reclaimed than RLIMIT_MEMLOCK allows, and nobody has counted them",
        )


@atomic
def pages_held() -> Count:
    """How many pages have a reference that no page table and no file accounts for."""
    held = held_by_tables()
    references = 0
    for k in range(15):
        references += count(frame.refcount > k for frame in frames)
    pinned = count(frame.pins > 0 for frame in frames)
    return max(pinned, references - frames[ZERO_PFN].refcount - held)


def is_shown_once(display: Display, buffer: UdmabufHeld, memfd: Ref[ShmemFile], mm: Mm, va: Va, size: Pgoff) -> None:
    """A buffer of what the process has at `va` is made or not; shown and closed, if it was."""
    ret = buffer.create(memfd, mm, va, va, size)
    if ret == 0:
        ret = display.show(buffer)
        if ret == 0:
            display.frame()
        is_hidden_again(display, buffer)


def all_is_given_back(display: Display, buffer: UdmabufHeld, memfd: Ref[ShmemFile], mm: Mm, held: Ref[Folio]) -> None:
    """A buffer of two pages, of which somebody else holds the second for a while: it is made or not; shown and closed, if it was."""
    is_shown_once(display, buffer, memfd, mm, 0, 2)
    with atomic:
        if held is not None:
            put_page(held)
    wait_until(pins_story.showing == 0)
    with atomic:
        left = pages_held()
        require(left == 0, "balance", "the buffer is closed, and a page is still held")
        require(locked_vm(mm).pages == 0, "balance", "the buffer is closed, and pages are still counted as locked")
