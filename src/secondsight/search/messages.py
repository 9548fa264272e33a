"""What a search says about a state, whichever executor found it."""

from __future__ import annotations

from typing import Protocol

from secondsight.lang.program import Program

__all__ = ["Executor", "deadlock_message", "livelock_message"]


class Executor(Protocol):
    """What the reference and the native executor have in common."""

    program: Program

    def counter(self, state: bytes, thread: int) -> int:
        """The program counter of a thread (0: ended)."""


def deadlock_message(executor: Executor, state: bytes) -> str:
    """Who waits where in a state in which nobody can go on."""
    program = executor.program
    waiting = []
    for index, thread in enumerate(program.threads):
        counter = executor.counter(state, index)
        if counter:
            at = program.code.places[counter - 1]
            waiting.append(f"{thread.name} in {at.function} (line {at.where.line})")
    return "nobody can go on: " + ", ".join(waiting) + (" waits" if len(waiting) == 1 else " wait")


def livelock_message(executor: Executor, state: bytes) -> str:
    """Who cannot end any more, from a state from which no schedule leads to an end."""
    threads = executor.program.threads
    names = [t.name for i, t in enumerate(threads) if not t.daemon and executor.counter(state, i)]
    return f"from here no schedule lets {' and '.join(names)} end"
