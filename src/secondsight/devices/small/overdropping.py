"""Drivers that give back what is theirs no more, use what is free or not there, or are sure of what need not be; and right ones."""

from __future__ import annotations

from secondsight.devices.mirror import Mirror
from secondsight.devices.small.parts import MirrorInParts
from secondsight.devices.small.references import GivesReferencesBack
from secondsight.lang import Errno, Record, atomic, pool
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EINVAL
from secondsight.linux.mm_types import Mm, Pfn, Pgoff, Va
from secondsight.linux.page_alloc import is_zero_page, put_page
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = [
    "AssertsThatItMaySleep",
    "DropsItsReferencesTwice",
    "FreesItsRequestEarly",
    "FreesItsRequestTwice",
    "KeepsRequests",
    "LeavesTwice",
    "LooksBeforeItMaps",
]


class DropsItsReferencesTwice(GivesReferencesBack):
    """Gives a page's reference back where it drops the entry, and once more."""

    @atomic
    def put(self, va: Va) -> None:
        frame = self.page_table.entries[va].frame
        if frame is not None:
            if not is_zero_page(frame):
                put_page(frame)
                put_page(frame)


class LeavesTwice(Mirror):
    """Is a user of the mm while it is opened, and stops being one twice."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        ret = mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)
        mmput(mm)
        mmput(mm)
        return ret


class LooksBeforeItMaps(MirrorInParts):
    """Compares with the page that it had mapped there, and does not ask whether there was one."""

    def install(self, va: Va, pfn: Pfn, write: bool) -> Errno:
        before = self.page_table.entries[va].frame
        if before.dirty and not write:  # type: ignore[union-attr]
            return 0
        self.page_table.map(va, pfn, write)
        if write:
            set_page_dirty(pfn)
        return 0


class AssertsThatItMaySleep(MirrorInParts):
    """Is sure that whoever calls it may sleep."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        assert rng.blockable, "nobody calls a driver who must not sleep"
        with self.lock:
            mn.mmu_interval_set_seq(self.notifier, seq)
            self.drop(rng)
        return True


class FaultRequest(Record):
    """A fault that is being served: its page."""

    va: Va


requests = pool(FaultRequest, 2)


class KeepsRequests(MirrorInParts):
    """Right: has a record for each fault, from its beginning to its end."""

    def fault(self, va: Va, write: bool) -> Errno:
        with atomic:
            request = requests.alloc()
            request.va = va
        ret = MirrorInParts.fault(self, request.va, write)
        requests.free(request)
        return ret


class FreesItsRequestEarly(KeepsRequests):
    """Frees the record, and reads it."""

    def fault(self, va: Va, write: bool) -> Errno:
        with atomic:
            request = requests.alloc()
            request.va = va
        requests.free(request)
        return MirrorInParts.fault(self, request.va, write)


class FreesItsRequestTwice(KeepsRequests):
    """Frees the record where the fault fails, and at the end."""

    def fault(self, va: Va, write: bool) -> Errno:
        with atomic:
            request = requests.alloc()
            request.va = va
        ret = MirrorInParts.fault(self, request.va, write)
        if ret != 0:
            requests.free(request)
        requests.free(request)
        return ret
