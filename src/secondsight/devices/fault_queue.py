"""A GPU's page faults: hardware puts them into a queue, the interrupt queues a work, and the work answers them.

    engine       finds no entry, or one that it may not write by: its fault is in the queue, and it waits for the answer
    interrupt    puts the fault into the queue, and queues the work (queue_work()): both under the queue's lock
    work         takes one fault after the other, has the page mapped as `Mirror` does, and answers; until there is none
    close        no fault is taken any more; the device stops; the subscription goes; the work is cancelled; who waits for an answer fails

The pattern of xe_guc_pagefault_handler() and pf_queue_work_func() (drivers/gpu/drm/xe/xe_gt_pagefault.c, Linux 6.12). Who handles a fault is no thread of the process, and holds none
of its locks.

Left out: a queue that is full (here each page has a place); that the work gives way after some time; prefetches; access counters.

Each other class leaves out or misplaces one thing.
"""

from __future__ import annotations

from typing import Literal

from secondsight.devices.device import DevicePageTable
from secondsight.devices.small.parts import MirrorInParts
from secondsight.lang import Array, Errno, Mutex, Record, SpinLock, atomic, wait_until
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import ENOENT
from secondsight.linux.mm_types import Result, Va
from secondsight.linux.workqueue import WorkStruct, cancel_work_sync, flush_work, queue_work, work_begins, work_ends

__all__ = ["AnswersForOthers", "CancelsUnderItsLock", "FaultQueue", "FlushesInItsCallback", "QueuesIfItDoesNotRun"]


class PageFault(Record):
    """A fault at a page, from the engine's report to the answer: of whichever engines wait there. `write`: one of them wants to write. `late`: one has come
    since somebody began to handle it."""

    waits: bool
    write: bool
    late: bool
    answer: Errno


class FaultQueue(MirrorInParts):
    """Right: see above."""

    lock: Mutex
    queue_lock: SpinLock
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    faults: Array[PageFault, Literal["pages"]]
    worker: WorkStruct
    closed: bool

    def fault(self, va: Va, write: bool) -> Errno:
        ret = self.report(va, write)
        if ret != 0:
            return ret
        with atomic:
            wait_until(not self.faults[va].waits)
            return self.faults[va].answer

    def report(self, va: Va, write: bool) -> Errno:
        """The interrupt."""
        with self.queue_lock:
            if self.closed:
                return -ENOENT
            self.faults[va].write = self.faults[va].write or write
            self.faults[va].waits = True
            self.faults[va].late = True
            self.start()
            return 0

    def start(self) -> None:
        """The work is to be done. Under the queue's lock."""
        queue_work(self.worker)

    def work(self) -> None:
        while True:
            work_begins(self.worker)
            va = self.next_fault()
            while va >= 0:
                self.handle(va)
                va = self.next_fault()
            work_ends(self.worker)

    def next_fault(self) -> Result:
        """A fault that waits; -ENOENT: there is none."""
        with self.queue_lock:
            for va in range(len(self.faults)):
                if self.faults[va].waits:
                    return va
            return -ENOENT

    def handle(self, va: Va) -> None:
        """Have the page mapped, and answer whoever waited for it when that began; who came later waits until it is done once more."""
        with self.queue_lock:
            write = self.faults[va].write
            self.faults[va].late = False
        ret = MirrorInParts.fault(self, va, write)
        with self.queue_lock:
            if not self.late(va):
                self.faults[va].answer = ret
                self.faults[va].write = False
                self.faults[va].waits = False

    def late(self, va: Va) -> bool:
        """Whether a fault has come since: it is of another moment, and what was mapped then may be gone, or be there by now. Under the queue's lock."""
        return self.faults[va].late

    def close(self) -> None:
        with self.queue_lock:
            self.closed = True
        MirrorInParts.close(self)
        self.stop()

    def stop(self) -> None:
        """The work is over, and who waits for an answer gets none from it."""
        cancel_work_sync(self.worker)
        with self.queue_lock:
            for va in range(len(self.faults)):
                if self.faults[va].waits:
                    self.faults[va].answer = -ENOENT
                    self.faults[va].waits = False


class AnswersForOthers(FaultQueue):
    """Wrong: answers all who wait, also a fault that was reported after the page had been looked for: it fails for what was so before."""

    def late(self, va: Va) -> bool:
        return False


class QueuesIfItDoesNotRun(FaultQueue):
    """Wrong: does not queue the work while it is being done, as it looks for faults until there is none: it may have looked already."""

    def start(self) -> None:
        if not self.worker.running:
            queue_work(self.worker)


class CancelsUnderItsLock(FaultQueue):
    """Wrong: waits for the work while it has the lock that the work takes when it enters a page."""

    def stop(self) -> None:
        with self.lock:
            FaultQueue.stop(self)


class FlushesInItsCallback(FaultQueue):
    """Wrong: when something changes, waits until no fault is being handled: that one waits for the mmap lock, which the caller of the callback has."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.blockable:
            flush_work(self.worker)
        return MirrorInParts.invalidate(self, rng, seq)
