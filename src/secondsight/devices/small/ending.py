"""Drivers that are users of the address space while they work: the last one to leave tears it down, with the locks that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.mirror import Mirror
from secondsight.lang import Errno, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EFAULT
from secondsight.linux.mm_types import Mm, Va
from secondsight.linux.sched_mm import mmget_not_zero, mmput, mmput_async

__all__ = ["IsAUserWhileItFaults", "LeavesInItsCallback", "LeavesUnderItsLock"]


class IsAUserWhileItFaults(Mirror):
    """Right: a user of the address space from the beginning of a fault to its end, as kernel threads are by kthread_use_mm()."""

    def fault(self, va: Va, write: bool) -> Errno:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        ret = Mirror.fault(self, va, write)
        self.leave(mm)
        return ret

    def leave(self, mm: Mm) -> None:
        """No lock is held: this may be the end of the address space."""
        mmput(mm)


class LeavesUnderItsLock(IsAUserWhileItFaults):
    """Drops the address space with the lock that its callback takes: when it is the last user, its own mmput() calls that."""

    def leave(self, mm: Mm) -> None:
        with self.lock:
            mmput(mm)


class LeavesInItsCallback(Mirror):
    """Right: a user of the address space in its callback, which leaves by mmput_async(): the end must not begin within a callback."""

    bounds: ClassVar[Mapping[str, int]] = {**Mirror.bounds, "async_puts": 1}

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            alive = mmget_not_zero(mm)
        done = Mirror.invalidate(self, rng, seq)
        if alive:
            mmput_async(mm)
        return done
