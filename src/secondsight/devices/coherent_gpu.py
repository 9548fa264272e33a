"""A device with memory of its own that CPUs can reach too (MEMORY_DEVICE_COHERENT), as of devices on a coherent link.

It takes pages as `private_gpu` does, and gives them back when it wants its memory, or is closed. In between a CPU's entry for such a page is a present
one: nothing faults, and the device finds the page as any other. A copy of it (fork, then a write) is in the system's memory, and who pins it for long
moves it out first (`linux/gup.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.private_gpu import PrivateGpu
from secondsight.lang import atomic
from secondsight.linux.memremap_private import memremap_coherent

__all__ = ["CoherentGpu"]


class CoherentGpu(PrivateGpu):
    """Right: see above."""

    bounds: ClassVar[Mapping[str, int]] = {**PrivateGpu.bounds, "coherent_memory": 1}

    @atomic
    def memory_comes(self) -> None:
        """memremap_pages(), and all of it is free."""
        memremap_coherent(self.memory, self)
        for i in range(len(self.free)):
            self.free[i] = self.memory.pages[i]
        self.nr_free = len(self.free)
