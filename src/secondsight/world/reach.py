"""How a run comes to an end: a shortest way to each of a scenario's outcomes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from secondsight.lang.errors import LangError, ModelError
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.scenario.data import Outcome, Scenario
from secondsight.search import Result, Step, Trace, Verdict
from secondsight.world.enough import with_enough
from secondsight.world.model import program, read_outcome, watched

__all__ = ["MOST_STATES", "ways_in", "ways_to"]

MOST_STATES = 200_000
"""States that are visited for the ways: two seconds. An end that is farther away has none."""


EndState = TypeVar("EndState", bound=Hashable)


def ways_to(
    scenario: Scenario, wanted: Iterable[Outcome], bounds: dict[str, int] | None = None, release: str | None = None, most: int = MOST_STATES
) -> tuple[Program, dict[Outcome, Trace]]:
    """The scenario's program, and a shortest way to each outcome that was come to within `most` states."""

    def build(enough: dict[str, int]) -> Program:
        return program(scenario, wanted=enough, release=release)

    return ways_in(build, wanted, lambda seen: read_outcome(scenario, seen), bounds, most)


def ways_in(
    build: Callable[[dict[str, int]], Program], wanted: Iterable[EndState], read: Callable[[bytes], EndState], bounds: dict[str, int] | None = None, most: int = MOST_STATES
) -> tuple[Program, dict[EndState, Trace]]:
    """The same of any program, which `build` makes (see `with_enough`): `read` says what a run's end is, from its results (`watched`)."""
    left, ways = set(wanted), dict[EndState, Trace]()

    def look(made: Program) -> Result:
        ways.clear()
        error = _visit(made, left, read, ways, most)
        return Result(Verdict.NOT_FINISHED, 0, 0, 0, 0.0, reason="states" if error is None else "error", error=error)

    return with_enough(build, look, bounds or {}).program, ways


def _visit(made: Program, wanted: set[EndState], read: Callable[[bytes], EndState], ways: dict[EndState, Trace], most: int) -> LangError | None:
    """Breadth first until every wanted end has a way; what is wrong with the model itself ends it."""
    reference, (low, high) = Reference(made), watched(made)
    come_from: dict[bytes, tuple[bytes, Step] | None] = {reference.initial: None}
    todo = [reference.initial]
    for state in todo:
        for way in reference.successors(state):
            if way.state is None:
                if isinstance(way.error, ModelError):
                    return way.error
            elif way.state not in come_from:
                come_from[way.state] = state, Step(way.thread, way.choices)
                todo.append(way.state)
        if reference.finished(state):
            end = read(state[low:high])
            if end in wanted and end not in ways:
                ways[end] = _back(come_from, state)
        if len(ways) == len(wanted) or len(come_from) > most:
            break
    return None


def _back(come_from: dict[bytes, tuple[bytes, Step] | None], state: bytes) -> Trace:
    steps, states = [], []
    while (before := come_from[state]) is not None:
        states.append(state)
        state, step = before
        steps.append(step)
    return Trace(tuple(reversed(steps)), tuple(reversed(states)))
