"""Drivers that are wrong where pages are huge: one by calls within calls, one by who holds which lock during a call, one by how much a call is about."""

from __future__ import annotations

from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.vcpu import Vcpu
from secondsight.lang import Errno, atomic, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Event, Mm, Range
from secondsight.linux.page_alloc import page_folio

__all__ = ["AsksTheMmapLock", "MovedOneByOne", "VcpuOneAtATime"]


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


class MovedOneByOne(MirrorInParts):
    """Looks at the pages: who has the folio locked in its call is about to move it, or to swap it out, and pages are moved one by one."""

    def drop(self, rng: mn.Range) -> None:
        with atomic:
            moves = False
            for va in range(rng.start, rng.end):
                frame = self.page_table.entries[va].frame
                if frame is not None:
                    moves = moves or page_folio(frame).locked
        first = Range(rng.start, rng.start + 1, rng.event, True)
        if moves:
            self.page_table.unmap(first)
        else:
            self.page_table.unmap(rng)
