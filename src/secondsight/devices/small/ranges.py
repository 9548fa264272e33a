"""Drivers that are told of a part of their range, and take it for something else."""

from __future__ import annotations

from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Event, Pfn, Range, Va

__all__ = ["CountsFromTheFirstPage", "DropsEverything", "IgnoresParts", "ServesOneFaultAtATime", "TakesAPartForNothing"]


class IgnoresParts(MirrorInParts):
    """Drops nothing where it is not all of its pages that change."""

    def drop(self, rng: mn.Range) -> None:
        if rng.end - rng.start == len(self.page_table.entries):
            self.page_table.unmap(rng)


class CountsFromTheFirstPage(MirrorInParts):
    """Drops as many pages as change, but always from the first one on."""

    def drop(self, rng: mn.Range) -> None:
        self.page_table.unmap(Range(0, rng.end - rng.start, rng.event, rng.blockable))


class TakesAPartForNothing(MirrorInParts):
    """Drops nothing where a part of its pages is unmapped, as if the rest were still there."""

    def drop(self, rng: mn.Range) -> None:
        if rng.event != Event.UNMAP or rng.end - rng.start == len(self.page_table.entries):
            self.page_table.unmap(rng)


class DropsEverything(MirrorInParts):
    """Right, if slow: drops all of its pages whatever changes."""

    def drop(self, rng: mn.Range) -> None:
        self.page_table.unmap(Range(0, len(self.page_table.entries), rng.event, rng.blockable))


class ServesOneFaultAtATime(MirrorInParts):
    """Notes in itself which page it is about to map, as if no other engine could come to another one meanwhile."""

    serving: Va

    def collect(self, seq: mn.Seq, va: Va, write: bool) -> Pfn:
        self.serving = va
        return MirrorInParts.collect(self, seq, va, write)

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        return MirrorInParts.install(self, self.serving, pfn, write)
