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

from secondsight.lang.errors import LangError, LeftRange
from secondsight.lang.movers import MOST_LOCKS, Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.lang.sequences import sequences_of
from secondsight.lang.symmetry import Symmetry, renaming_of
from secondsight.search.lock_order import LockOrder
from secondsight.search.messages import deadlock_message
from secondsight.search.native import native_search
from secondsight.search.request import Request
from secondsight.search.result import Result, Verdict, Violation
from secondsight.search.strategy import Preemptions, RandomWalks

__all__ = ["Reduced", "reduced_native", "reduced_search", "search_both"]

_LIMITS = ("states", "seconds", "memory", "disk", "depth", "walks")
WALKS = 200
MANY = 1_000_000
"""States after which a livelock is looked for with sequence numbers renamed first."""
MOST_BEGINNINGS = 100
IN_HASTE = 300_000
"""States of a reduced search after which it is begun again with code that was compiled with care: they take as long as a compiler does with care."""


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
class _Searches:
    """The searches of one request, by the same executor, within its time all together."""

    request: Request
    by: By
    begun: float

    def seconds_left(self) -> float | None:
        """What is left of the time; None: there is no limit."""
        most = self.request.limits.seconds
        return None if most is None else max(0.0, self.begun + most - time.perf_counter())

    def search(self, native: Native, seconds: float | None = None, **changes: Any) -> Result:
        """Search, within what is left of the time, and `seconds` at most."""
        left = [s for s in (self.seconds_left(), seconds) if s is not None]
        return self.by(native, self.request.but(seconds=max(1e-3, min(left)) if left else None, **changes))


By = Callable[[Native, Request], Result]
"""A search by compiled code."""


def reduced_search(program: Program, request: Request | None = None, by: By = native_search, hasty: bool = False) -> Reduced:
    """As `native_search`, with the reductions that are asked for and that the program allows.

    `Result.reduced` names those that were made: counts of states are then of the reduced graph. `Result.note` says why one
    was not. A broken rule's result is that of a search without them. Random walks take single steps: nothing is reduced. Where preemptions
    are counted steps are not merged.

    `by` searches in place of `native_search`: where steps are merged, with the facts that the library of its `Native` has
    (`search/movers.c`); it leaves there all that was found out, and gives a result with the reason `stale` if the search
    relied on what is not so. `hasty`: where nothing is reduced the code may be compiled without much care. Else the first `IN_HASTE` states
    are searched by such code.
    """
    asked = request or Request()
    reductions = Reductions.none() if isinstance(asked.strategy, RandomWalks) else asked.reductions
    if isinstance(asked.strategy, Preemptions):
        reductions = replace(reductions, merge=False)
    native, told = reduced_native(program, reductions, asked.watch, hasty, by is native_search)
    searches = _Searches(asked, by, time.perf_counter())
    if native.reductions == Reductions.none():
        return _noted(Reduced(searches.search(native)), told)
    with native.alone():
        return _noted(_both(native, None, searches), told)


def reduced_native(
    program: Program, reductions: Reductions | None = None, watch: tuple[int, int] | None = None, hasty: bool = False, begins: bool = False
) -> tuple[Native, list[str]]:
    """The native executor with those of some reductions that the program allows, and why it does not allow the others. `hasty`: where it allows none
    the code may be compiled without much care; `begins`: where it does."""
    wanted, told = reductions or Reductions(), []
    symmetry = None
    if wanted.symmetry:
        symmetry, why_not = renaming_of(program, watch)
        told += why_not
    merge = wanted.merge and len(LockOrder(program).locks) <= MOST_LOCKS
    if merge is not wanted.merge:
        told.append(f"steps are not merged: more than {MOST_LOCKS} locks")
    made = Reductions(merge, symmetry is not None)
    native = Native(program, made, symmetry, hasty if made == Reductions.none() else begins)
    if symmetry is not None and symmetry.equal is not None:
        if any(native.exchanged(native.initial, *pair) != native.initial for pair in symmetry.equal.pairs()):
            told.append("equal threads are not renamed: the initial state is not the same for all of them")
            native = _without_threads(native)
    return native, told


def _without_threads(native: Native) -> Native:
    """The same, with equal threads told apart."""
    return Native(native.program, native.reductions, native.symmetry and native.symmetry.without_threads(), native.hasty)


def _all_outcomes(native: Native, outcomes: frozenset[bytes], watch: tuple[int, int] | None) -> frozenset[bytes]:
    """All outcomes, of those that the states have which stand for all: what a renaming of equal threads makes of one is one too."""
    threads = None if native.symmetry is None else native.symmetry.equal
    if threads is None or watch is None:
        return outcomes
    found, todo = set(outcomes), list(outcomes)
    for seen in todo:
        state = bytearray(native.program.size)
        state[slice(*watch)] = seen
        for pair in threads.pairs():
            other = native.exchanged(bytes(state), *pair)[slice(*watch)]
            if other not in found:
                found.add(other)
                todo.append(other)
    return frozenset(found)


def search_both(native: Native, plain: Native | None = None, request: Request | None = None, by: By = native_search) -> Reduced:
    """The search by both executors of one program: `native` with reductions; `plain`, without, where that finds something.

    `by`: see `reduced_search`.
    """
    with native.alone():
        return _both(native, plain, _Searches(request or Request(), by, time.perf_counter()))


def _noted(found: Reduced, told: list[str]) -> Reduced:
    note = "; ".join([n for n in (*told, found.result.note) if n])
    return replace(found, result=replace(found.result, note=note))


def _both(native: Native, known: Native | None, searches: _Searches) -> Reduced:
    """The reduced search; and where it found something, the plain one, compiled only then. The library is this program's."""
    reductions = native.reductions
    request = searches.request
    begun = 0
    if reductions.merge:
        _forget(native, request.watch is not None)
    resting = native.may_rest() if searches.by is native_search else 0  # of another's processes nobody says which have moved
    while True:
        begun += 1
        if reductions.merge:
            native.library.ss_learn(native.initial, WALKS, ctypes.c_uint64(begun))
            native.library.ss_begin_again()
        native.rest(resting)
        try:
            merged = searches.search(native, lock_order=request.lock_order and not reductions.merge, **_in_haste(native, request))
            resting &= ~native.moved()
        finally:
            native.rest(0)
        other = None
        if merged.reason == "cycles":  # fair or not, which only a search can tell that tells threads apart
            other = _without_threads(native)
        elif merged.reason == "states" and _in_haste(native, request):
            other = Native(native.program, reductions, native.symmetry)
        if other is not None:
            with other.alone():
                again = _both(other, known, searches)
            return replace(again, begun=begun + again.begun)
        if merged.reason != "stale":
            break
        if begun == MOST_BEGINNINGS:
            result = searches.search(known or Native(native.program, hasty=True))
            note = "steps are not merged: what protects the shared state keeps changing"
            return Reduced(replace(result, note=note), merged, begun)
    symmetry = native.symmetry
    always = symmetry is not None and (symmetry.sequences is not None or symmetry.equal is not None)
    renames = always or (symmetry is not None and symmetry.arrays and (not reductions.merge or native.library.ss_renames()))
    names = tuple(n for n, on in (("merge", reductions.merge), ("symmetry", renames)) if on)
    merged = replace(merged, reduced=names, outcomes=_all_outcomes(native, merged.outcomes, request.watch))
    if _is_given_up(merged) and not merged.violations:
        return Reduced(merged, merged, begun)
    against_order = request.lock_order and reductions.merge and _has_cycle(_edges(native, LockOrder(native.program)))
    if not merged.violations and merged.error is None and not against_order:
        return Reduced(merged, merged, begun)
    if not _is_known(merged) and searches.seconds_left() == 0:
        late = replace(merged, verdict=Verdict.NOT_FINISHED, reason="seconds", violation=None, violations=(), error=None, error_trace=None)
        return Reduced(late, merged, begun)
    return Reduced(_without(known or Native(native.program, hasty=True), merged, searches), merged, begun)


def _in_haste(native: Native, request: Request) -> dict[str, int]:
    """How many states are searched by code that was compiled in haste, if there is a limit to that."""
    most = request.limits.states
    return {"states": IN_HASTE} if native.hasty and (most is None or most > IN_HASTE) else {}


def _without(plain: Native, merged: Result, searches: _Searches) -> Result:
    """What was found, looked for without reductions: that is the result, unless it takes too long and is known anyway.

    What a merged search finds of a livelock or of the order of locks is only a reason to look: a thread's turn, and what it
    waits for, are matters of single steps. So is an error: one merged step may have more choices than a step can.
    """
    known, request = _is_known(merged), searches.request
    given_up = None
    if not _is_given_up(merged) and (request.in_levels or not known):
        exact = searches.search(plain, max(2.0, 5 * merged.seconds)) if known else _with_a_look_first(plain, merged, searches)
        if not known and isinstance(exact.error, LeftRange) and merged.error is None:
            return _that_counts(plain.program, exact, searches) or exact
        whole = exact.reason in (None, "error") or not request.collect
        if not known or (whole and (exact.violation is not None or exact.error is not None)):
            return exact
        if exact.verdict is Verdict.HOLDS:
            raise LangError("internal: what is broken with reductions holds without: please report this, with the model")
        given_up = exact.reason if _is_given_up(exact) else None
    violations = tuple(_in_single_steps(plain, v) for v in merged.violations if v.rule != "livelock")
    note = "the trace is one with the fewest merged steps: there may be one with fewer single steps" if request.in_levels else ""
    return replace(
        merged,
        violation=violations[0] if violations else None,
        violations=violations,
        error_trace=merged.error_trace and merged.error_trace.expand(plain),
        reason=given_up or merged.reason,
        note=note,
        shortest=False,
    )


def _is_known(merged: Result) -> bool:
    """Whether what was found is broken without reductions too."""
    return any(v.rule != "livelock" for v in merged.violations)


def _with_a_look_first(plain: Native, merged: Result, searches: _Searches) -> Result:
    """Without reductions; but who goes round for ever may count with each round, and then there are as many states as there are numbers. So when
    many were seen, the livelock is looked for by a search that renames sequence numbers."""
    most = searches.request.limits.states
    if merged.error is not None or (most is not None and most <= MANY):
        return searches.search(plain)
    exact = searches.search(plain, states=MANY)
    if exact.reason != "states":
        return exact
    return _that_counts(plain.program, exact, searches) or searches.search(plain)


def _that_counts(program: Program, exact: Result, searches: _Searches) -> Result | None:
    """Of a program that may go round for ever, and whose sequence numbers then leave their range: the livelock, if it is one.

    `exact`: what a search says that does not rename them.
    """
    sequences, _ = sequences_of(program, searches.request.watch)
    if sequences is None or not searches.request.reductions.symmetry:
        return None
    native = Native(program, Reductions(False, True), Symmetry((), sequences))
    with native.alone():
        counts = _with_resting(native, replace(searches, by=native_search))  # the others show no livelock of a search that renames
    if counts.violation is None or counts.violation.rule != "livelock":
        return None
    left = f"the search ends when one leaves its range ({exact.error})" if exact.error is not None else f"the search had seen no end after {exact.states:,} states"
    note = f"without renaming sequence numbers {left}"
    return replace(counts, reduced=("symmetry",), note=note.replace("; ", ": "))


def _with_resting(native: Native, searches: _Searches) -> Result:
    """The search of a program without merged steps; begun again where a counter goes on that was taken for one that rests."""
    resting = native.may_rest()
    try:
        while True:
            native.rest(resting)
            found = searches.search(native)
            if found.reason != "stale":
                return found
            resting &= ~native.moved()
    finally:
        native.rest(0)


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
    trace = violation.trace.expand(plain, violation.rule == "deadlock")
    message = violation.message
    if violation.rule == "deadlock":
        message = deadlock_message(plain, trace.states[-1] if trace.states else plain.initial)
    return replace(violation, trace=trace, message=message)
