"""Work that a thread of the kernel does later: queued once, done once more if it is queued while it is done, flushed, cancelled."""

from __future__ import annotations

from collections.abc import Callable

from secondsight.lang import U8, Machine, Mutex, Record, shared
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import bounds
from secondsight.linux.workqueue import WorkStruct, cancel_work_sync, flush_work, queue_work, work_begins, work_ends
from secondsight.search import Result, Verdict, breadth_first


class World(Record):
    """A work, how often it was done, and a lock that it takes."""

    item: WorkStruct
    lock: Mutex
    done: U8
    freed: bool


world = shared(World)


def worker() -> None:
    """The thread of the queue."""
    while True:
        work_begins(world.item)
        with world.lock:
            assert not world.freed
            world.done += 1
        work_ends(world.item)


def worker_that_queues_itself() -> None:
    """Its work is never over by itself."""
    while True:
        work_begins(world.item)
        assert not world.freed
        queue_work(world.item)
        work_ends(world.item)


def queues_and_flushes() -> None:
    """What was queued before has been done when the flush is over."""
    queue_work(world.item)
    flush_work(world.item)
    assert world.done > 0


def queues() -> None:
    queue_work(world.item)


def flushes() -> None:
    flush_work(world.item)


def cancels() -> None:
    """When it has been cancelled and nobody queues it any more, it is not done."""
    cancel_work_sync(world.item)
    world.freed = True


def queues_and_cancels() -> None:
    queue_work(world.item)
    cancels()


def flushes_locked() -> None:
    """Wrong: has the lock that the work takes."""
    with world.lock:
        queue_work(world.item)
        flush_work(world.item)


def search(*threads: Callable[[], None], work: Callable[[], None] = worker) -> Result:
    with Machine(bounds=bounds(frames=1)) as machine:
        roots = [Thread(f"t{n}", thread) for n, thread in enumerate(threads)]
        return breadth_first(Reference(build(machine, [*roots, Thread("worker", work, daemon=True)])))


def test_by_hand_a_work_is_queued_once_until_it_begins() -> None:
    with Machine(bounds=bounds(frames=1)):
        assert queue_work(world.item) and not queue_work(world.item)
        work_begins(world.item)
        assert queue_work(world.item) and not queue_work(world.item)
        work_ends(world.item)
        work_begins(world.item)
        work_ends(world.item)
        assert not flush_work(world.item) and not cancel_work_sync(world.item)
        assert queue_work(world.item) and cancel_work_sync(world.item) and not world.item.pending


def test_what_was_queued_before_a_flush_has_been_done_after_it() -> None:
    assert search(queues_and_flushes, queues).verdict is Verdict.HOLDS
    assert search(queues_and_flushes, queues_and_flushes).verdict is Verdict.HOLDS


def test_a_flush_does_not_wait_for_what_is_queued_later() -> None:
    assert search(queues, flushes, work=worker_that_queues_itself).verdict is Verdict.HOLDS


def test_a_flush_of_what_is_cancelled_goes_on() -> None:
    assert search(queues, flushes, cancels).verdict is Verdict.BROKEN  # the work is done after it was cancelled: somebody else queued it
    assert search(flushes, queues_and_cancels).verdict is Verdict.HOLDS


def test_a_work_that_queues_itself_can_be_cancelled() -> None:
    assert search(queues_and_cancels, work=worker_that_queues_itself).verdict is Verdict.HOLDS


def test_who_waits_with_a_lock_that_the_work_takes_waits_for_ever() -> None:
    violation = search(flushes_locked).violation
    assert violation is not None and violation.rule == "deadlock"
