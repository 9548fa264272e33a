"""Drivers that use a lock or the notifier's functions as they must not be used."""

from __future__ import annotations

from secondsight.devices.device import DevicePageTable
from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Errno, Mutex
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Mm, Pgoff, Va

__all__ = ["KeepsItsLock", "RefusesWhereItMaySleep", "SubscribesTwice", "TakesItsLocksInBothOrders", "UnlocksTwice", "UnsubscribesTwice"]


class SubscribesTwice(Mirror):
    """Inserts its notifier again, to be sure."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        ret = Mirror.open(self, mm, start, length)
        if ret != 0:
            return ret
        return mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)


class UnsubscribesTwice(Mirror):
    """Removes its notifier again, to be sure."""

    def close(self) -> None:
        Mirror.close(self)
        mn.mmu_interval_notifier_remove(self.notifier)


class RefusesWhereItMaySleep(MirrorInParts):
    """Never waits for its lock: whoever invalidates may come again."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.drop(rng)
        self.lock.unlock()
        return True


class UnlocksTwice(MirrorInParts):
    """Gives its lock back where it is dropped by hand, and at the end."""

    def drop(self, rng: mn.Range) -> None:
        self.page_table.unmap(rng)
        self.lock.unlock()


class KeepsItsLock(MirrorInParts):
    """Forgets its lock where it had to try for it."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.drop(rng)
        if rng.blockable:
            self.lock.unlock()
        return True


class TakesItsLocksInBothOrders(Mirror):
    """Has a lock for what it counts, taken within the table's in the callback, and around it in `fault`."""

    lock: Mutex
    statistics: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def fault(self, va: Va, write: bool) -> Errno:
        ret = Mirror.fault(self, va, write)
        with self.statistics:
            with self.lock:
                pass
        return ret

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if not rng.blockable:
            return False
        with self.lock:
            mn.mmu_interval_set_seq(self.notifier, seq)
            self.page_table.unmap(rng)
            with self.statistics:
                pass
        return True
