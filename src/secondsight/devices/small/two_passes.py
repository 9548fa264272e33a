"""A mirror that is called in two passes (Linux 7.2), and one that has a structure too few. What the second pass waits for has `two_pass.TwoPassGpu`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import U8, Errno, Record, atomic, bound, shared_array
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EAGAIN
from secondsight.linux.mm_types import Finish

__all__ = ["HasOneStructure", "InTwoPasses"]


class Taken(Record):
    """Whether a structure is in use: from the first pass to the second."""

    taken: bool


structures = shared_array(Taken, bound("finishes"))
"""Of all such devices together, as `mn.finishes` is."""


class InTwoPasses(MirrorInParts):
    """Right: a structure for each call; where none is left, all is done in the first pass."""

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1, "finishes": 2}

    def invalidate_start(self, rng: mn.Range, seq: mn.Seq) -> Errno:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return -EAGAIN
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.drop(rng)
        self.lock.unlock()
        return self.take()

    @atomic
    def take(self) -> U8:
        """A structure: its number plus 1, or 0."""
        for i in range(len(structures)):
            if not structures[i].taken:
                structures[i].taken = True
                return i + 1
        return 0

    @atomic
    def invalidate_finish(self, finish: Finish) -> None:
        for i in range(len(structures)):
            if mn.finishes[i] is finish:
                structures[i].taken = False


class HasOneStructure(InTwoPasses):
    """Has one structure, for one invalidation at a time."""

    @atomic
    def take(self) -> U8:
        return 1
