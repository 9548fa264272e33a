"""Balance: when a driver is closed and all is quiet, everything that it took has been given back."""

from __future__ import annotations

from secondsight.devices.device import all_quiet
from secondsight.lang import atomic, count, require, rule
from secondsight.linux.fork import mms
from secondsight.linux.memremap import pagemaps
from secondsight.linux.mm_types import Count, Driver, Frame, Mm
from secondsight.linux.page_alloc import frames
from secondsight.linux.shmem import shmem_files

__all__ = ["all_is_given_back"]


@rule("balance", on=all_quiet)
def all_is_given_back(device: Driver, mm: Mm, gone: bool) -> None:
    """A driver that is closed holds no reference to a page, no pin, and is no user of the mm.

    Broken by a page that has more references than page tables and page cache account for (it is never freed), by fewer (it is
    freed too soon), by a pin that is left, and by an mm whose users are not its process alone (it is never torn down).
    Sources: Documentation/core-api/pin_user_pages.rst, Documentation/mm/active_mm.rst (mm_users).
    """
    for i in range(1, len(frames)):
        frame = frames[i]
        require(frame.pins == 0, "balance", "the driver is closed, and a page is still pinned")
        expected = accounted_for(frame)
        require(frame.refcount <= expected, "balance", "the driver is closed, and a page has a reference that nobody will drop")
        require(frame.refcount == expected, "balance", "a page that is in use has lost a reference: it was dropped twice")
    users = 0 if gone else 1
    require(mm.users <= users, "balance", "the driver is closed, and the mm has a user that nobody accounts for")
    require(mm.users == users, "balance", "the mm has lost a user: it was dropped twice")


@atomic
def accounted_for(frame: Frame) -> Count:
    """The references to a frame that page tables, page cache and device memory hold. No zap is half done.

    Entries of device memory hold none. Left out: pages that a udmabuf has pinned.
    """
    held: Count = 0
    for pgmap in pagemaps:
        held += count(page is frame for page in pgmap.pages)
    if held > 0:
        return held
    for mm in mms:
        held += count(pte.frame is frame for pte in mm.ptes)
    for file in shmem_files:
        held += count(page is frame for page in file.pages)
    return held
