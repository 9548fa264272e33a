"""The native search with reductions: the same verdicts and outcomes from fewer states.

`search/movers.c` says how steps are merged and why that is sound. Here: beginning again when a guess was wrong, the order of
locks, and the shortest trace. A violation that was found with merged steps is looked for once more without them, level by
level: the trace is then a shortest one in steps of the program, and all the rest of the result is that of the plain search.
Where that takes too long, the merged trace is expanded into its steps, and a note says what it is the shortest of.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace

from secondsight.lang.errors import LangError
from secondsight.lang.movers import MOST_LOCKS, Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.lang.symmetry import symmetry_of
from secondsight.search.lock_order import LockOrder
from secondsight.search.messages import deadlock_message
from secondsight.search.native import native_search
from secondsight.search.result import Limits, Progress, Result, Step, Trace, Verdict

__all__ = ["Reduced", "reduced_search", "search_both"]

WALKS = 200
MOST_BEGINNINGS = 100


@dataclass(frozen=True, slots=True)
class Reduced:
    """The result; `merged`: the reduced search's own, None if there was none; `begun`: how often that began; `note`: for people."""

    result: Result
    merged: Result | None = None
    begun: int = 0
    note: str = ""


def reduced_search(
    program: Program,
    reductions: Reductions | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    watch: tuple[int, int] | None = None,
    deadlock: bool = True,
    lock_order: bool = True,
    workers: int | None = None,
) -> Reduced:
    """As `native_search`, breadth first, with reductions (default: all)."""
    wanted = reductions or Reductions()
    plain = Native(program)
    symmetry, why = symmetry_of(program, watch) if wanted.symmetry else (None, "")
    if not wanted.merge and symmetry is None:
        found = Reduced(native_search(plain, limits, on_progress, watch, deadlock, lock_order, workers))
    else:
        native = Native(program, wanted, symmetry)
        found = search_both(native, plain, limits, on_progress, watch, deadlock, lock_order, workers)
    if why:
        return replace(found, note="; ".join(n for n in (found.note, f"not interchangeable: {why}") if n))
    return found


def search_both(
    native: Native,
    plain: Native,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    watch: tuple[int, int] | None = None,
    deadlock: bool = True,
    lock_order: bool = True,
    workers: int | None = None,
) -> Reduced:
    """The search by both executors of one program: `native` with reductions; `plain`, without, where that finds something."""
    order = LockOrder(native.program)
    if len(order.locks) > MOST_LOCKS:
        note = f"more than {MOST_LOCKS} locks: steps are not merged"
        return Reduced(native_search(plain, limits, on_progress, watch, deadlock, lock_order, workers), note=note)
    if native.reductions.merge:
        _forget(native, plain, watch is not None)
    begun = 0
    while native.reductions.merge:
        begun += 1
        native.library.ss_learn(native.initial, WALKS, ctypes.c_uint64(begun))
        native.library.ss_begin_again()
        merged = native_search(native, limits, on_progress, watch, deadlock, False, workers)
        if merged.reason != "stale":
            break
        if begun == MOST_BEGINNINGS:
            note = "what protects the shared state keeps changing: steps are not merged"
            return Reduced(native_search(plain, limits, on_progress, watch, deadlock, lock_order, workers), merged, begun, note)
    else:
        merged = native_search(native, limits, on_progress, watch, deadlock, lock_order, workers)
    against_order = lock_order and native.reductions.merge and _has_cycle(_edges(native, order))
    if merged.violation is None and merged.error is None and not against_order:
        return Reduced(merged, merged, begun)
    again = limits or Limits()
    if merged.violation is not None:  # it is known to be broken: what remains to be found is a shorter trace
        seconds = max(2.0, 5 * merged.seconds)
        again = replace(again, seconds=seconds if again.seconds is None else min(seconds, again.seconds))
    exact = native_search(plain, again, on_progress, watch, deadlock, lock_order, workers)
    if merged.violation is None or exact.violation is not None or exact.error is not None:
        return Reduced(exact, merged, begun)
    if exact.verdict is Verdict.HOLDS:
        raise LangError("internal: what is broken with merged steps holds without: please report this, with the model")
    trace = expanded(plain, merged.violation.trace, merged.violation.rule == "deadlock")
    message = deadlock_message(plain, trace.states[-1]) if merged.violation.rule == "deadlock" else merged.violation.message
    violation = replace(merged.violation, trace=trace, message=message)
    note = "the trace is one with the fewest merged steps: there may be one with fewer single steps"
    return Reduced(replace(merged, violation=violation, violations=(violation,)), merged, begun, note)


def _forget(native: Native, plain: Native, outcomes: bool) -> None:
    """Begin with no knowledge; that a thread waits for others to end makes it worth while to know who is alive.

    A final state may catch a daemon anywhere: where `outcomes` of final states count, daemons' steps are not merged.
    """
    threads = native.program.threads
    daemons = sum(1 << i for i, t in enumerate(threads) if t.daemon and outcomes)
    waits = any(not t.daemon and not list(plain.thread_successors(plain.initial, i)) for i, t in enumerate(threads))
    native.library.ss_forget(daemons, int(waits))


# The order of locks.


def _edges(native: Native, order: LockOrder) -> dict[str, set[str]]:
    """What was taken with what held, as `LockOrder` looks at it: by class, or by lock within one class."""
    rows = (ctypes.c_uint64 * 64)()
    native.library.ss_taken_after(rows)
    edges: dict[str, set[str]] = {}
    locks = [(of, name) for _, _, of, name in order.locks]
    for held, row in zip(locks, rows, strict=False):
        for i, taken in enumerate(locks):
            if row >> i & 1:
                first, then = (held[1], taken[1]) if held[0] == taken[0] else (held[0], taken[0])
                edges.setdefault(first, set()).add(then)
    return edges


def _has_cycle(edges: dict[str, set[str]]) -> bool:
    while edges:
        last = [name for name, after in edges.items() if not after & edges.keys()]
        if not last:
            return True
        for name in last:
            del edges[name]
    return False


# Traces.


def expanded(plain: Native, trace: Trace, deadlock: bool) -> Trace:
    """A trace of merged steps in the program's own steps; one to a deadlock up to where really nobody can go on."""
    state = plain.initial
    steps: list[Step] = []
    states: list[bytes] = []
    for i, step in enumerate(trace.steps):
        target = trace.states[i] if i < len(trace.states) else None
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
