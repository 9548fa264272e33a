"""Balance: when a driver is closed and all is quiet, everything that it took has been given back."""

from __future__ import annotations

from secondsight.devices.device import all_quiet
from secondsight.devices.moving_buffer import fences_held_by_buffers, held_by_buffers
from secondsight.lang import atomic, count, require, rule
from secondsight.linux.dma_fence import dma_fences
from secondsight.linux.ext4_inode import ext4_inodes
from secondsight.linux.fork import mms
from secondsight.linux.fs_dax import fs_dax_files
from secondsight.linux.hugetlb import hugetlb_files
from secondsight.linux.memremap import pagemaps
from secondsight.linux.mm_types import Count, Driver, Folio, Mm, huge_pages
from secondsight.linux.mmzone import pageblocks
from secondsight.linux.page_alloc import ZERO_PFN, frames, is_zero_page, page_folio
from secondsight.linux.pgtable import folio_kept_by, is_second_half
from secondsight.linux.shmem import shmem_files
from secondsight.linux.swapops import swap_slots
from secondsight.linux.util import counted_by_drivers, locked_vms

__all__ = ["all_is_given_back"]


@rule("balance", on=all_quiet)
def all_is_given_back(device: Driver, mm: Mm, gone: bool) -> None:
    """A driver that is closed holds no reference to a page or a fence, no pin, and is no user of the mm.

    Broken by a page that has more references than page tables and page cache account for (it is never freed), by fewer (it is
    freed too soon), by a pin that is left, by a fence that more than its reservation object holds, by a page that is mapped for the device still, and by
    an mm whose users are not its process alone (it is never torn down).
    Sources: Documentation/core-api/pin_user_pages.rst, Documentation/mm/active_mm.rst (mm_users), dma_debug_device_change() (kernel/dma/debug.c).
    """
    pinned = any(frame.pins > 0 for frame in frames)
    require(not pinned, "balance", "the driver is closed, and a page is still pinned")
    held = held_by_tables()
    right = tables_hold_all(mm)
    references = 0
    for k in range(15):
        references += count(frame.refcount > k for frame in frames)
    references -= frames[ZERO_PFN].refcount
    require(references <= held, "balance", "the driver is closed, and a page has a reference that nobody will drop")
    require(references == held and right, "balance", "a page that is in use has lost a reference: it was dropped twice")
    users = 0 if gone else 1
    require(mm.users <= users, "balance", "the driver is closed, and the mm has a user that nobody accounts for")
    require(mm.users == users, "balance", "the mm has lost a user: it was dropped twice")
    if len(locked_vms) > 0:
        require(counted_by_drivers(mm) == 0, "balance", "the driver is closed, and pages are still counted as locked")
    for fence in dma_fences:
        if dma_fences.is_used(fence):
            require(fence.refcount <= fences_held_by_buffers(fence), "balance", "the driver is closed, and a fence has a reference that nobody will drop")
    mapped = device.dma_mappings()
    require(not mapped, "balance", "the driver is closed, and a page is still mapped for its device (dma_map_page)")


@atomic
def held_by_tables() -> int:
    """How many references page tables, page cache, swap cache and device memory hold, all together. No zap is half done.

    Entries of device memory and of the zero page hold none. Left out: pages that a udmabuf has pinned.
    """
    held = held_by_buffers()
    for pgmap in pagemaps:
        held += count(page is not None for page in pgmap.pages)
    for file in shmem_files:
        held += count(page is not None for page in file.pages)
    for large in hugetlb_files:
        held += count(page is not None for page in large.pages)
    if len(fs_dax_files) > 0:
        for blocks in fs_dax_files:
            held += count(page is not None and not is_zero_page(page) for page in blocks.blocks)
    if len(ext4_inodes) > 0:
        for inode in ext4_inodes:
            held += count(page is not None for page in inode.pages)
    held += count(slot.cache is not None for slot in swap_slots)
    for block in pageblocks:
        if len(block.allocated) > 0:
            if block.allocated[0]:
                held += len(block.folios)
    for mm in mms:
        for va in range(len(mm.ptes)):
            if folio_kept_by(mm.ptes[va]) is not None and not is_second_half(mm, va):
                held += 1
    return held


@atomic
def tables_hold_all(mm: Mm) -> bool:
    """Whether each page that the process maps has as many references as it is mapped and cached; with the sum of all
    references right, so has every other."""
    for va in range(len(mm.ptes)):
        page = folio_kept_by(mm.ptes[va])
        if page is not None:
            held: Count = 0
            folio = page_folio(page)
            for other in mms:
                if len(huge_pages) > 0:
                    held += held_by_large(other, folio)
                else:
                    held += count(pte.frame is folio for pte in other.ptes)
            for file in shmem_files:
                held += count(page is folio for page in file.pages)
            if len(ext4_inodes) > 0:
                for inode in ext4_inodes:
                    held += count(page is folio for page in inode.pages)
            for large in hugetlb_files:
                held += count(kept is not None and page_folio(kept) is folio for kept in large.pages)
            held += count(slot.cache is folio for slot in swap_slots)
            if folio.refcount != held:
                return False
    return True


@atomic
def held_by_large(mm: Mm, folio: Folio) -> Count:
    """How many references to a folio, of one page or two, the entries of an mm hold: a huge page's holds one."""
    held: Count = 0
    for va in range(len(mm.ptes)):
        page = folio_kept_by(mm.ptes[va])
        if page is not None and page_folio(page) is folio and not is_second_half(mm, va):
            held += 1
    return held
