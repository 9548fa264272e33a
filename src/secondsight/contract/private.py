"""What a device with memory of its own promises of that memory: a page there is one user's, and nobody finds in it what was there before."""

from __future__ import annotations

from secondsight.devices.device import all_quiet
from secondsight.lang import require, rule
from secondsight.linux.highmem import second_half
from secondsight.linux.memory_swap import device_page_wanted
from secondsight.linux.memremap_private import device_page_given
from secondsight.linux.migrate_device_pages import device_page_inserted
from secondsight.linux.mm_types import Driver, Flags, Folio, Mm
from secondsight.linux.page_alloc import ZERO_PFN, frames

__all__ = ["given_out_once", "given_to_the_cpu", "nothing_is_left", "zeroed_where_nothing_was"]


@rule("own-memory", on=device_page_given)
def given_out_once(folio: Folio) -> None:
    """A page of device memory that a driver gives out is nobody's.

    Broken by a driver that takes a page back before it is free, or twice (`page_free` is called once, with the last reference). Source:
    zone_device_page_init(), free_zone_device_folio() (mm/memremap.c, Linux 6.12).
    """
    require(folio.refcount == 0, "own-memory", "gives out a page of device memory that somebody has")


@rule("own-memory", on=device_page_inserted)
def zeroed_where_nothing_was(folio: Folio) -> None:
    """A page of device memory that comes where nothing was holds zeroes, as a CPU's new page does.

    Broken by a driver that does not clear it: the process sees what was there before, perhaps another's. Source:
    migrate_vma_insert_page() (mm/migrate_device.c, Linux 6.12), which maps what it is given.
    """
    cleared = folio.contents == 0 and second_half(folio) == 0
    require(cleared, "own-memory", "a page comes where nothing was, with what somebody else had in it")


@rule("own-memory", on=device_page_wanted)
def given_to_the_cpu(folio: Folio, ret: Flags) -> None:
    """A CPU that wants a page of device memory gets it, or tries again: it does not fail.

    Broken by a driver that takes it for an error that the page is not to be moved at this moment: somebody else may be bringing it back, and
    the process is killed (SIGBUS). Source: do_swap_page() (mm/memory.c, Linux 6.12). There is always memory for it here.
    """
    require(ret == 0, "own-memory", "a CPU's access fails (SIGBUS), because its page is in the device's memory")


@rule("teardown", on=all_quiet)
def nothing_is_left(device: Driver, mm: Mm, gone: bool) -> None:
    """When a driver is closed and all is quiet, no page of its memory is somebody's, and the memory is nobody's.

    Broken by a driver that leaves pages there: an access to one calls a driver that is not there any more. So does whoever finds a page of
    memory that was not taken away. Source: Documentation/mm/hmm.rst, migrate_device_range() (mm/migrate_device.c, Linux 6.12), memunmap_pages()
    (mm/memremap.c, Linux 6.12).
    """
    if len(frames[ZERO_PFN].pgmap) > 0:
        left = any(frame.refcount > 0 and frame.pgmap[0] is not None for frame in frames)
        require(not left, "teardown", "the driver is closed, and a page is still in its memory")
        stays = any(frame.pgmap[0] is not None for frame in frames)
        require(not stays, "teardown", "the driver is closed, and its memory was not taken away")
