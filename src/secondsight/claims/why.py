"""Why a claim stops at a line: what comes first in every run, and what the line's thread would do, or waits for, before it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from secondsight.claims.patterns import Pattern
from secondsight.claims.search import FoundRun, Runs, find_run
from secondsight.claims.told import StopsAt, besides, told_so_far
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.traced import Traced
from secondsight.report.story import ELSEWHERE, tell
from secondsight.report.words import statement
from secondsight.search import Limits, Step, Trace
from secondsight.search.lock_order import LockOrder, told_lock

__all__ = ["why_it_stops"]

_SECONDS = 10.0
"""How long is looked for fewer lines that are enough to make it impossible."""
_STATES = 100_000
_ALONE = 60
"""The most steps that a thread is followed by itself."""
_TOLD = 3


def why_it_stops(
    title: str, program: Program, traced: Traced, patterns: Sequence[Pattern], allowed: Sequence[frozenset[int]],
    runs: Runs, titles: dict[str, str],
) -> StopsAt:  # fmt: skip
    """The line, the shortest of the runs that come so far, and the reasons; every state was seen."""
    ended = [run for run in runs.cut.values() if run.lines == max(r.lines for r in (*runs.cut.values(), *runs.farthest))]
    candidates = sorted([*runs.farthest, *ended], key=lambda run: (-run.lines, run.end is None, len(run.steps)))
    run = candidates[0]
    pattern, threads = patterns[run.lines], allowed[run.lines]
    told = told_so_far(title, program, patterns, allowed, run) if run.steps else None
    reasons = list(_order(traced, patterns, allowed, run.lines))
    for thread in sorted(threads):
        reasons += _next(program, traced, patterns, run, thread)
    cut = any(one.end is None for one in ended) and not any(p.rule or p.stands for p in patterns[run.lines :])
    return StopsAt(pattern.line.number, pattern.line.text, told, tuple(reasons), titles, cut)


def _order(traced: Traced, patterns: Sequence[Pattern], allowed: Sequence[frozenset[int]], stop: int) -> Iterator[str]:
    """Which of the lines before it the line never comes after: as few as are enough."""
    until = time.monotonic() + _SECONDS

    def never(lines: Sequence[int]) -> bool:
        limits = Limits(states=_STATES, seconds=max(0.0, until - time.monotonic()))
        found = find_run(traced, [patterns[i] for i in lines], [allowed[i] for i in lines], limits)
        if found.reason == "interrupted":
            raise KeyboardInterrupt
        return found.whole is None and found.reason is None

    number, who = patterns[stop].line.number, " or ".join(traced.program.threads[t].name for t in sorted(allowed[stop]))
    enough = list(range(stop))
    for line in range(stop):
        fewer = [i for i in enough if i != line]
        if never([*fewer, stop]):
            enough = fewer
    if not enough:
        yield f"{who} never does what line {number} says, whatever came before"
    elif len(enough) == 1:
        yield f"line {number} never comes after line {patterns[enough[0]].line.number}: in every run that has both it comes before it"
    else:
        numbers = [str(patterns[i].line.number) for i in enough]
        yield f"line {number} never comes after lines {', '.join(numbers[:-1])} and {numbers[-1]} in this order, whatever comes between"


def _next(program: Program, traced: Traced, patterns: Sequence[Pattern], run: FoundRun, thread: int) -> Iterator[str]:
    """What a thread does next by itself where a run has come so far, and what it then waits for."""
    name, reference = program.threads[thread].name, Reference(program)
    trace = Trace.along(reference, run.steps)
    state = trace.states[-1] if trace.states else reference.initial
    if run.end is None:
        return
    steps: list[Step] = list(run.steps)
    while len(steps) < len(run.steps) + _ALONE:
        way = next((w for w in reference.thread_successors(state, thread) if w.state is not None), None)
        if way is None or way.state is None:
            break
        steps.append(Step(thread, way.choices))
        state = way.state
    wanted = besides(patterns)
    before, _ = tell(program, trace, besides=wanted)
    after, _ = tell(program, Trace.along(reference, steps), besides=wanted)
    known = {i: entry.text for i, entry in enumerate(before)}
    lines = [e.text for i, e in enumerate(after) if e.text != known.get(i) and e.thread == thread and e.text != ELSEWHERE]
    if lines:
        more = ", ..." if len(lines) > _TOLD else ""
        yield f"{name} would go on with: {'; '.join(lines[:_TOLD])}{more}"
    counter = reference.counter(state, thread)
    if not counter:
        yield f"{name} ends then" if lines else f"{name} has ended by then"
    elif next(iter(reference.thread_successors(state, thread)), None) is None:
        yield f"{'then ' if lines else ''}{name} waits: {_waits(program, reference, state, thread, counter)}"


def _waits(program: Program, reference: Reference, state: bytes, thread: int, counter: int) -> str:
    """What a thread waits for: a lock, and who has it; or the statement with the condition."""
    for owner, readers, _, lock in LockOrder(program).locks:
        for other in range(len(program.threads)):
            if other == thread:
                continue
            freed = bytearray(state)
            if state[owner] == other + 1:
                freed[owner] = 0
            elif readers is not None and state[readers] >> other & 1:
                freed[readers] &= ~(1 << other)
            else:
                continue
            if next(iter(reference.thread_successors(bytes(freed), thread)), None) is not None:
                who = program.threads[other].name
                return f"{who} has {told_lock(program, lock)}, and must give it back first"
    where = program.code.places[counter - 1].where
    return f"for {statement(where.file, where.line)} ({where.file.rpartition('/')[2]}:{where.line})"
