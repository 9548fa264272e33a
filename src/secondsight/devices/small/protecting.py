"""Drivers that are told that less is allowed than before, and take it for nothing; and such as heed it."""

from __future__ import annotations

from secondsight.devices.small.parts import MirrorInParts
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Event

__all__ = ["IgnoresProtection"]


class IgnoresProtection(MirrorInParts):
    """Keeps its entries when the process changes what may be done with its pages, for the page stays where it is: also the permission to write."""

    def drop(self, rng: mn.Range) -> None:
        if rng.event != Event.PROTECTION_VMA:
            self.page_table.unmap(rng)
