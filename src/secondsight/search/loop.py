"""How a livelock goes on: the shortest fair loop from a state, and what to say of it. The same for every executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from secondsight.lang.program import Program
from secondsight.lang.reference import Successor
from secondsight.search.messages import livelock_message
from secondsight.search.progress import lock_steps
from secondsight.search.result import Step, Trace, Violation

__all__ = ["livelock"]

MOST_WAYS = 100_000
"""Ways tried for the shortest loop; after that a short one will do."""
MOST_AFTER = 5_000
"""States looked at to say whether any schedule leads out."""

Inside = Callable[[bytes], bool]
StateForm = Callable[[bytes], bytes]
"""What a state is known by: of states that are alike, one; else the state."""


def itself(state: bytes) -> bytes:
    """The form of a state where all states differ."""
    return state


class Stepper(Protocol):
    """What the reference and the native executor have in common."""

    program: Program
    initial: bytes

    def successors(self, state: bytes) -> list[Successor]:
        """Every step that can be taken from a state."""

    def counter(self, state: bytes, thread: int) -> int:
        """The program counter of a thread (0: ended)."""

    def finished(self, state: bytes) -> bool:
        """Whether every thread that is not a daemon has ended."""


def livelock(executor: Stepper, way: Trace, inside: Inside, form: StateForm = itself) -> Violation:
    """The broken rule, from the shortest way to the first state of a fair cycle; `inside`: the states that lie on such cycles.

    `form`: the loop may lead back to a state that is only alike.
    """
    start = way.states[-1] if way.states else executor.initial
    rounds = _Rounds(executor, start, inside, form)
    loop = rounds.shortest() or rounds.short()
    steps = [Step(taken.thread, taken.choices) for taken in loop]
    trace = way.then(steps, (taken.state or b"" for taken in loop))
    message = livelock_message(executor, start, {step.thread for step in steps}, _leads_out(executor, start))
    return Violation("livelock", message, None, trace, len(loop))


def _leads_out(executor: Stepper, start: bytes) -> bool:
    """Whether some schedule lets every thread end from here; True too where there is too much to look at."""
    seen, todo = {start}, [start]
    for state in todo:
        if len(seen) > MOST_AFTER:
            return True
        for taken in executor.successors(state):
            if taken.state is not None and taken.state not in seen:
                if executor.finished(taken.state):
                    return True
                seen.add(taken.state)
                todo.append(taken.state)
    return False


class _Rounds:
    """The ways from a state back to itself. Bit t of a number stands for thread t.

    What a way has still to do is known from two such numbers: who has had its due (took a step, or was kept from one where
    that is enough), and who could have taken a step.
    """

    def __init__(self, executor: Stepper, start: bytes, inside: Inside, form: StateForm) -> None:
        self.executor, self.start, self.inside, self.form = executor, start, inside, form
        self.home = form(start)
        locks = lock_steps(executor.program)
        counters = [executor.counter(start, t) for t in range(len(executor.program.threads))]
        self.alive = sum(1 << t for t, counter in enumerate(counters) if counter)
        self.locking = sum(1 << t for t, counter in enumerate(counters) if counter in locks)

    def _seen(self, state: bytes, due: int, could: int) -> tuple[list[Successor], int, int]:
        """The steps from a state, and what is known with it."""
        ways = [s for s in self.executor.successors(state) if s.state is not None]
        can = 0
        for taken in ways:
            can |= 1 << taken.thread
        return ways, due | (self.alive & ~self.locking & ~can), could | (can & self.locking)

    def _fair(self, due: int, could: int) -> bool:
        return not self.alive & ~due & ~(self.locking & ~could)

    def shortest(self) -> list[Successor]:
        """A shortest fair loop, the first in order of threads and choices; empty if that would take too long to find."""
        todo = [(self.home, 0, 0)]
        states = [self.start]
        came: dict[tuple[bytes, int, int], tuple[int, Successor] | None] = {todo[0]: None}
        for number, (_, due, could) in enumerate(todo):
            if len(todo) > MOST_WAYS:
                break
            ways, due, could = self._seen(states[number], due, could)
            for taken in ways:
                assert taken.state is not None
                now = due | 1 << taken.thread
                known = self.form(taken.state)
                if known == self.home and self._fair(now, could):
                    loop, at = [taken], number
                    while (step := came[todo[at]]) is not None:
                        at = step[0]
                        loop.append(step[1])
                    return loop[::-1]
                node = (known, now, could)
                if node not in came and self.inside(known):
                    came[node] = (number, taken)
                    todo.append(node)
                    states.append(taken.state)
        return []

    def short(self) -> list[Successor]:
        """A fair loop that need not be a shortest: for each thread on to where it has its due, then back."""
        state = self.start
        loop: list[Successor] = []
        for thread in range(len(self.executor.program.threads)):
            if self.alive >> thread & 1 and all(taken.thread != thread for taken in loop):
                loop += self._nearest(state, lambda taken, t=thread: taken.thread == t or self._kept(taken.state or b"", t))  # type: ignore[misc]
                state = loop[-1].state or b"" if loop else state
        if self.form(state) != self.home or not loop:
            loop += self._nearest(state, lambda taken: self.form(taken.state or b"") == self.home)
        return loop

    def _kept(self, state: bytes, thread: int) -> bool:
        """Whether a thread is kept from a step in a state where that is enough."""
        return not self.locking >> thread & 1 and all(
            s.state is None or s.thread != thread for s in self.executor.successors(state)
        )

    def _nearest(self, state: bytes, last: Callable[[Successor], bool]) -> list[Successor]:
        """The shortest way on that ends with a step as wanted; empty if there is none."""
        came: dict[bytes, tuple[bytes, Successor]] = {}
        todo, home = [state], self.form(state)
        for here in todo:
            for taken in self.executor.successors(here):
                if taken.state is None or not self.inside(known := self.form(taken.state)):
                    continue
                if last(taken):
                    way, at = [taken], self.form(here)
                    while at != home:
                        at, step = came[at]
                        way.append(step)
                    return way[::-1]
                if known not in came and known != home:
                    came[known] = self.form(here), taken
                    todo.append(taken.state)
        return []
