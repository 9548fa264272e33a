"""include/linux/highmem.h: what a page holds is cleared, copied, saved and read again as a whole.

A page's contents are one character, and everybody reads and writes the whole of it. Where a scenario asks for it (the bound `halves`
is 1) a page has a second half with a character of its own: `Folio.contents` is then that of the first. So two users of one page who
keep to their own halves (direct I/O and a CPU's store, say) are told apart from two who write the same place.
"""

from __future__ import annotations

from secondsight.lang import Char, atomic
from secondsight.linux.mm_types import Folio
from secondsight.linux.swapops import SwapSlot

__all__ = ["clear_highpage", "copy_highpage", "load", "second_half", "slot_clear", "slot_load", "slot_store", "store"]


@atomic
def clear_highpage(folio: Folio) -> None:
    """clear_highpage() (include/linux/highmem.h, Linux 6.12)."""
    folio.contents = 0
    if len(folio.second) > 0:
        folio.second[0] = 0


@atomic
def copy_highpage(to: Folio, of: Folio) -> None:
    """copy_highpage() (include/linux/highmem.h, Linux 6.12)."""
    to.contents = of.contents
    if len(to.second) > 0:
        to.second[0] = of.second[0]


@atomic
def second_half(folio: Folio) -> Char:
    """What the second half holds; of a machine without halves nothing."""
    if len(folio.second) > 0:
        return folio.second[0]
    return 0


@atomic
def load(folio: Folio, half: bool) -> Char:
    """What a load of the page finds, or with `half` one of its second half."""
    if len(folio.second) > 0:
        if half:
            return folio.second[0]
    return folio.contents


@atomic
def store(folio: Folio, value: Char, half: bool) -> None:
    """A store to the page, or with `half` to its second half."""
    if len(folio.second) > 0:
        if half:
            folio.second[0] = value
            return
    folio.contents = value


@atomic
def slot_store(slot: SwapSlot, folio: Folio) -> None:
    """The data of swap_writepage() (mm/page_io.c, Linux 6.12): the slot holds what the page holds."""
    slot.contents = folio.contents
    if len(slot.second) > 0:
        slot.second[0] = folio.second[0]


@atomic
def slot_load(folio: Folio, slot: SwapSlot) -> None:
    """The data of swap_read_folio() (mm/page_io.c, Linux 6.12)."""
    folio.contents = slot.contents
    if len(slot.second) > 0:
        folio.second[0] = slot.second[0]


@atomic
def slot_clear(slot: SwapSlot) -> None:
    """A slot that nobody stands for holds nothing that anybody could read."""
    slot.contents = 0
    if len(slot.second) > 0:
        slot.second[0] = 0
