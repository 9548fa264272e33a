"""A trace: a way through a program's states, and what can be done with one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from secondsight.lang.plain import PlainStep, replay

if TYPE_CHECKING:
    from secondsight.lang.native import Native
    from secondsight.lang.program import Program
    from secondsight.lang.reference import Reference

__all__ = ["Step", "Trace"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace: which thread (from 0) and what it chose, if it chose."""

    thread: int
    choices: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """A way from the initial state: the steps, and the state after each (the last is missing where the step broke a rule)."""

    steps: tuple[Step, ...] = ()
    states: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def schedule(self) -> list[tuple[int, tuple[int, ...]]]:
        """The steps as plain execution takes them: threads and what they choose."""
        return [(step.thread, step.choices) for step in self.steps]

    def then(self, steps: Iterable[Step], states: Iterable[bytes] = ()) -> Trace:
        """This trace and further steps after it."""
        return Trace((*self.steps, *steps), (*self.states, *states))

    def replay(self, program: Program, on_step: Callable[[int, FrameType], None] | None = None) -> list[PlainStep]:
        """Run it in plain execution, which does not pass through the lowering, and compare every state; see `lang.plain.replay`.

        Raises `Disagreement`. Where the trace has no states nothing is compared.
        """
        return replay(program, self.schedule, self.states, on_step)

    def expand(self, plain: Native, deadlock: bool = False) -> Trace:
        """A trace of merged steps in the program's own steps, by its executor without reductions.

        `deadlock`: it leads to one; then up to where really nobody can go on.
        """
        state = plain.initial
        steps: list[Step] = []
        states: list[bytes] = []
        for i, step in enumerate(self.steps):
            target = self.states[i] if i < len(self.states) else None
            rest = step.choices
            while state != target or rest:
                way = next(w for w in plain.thread_successors(state, step.thread) if w.choices == rest[: len(w.choices)])
                rest = rest[len(way.choices) :]
                steps.append(Step(step.thread, way.choices))
                if way.state is None:
                    return Trace(tuple(steps), tuple(states))
                state = way.state
                states.append(state)
        while deadlock and (ways := [w for w in plain.successors(state) if w.state is not None]):
            steps.append(Step(ways[0].thread, ways[0].choices))
            state = ways[0].state or b""
            states.append(state)
        return Trace(tuple(steps), tuple(states))

    def untangle(self, reference: Reference, loop: int = 0) -> Trace:
        """The same steps with fewer switches between threads, to the same end; the last `loop` of them stay as they are."""
        from secondsight.search.untangle import untangled

        steps = untangled(reference, self.steps, loop)
        return self if steps is None else Trace.along(reference, steps)

    @staticmethod
    def along(reference: Reference, steps: Iterable[Step]) -> Trace:
        """The trace of a schedule that the program takes; the last step may break a rule. Raises StopIteration if it does not."""
        state, states, taken = reference.initial, [], list(steps)
        for step in taken:
            way = next(s for s in reference.thread_successors(state, step.thread) if s.choices == step.choices)
            if way.state is None:
                break
            state = way.state
            states.append(state)
        return Trace(tuple(taken), tuple(states))
