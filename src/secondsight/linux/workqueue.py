"""kernel/workqueue.c: work that a thread of the kernel does later: queued once, however often it is asked for, until it begins.

    queue_work(work)         True; False: it is queued already (it will begin after this call), or somebody is cancelling it
    flush_work(work)         waits until what is queued, or else what is being done, is over
    cancel_work_sync(work)   takes it off the queue, and waits until what is being done is over; meanwhile nobody can queue it

A driver's `work` is the thread of its queue, which begins with the work and ends it:

    def work(self) -> None:
        while True:
            work_begins(self.item)
            ...
            work_ends(self.item)

It is no longer queued when it begins: whoever queues it from then on has it done once more. It is never done twice at once. The thread holds no lock when it
begins; who waits for it and holds a lock that it takes waits for ever.

Left out: several works on one thread (a queue that is ordered, or of which the one worker waits); delayed work; that queue_work() of an item that a third thread
is about to queue says False a moment earlier; queues that are bottom halves. A flush counts by works and not by callers: of two that wait for two instances of one work, one may be
given the end of the other's (may hide a bug).
"""

from __future__ import annotations

from secondsight.lang import Record, atomic, milestone, wait_until
from secondsight.linux.mm_types import Count

__all__ = ["WorkStruct", "cancel_work_sync", "flush_work", "queue_work", "work_begins", "work_ends"]


class WorkStruct(Record):
    """struct work_struct. `pending`: it is queued. `running`: it is being done. `disables`: how many are cancelling it. `behind_pending`, `behind_running`: how many flushes wait
    for the one and the other to be over; `flushed`: how many may go on."""

    pending: bool
    running: bool
    disables: Count
    behind_pending: Count
    behind_running: Count
    flushed: Count


@milestone
@atomic
def queue_work(work: WorkStruct) -> bool:
    """queue_work_on() (kernel/workqueue.c, Linux 6.12), clear_pending_if_disabled(): never sleeps. Whether it was queued by this call."""
    if work.pending or work.disables > 0:
        return False
    work.pending = True
    return True


@milestone
def flush_work(work: WorkStruct) -> bool:
    """flush_work(), start_flush_work() (kernel/workqueue.c, Linux 6.12): sleeps. False: there was nothing to wait for."""
    with atomic:
        waits = work.pending or work.running
        if work.pending:
            work.behind_pending += 1
        elif work.running:
            work.behind_running += 1
    if waits:
        with atomic:
            wait_until(work.flushed > 0)
            work.flushed -= 1
    return waits


@milestone
def cancel_work_sync(work: WorkStruct) -> bool:
    """cancel_work_sync(), __cancel_work(), __flush_work() (kernel/workqueue.c, Linux 6.12): sleeps. Whether it was queued, and will not be done.

    A flush that waits for what is taken off the queue goes on.
    """
    with atomic:
        pending = work.pending
        work.pending = False
        work.disables += 1
        work.flushed += work.behind_pending
        work.behind_pending = 0
    with atomic:
        wait_until(not work.running)
        work.disables -= 1
    return pending


@atomic
def work_begins(work: WorkStruct) -> None:
    """process_one_work() (kernel/workqueue.c, Linux 6.12) up to the call of the work's function: waits until it is queued."""
    wait_until(work.pending)
    work.pending = False
    work.running = True
    work.behind_running = work.behind_pending
    work.behind_pending = 0


@atomic
def work_ends(work: WorkStruct) -> None:
    """process_one_work() (kernel/workqueue.c, Linux 6.12) when the work's function has returned."""
    assert work.running, "a work ends that has not begun"
    work.running = False
    work.flushed += work.behind_running
    work.behind_running = 0
