"""What a device that pins promises: it uses what it has pinned, and nothing else; where that may stay; and counted."""

from __future__ import annotations

from secondsight.lang import require, rule
from secondsight.linux.device import counted_access, device_access, movable_access
from secondsight.linux.mm_types import Driver, Folio, Va
from secondsight.linux.mmzone import folio_is_longterm_pinnable
from secondsight.linux.page_alloc import page_folio
from secondsight.linux.util import counted_by_drivers

__all__ = ["access_to_a_counted_frame", "access_to_a_frame_that_may_stay", "access_to_a_pinned_frame"]


@rule("pinned", on=device_access)
def access_to_a_pinned_frame(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """A device that pins uses pinned pages only. Broken by an access before the pin, or after it was given back.

    What the process maps at the address by now is not asked: the page stays the one that was pinned. Source:
    Documentation/core-api/pin_user_pages.rst.
    """
    require(page_folio(frame).pins > 0, "pinned", "the device used a page that is not pinned")


@rule("movable", on=movable_access)
def access_to_a_frame_that_may_stay(device: Driver, frame: Folio) -> None:
    """A device that keeps its pages for long has none where memory must stay movable. Broken by a pin without FOLL_LONGTERM.

    Sources: Documentation/core-api/pin_user_pages.rst (FOLL_LONGTERM), folio_is_longterm_pinnable() (include/linux/mm.h, Linux 6.12).
    """
    pinnable = folio_is_longterm_pinnable(frame)
    require(pinnable, "movable", "the device has a page for long where memory must stay movable: it cannot be taken offline, or be CMA's")


@rule("memlock", on=counted_access)
def access_to_a_counted_frame(device: Driver, frame: Folio) -> None:
    """What a device keeps for long is counted as locked memory of its process, while the device has it. Of drivers that count (bound `memlock`).

    Source: account_locked_vm() (mm/util.c), drivers/vfio/vfio_iommu_type1.c.
    """
    mm = device.notifier.mm
    if mm is not None:
        require(counted_by_drivers(mm) > 0, "memlock", "the device has a page for long, and nothing is counted as locked memory")
