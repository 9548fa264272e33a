"""The same trace with fewer switches between threads: easier to read, and it breaks the same rule.

Breadth-first search gives a shortest trace, but among the shortest it takes any: steps that do not depend on each other
come out shuffled. Here runs of one thread's steps are moved together wherever the program still takes them and the end
stays what it was; then each run takes over as much as it can of its thread's next one, so that functions are left half
way only where the race needs it. Nothing is dropped and nothing added.
"""

from __future__ import annotations

from itertools import groupby

from secondsight.lang.reference import Reference
from secondsight.search.trace import Step

__all__ = ["untangled"]

StepOrder = tuple[Step, ...]


def untangled(reference: Reference, steps: tuple[Step, ...], loop: int) -> tuple[Step, ...] | None:
    """The steps in an order of fewer switches, as many as before; the last `loop` stay as they are. None: it takes no such steps."""
    split = len(steps) - loop
    before, after = steps[:split], steps[split:]
    wanted = _end(reference, before)
    if wanted is None:
        return None
    runs = _runs(before)
    while True:
        better = next((order for order in _merged(runs) if _end(reference, _steps(order)) == wanted), None)
        if better is None:
            return _steps(_early(reference, runs, wanted)) + after
        runs = _runs(_steps(better))


def _runs(steps: tuple[Step, ...]) -> list[StepOrder]:
    return [tuple(run) for _, run in groupby(steps, key=lambda step: step.thread)]


def _steps(runs: list[StepOrder]) -> tuple[Step, ...]:
    return tuple(step for run in runs for step in run)


def _merged(runs: list[StepOrder]) -> list[list[StepOrder]]:
    """Every order in which one run has joined the run of the same thread before it, or that one has come to it."""
    found = []
    for later in range(len(runs) - 1, 0, -1):
        thread = runs[later][0].thread
        earlier = next((i for i in range(later - 1, -1, -1) if runs[i][0].thread == thread), None)
        if earlier is None:
            continue
        both = runs[earlier] + runs[later]
        between, after = runs[earlier + 1 : later], runs[later + 1 :]
        found.append([*runs[:earlier], *between, both, *after])
        if after:  # the last step stays the last
            found.append([*runs[:earlier], both, *between, *after])
    return found


def _early(reference: Reference, runs: list[StepOrder], wanted: str | bytes) -> list[StepOrder]:
    """Each run lengthened by as many steps of the same thread's next run as can be taken that early."""
    for earlier in range(len(runs)):
        later = next((i for i in range(earlier + 1, len(runs)) if runs[i][0].thread == runs[earlier][0].thread), None)
        if later is None:
            continue
        last = len(runs[later]) - (later == len(runs) - 1)  # the last step stays the last
        for count in range(last - 1, 0, -1):
            tried = list(runs)
            tried[earlier], tried[later] = runs[earlier] + runs[later][:count], runs[later][count:]
            if _end(reference, _steps(tried)) == wanted:
                runs = tried
                break
    return runs


def _end(reference: Reference, steps: tuple[Step, ...]) -> str | bytes | None:
    """What a schedule ends in: the broken rule's text, or the last state. None: the program does not take it."""
    state = reference.initial
    for number, step in enumerate(steps, 1):
        taken = next((s for s in reference.thread_successors(state, step.thread) if s.choices == step.choices), None)
        if taken is None:
            return None
        if taken.state is None:
            return str(taken.error) if number == len(steps) else None
        state = taken.state
    return state
