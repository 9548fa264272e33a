"""How a livelock goes on: from a state from which nothing ends, the threads by turns, until a state comes again."""

from __future__ import annotations

from typing import Protocol

from secondsight.lang.program import Program
from secondsight.lang.reference import Successor
from secondsight.search.result import Step, Trace

__all__ = ["with_loop"]


class Stepper(Protocol):
    """What the reference and the native executor have in common."""

    program: Program

    def successors(self, state: bytes) -> list[Successor]:
        """Every step that can be taken from a state."""


def with_loop(executor: Stepper, trace: Trace, last: bytes) -> tuple[Trace, int]:
    """A trace that ends in `last`, continued up to a loop; and how many steps at its end are the loop (0: nobody can go on)."""
    count = len(executor.program.threads)
    steps, states, turn = list(trace.steps), list(trace.states), count - 1
    seen = {(last, turn): len(steps)}
    while True:
        ways = [(s.thread, s.choices, s.state) for s in executor.successors(last) if s.state is not None]
        if not ways:
            return Trace(tuple(steps), tuple(states)), 0
        thread, choices, last = min(ways, key=lambda way: (way[0] - turn - 1) % count)
        turn = thread
        steps.append(Step(thread, choices))
        states.append(last)
        if (last, turn) in seen:
            return Trace(tuple(steps), tuple(states)), len(steps) - seen[last, turn]
        seen[last, turn] = len(steps)
