"""Which number makes the states of a program grow: the one that goes on taking new values as the search goes deeper.

A driver that counts something has every state once for each value of the counter: the search does not end, or ends at the counter's
range. This looks at a sample of the states, level by level and of each level a few, whichever executor searches: what has taken many
values there, and still takes new ones at the end of the sample, is named.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from secondsight.lang.errors import LeftRange
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.search.request import Request
from secondsight.search.result import Growth, Progress, Result, Verdict

__all__ = ["growth", "looking_early", "with_growth"]

SAMPLE = 12_000
"""States that are in the sample: half a second."""

WIDTH = 30
"""States of a level from which the sample goes on, drawn by lot: what grows shows in the depth."""

LOOKED_AT = 400
"""States of them whose numbers are read."""

MANY = 24
"""Values that nothing takes which does not grow: sequence numbers and counts of the machinery stay below in such a sample."""

DEEP = 2_000
"""Steps to a state after which a search is looked at while it runs: operations of a scenario end long before."""

LARGE = 3_000_000
"""States after which it is looked at, however deep it is."""

_LIMITS = ("states", "seconds", "memory", "disk")


def growth(program: Program, most: int = SAMPLE) -> Growth | None:
    """The number that grows most, if one does; `most` states are in the sample."""
    states, levels = _visited(Reference(program), most)
    last = levels[-1]
    if last < MANY:  # a step gives a number one value
        return None
    stride = max(1, len(states) // LOOKED_AT)
    seen: dict[str, dict[int, int]] = {}  # by path, each value with the level in which it was first seen
    with program.machine:
        for state, level in zip(states[::stride], levels[::stride], strict=True):
            for path, value in _numbers(program, state):
                seen.setdefault(path, {}).setdefault(value, level)
    growing = [(len(values), path) for path, values in seen.items() if len(values) >= MANY and _goes_on(values, last)]
    if not growing:
        return None
    most_values = max(number for number, _ in growing)
    path = next(path for number, path in growing if number == most_values)
    return Growth(path, most_values, len(states))


def _goes_on(values: dict[int, int], last: int) -> bool:
    """Whether as many values are new in the last quarter of the levels as an even growth would have there, nearly."""
    return sum(1 for level in values.values() if level > last * 3 // 4) >= len(values) // 8


def _visited(reference: Reference, most: int) -> tuple[list[bytes], list[int]]:
    """Some states of every level, and the level of each."""
    draw, level = random.Random(0), [reference.initial]
    states, levels, seen = level[:], [0], {reference.initial}
    while level and len(states) < most:
        ways = [way.state for state in level for way in reference.successors(state) if way.state is not None]
        fresh = [state for state in dict.fromkeys(ways) if state not in seen]
        level = fresh if len(fresh) <= WIDTH else draw.sample(fresh, WIDTH)
        seen.update(level)
        states += level
        levels += [levels[-1] + 1] * len(level)
    return states, levels


def _numbers(program: Program, state: bytes) -> Iterator[tuple[str, int]]:
    """Every number of a state with its path: of the machine, and the locals of the functions in which the threads stand."""
    for path, value, _ in program.layout.fields(state):
        if value is not None:
            yield path, value
    for base in program.bases:
        counter = int.from_bytes(state[base : base + program.counter_width], "big")
        if counter:
            at = program.counters[counter - 1]
            frame, alive = at.frame, at.block.live_in
            for var, slot in ((v, s) for v, s in frame.slots.items() if v in alive):
                yield f"{var.name} in {frame.flow.function.name}()", slot.value(state, base)


def with_growth(program: Program, asked: Request, result: Result) -> Result:
    """The result, with a note where it did not finish and a number grows."""
    stopped = result.reason in _LIMITS or isinstance(result.error, LeftRange)
    if result.verdict is not Verdict.NOT_FINISHED or not stopped or not asked.in_levels:
        return result
    grows = growth(program, min(SAMPLE, result.states))
    return result if grows is None else replace(result, note="; ".join(n for n in (result.note, str(grows)) if n))


def looking_early(program: Program, asked: Request) -> Request:
    """The same request, whose progress is looked at: `on_growth` is told once, while the search runs, what grows."""
    tell, say = asked.on_progress, asked.on_growth
    if say is None:
        return asked
    looked = False

    def look(progress: Progress) -> None:
        nonlocal looked
        if tell is not None:
            tell(progress)
        if not looked and (progress.depth >= DEEP or progress.states >= LARGE):
            looked = True
            grows = growth(program)
            if grows is not None:
                say(grows)

    return asked.but(on_progress=look)
