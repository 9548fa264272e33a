"""What a CPU would find at an address, for who tells a trace: words, and the page among them."""

from __future__ import annotations

from secondsight.linux.mm_types import Driver, Folio, Mm, PteKind

__all__ = ["address_space_of", "cpu_view"]

AWAY = {PteKind.SWAP: "the page is in swap", PteKind.MIGRATION: "the page is being moved"}
AT_A_DEVICE = {PteKind.DEVICE_PRIVATE: "the page is in a device's memory: ", PteKind.DEVICE_EXCLUSIVE: "a device has the page alone: "}


def address_space_of(device: Driver) -> Mm | None:
    """The address space that a device mirrors; None: it has none, or none any more."""
    return device.notifier.mm


def cpu_view(mm: Mm, va: int, write: bool) -> tuple[str, Folio | None, str]:
    """What an access by a CPU would find now, without the fault that it would take: words, a page, and words behind it."""
    if mm.mm_mt[va] is None:
        return "SIGSEGV", None, ""
    pte = mm.ptes[va]
    if pte.kind in AWAY:
        return f"page fault ({AWAY[pte.kind]})", None, ""
    if pte.kind in AT_A_DEVICE:
        return f"page fault ({AT_A_DEVICE[pte.kind]}", pte.frame, ")"
    if pte.frame is None:
        return "page fault", None, ""
    return "", pte.frame, ", read-only" if write and not pte.writable else ""
