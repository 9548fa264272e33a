"""Drivers that open or close in a wrong order, and such as do it right."""

from __future__ import annotations

from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno, atomic
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY, EINVAL, ENOENT
from secondsight.linux.interval_tree import interval_tree_remove
from secondsight.linux.mm_types import Event, Mm, Pfn, Pgoff, Range, Va

__all__ = [
    "ClosesAndStays",
    "ClosesByItsLock",
    "ClosesKeepingItsTable",
    "OpensWithoutBeingAUser",
    "PrefaultsAfterwards",
    "PrefaultsBeforeItSubscribes",
    "LeavesBeforeTheEnd",
    "RefusesAndStays",
    "RefusesWhileSomethingGoesOn",
    "StopsTheDeviceLast",
]


class ClosesKeepingItsTable(Mirror):
    """Unsubscribes, and lets the device go on with what is in the table."""

    def close(self) -> None:
        mn.mmu_interval_notifier_remove(self.notifier)


class StopsTheDeviceLast(Mirror):
    """Unsubscribes first and stops the device then."""

    def close(self) -> None:
        mn.mmu_interval_notifier_remove(self.notifier)
        self.page_table.disable()


class ClosesAndStays(Mirror):
    """Stops the device and does not unsubscribe."""

    def close(self) -> None:
        self.page_table.disable()


class ClosesByItsLock(MirrorInParts):
    """Right: says so under its lock, empties the table there, and maps nothing any more; then it unsubscribes."""

    closed: bool

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        if self.closed:
            return -ENOENT
        return MirrorInParts.install(self, va, pfn, write)

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self.page_table.unmap(Range(0, len(self.page_table.entries), Event.UNMAP, True))
        mn.mmu_interval_notifier_remove(self.notifier)


class PrefaultsBeforeItSubscribes(Mirror):
    """Maps the first page before anybody would tell it of a change."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        self.notifier.mm = mm
        self.notifier.invalidate_seq = 1
        pfn = hmm.hmm_range_fault(self.notifier, start, False)
        if pfn >= 0:
            self.page_table.map(start, pfn, False)
        return Mirror.open(self, mm, start, length)


class OpensWithoutBeingAUser(Mirror):
    """Subscribes to an mm whose last user may have gone."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)


class PrefaultsAfterwards(Mirror):
    """Right: subscribes, then maps the first page as for a fault."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        ret = Mirror.open(self, mm, start, length)
        if ret == 0:
            self.fault(start, False)
        return ret


class RefusesAndStays(Mirror):
    """Finds out that the process has gone when it has subscribed, and leaves it at that."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        ret = Mirror.open(self, mm, start, length)
        if ret != 0:
            return ret
        if mm.users == 0:
            return -EINVAL
        return 0


class RefusesWhileSomethingGoesOn(Mirror):
    """Does not open while the process changes its mappings."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        if mm.mmap_lock.owner != 0:
            return -EBUSY
        return Mirror.open(self, mm, start, length)


class LeavesBeforeTheEnd(Mirror):
    """Takes its subscription back by itself, and does not wait for the invalidation that goes on to take it off the list."""

    def close(self) -> None:
        self.page_table.disable()
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            subs = mm.subscriptions
            if mn.mn_itree_is_invalidating(subs):
                mn.deferred_add(subs, self.notifier)
            else:
                interval_tree_remove(subs, self.notifier)
