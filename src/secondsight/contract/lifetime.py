"""No use after free: nobody touches a frame that is free, or the page tables of an mm that has no users."""

from __future__ import annotations

from secondsight.lang import require, rule
from secondsight.linux.fork import mm_touch
from secondsight.linux.mm_types import Folio, Mm
from secondsight.linux.page_alloc import frame_touch, page_folio

__all__ = ["no_use_after_free", "no_use_of_a_dead_mm"]


@rule("no-use-after-free", on=frame_touch)
def no_use_after_free(frame: Folio, write: bool) -> None:
    """A frame whose contents or struct page are used has a reference. Broken when it was freed and nobody has it."""
    require(page_folio(frame).refcount > 0, "no-use-after-free", "a frame was used after it was freed")


@rule("no-use-after-free", on=mm_touch)
def no_use_of_a_dead_mm(mm: Mm) -> None:
    """Whoever walks an mm's page tables is a user of it (mmget_not_zero): with the last one they go."""
    require(mm.users > 0, "no-use-after-free", "walks the page tables of an mm that has no users")
