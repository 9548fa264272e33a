"""One search for every caller: by the reference executor while it is small, by the native one when it has grown.

`auto` goes to native code at once where that is in the compile cache. Else it begins with the reference, which starts at once;
after `AHEAD` states native code is compiled beside it, and the search goes over to it (from the beginning: both see the same
graph) when it is there. Results are the same either way; `Result.exact` says whether whole states were compared. A search that
is larger than `SWITCH` is made with reductions, which `Result.reduced` names: its figures are then those of the reduced graph.

Where the native executor is asked for there is no reference, and reductions are made from `executors.FEW` states on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from secondsight.lang.ahead import Ahead
from secondsight.lang.compiler import CompilerFailed, CompilerMissing, compiler
from secondsight.lang.errors import LangError
from secondsight.lang.movers import Reductions
from secondsight.lang.native import is_ready
from secondsight.lang.program import Program
from secondsight.search import kept
from secondsight.search.executors import Searches
from secondsight.search.growth import looking_early, with_growth
from secondsight.search.request import Request
from secondsight.search.result import Result, Verdict

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

def _wait_at(program: Program, coming: Callable[[], int] | None = None, weight: int = 1) -> int:
    """After how many states `auto` waits for native code, if there is a compiler. What was searched of one shape counts together.

    Where it is known how many searches are `coming`, native code is compiled as soon as all of them together will take more than that,
    if each is as large for its weight as those before, or as what was seen of this one; or once as much work was done without.

    Once `WAIT` states were searched on the reference in this process, it waits as soon as it would begin to compile: who asks for
    much asks for more, and what is compiled beside a search takes two processors.
    """
    ahead = _ahead_of(program)
    if is_ready(program) or (ahead is not None and ahead.is_there):
        return 0
    if coming is not None:
        code, number = program.code, max(1, weight, coming())
        if code.searched >= WORTH or (code.searches and code.searched // code.searches * number >= WORTH):
            return 0
        return min(max(HASTY, WORTH * weight // number), WORTH - code.searched)
    most = min(SWITCH, WAIT if Searches.total < WAIT else AHEAD)
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
    and there is no compiler. A search is made on a cluster when it is larger than `SWITCH` states; where the native executor is asked for, when
    it has not few states (`executors.FEW`) or reduces nothing.

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
    _refuse(asked)
    searches, limits = Searches(program, asked), asked.limits
    if asked.executor == "native" or _is_native_alone(asked):
        return _by_native_code(searches)
    if asked.executor == "reference" or why_not_native() is not None:
        return searches.by_reference(limits)
    wait = _wait_at(program, asked.coming, asked.weight)
    if limits.states is not None and limits.states <= wait:
        return searches.by_reference(limits)
    return _one_after_the_other(searches, wait)


def _by_native_code(searches: Searches) -> Result:
    """Without reductions while there are few states: with them it takes longer then, and their code is the longer one to compile."""
    asked = searches.asked
    reduces = asked.in_levels and asked.reductions != Reductions.none()
    if not reduces:
        return searches.of_many_states(searches.left(asked.limits.states))
    few = searches.of_few_states(asked.limits)
    if few is not None and not searches.may_end_reduced(few):
        return few
    many = searches.of_many_states(searches.left(asked.limits.states))
    found = few if few is not None and few.verdict is Verdict.BROKEN and many.verdict is not Verdict.BROKEN else many
    return replace(found, seconds=searches.seconds)


def _is_native_alone(asked: Request) -> bool:
    """Whether only the native executor can do what is asked."""
    return asked.collect or not asked.in_levels


def _refuse(asked: Request) -> None:
    """Raise `LangError` where nobody can do what is asked."""
    if asked.executor == "reference" and _is_native_alone(asked):
        raise LangError("the reference executor searches breadth first, up to the first broken rule: use the native executor")
    if asked.cluster is not None and (asked.executor == "reference" or not asked.in_levels):
        raise LangError("a cluster searches breadth first, with the native executor: leave out --cluster, or what asks for else")


def _one_after_the_other(searches: Searches, wait: int) -> Result:
    """The reference for `wait` states, or until native code is there; then that, and with reductions if it grows large."""
    result = None
    if wait:
        result = searches.by_reference(replace(searches.asked.limits, states=wait), _when_compiled(searches, wait))
        if result.reason != "states" and not searches.is_out_of_numbers(result):
            return result
    try:
        result = _compiled(searches, wait, result)
    except CompilerFailed as error:
        if searches.asked.cluster is not None:
            raise
        result = searches.by_reference(searches.left(searches.asked.limits.states))
        note = f"searched on the reference executor, which is slow: {error}"
        result = replace(result, note="; ".join(n for n in (note.replace("; ", ": "), result.note) if n))
    except KeyboardInterrupt:  # while it was compiled
        if result is None:
            raise
        result = replace(result, reason="interrupted")
    return replace(result, seconds=searches.seconds)


def _when_compiled(searches: Searches, wait: int) -> Callable[[int], bool]:
    """Whether native code is there, by how many states were seen: it begins to be compiled when it is worth it."""
    program, known = searches.program, searches.asked.coming is not None

    def is_there(states: int) -> bool:
        ahead = _ahead_of(program)
        if ahead is None and not known and program.code.searched + states >= AHEAD and states < wait:
            ahead = program.code.keep("ahead", lambda: Ahead(program, hasty=True))
        return ahead is not None and ahead.is_there

    return is_there


def _compiled(searches: Searches, wait: int, result: Result | None) -> Result:
    """By native code, after `result` of the reference, which was to search `wait` states: without reductions, unless it is large."""
    if (ahead := _ahead_of(searches.program)) is not None:
        ahead.wait()
    states = searches.asked.limits.states
    if wait < SWITCH and (result is None or result.reason == "states"):
        result = searches.by_native_code(searches.left(min(SWITCH, states or SWITCH)), Reductions.none(), hasty=True)
    is_large = result is not None and result.reason == "states" and (states is None or states > SWITCH)
    if result is None or is_large or searches.is_out_of_numbers(result):
        result = searches.of_many_states(searches.left(states))
    return result
