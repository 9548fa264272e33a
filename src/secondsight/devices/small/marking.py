"""A driver that takes another device's exclusive access for its own business."""

from __future__ import annotations

from secondsight.devices.small.parts import MirrorInParts
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Event

__all__ = ["IgnoresExclusive"]


class IgnoresExclusive(MirrorInParts):
    """Passes over EXCLUSIVE, whoever asked, although it never asks for exclusive access itself."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.event == Event.EXCLUSIVE:
            return True
        return MirrorInParts.invalidate(self, rng, seq)
