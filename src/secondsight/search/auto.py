"""One search for every caller: by the reference executor while it is small, by the native one when it has grown.

`auto` begins with the reference, which starts at once, and goes over to native code (from the beginning: both see the same
graph) when `SWITCH` states have been seen and a C compiler is there; sooner where the compiled code is there already. Results
are the same either way; `Result.exact` says whether whole states were compared. A search that is larger than `SWITCH` is made
with reductions, which `Result.reduced` names: its figures are then those of the reduced graph.
"""

from __future__ import annotations

import time
from dataclasses import replace

from secondsight.lang.compiler import CompilerFailed, CompilerMissing, compiler
from secondsight.lang.errors import LangError
from secondsight.lang.movers import Reductions
from secondsight.lang.native import is_ready
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.stored import has_python
from secondsight.search.bfs import breadth_first
from secondsight.search.reduced import reduced_search
from secondsight.search.request import Request
from secondsight.search.result import Limits, Progress, Result
from secondsight.search.strategy import RandomWalks

__all__ = ["SWITCH", "search", "why_not_native"]

SWITCH = 1_000_000
"""States after which `auto` goes over to native code: seconds of search, where compiling a driver takes one or two."""

SWITCH_READY = 2_000
"""The same where the compiled code is there already, from another program of the same shape: 20 ms of search."""

SWITCH_AGAIN = 100_000
"""The same for another shape, once so many as `SWITCH` were searched on the reference in this process: who asks for much asks for more."""

_searched = [0]
"""States that the reference has searched in this process."""


def switch_at(program: Program) -> int:
    """After how many states `auto` goes over, if there is a compiler.

    What was searched on the reference of one shape counts together (that of others: `SWITCH_AGAIN`). Where nothing has been lowered, because it is in the
    cache folder, and the rendered Python is not, native code starts sooner than the reference would.
    """
    if not is_ready(program):
        most = SWITCH if _searched[0] < SWITCH else min(SWITCH, SWITCH_AGAIN)
        return max(min(SWITCH, SWITCH_READY), most - program.code.searched)
    return min(SWITCH, SWITCH_READY) if program.code.is_lowered or has_python(program.code) else 0


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
    executor's alone. Random walks find no livelock, and never say *holds*. Raises `CompilerMissing` where native code is asked for and there is no compiler. A search is made on a cluster when it is
    larger than `SWITCH` states, or the native executor is asked for.

    Where native code cannot be made, although there is a compiler, an `auto` search ends on the reference; the note says why.

    An `auto` search of up to `SWITCH` states has the same figures whoever makes it: up to there nothing is reduced.
    """
    asked = request or Request()
    executor, limits, cluster = asked.executor, asked.limits, asked.cluster
    spent = 0.0
    missing = executor == "auto" and why_not_native()
    switch = 0 if executor != "auto" or missing else switch_at(program)
    native_only = asked.collect or not asked.in_levels
    if native_only and executor == "reference":
        raise LangError("the reference executor searches breadth first, up to the first broken rule: use the native executor")
    if cluster is not None and (executor == "reference" or not asked.in_levels):
        raise LangError("a cluster searches breadth first, with the native executor: leave out --cluster, or what asks for else")

    def tell(done: Progress) -> None:
        """How far the native part is, once it is further than the first part was."""
        if asked.on_progress is not None and (spent == 0 or done.states > switch):
            asked.on_progress(replace(done, seconds=done.seconds + spent))

    def slow(within: Limits) -> Result:
        result = breadth_first(Reference(program), asked.but(limits=within))
        program.code.searched += result.states
        _searched[0] += result.states
        return result

    def fast(within: Limits, reductions: Reductions = asked.reductions) -> Result:
        looks = asked.livelock and not isinstance(asked.strategy, RandomWalks)
        return reduced_search(program, asked.but(limits=within, reductions=reductions, livelock=looks, on_progress=tell)).result

    def large(within: Limits) -> Result:
        if cluster is None:
            return fast(within)
        from secondsight.search.cluster import reduced_cluster_search

        return reduced_cluster_search(program, cluster, asked.but(limits=within, on_progress=tell))

    if executor == "native" or native_only:
        return large(limits)
    if executor == "reference" or missing or (limits.states is not None and limits.states <= switch):
        return slow(limits)
    begun = time.perf_counter()
    result = slow(replace(limits, states=switch)) if switch else None
    if result is not None and result.reason != "states":
        return result
    try:
        if switch < SWITCH:
            spent = time.perf_counter() - begun
            result = fast(_less(limits, spent, min(SWITCH, limits.states or SWITCH)), Reductions.none())
        if result is None or (result.reason == "states" and (limits.states is None or limits.states > SWITCH)):
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


def _less(limits: Limits, spent: float, states: int | None) -> Limits:
    """What is left of some limits after `spent` seconds, and as many states."""
    seconds = None if limits.seconds is None else max(1e-3, limits.seconds - spent)
    return replace(limits, seconds=seconds, states=states)
