"""What plain execution knows about the moment: the current machine, thread, and who decides.

One `Runtime` object serves the process: the language's verbs (`choose`, `wait_until`, ...) ask it. By hand, in a REPL,
there is one thread and no scheduler; under `lang.plain` a scheduler puts itself in `scheduler`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from secondsight.lang.errors import LangError, Position

if TYPE_CHECKING:
    from secondsight.lang.machines import Machine

__all__ = ["SETUP_THREAD", "Scheduler", "runtime"]

SETUP_THREAD = 255
"""The thread number of code run by hand or while a scenario is set up."""


class Scheduler(Protocol):
    """Who decides in plain execution: `lang.plain` has one; without it calls run straight through."""

    queues: bool
    """Whether writers stand in the queues of locks."""

    def step(self, line: int, column: int) -> None:
        """A step boundary was reached."""

    def choose(self, count: int) -> int:
        """Which of `count` possibilities to take."""

    def wait(self, condition: bool, sleeps: bool) -> None:
        """`wait_until` was called (`sleeps`), or a spinlock is waited for."""

    def stand_in_queue(self) -> None:
        """The thread has come into a lock's queue: a step of its own, with what comes after it in another."""

    def enter(self, function: Any, arguments: dict[str, Any]) -> None:
        """A function of the model was entered."""

    def leave(self, value: Any) -> None:
        """A function of the model returned."""

    def freed(self, record: Any, where: Position) -> None:
        """A record was given back to its pool."""


class Runtime:
    """The state of plain execution; see the module."""

    def __init__(self) -> None:
        self.machines: list[Machine] = []
        self.thread = SETUP_THREAD
        self.scheduler: Scheduler | None = None
        self.atomic_depth = 0
        self.rounds = 0
        """Of loops, without a step boundary, in this step (see `lang.instrument`)."""

    @property
    def machine(self) -> Machine:
        """The current machine."""
        if not self.machines:
            raise LangError("no machine: state declared with shared(), shared_array() or pool() exists within `with machine:`")
        return self.machines[-1]

    # Called by instrumented code (lang.plain).

    def step(self, line: int, column: int) -> None:
        """A step boundary; nothing happens by hand or inside an atomic block."""
        if self.scheduler is not None and not self.atomic_depth:
            self.scheduler.step(line, column)

    def after(self, value: Any, line: int, column: int) -> Any:
        """A step boundary within a statement, behind the call there, whose value this is."""
        if self.scheduler is not None and not self.atomic_depth:
            self.scheduler.step(line, column)
        return value

    def enter(self, function: Any, arguments: dict[str, Any]) -> None:
        """A model function was entered; told to the scheduler for traces."""
        if self.scheduler is not None:
            self.scheduler.enter(function, arguments)

    def leave(self, value: Any = None) -> Any:
        """A model function returns `value`."""
        if self.scheduler is not None:
            self.scheduler.leave(value)
        return value

    def freed(self, record: Any, where: Position) -> None:
        """A record was given back to its pool; told to the scheduler for traces."""
        if self.scheduler is not None:
            self.scheduler.freed(record, where)


runtime = Runtime()
