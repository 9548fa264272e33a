"""include/linux/swapops.h, include/linux/swap.h: entries that are not present, and what they stand for.

An entry that is neither empty nor present is a `swp_entry_t`: a page in swap, or one of the special ones. `Pte.kind` says which:

* `SWAP`: the page's contents are in slot `Pte.swap`; the page may be in the swap cache all the same (`swap_state`).
* `MIGRATION`: the page `Pte.frame` is being moved (`migrate`); who faults waits. It holds no reference.
* `DEVICE_PRIVATE`: the page `Pte.frame` is in a device's memory, where no CPU can reach it (`migrate_device`). It holds a reference, and
  counts as a mapping.
* `MARKER`: no page; what is to come here is write-protected (PTE_MARKER_UFFD_WP, of which `Pte.uffd_wp` is true), or no access can be made
  (PTE_MARKER_POISONED). User space asks for both by a userfaultfd.

Each kind is made only where a bound says so, so that what nobody makes is no part of a program: `swap_slots` slots of a swap device,
`migrations` that may go on at a time, `private_memory`, `pte_markers`.
"""

from __future__ import annotations

from typing import Literal

from secondsight.lang import Array, Char, Record, Ref, atomic, bound, shared_array
from secondsight.linux.mm_types import Count, Folio, Pte, PteKind

__all__ = [
    "Migration",
    "SwapSlot",
    "is_device_private_entry",
    "is_migration_entry",
    "is_poisoned_swp_entry",
    "is_pte_marker",
    "is_swap_entry",
    "is_swap_pte",
    "make_pte_marker",
    "migrations",
    "pte_markers",
    "swap_slots",
]


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

pte_markers = shared_array(bool, bound("pte_markers", most=1))
"""Of size 1 where there may be markers: files' pages, or pages that are not there, are write-protected by a userfaultfd, or pages poisoned."""


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


@atomic
def is_pte_marker(pte: Pte) -> bool:
    """is_pte_marker() (include/linux/swapops.h, Linux 6.12): no page, but something is said of it."""
    return pte.kind == PteKind.MARKER


@atomic
def is_poisoned_swp_entry(pte: Pte) -> bool:
    """is_poisoned_swp_entry() (include/linux/swapops.h, Linux 6.12): a marker that no access can be made."""
    return pte.kind == PteKind.MARKER and not pte.uffd_wp[0]


@atomic
def make_pte_marker(pte: Pte, uffd_wp: bool) -> None:
    """make_pte_marker() (include/linux/swapops.h, Linux 6.12), into an empty entry: PTE_MARKER_UFFD_WP, or PTE_MARKER_POISONED. (An entry is never both here: neither
    takes the place of the other.)"""
    pte.kind = PteKind.MARKER
    pte.uffd_wp[0] = uffd_wp
