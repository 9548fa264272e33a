"""What a device that pins promises: it uses what it has pinned, and nothing else."""

from __future__ import annotations

from secondsight.lang import require, rule
from secondsight.linux.device import device_access
from secondsight.linux.mm_types import Driver, Folio, Va
from secondsight.linux.page_alloc import page_folio

__all__ = ["access_to_a_pinned_frame"]


@rule("pinned", on=device_access)
def access_to_a_pinned_frame(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """A device that pins uses pinned pages only. Broken by an access before the pin, or after it was given back.

    What the process maps at the address by now is not asked: the page stays the one that was pinned. Source:
    Documentation/core-api/pin_user_pages.rst.
    """
    require(page_folio(frame).pins > 0, "pinned", "the device used a page that is not pinned")
