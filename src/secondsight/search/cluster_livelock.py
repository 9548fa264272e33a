"""Livelock in a search by several machines: the states that rounds of loops begin in come together on this one.

Members keep them while they search (`search/engine_progress.c` says which, and why they are few). When all states were seen,
they are looked at here; where some lie on fair cycles, the members search once more, for the first of these.
"""

from __future__ import annotations

from dataclasses import replace

from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.search.cluster_levels import Levels
from secondsight.search.cluster_member import Member, MemberJob
from secondsight.search.loop import livelock
from secondsight.search.native import GOAL, way
from secondsight.search.request import Request
from secondsight.search.result import Trace, Violation

__all__ = ["livelock_by"]


def livelock_by(levels: Levels, native: Native, job: MemberJob, seconds: float | None) -> Violation | str | None:
    """After a search that saw every state: the livelock, or why none could be looked for, or None if there is none.

    `job.facts` is what is known by now. With reductions the violation says only that there is one. Raises `Lost`.
    """
    member = Member(job, 0, 1, 1)
    try:
        for i in levels.members:
            for worker in range(levels.hosts.workers[i]):
                at = 0
                while piece := levels.call(i, "rounds", worker, at):
                    at += len(piece)
                    if not member.keep_rounds(piece):
                        return "memory"
        found = member.livelocked(seconds)
        known = member.agreed(b"")
        if known.stale or known.learned:  # a step that no member took?
            levels.agree(known.learned)
            return "stale"
    finally:
        member.end()
    if not found or isinstance(found, str):
        return found or None
    if native.symmetry is not None and native.symmetry.equal is not None:
        return "cycles"  # see `native_search`
    if native.reductions != Reductions.none() or native.symmetry is not None:
        return Violation("livelock", "some thread need not end: a search without reductions shows how", None, Trace())
    return _shown(levels, native, job, found)


def _shown(levels: Levels, native: Native, job: MemberJob, goals: bytes) -> Violation | str:
    """The way to the first of these states, and once round."""
    levels.hosts.open(replace(job, loops=b"", goals=goals, watch=None, locks=(), taking=b""))
    again = Levels(levels.hosts, job.batch, Request(on_progress=levels.request.on_progress), patience=levels.patience)
    seen = again.run()
    ways = [again.way(member, found.number) for _, member, found in seen.found if found.how == GOAL]
    if not ways:
        return seen.reason or "unknown"
    shortest = min(ways, key=len)  # the initial state may be found together with those after it
    trace = way(native, shortest)
    size = len(job.initial)
    inside = {goals[i : i + size] for i in range(0, len(goals), size)}
    return livelock(native, trace, inside.__contains__)
