"""One search for every caller: by the reference executor while it is small, by the native one when it has grown.

`auto` goes to native code at once where that is in the compile cache. Else it begins with the reference, which starts at once;
after `AHEAD` states native code is compiled beside it, and the search goes over to it (from the beginning: both see the same
graph) when it is there. Results are the same either way; `Result.exact` says whether whole states were compared. A search that
is larger than `SWITCH` is made with reductions, which `Result.reduced` names: its figures are then those of the reduced graph.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from secondsight.lang.ahead import Ahead
from secondsight.lang.compiler import CompilerFailed, CompilerMissing, compiler
from secondsight.lang.errors import LangError, LeftRange
from secondsight.lang.movers import Reductions
from secondsight.lang.native import is_ready
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.sequences import sequences_of
from secondsight.search import kept
from secondsight.search.bfs import breadth_first
from secondsight.search.growth import looking_early, with_growth
from secondsight.search.reduced import reduced_search
from secondsight.search.request import Request
from secondsight.search.result import Limits, Progress, Result, Verdict
from secondsight.search.strategy import Preemptions, RandomWalks

__all__ = ["SWITCH", "search", "why_not_native"]

SWITCH = 1_000_000
"""States of the largest search that is made without reductions."""

AHEAD = 30_000
"""States of one shape that the reference searches before its native code begins to be compiled: a third of a second."""

WAIT = 100_000
"""States after which the reference waits for that: it would take as long for them as a compiler for most programs."""

WORTH = 60_000
"""States that the reference searches with the work that it takes to compile a driver's program: for fewer that is not worth it."""

HASTY = 4_000
"""States of one search after which it is not yet said to be large: many a broken driver is broken by then."""

_searched = [0]
"""States that the reference has searched in this process."""


def _wait_at(program: Program, coming: Callable[[], int] | None = None) -> int:
    """After how many states `auto` waits for native code, if there is a compiler. What was searched of one shape counts together.

    Where it is known how many searches are `coming`, native code is compiled as soon as all of them together will take more than that,
    if each is as large as those before, or as what was seen of this one; or once as much work was done without.

    Once `WAIT` states were searched on the reference in this process, it waits as soon as it would begin to compile: who asks for
    much asks for more, and what is compiled beside a search takes two processors.
    """
    ahead = _ahead_of(program)
    if is_ready(program) or (ahead is not None and ahead.is_there):
        return 0
    if coming is not None:
        code, number = program.code, max(1, coming())
        if code.searched >= WORTH or (code.searches and code.searched // code.searches * number >= WORTH):
            return 0
        return min(max(HASTY, WORTH // number), WORTH - code.searched)
    most = min(SWITCH, WAIT if _searched[0] < WAIT else AHEAD)
    return max(most // 50, most - program.code.searched)


def _ahead_of(program: Program) -> Ahead | None:
    """Its native code on the way, if that was begun; programs of one shape have it together."""
    known: Ahead | None = program.code.made.get("ahead")
    return known


def why_not_native() -> str | None:
    """Why large searches run on the reference executor, in one line; None if they do not have to."""
    try:
        compiler()
    except CompilerMissing as error:
        return str(error)
    return None


def search(program: Program, request: Request | None = None) -> Result:
    """Search a program's states, by the executor that `request` names; see `Request`.

    Limits hold for both parts of an `auto` search together. Other strategies than breadth first, and `collect`, are the native
    executor's alone. Random walks, and searches bounded by preemptions, find no livelock, and where
    they are asked for them never say *holds*. Raises `CompilerMissing` where native code is asked for
    and there is no compiler. A search is made on a cluster when it is larger than `SWITCH` states, or the native executor is asked for.

    Where native code cannot be made, although there is a compiler, an `auto` search ends on the reference; the note says why.

    An `auto` search of up to `SWITCH` states has the same figures whoever makes it: up to there nothing is reduced.
    """
    asked = request or Request()
    known = kept.find(program, asked) if asked.kept else None
    if known is None:
        known = with_growth(program, asked, _search(program, looking_early(program, asked)))
        if asked.kept:
            kept.keep(program, asked, known)
    return known


def _search(program: Program, asked: Request) -> Result:
    """The same, where nothing is kept."""
    executor, limits, cluster = asked.executor, asked.limits, asked.cluster
    spent = 0.0
    missing = executor == "auto" and why_not_native()
    wait = 0 if executor != "auto" or missing else _wait_at(program, asked.coming)
    native_only = asked.collect or not asked.in_levels
    if native_only and executor == "reference":
        raise LangError("the reference executor searches breadth first, up to the first broken rule: use the native executor")
    if cluster is not None and (executor == "reference" or not asked.in_levels):
        raise LangError("a cluster searches breadth first, with the native executor: leave out --cluster, or what asks for else")

    def tell(done: Progress) -> None:
        """How far the native part is, once it is further than the first part was."""
        if asked.on_progress is not None and (spent == 0 or done.states > wait):
            asked.on_progress(replace(done, seconds=done.seconds + spent))

    def slow(within: Limits, until: Callable[[int], bool] | None = None) -> Result:
        result = breadth_first(Reference(program), asked.but(limits=within), until=until)
        program.code.searched += result.states
        program.code.searches += 1
        _searched[0] += result.states
        return result

    def fast(within: Limits, reductions: Reductions = asked.reductions) -> Result:
        looks = asked.livelock and not isinstance(asked.strategy, RandomWalks | Preemptions)
        result = reduced_search(program, asked.but(limits=within, reductions=reductions, livelock=looks, on_progress=tell)).result
        if asked.livelock and not looks and result.verdict is Verdict.HOLDS:
            note = "; ".join(n for n in (result.note, "all states were seen; livelocks are not looked for with a bound on preemptions") if n)
            return replace(result, verdict=Verdict.NOT_FINISHED, reason="livelock", note=note)
        return result

    def large(within: Limits) -> Result:
        if cluster is None:
            return fast(within)
        from secondsight.search.cluster import reduced_cluster_search

        return reduced_cluster_search(program, cluster, asked.but(limits=within, on_progress=tell))

    if executor == "native" or native_only:
        return large(limits)
    if executor == "reference" or missing or (limits.states is not None and limits.states <= wait):
        return slow(limits)
    begun = time.perf_counter()

    def is_there(states: int) -> bool:
        """Whether native code is there; it begins to be compiled when it is worth it."""
        ahead = _ahead_of(program)
        if ahead is None and asked.coming is None and program.code.searched + states >= AHEAD and states < wait:
            ahead = program.code.keep("ahead", lambda: Ahead(program))
        return ahead is not None and ahead.is_there

    result = slow(replace(limits, states=wait), is_there) if wait else None
    if result is not None and result.reason != "states" and not is_out_of_numbers(program, result, asked):
        return result
    try:
        if (ahead := _ahead_of(program)) is not None:
            ahead.wait()
        if wait < SWITCH and (result is None or result.reason == "states"):
            spent = time.perf_counter() - begun
            result = fast(_less(limits, spent, min(SWITCH, limits.states or SWITCH)), Reductions.none())
        is_large = result is not None and result.reason == "states" and (limits.states is None or limits.states > SWITCH)
        if result is None or is_large or is_out_of_numbers(program, result, asked):
            spent = time.perf_counter() - begun
            result = large(_less(limits, spent, limits.states))
    except CompilerFailed as error:
        if cluster is not None:
            raise
        spent = time.perf_counter() - begun
        result = slow(_less(limits, spent, limits.states))
        note = f"searched on the reference executor, which is slow: {error}"
        result = replace(result, note="; ".join(n for n in (note.replace("; ", ": "), result.note) if n))
    except KeyboardInterrupt:  # while it was compiled
        if result is None:
            raise
        result = replace(result, reason="interrupted")
    return replace(result, seconds=time.perf_counter() - begun)


def is_out_of_numbers(program: Program, result: Result, asked: Request) -> bool:
    """Whether a search may have ended only because it tells sequence numbers apart: a search that renames them goes on."""
    if not isinstance(result.error, LeftRange) or not asked.reductions.symmetry:
        return False
    return result.error.value == result.error.high + 1 and sequences_of(program, asked.watch)[0] is not None


def _less(limits: Limits, spent: float, states: int | None) -> Limits:
    """What is left of some limits after `spent` seconds, and as many states."""
    seconds = None if limits.seconds is None else max(1e-3, limits.seconds - spent)
    return replace(limits, seconds=seconds, states=states)
