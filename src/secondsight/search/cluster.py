"""Search by several machines: the states shared out over the nodes of a Ray cluster.

The same graph, verdict and outcomes as `search.native_search`, breadth first, and with reductions as `search.reduced`. Each
node owns the states that fingerprints give it (`search.cluster_member`); batches of new states go from node to node, level by
level (`search.cluster_levels`). What merged steps rest on: search/engine_cluster_facts.c.
Nothing here imports Ray: that is done in a process of its own (`search.cluster_driver`), and only when a cluster is asked for.
"""

from __future__ import annotations

import ctypes
import time
from dataclasses import replace

from secondsight.lang.errors import LangError, ModelError, Position
from secondsight.lang.native import CHOICES, Native
from secondsight.lang.program import Program
from secondsight.search.cluster_levels import Hosts, Levels, Lost, may_go_on
from secondsight.search.cluster_livelock import livelock_by
from secondsight.search.cluster_member import FACT, Found, MemberJob, Note
from secondsight.search.cluster_ray import hosts_at
from secondsight.search.lock_order import LockOrder
from secondsight.search.native import DEADLOCK, against_order, loop_rows, told, way
from secondsight.search.reduced import reduced_search
from secondsight.search.request import Request
from secondsight.search.result import Result, Step, Trace, Verdict, Violation, reported

__all__ = ["TURN_BYTES", "cluster_search", "job_of", "reduced_cluster_search", "search_by"]

TURN_BYTES = 4 << 20
"""Bytes for other members that a member gathers, about, before its turn ends."""
MOST_MEMBERS = 65535
"""A state's owner is a number of two bytes."""


def cluster_search(native: Native, address: str, request: Request | None = None, patience: float = 120.0) -> Result:
    """As `native_search`, on the Ray cluster at `address` (`auto`: this machine's, or else one of this machine alone).

    Every node with a CPU takes part, with a thread for each of its CPUs. `Limits.memory` is for each machine. The trace is a
    shortest one, though not always the same one of several. A node that is lost, or does not answer for `patience` seconds,
    ends the search: *not finished*, with its name and what was seen. Raises `LangError` where there is no Ray or no such
    cluster, and where a node cannot take part.
    """
    asked = request or Request()
    begun, settled = time.monotonic(), False
    hosts = hosts_at(address)
    try:
        result, settled = search_by(hosts, native, asked, TURN_BYTES // max(1, len(hosts.names) - 1), patience)
    except KeyboardInterrupt:  # before the search had begun
        result = Result(Verdict.NOT_FINISHED, 0, 0, 0, 0.0, reason="interrupted", exact=asked.exact)
    finally:
        if settled:
            hosts.end()
        else:
            hosts.close(2.0)
    return replace(result, seconds=time.monotonic() - begun)


def reduced_cluster_search(program: Program, address: str, request: Request | None = None) -> Result:
    """As `search.reduced.reduced_search`, on the cluster at `address`."""
    return reduced_search(program, request, lambda native, asked: cluster_search(native, address, asked)).result


def job_of(native: Native, request: Request, batch: int, order: LockOrder | None = None) -> MemberJob:
    """What members are told of a search."""
    places: tuple[int, ...] = ()
    taking = b""
    if order is not None and order.counters:
        places = tuple(p for owner, readers, _, _ in order.locks for p in (owner, -1 if readers is None else readers))
        taking = bytes(int(i in order.counters) for i in range(len(native.program.code.places) + 1))
    job = MemberJob.of(native, request, places, taking, max(1, batch))
    if request.livelock:
        loops, width = loop_rows(native.program)
        job = replace(job, loops=loops, loop_width=width)
    if native.reductions.merge:
        job = replace(job, facts=_facts(native))
    return job


def _facts(native: Native) -> bytes:
    """What the library of a program with merged steps knows of it."""
    with native.alone():
        room = ctypes.create_string_buffer(native.library.ss_size_of_facts())
        native.library.ss_all_facts(room)
    return room.raw


def search_by(hosts: Hosts, native: Native, request: Request, batch: int, patience: float = 120.0) -> tuple[Result, bool]:
    """Search with these members, `batch` as in `MemberJob`; the second says whether they are ready for another search.

    Where steps are merged: see `reduced_by` for what becomes of the facts that the library of `native` has.
    """
    if len(hosts.names) > MOST_MEMBERS:
        raise LangError(f"{len(hosts.names)} machines; the limit is {MOST_MEMBERS}")
    order = LockOrder(native.program) if request.lock_order else None
    job = job_of(native, request, batch, order)
    with native.alone():
        hosts.open(job)
        return _search_by(hosts, native, job, request, order, patience)


def _search_by(
    hosts: Hosts, native: Native, job: MemberJob, request: Request, order: LockOrder | None, patience: float
) -> tuple[Result, bool]:
    search = _Search(native, order, request.collect)
    levels = Levels(hosts, job.batch, request, search.judge, patience, search.learn)
    begun, settled = time.monotonic(), False
    try:
        levels.run()
        settled = levels.is_settled()
        agreed = settled and search.agree(levels)
        if agreed:
            search.tell(levels)
        if agreed and job.loops and levels.seen.reason is None and levels.is_whole() and search.error is None:
            most = request.limits.seconds
            left = None if most is None else max(1e-3, most - (time.monotonic() - begun))
            ends = livelock_by(levels, native, replace(job, facts=job.facts and _facts(native)), left)
            if isinstance(ends, Violation):
                search.violations.append(ends)
            else:
                levels.seen.reason = ends
    except Lost as lost:
        levels.seen.reason, settled = str(lost), False
        search.violations.clear()
    except KeyboardInterrupt:
        levels.seen.reason, settled = "interrupted", False
        search.violations.clear()
    return search.result(levels, job.exact, time.monotonic() - begun), settled


class _Search:
    """What a search on a cluster found, in the words of all searches."""

    def __init__(self, native: Native, order: LockOrder | None, collect: bool) -> None:
        self.native, self.order, self.collect = native, order, collect
        self.against: tuple[int, int, Note, str, Position] | None = None
        self.violations: list[Violation] = []
        self.error: tuple[ModelError, Trace] | None = None

    def learn(self, learned: bytes) -> None:
        """Take in what a member found out of the program, as every member does."""
        self.native.library.ss_hear(learned, ctypes.c_uint64(len(learned) // FACT))

    def agree(self, levels: Levels) -> bool:
        """Where steps are merged, have all members know the same; whether what was seen is worth something."""
        if not self.native.reductions.merge:
            return True
        self.native.library.ss_begin_again()  # ways are found here with the same facts; nothing was relied on yet
        return levels.agree()

    def judge(self, level: int, notes: list[tuple[int, Note]]) -> bool:
        """Take the locks of a level into account: whether some are taken against the order, and that is the end."""
        if self.order is None:
            return False
        for member, note in notes:
            found = self.order.note(note.before, note.after, note.thread, note.counter)
            if found is not None and self.against is None:
                self.against = (level, member, note, *found)
        return self.against is not None and not self.collect

    def tell(self, levels: Levels) -> None:
        """Find the ways to what was found: a shortest first, what breaks a rule first, and always in the same order."""
        first = 0
        for level, member, found in sorted(levels.seen.found, key=_rank):
            if self.against is not None and self.against[0] < level:
                self._tell_order(levels)
            if not self.collect and (self.violations or self.error) and level > first:
                break
            first = level
            trace = way(self.native, levels.way(member, found.number))
            made = told(self.native, found, trace, Step(found.thread, found.choices))
            if not isinstance(made, Violation):
                self.error = self.error or made
                self._repeats(trace, found)
            elif all(v.rule != made.rule for v in self.violations):
                self._repeats(trace, found)
                self.violations.append(made)
        if self.against is not None and (self.collect or self.against[0] == first or not (self.violations or self.error)):
            self._tell_order(levels)
        if self.violations and not self.collect:
            rule = reported(v.rule for v in self.violations)
            self.violations, self.error = [v for v in self.violations if v.rule == rule], None

    def _tell_order(self, levels: Levels) -> None:
        """Locks that are taken against the order of others."""
        if self.against is not None:
            _, member, note, message, where = self.against
            self.against = None
            trace = way(self.native, levels.way(member, note.number))
            last = trace.states[-1] if trace.states else self.native.initial
            choices = [s.choices for s in self.native.thread_successors(last, note.thread - 1) if s.state == note.after]
            if last != note.before or not choices:
                raise _not_ours()
            self.violations.append(against_order(self.native, trace, Step(note.thread - 1, choices[0]), message, where))

    def _repeats(self, trace: Trace, found: Found) -> None:
        """Check that it ends here as it did on the other machine."""
        last = trace.states[-1] if trace.states else self.native.initial
        ways = self.native.successors(last)
        if found.how == DEADLOCK:
            ends_so = not any(s.state for s in ways)
        else:
            ends_so = any((s.thread, s.choices) == (found.thread, found.choices) and s.error for s in ways)
        too_many_steps = found.kind == CHOICES and found.value  # from one state: only the engine counts them
        if not ends_so and not too_many_steps:
            raise _not_ours()

    def result(self, levels: Levels, exact: bool, seconds: float) -> Result:
        """As `native_search` would say it."""
        seen = levels.seen
        first = self.violations[0] if self.violations else None
        reason = "error" if self.error else None if first and seen.reason != "interrupted" else seen.reason
        if reason is None and first is None and not levels.is_whole():
            reason = "unknown"  # states are left, and it was not said why: never *holds*
        verdict = Verdict.BROKEN if first else Verdict.NOT_FINISHED if reason else Verdict.HOLDS
        error, error_trace = self.error or (None, None)
        missed = 0.0 if exact else seen.states**2 / 2**65
        return Result(
            verdict, seen.states, seen.transitions, seen.depth, seconds, first, reason, error, frozenset(seen.outcomes), exact,
            error_trace, missed, tuple(self.violations), seen.peak,
        )  # fmt: skip


def _rank(item: tuple[int, int, Found]) -> tuple[int, bool, bool, Found, int]:
    level, member, found = item
    return level, not may_go_on(found), found.how != DEADLOCK, found, member


def _not_ours() -> LangError:
    return LangError("internal: what another machine found does not happen here; are all nodes of one architecture?")
