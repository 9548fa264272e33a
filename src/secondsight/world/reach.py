"""How an outcome comes about: a shortest way to a run's end that has it, for each of a scenario's outcomes."""

from __future__ import annotations

from collections.abc import Iterable

from secondsight.lang.errors import LangError, ModelError
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.scenario.data import Outcome, Scenario
from secondsight.search import Result, Step, Trace, Verdict
from secondsight.world.enough import with_enough
from secondsight.world.model import program, read_outcome, watched

__all__ = ["MOST_STATES", "ways_to"]

MOST_STATES = 200_000
"""States that are visited for the ways: two seconds. An outcome that is farther away has none."""


def ways_to(
    scenario: Scenario, wanted: Iterable[Outcome], bounds: dict[str, int] | None = None, release: str | None = None, most: int = MOST_STATES
) -> tuple[Program, dict[Outcome, Trace]]:
    """The scenario's program, and a shortest way to each outcome that was come to within `most` states."""
    left, ways = set(wanted), dict[Outcome, Trace]()

    def look(made: Program) -> Result:
        ways.clear()
        error = _visit(scenario, made, left, ways, most)
        return Result(Verdict.NOT_FINISHED, 0, 0, 0, 0.0, reason="states" if error is None else "error", error=error)

    found = with_enough(lambda enough: program(scenario, wanted=enough, release=release), look, bounds or {})
    return found.program, ways


def _visit(scenario: Scenario, made: Program, wanted: set[Outcome], ways: dict[Outcome, Trace], most: int) -> LangError | None:
    """Breadth first until every wanted outcome has a way; what is wrong with the model itself ends it."""
    reference, (low, high) = Reference(made), watched(made)
    come_from: dict[bytes, tuple[bytes, Step] | None] = {reference.initial: None}
    todo = [reference.initial]
    for state in todo:
        moved = False
        for way in reference.successors(state):
            moved = True
            if way.state is None:
                if isinstance(way.error, ModelError):
                    return way.error
            elif way.state not in come_from:
                come_from[way.state] = state, Step(way.thread, way.choices)
                todo.append(way.state)
        if not moved and reference.finished(state):
            outcome = read_outcome(scenario, state[low:high])
            if outcome in wanted and outcome not in ways:
                ways[outcome] = _back(come_from, state)
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
