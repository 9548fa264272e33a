"""Drivers that are wrong where pages are huge: one by calls within calls, one by who holds which lock during a call."""

from __future__ import annotations

from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.vcpu import Vcpu
from secondsight.lang import Errno, atomic, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Event, Mm, Range

__all__ = ["AsksTheMmapLock", "VcpuOneAtATime"]


class VcpuOneAtATime(Vcpu):
    """Lets one invalidation begin when no other goes on, unless it must not wait: one that begins within another waits for its own end."""

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        if rng.blockable:
            wait_until(self.in_progress == 0)
        with self.mmu_lock:
            with atomic:
                self.in_progress += 1
                self.page_table.unmap(rng)
        return 0


class AsksTheMmapLock(MirrorInParts):
    """Keeps its entries where somebody has the mmap lock for writing (rwsem_is_write_locked()) and says CLEAR, as if only mappings came and
    went under it: those say UNMAP, and what takes permissions away says so too."""

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            if rng.event != Event.CLEAR or mm.mmap_lock.owner == 0:
                self.page_table.unmap(rng)
