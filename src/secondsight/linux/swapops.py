"""include/linux/swapops.h, include/linux/swap.h: entries that are not present, and what they stand for.

An entry that is neither empty nor present is a `swp_entry_t`: a page in swap, or one of the special ones. `Pte.kind` says which:

* `SWAP`: the page's contents are in slot `Pte.swap`; the page may be in the swap cache all the same (`swap_state`).
* `MIGRATION`: the page `Pte.frame` is being moved (`migrate`); who faults waits. It holds no reference.
* `DEVICE_PRIVATE`: the page `Pte.frame` is in a device's memory, where no CPU can reach it (`migrate_device`). It holds a reference, and
  counts as a mapping.

Each kind is made only where a bound says so, so that what nobody makes is no part of a program: `swap_slots` slots of a swap device,
`migrations` that may go on at a time, `private_memory`.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Char, Record, Ref, atomic, bound, shared_array
from secondsight.linux.mm_types import Count, Folio, Pte, PteKind

__all__ = ["Migration", "SwapSlot", "is_device_private_entry", "is_migration_entry", "is_swap_entry", "is_swap_pte", "migrations", "swap_slots"]


class SwapSlot(Record):
    """One page of a swap device: its byte of `swap_info_struct.swap_map`, its entry in the swap cache, what is written there.

    `count` is how many page-table entries stand for it; `cache` not None is SWAP_HAS_CACHE. It is free when both are nothing.
    """

    count: Count
    cache: Ref[Folio]
    contents: Char
    second: Array[Char, Literal["halves"]]


class Migration(Record):
    """A folio in the lists of migrate_pages() (mm/migrate.c, Linux 6.12) and the one that takes its place. `moved`: there is no
    turning back any more, though entries may stand for the old one still. `was_mapped` is PAGE_WAS_MAPPED, as `dst->private` has it."""

    src: Ref[Folio]
    dst: Ref[Folio]
    moved: bool
    was_mapped: bool


swap_slots = shared_array(SwapSlot, bound("swap_slots", most=15, usual=3))
migrations = shared_array(Migration, bound("migrations", usual=1))
"""As many as may go on at a time. Where there are several, somebody may notice a mover's last reference to a folio that is unlocked already."""


@atomic
def is_swap_pte(pte: Pte) -> bool:
    """is_swap_pte() (include/linux/swapops.h, Linux 6.12): neither empty nor present."""
    return pte.kind != PteKind.PRESENT


@atomic
def is_swap_entry(pte: Pte) -> bool:
    """is_swap_pte() and not non_swap_entry() (include/linux/swapops.h, Linux 6.12): the page is in swap."""
    return pte.kind == PteKind.SWAP


@atomic
def is_migration_entry(pte: Pte) -> bool:
    """is_migration_entry() (include/linux/swapops.h, Linux 6.12): the page is being moved; `pte.frame` is where it was."""
    return pte.kind == PteKind.MIGRATION


@atomic
def is_device_private_entry(pte: Pte) -> bool:
    """is_device_private_entry() (include/linux/swapops.h, Linux 6.12): the page `pte.frame` is in a device's memory."""
    return pte.kind == PteKind.DEVICE_PRIVATE
