"""Locks that know their owner, written in the language itself.

`Mutex` and `RwLock` sleep; with a `SpinLock` held nothing may sleep. Every misuse is a broken rule with a trace:
`double-lock`, `not-owner`, `sleep-in-atomic` (checked where a thread waits), `lock-held-at-exit`.
"""

from __future__ import annotations

from typing import Annotated, Any

from secondsight.lang.records import Record
from secondsight.lang.runtime import runtime
from secondsight.lang.types import Bounds
from secondsight.lang.verbs import atomic, current, require, wait_until

__all__ = ["MAX_THREADS", "Lock", "Mutex", "RwLock", "SpinLock"]

MAX_THREADS = 7
"""Threads a program may have: the readers of an `RwLock` are one bit each."""

ThreadNumber = Annotated[int, Bounds(0, 255)]
ReaderBits = Annotated[int, Bounds(0, 255)]


class Lock(Record):
    """What all locks share: `held_by_me()`; a class is a lock by deriving from this."""

    owner: ThreadNumber

    @atomic
    def held_by_me(self) -> bool:
        """Whether this thread holds it."""
        return self.owner == current()


class Mutex(Lock):
    """A sleeping lock: `struct mutex`."""

    @atomic
    def lock(self) -> None:
        """Wait for the lock and take it."""
        require(self.owner != current(), "double-lock", "takes a mutex that it holds")
        wait_until(self.owner == 0)
        self.owner = current()

    @atomic
    def trylock(self) -> bool:
        """Take the lock if it is free."""
        if self.owner != 0:
            return False
        self.owner = current()
        return True

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

    @atomic
    def lock(self) -> None:
        """Spin until the lock is free and take it."""
        require(self.owner != current(), "double-lock", "takes a spinlock that it holds")
        spin_until(self.owner == 0)
        self.owner = current()

    @atomic
    def trylock(self) -> bool:
        """Take the lock if it is free."""
        if self.owner != 0:
            return False
        self.owner = current()
        return True

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
    """A sleeping reader-writer lock: `struct rw_semaphore`. Readers do not nest."""

    owner: ThreadNumber
    readers: ReaderBits

    @atomic
    def read_lock(self) -> None:
        """Wait for any writer to leave and become a reader."""
        require(self.owner != current(), "double-lock", "reads under a lock that it holds for writing")
        require(self.readers & thread_bit() == 0, "double-lock", "takes a lock for reading that it holds for reading")
        wait_until(self.owner == 0)
        self.readers = self.readers | thread_bit()

    @atomic
    def read_unlock(self) -> None:
        """Stop reading."""
        require(self.readers & thread_bit() != 0, "not-owner", "stops reading a lock that it does not read")
        self.readers = self.readers & ~thread_bit()

    @atomic
    def write_lock(self) -> None:
        """Wait for everybody to leave and become the writer."""
        require(self.owner != current(), "double-lock", "takes a lock for writing that it holds for writing")
        require(self.readers & thread_bit() == 0, "double-lock", "takes a lock for writing that it holds for reading")
        wait_until(self.owner == 0 and self.readers == 0)
        self.owner = current()

    @atomic
    def write_unlock(self) -> None:
        """Stop writing."""
        require(self.owner == current(), "not-owner", "stops writing a lock that it does not write")
        self.owner = 0

    @atomic
    def write_downgrade(self) -> None:
        """From writer to reader without letting anybody in between."""
        require(self.owner == current(), "not-owner", "downgrades a lock that it does not write")
        self.owner = 0
        self.readers = self.readers | thread_bit()

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


def thread_bit() -> ReaderBits:
    """This thread's bit among the readers (the eighth is for code run by hand)."""
    return 1 << (current() - 1) if current() <= 7 else 128


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
