"""The native search with reductions: the same verdicts and outcomes from fewer states.

`search/movers.c` says how steps are merged and why that is sound, `lang/symmetry.py` the same of interchangeable records. Here:
beginning again when a guess was wrong, the order of locks, and the shortest trace. A violation that was found breadth first
with reductions is looked for once more without them: the trace is then a shortest one in steps of the program, and all the
rest of the result is that of the plain search. Where that takes too long, the merged trace is expanded into its steps, and a
note says what it is the shortest of.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from secondsight.lang.errors import LangError
from secondsight.lang.movers import MOST_LOCKS, Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.lang.symmetry import symmetry_of
from secondsight.search.lock_order import LockOrder
from secondsight.search.messages import deadlock_message
from secondsight.search.native import native_search
from secondsight.search.result import Limits, Progress, Result, Step, Trace, Verdict, Violation
from secondsight.search.strategy import BreadthFirst, RandomWalks, Strategy

__all__ = ["Reduced", "reduced_by", "reduced_native", "reduced_search", "search_both"]

_LIMITS = ("states", "seconds", "memory", "disk", "depth", "walks")
WALKS = 200
MOST_BEGINNINGS = 100


@dataclass(frozen=True, slots=True)
class Reduced:
    """The result; `merged`: the reduced search's own, None if there was none; `begun`: how often that began."""

    result: Result
    merged: Result | None = None
    begun: int = 0

    @property
    def note(self) -> str:
        """What there is to say about the reductions; see `Result.note`."""
        return self.result.note


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a search is asked for; see `native_search`."""

    limits: Limits
    on_progress: Callable[[Progress], None] | None
    watch: tuple[int, int] | None
    options: dict[str, Any]
    begun: float
    by: Callable[..., Result] = native_search

    def search(self, native: Native, seconds: float | None = None, **options: Any) -> Result:
        """Search, within what is left of the time, and `seconds` at most."""
        spent = time.perf_counter() - self.begun
        left = [s for s in (self.limits.seconds and self.limits.seconds - spent, seconds) if s is not None]
        limits = replace(self.limits, seconds=max(1e-3, min(left)) if left else None)
        return self.by(native, limits, self.on_progress, self.watch, **(self.options | options))


def reduced_search(
    program: Program,
    reductions: Reductions | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    watch: tuple[int, int] | None = None,
    deadlock: bool = True,
    lock_order: bool = True,
    workers: int | None = None,
    strategy: Strategy | None = None,
    exact: bool = False,
    collect: bool = False,
    progress: bool = False,
) -> Reduced:
    """As `native_search`, with reductions (default: all).

    `Result.reduced` names those that were made: counts of states are then of the reduced graph. `Result.note` says why one
    was not. A broken rule's result is that of a search without them. Random walks take single steps: nothing is reduced.
    """
    options = {
        "deadlock": deadlock, "lock_order": lock_order, "workers": workers, "strategy": strategy, "exact": exact,
        "collect": collect, "progress": progress,
    }  # fmt: skip
    wanted = Reductions.none() if isinstance(strategy, RandomWalks) else reductions
    return reduced_by(native_search, program, wanted, limits, on_progress, watch, **options)


def reduced_by(
    by: Callable[..., Result],
    program: Program,
    reductions: Reductions | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    watch: tuple[int, int] | None = None,
    **options: Any,
) -> Reduced:
    """As `reduced_search`, with `by` in place of `native_search`, and its options.

    Where steps are merged, `by` searches with the facts that the library of its `Native` has (`search/movers.c`), leaves there
    all that was found out, and gives a result with the reason `stale` if the search relied on what is not so.
    """
    asked = _Asked(limits or Limits(), on_progress, watch, options, time.perf_counter(), by)
    native, told = reduced_native(program, reductions, watch)
    if native.reductions == Reductions.none():
        return _noted(Reduced(asked.search(native)), told)
    with native.alone():
        return _noted(_both(native, None, asked), told)


def reduced_native(
    program: Program, reductions: Reductions | None = None, watch: tuple[int, int] | None = None
) -> tuple[Native, list[str]]:
    """The native executor with those of some reductions that the program allows, and why it does not allow the others."""
    wanted, told = reductions or Reductions(), []
    symmetry, why = symmetry_of(program, watch) if wanted.symmetry else (None, "")
    if why:
        told.append(f"records are not interchangeable: {why}")
    merge = wanted.merge and len(LockOrder(program).locks) <= MOST_LOCKS
    if merge is not wanted.merge:
        told.append(f"steps are not merged: more than {MOST_LOCKS} locks")
    return Native(program, Reductions(merge, symmetry is not None), symmetry), told


def search_both(
    native: Native,
    plain: Native | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    watch: tuple[int, int] | None = None,
    by: Callable[..., Result] = native_search,
    **options: Any,
) -> Reduced:
    """The search by both executors of one program: `native` with reductions; `plain`, without, where that finds something.

    `by`: see `reduced_by`.
    """
    with native.alone():
        return _both(native, plain, _Asked(limits or Limits(), on_progress, watch, options, time.perf_counter(), by))


def _noted(found: Reduced, told: list[str]) -> Reduced:
    note = "; ".join([n for n in (*told, found.result.note) if n])
    return replace(found, result=replace(found.result, note=note))


def _both(native: Native, known: Native | None, asked: _Asked) -> Reduced:
    """The reduced search; and where it found something, the plain one, compiled only then. The library is this program's."""
    reductions = native.reductions
    names = tuple(n for n, on in (("merge", reductions.merge), ("symmetry", reductions.symmetry)) if on)
    lock_order = asked.options.get("lock_order", True)
    begun = 0
    if reductions.merge:
        _forget(native, asked.watch is not None)
    while True:
        begun += 1
        if reductions.merge:
            native.library.ss_learn(native.initial, WALKS, ctypes.c_uint64(begun))
            native.library.ss_begin_again()
        merged = asked.search(native, lock_order=lock_order and not reductions.merge)
        if merged.reason != "stale":
            break
        if begun == MOST_BEGINNINGS:
            result = asked.search(known or Native(native.program))
            note = "steps are not merged: what protects the shared state keeps changing"
            return Reduced(replace(result, note=note), merged, begun)
    merged = replace(merged, reduced=names)
    if _is_given_up(merged) and not merged.violations:
        return Reduced(merged, merged, begun)
    against_order = lock_order and reductions.merge and _has_cycle(_edges(native, LockOrder(native.program)))
    if not merged.violations and merged.error is None and not against_order:
        return Reduced(merged, merged, begun)
    return Reduced(_without(known or Native(native.program), merged, asked), merged, begun)


def _without(plain: Native, merged: Result, asked: _Asked) -> Result:
    """What was found, looked for without reductions: that is the result, unless it takes too long and is known anyway.

    What a merged search finds of a livelock or of the order of locks is only a reason to look: a thread's turn, and what it
    waits for, are matters of single steps. So is an error: one merged step may have more choices than a step can.
    """
    known = any(v.rule != "livelock" for v in merged.violations)
    in_levels = isinstance(asked.options.get("strategy") or BreadthFirst(), BreadthFirst)
    given_up = None
    if not _is_given_up(merged) and (in_levels or not known):
        exact = asked.search(plain, max(2.0, 5 * merged.seconds) if known else None)
        whole = exact.reason in (None, "error") or not asked.options.get("collect")
        if not known or (whole and (exact.violation is not None or exact.error is not None)):
            return exact
        if exact.verdict is Verdict.HOLDS:
            raise LangError("internal: what is broken with reductions holds without: please report this, with the model")
        given_up = exact.reason if _is_given_up(exact) else None
    violations = tuple(_in_single_steps(plain, v) for v in merged.violations if v.rule != "livelock")
    note = "the trace is one with the fewest merged steps: there may be one with fewer single steps" if in_levels else ""
    return replace(
        merged,
        violation=violations[0] if violations else None,
        violations=violations,
        error_trace=merged.error_trace and expanded(plain, merged.error_trace, False),
        reason=given_up or merged.reason,
        note=note,
        shortest=False,
    )


def _is_given_up(result: Result) -> bool:
    """Whether something happened after which no other search is begun: Ctrl-C, or a machine of a cluster was lost."""
    cut = result.verdict is Verdict.NOT_FINISHED and result.reason not in (*_LIMITS, "error", "unknown")
    return cut or result.reason == "interrupted"


def _forget(native: Native, outcomes: bool) -> None:
    """Begin with no knowledge; that a thread waits for others to end makes it worth while to know who is alive.

    A final state may catch a daemon anywhere: where `outcomes` of final states count, daemons' steps are not merged.
    """
    threads = native.program.threads
    waits = any(not t.daemon and native.library.ss_waits(native.initial, i) for i, t in enumerate(threads))
    daemons = sum(1 << i for i, t in enumerate(threads) if t.daemon and outcomes)
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


def _in_single_steps(plain: Native, violation: Violation) -> Violation:
    """A violation with its trace in the program's own steps."""
    trace = expanded(plain, violation.trace, violation.rule == "deadlock")
    message = violation.message
    if violation.rule == "deadlock":
        message = deadlock_message(plain, trace.states[-1] if trace.states else plain.initial)
    return replace(violation, trace=trace, message=message)


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
