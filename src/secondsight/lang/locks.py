"""Locks that know their owner, written in the language itself.

`Mutex` and `RwLock` sleep; with a `SpinLock` held nothing may sleep. Every misuse is a broken rule with a trace:
`double-lock`, `not-owner`, `sleep-in-atomic` (checked where a thread waits), `lock-held-at-exit`.

Who gets a lock that several wait for is the scheduler's choice: any order of the kernel's is one of these. The queue of an
`RwLock` shows besides, for a reader waits behind a writer that waits: rwsem_down_read_slowpath() (kernel/locking/rwsem.c,
Linux 6.12). A writer that comes to a lock which others read stands in its queue from a step of its own on (`waiting`), and
takes the lock in another. Readers do not stand in a queue: one that waits behind a writer may as well not have come yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from secondsight.lang.records import Record
from secondsight.lang.runtime import runtime
from secondsight.lang.types import Bounds
from secondsight.lang.verbs import atomic, current, require, wait_until

__all__ = ["MAX_THREADS", "Lock", "Mutex", "LockOperation", "RwLock", "SpinLock", "operation"]

MAX_THREADS = 7
"""Threads a program may have: the readers of an `RwLock` are one bit each."""

ThreadNumber = Annotated[int, Bounds(0, 255)]
ThreadBits = Annotated[int, Bounds(0, 255)]

F = TypeVar("F", bound=Callable[..., Any])
LockOperation = Literal["takes", "tries", "looks", "queues"]
"""What a lock's own function does to it: takes it, waits for it or gives it back; tries whether it can be had; looks whether
there is something to queue for; has the thread stand in its queue."""


def operation(what: LockOperation) -> Callable[[F], F]:
    """Mark a lock's own function, for those who have to know what is done to a lock: see `ir.FieldStep` and `ir.Wait`."""

    def mark(function: F) -> F:
        function.__operation__ = what  # type: ignore[attr-defined]
        return function

    return mark


class Lock(Record):
    """What all locks share: `held_by_me()`; a class is a lock by deriving from this."""

    owner: ThreadNumber

    @operation("takes")
    @atomic
    def held_by_me(self) -> bool:
        """Whether this thread holds it."""
        return self.owner == current()


class Mutex(Lock):
    """A sleeping lock: `struct mutex`."""

    @operation("takes")
    @atomic
    def lock(self) -> None:
        """Wait for the lock and take it."""
        require(self.owner != current(), "double-lock", "takes a mutex that it holds")
        wait_until(self.owner == 0)
        self.owner = current()

    @operation("tries")
    @atomic
    def trylock(self) -> bool:
        """Take the lock if it is free."""
        if self.owner != 0:
            return False
        self.owner = current()
        return True

    @operation("takes")
    @atomic
    def unlock(self) -> None:
        """Release the lock."""
        require(self.owner == current(), "not-owner", "releases a mutex that it does not hold")
        self.owner = 0

    def __enter__(self) -> None:
        self.lock()

    def __exit__(self, *why: Any) -> None:
        leave(self.unlock, why)


class SpinLock(Lock):
    """A spinning lock: nothing may sleep while it is held."""

    @operation("takes")
    @atomic
    def lock(self) -> None:
        """Spin until the lock is free and take it."""
        require(self.owner != current(), "double-lock", "takes a spinlock that it holds")
        spin_until(self.owner == 0)
        self.owner = current()

    @operation("tries")
    @atomic
    def trylock(self) -> bool:
        """Take the lock if it is free."""
        if self.owner != 0:
            return False
        self.owner = current()
        return True

    @operation("takes")
    @atomic
    def unlock(self) -> None:
        """Release the lock."""
        require(self.owner == current(), "not-owner", "releases a spinlock that it does not hold")
        self.owner = 0

    def __enter__(self) -> None:
        self.lock()

    def __exit__(self, *why: Any) -> None:
        leave(self.unlock, why)


class RwLock(Record):
    """A sleeping reader-writer lock: `struct rw_semaphore`. Readers do not nest.

    A writer that waits for readers holds up the readers that come after it. One that takes the lock within a larger atomic
    step waits for it outside of the queue.
    """

    owner: ThreadNumber
    readers: ThreadBits
    waiting: ThreadBits
    """The writers in the queue."""

    @operation("takes")
    @atomic
    def read_lock(self) -> None:
        """Wait for any writer to leave and become a reader; beside other readers only if no writer waits.

        down_read() and rwsem_down_read_slowpath() (kernel/locking/rwsem.c, Linux 6.12): who comes to a lock that nobody has
        may take it before a writer that waits.
        """
        require(self.owner != current(), "double-lock", "reads under a lock that it holds for writing")
        require(self.readers & thread_bit() == 0, "double-lock", "takes a lock for reading that it holds for reading")
        wait_until(self.owner == 0 and (self.readers == 0 or self.waiting == 0))
        self.readers = self.readers | thread_bit()

    @operation("tries")
    @atomic
    def read_trylock(self) -> bool:
        """Become a reader, unless the lock is written or a writer waits: down_read_trylock() (kernel/locking/rwsem.c, Linux 6.12)."""
        require(self.readers & thread_bit() == 0, "double-lock", "takes a lock for reading that it holds for reading")
        if self.owner != 0 or self.waiting != 0:
            return False
        self.readers = self.readers | thread_bit()
        return True

    @operation("takes")
    @atomic
    def read_unlock(self) -> None:
        """Stop reading."""
        require(self.readers & thread_bit() != 0, "not-owner", "stops reading a lock that it does not read")
        self.readers = self.readers & ~thread_bit()

    @operation("takes")
    @atomic
    def write_lock(self) -> None:
        """Wait for everybody to leave and become the writer: down_write() (kernel/locking/rwsem.c, Linux 6.12).

        In a statement of its own it is two steps while others read: `queue_for_writing`, then this.
        """
        require(self.owner != current(), "double-lock", "takes a lock for writing that it holds for writing")
        require(self.readers & thread_bit() == 0, "double-lock", "takes a lock for writing that it holds for reading")
        stand_in_queue(self)
        wait_until(self.owner == 0 and self.readers == 0)
        self.owner = current()
        self.waiting = self.waiting & ~thread_bit()

    @operation("looks")
    @atomic
    def is_read_by_others(self) -> bool:
        """Whether a thread that comes to write has to stand in the queue: others read."""
        return self.readers != 0 and self.readers & thread_bit() == 0

    @operation("queues")
    @atomic
    def queue_for_writing(self) -> None:
        """Stand in the queue: readers that come after this wait."""
        self.waiting = self.waiting | thread_bit()

    @operation("tries")
    @atomic
    def write_trylock(self) -> bool:
        """Become the writer, unless somebody has the lock or waits for it: down_write_trylock() (kernel/locking/rwsem.c, Linux 6.12)."""
        if self.owner != 0 or self.readers != 0 or self.waiting != 0:
            return False
        self.owner = current()
        return True

    @operation("takes")
    @atomic
    def write_unlock(self) -> None:
        """Stop writing."""
        require(self.owner == current(), "not-owner", "stops writing a lock that it does not write")
        self.owner = 0

    @operation("takes")
    @atomic
    def write_downgrade(self) -> None:
        """From writer to reader without letting anybody in between."""
        require(self.owner == current(), "not-owner", "downgrades a lock that it does not write")
        self.owner = 0
        self.readers = self.readers | thread_bit()

    @operation("takes")
    @atomic
    def held_by_me(self) -> bool:
        """Whether this thread reads or writes."""
        return self.owner == current() or self.readers & thread_bit() != 0

    def reading(self) -> _Held:
        """`with lock.reading():`"""
        return _Held(self.read_lock, self.read_unlock)

    def writing(self) -> _Held:
        """`with lock.writing():`"""
        return _Held(self.write_lock, self.write_unlock)


def thread_bit() -> ThreadBits:
    """This thread's bit among readers and writers (the eighth is for code run by hand)."""
    return 1 << (current() - 1) if current() <= 7 else 128


def stand_in_queue(lock: RwLock) -> None:
    """Where `write_lock` may end its first step. The front end puts this before the call: see `BlockLowering.take_in_turn`."""
    scheduler = runtime.scheduler
    if scheduler is not None and scheduler.queues and runtime.atomic_depth == 1 and lock.is_read_by_others():
        lock.queue_for_writing()
        scheduler.stand_in_queue()


def spin_until(condition: bool) -> None:
    """`wait_until` that does not sleep: the front end knows it too."""
    if runtime.scheduler is not None:
        runtime.scheduler.wait(bool(condition), False)
    else:
        wait_until(condition)


class _Held:
    """A lock taken in one of its ways, as a context manager."""

    def __init__(self, take: Any, release: Any) -> None:
        self.take, self.release = take, release

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *why: Any) -> None:
        leave(self.release, why)


def leave(release: Any, why: tuple[Any, ...]) -> None:
    """Leave a `with lock:` block: a step boundary of its own, unless an error ends the run."""
    if why[0] is None:
        runtime.step(0, 0)
        release()
