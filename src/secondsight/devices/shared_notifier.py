"""A driver whose users share one mmu notifier for each mm: who opens the device gets it, who closes it puts it.

The pattern of drivers/misc/sgi-gru/grutlbpurge.c and drivers/gpu/drm/amd/amdkfd/kfd_process.c (Linux 6.12): what subscribes is a record that
alloc_notifier() allocates, with the driver's own fields in it, and free_notifier() frees it when no callback runs any more. `GetsItsNotifier` stops the device before it puts: no `release` comes with
the last put. Its table and its lock are those of `small.Vcpu`.

Each other class leaves out or misplaces one thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.device import DevicePageTable
from secondsight.devices.small.vcpu import Vcpu
from secondsight.lang import Errno, Mutex, Ref, SpinLock, atomic, bound, pool
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EINVAL, ENOMEM
from secondsight.linux.mm_types import Mm, MmuNotifier, Pgoff, Range, Va
from secondsight.linux.mmu_notifier_get import mmu_notifier_get, mmu_notifier_put, mmu_notifier_synchronize, srcu_work
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = [
    "FreesAtOnce", "FreesUnderAMutex", "GetsItsNotifier", "GetsTwice", "LeavesTheFreeBehind", "PutsTwice", "StopsAfterItsPut", "SharedNotifier", "shared_notifiers",
]  # fmt: skip


class SharedNotifier(MmuNotifier):
    """What subscribes, for all users of the driver in an mm: struct gru_mm_struct."""

    device: Ref[GetsItsNotifier]

    def invalidate_range_start(self, mm: Mm, rng: Range) -> Errno:
        device = self.device
        assert device is not None
        return device.invalidate_range_start(mm, rng)

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        device = self.device
        assert device is not None
        device.invalidate_range_end(mm, rng)

    def release(self, mm: Mm) -> None:
        device = self.device
        assert device is not None
        device.release(mm)

    def free_notifier(self) -> None:
        device = self.device
        assert device is not None
        device.free(self)


shared_notifiers = pool(SharedNotifier, bound("shared_notifiers", most=2))


class GetsItsNotifier(Vcpu):
    """Right: see above."""

    mmu_lock: SpinLock
    freeing: Mutex
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    shared: Ref[SharedNotifier]
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "mmu_notifiers": 1, "shared_notifiers": 1}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        subscription = mmu_notifier_get(self, mm)
        mmput(mm)
        return 0 if subscription is not None else -ENOMEM

    @atomic
    def alloc_notifier(self, mm: Mm) -> Ref[MmuNotifier]:
        new = shared_notifiers.alloc()
        new.device = self
        self.shared = new
        return new

    def free(self, shared: SharedNotifier) -> None:
        """What free_notifier() does: kfree()."""
        shared_notifiers.free(shared)

    def work(self) -> None:
        """The worker that call_srcu() hands the frees to."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        srcu_work(mm, self)

    def close(self) -> None:
        """The device stops; then nothing needs the subscription, and the module waits until it is freed."""
        self.page_table.disable()
        self.put()
        self.synchronize()

    def put(self) -> None:
        """mmu_notifier_put()."""
        with atomic:
            mm = self.notifier.mm
            shared = self.shared
            assert mm is not None
            assert shared is not None
            mmu_notifier_put(shared, mm)

    def synchronize(self) -> None:
        """mmu_notifier_synchronize()."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
        mmu_notifier_synchronize(mm)


class FreesAtOnce(GetsItsNotifier):
    """Frees what it has put: a walk over the list that began before stands on it still."""

    def put(self) -> None:
        GetsItsNotifier.put(self)
        with atomic:
            shared = self.shared
            assert shared is not None
            shared_notifiers.free(shared)

    def free(self, shared: SharedNotifier) -> None:
        """It has been freed."""


class PutsTwice(GetsItsNotifier):
    """Puts more often than it got."""

    def put(self) -> None:
        with atomic:
            GetsItsNotifier.put(self)
            GetsItsNotifier.put(self)


class GetsTwice(GetsItsNotifier):
    """Gets it once more than it puts: it is called when the device has been closed."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        ret = GetsItsNotifier.open(self, mm, start, length)
        if ret != 0:
            return ret
        return GetsItsNotifier.open(self, mm, start, length)


class StopsAfterItsPut(GetsItsNotifier):
    """Counts on `release` to empty the device's table when it puts: none comes, and nobody says any more what the table must drop."""

    def close(self) -> None:
        self.put()
        self.synchronize()
        self.page_table.disable()


class LeavesTheFreeBehind(GetsItsNotifier):
    """Does not wait for what it has put: free_notifier() is code of a module that has gone by then."""

    def synchronize(self) -> None:
        """Nothing."""


class FreesUnderAMutex(GetsItsNotifier):
    """Sleeps in free_notifier()."""

    def free(self, shared: SharedNotifier) -> None:
        with self.freeing:
            shared_notifiers.free(shared)
