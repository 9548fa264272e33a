"""No use after free: nobody touches a frame that is free."""

from __future__ import annotations

from secondsight.lang import require, rule
from secondsight.linux.mm_types import Frame
from secondsight.linux.page_alloc import frame_touch

__all__ = ["no_use_after_free"]


@rule("no-use-after-free", on=frame_touch)
def no_use_after_free(frame: Frame, write: bool) -> None:
    """A frame whose contents or struct page are used has a reference. Broken when it was freed and nobody has it."""
    require(frame.refcount > 0, "no-use-after-free", "a frame was used after it was freed")
