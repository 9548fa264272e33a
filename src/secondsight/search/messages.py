"""What a search says about a state, whichever executor found it."""

from __future__ import annotations

from pathlib import Path
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
            waiting.append(f"{thread.name} in {at.function} ({Path(at.where.file).name}:{at.where.line})")
    return "nobody can go on: " + ", ".join(waiting) + (" waits" if len(waiting) == 1 else " wait")


def livelock_message(executor: Executor, state: bytes, going: set[int], leads_out: bool) -> str:
    """Who need not, or cannot, end any more; `going`: the threads that take steps in the loop, `leads_out`: it can be left."""
    threads = executor.program.threads
    alive = [i for i, t in enumerate(threads) if not t.daemon and executor.counter(state, i)]
    names = _and([threads[i].name for i in alive])
    if not leads_out:
        return f"from here no schedule lets {names} end"
    rounds = _and([threads[i].name for i in alive if i in going])
    waits = _and([threads[i].name for i in alive if i not in going])
    said = [f"{rounds} can go round for ever" if rounds else "", f"{waits} can wait for ever" if waits else ""]
    return f"{' and '.join(s for s in said if s)}, though no thread is left out"


def _and(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
