"""The course of a search by several machines: turns, batches carried between members, levels, limits, and what goes wrong.

A member is asked for a *turn*: it takes in batches that others sent it, expands a part of its level, and answers with a
report and with batches for others. A level is over when nobody has anything left of it, no turn is under way and every batch
has been delivered; so it is the same levels as on one machine. Batches that wait for their member are bounded: when there
are too many, members only take in what is theirs.

`Levels` talks to members through `Hosts`, which calls them somewhere: in this process, or on the nodes of a Ray cluster
(`search.cluster_ray`). Nothing waits without a limit: a member that does not answer in time is given up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from secondsight.lang.errors import LangError
from secondsight.lang.native import NONE, RULE
from secondsight.search.cluster_member import Agreed, Found, Member, MemberJob, MemberReport, Note
from secondsight.search.native import STEP_FAILED
from secondsight.search.request import Request
from secondsight.search.result import Progress

__all__ = ["MemberAnswer", "Hosts", "Levels", "LocalHosts", "Lost", "LevelsSeen", "may_go_on"]

TURN = 0.25
"""Seconds after which a member ends its turn."""

UNDERWAY = 2
"""Turns that a member may have before it at once: its next batches come while it works."""

SETTLE = 5.0
"""Seconds to wait for turns that are under way when a search stops short."""


class Lost(Exception):
    """A member is gone, or does not answer: which ones and what is known of it."""


@dataclass(frozen=True, slots=True)
class MemberAnswer:
    """What a member answered: to `turn`, its report and a handle on the batch for each member."""

    member: int
    value: Any


class Hosts(Protocol):
    """Where the members are. A batch is a handle that only `ask` needs to understand."""

    names: Sequence[str]
    workers: Sequence[int]
    """Threads of each member."""

    def open(self, job: MemberJob) -> None:
        """Begin a search: every member is new. Raises `LangError` if one cannot take part."""

    def ask(self, member: int, method: str, *arguments: Any) -> None:
        """Begin a call of a member; its calls are answered in order. `turn`'s batches come last."""

    def answer(self, seconds: float) -> MemberAnswer | None:
        """The next answer, or None if there is none in so many seconds. Raises `Lost`."""


@dataclass(slots=True)
class LevelsSeen:
    """What was seen. `reason`: why it is not everything; `found`: with its level and its member."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    peak: int = 0
    reason: str | None = None
    outcomes: set[bytes] = field(default_factory=set)
    found: list[tuple[int, int, Found]] = field(default_factory=list)


class Levels:
    """One search. `judge` looks at a level and its notes, in the same order every time; true: the search is over.

    `learn` hears of all facts of the program that members find out (where steps are merged), as all other members do.
    """

    def __init__(
        self,
        hosts: Hosts,
        batch: int,
        request: Request,
        judge: Callable[[int, list[tuple[int, Note]]], bool] | None = None,
        patience: float = 120.0,
        learn: Callable[[bytes], None] | None = None,
    ) -> None:
        count = len(hosts.names)
        self.hosts, self.request, self.judge, self.patience, self.learn = hosts, request, judge, patience, learn
        self.members = range(count)
        self.allowed = 4 * count * count * batch
        self.reports = [MemberReport(0, 0, 0, 0, 0, (), 0, 0)] * count
        self.inbox: list[deque[tuple[int, int, Any]]] = [deque() for _ in self.members]  # from whom, bytes, the batch
        self.asked: list[deque[tuple[float, int]]] = [deque() for _ in self.members]  # since when, bytes to take in
        self.waiting = 0  # bytes that are not taken in yet
        self.facts = [bytearray() for _ in self.members]  # what each has not been told yet
        self.notes: list[tuple[int, Note]] = []
        self.seen = LevelsSeen()
        self.started = self.told = time.monotonic()

    def run(self) -> LevelsSeen:
        """The whole search. Raises `Lost`: then `seen` and `look` have what is known."""
        level = 0
        while True:
            self.seen.depth = level
            self._level(level)
            self._look()
            if self.seen.reason is None and self.notes and self.judge and self.judge(level, sorted(self.notes, key=_key)):
                return self.seen
            self.notes = []
            following = sum(report.following for report in self.reports)
            if self.seen.reason is not None or not following or (self.seen.found and not self._goes_on()):
                return self.seen
            level += 1

    def _goes_on(self) -> bool:
        return self.request.collect and all(may_go_on(found) for _, _, found in self.seen.found)

    # A level.

    def _level(self, level: int) -> None:
        begun = [False] * len(self.members)
        while self.seen.reason is None:
            full = self.waiting > self.allowed
            for i in self.members:
                while len(self.asked[i]) < UNDERWAY and self._has_work(i, begun[i], full):
                    begun[i] = True
                    self._ask_turn(i, level, full)
            if not any(self.asked):
                return
            answer = self.hosts.answer(0.1)
            if answer is not None:
                self._answered(answer)
            self._stops()
        self._settle()

    def _has_work(self, member: int, begun: bool, full: bool) -> bool:
        """Whether a member is to be asked for one more turn now."""
        if self.inbox[member] or not begun:
            return True
        return not self.asked[member] and not full and self.reports[member].left > 0

    def _ask_turn(self, member: int, level: int, full: bool) -> None:
        batches = list(self.inbox[member])
        self.inbox[member].clear()
        self.asked[member].append((time.monotonic(), sum(size for _, size, _ in batches)))
        most = 0 if full else self._most()
        facts = self._facts_for(member)
        self.hosts.ask(member, "turn", level, [b[0] for b in batches], most, TURN, facts, [b[2] for b in batches])

    def _facts_for(self, member: int) -> bytes:
        facts = bytes(self.facts[member])
        self.facts[member].clear()
        return facts

    def _spread(self, member: int, learned: bytes) -> None:
        """Everybody else is to hear of what a member found out."""
        for i in self.members:
            if i != member:
                self.facts[i] += learned
        if self.learn is not None:
            self.learn(learned)

    def _most(self) -> int:
        """States for each thread to expand in a turn: few when the limit is near."""
        if self.request.limits.states is None:
            return 1 << 40
        return max(16, (self.request.limits.states - self.seen.states) // (4 * UNDERWAY * sum(self.hosts.workers)))

    def _answered(self, answer: MemberAnswer) -> None:
        report, batches = answer.value
        member = answer.member
        self.waiting -= self.asked[member].popleft()[1]
        self.reports[member] = report
        for to, (size, batch) in enumerate(zip(report.sizes, batches, strict=True)):
            if size:
                self.inbox[to].append((member, size, batch))
                self.waiting += size
        self.seen.outcomes.update(report.outcomes)
        self.seen.found += [(self.seen.depth, member, found) for found in report.found]
        self.notes += [(member, note) for note in report.notes]
        if report.learned:
            self._spread(member, report.learned)
        if self.seen.reason is None:
            self.seen.reason = "stale" if report.stale else report.reason
        self._look()

    # Limits, progress, and the end.

    def _look(self) -> None:
        """Sum up what the members reported."""
        seen = self.seen
        seen.states = sum(report.states for report in self.reports)
        seen.transitions = sum(report.transitions for report in self.reports)
        seen.peak = sum(report.peak for report in self.reports)

    def _stops(self) -> None:
        now = time.monotonic()
        limits, seconds = self.request.limits, now - self.started
        for i in self.members:
            if self.asked[i] and now - self.asked[i][0][0] > self.patience:
                raise self._silent(i)
        if limits.states is not None and self.seen.states >= limits.states and self._is_more():
            self.seen.reason = "states"
        elif limits.seconds is not None and seconds >= limits.seconds and self._is_more():
            self.seen.reason = "seconds"
        if self.request.on_progress is not None and now - self.told >= 0.1:
            self.told = now
            frontier = sum(report.left + report.following for report in self.reports)
            seen = self.seen
            self.request.on_progress(Progress(seen.states, seen.transitions, frontier, seen.depth, seconds))

    def _is_more(self) -> bool:
        """Whether anything may be left to see."""
        return any(self.asked) or any(self.inbox) or any(r.left or r.following for r in self.reports)

    def _settle(self) -> None:
        """Let the turns that are under way end, so that the counts are whole."""
        until = time.monotonic() + SETTLE
        while any(self.asked) and (left := until - time.monotonic()) > 0:
            answer = self.hosts.answer(left)
            if answer is not None:
                self._answered(answer)

    def is_settled(self) -> bool:
        """Whether no turn is under way."""
        return not any(self.asked)

    def is_whole(self) -> bool:
        """Whether every state was seen: nothing is left to expand, nothing on its way, and nothing got lost there."""
        reports = self.reports
        is_over = self.is_settled() and not self.waiting and not any(r.left or r.following or r.reason for r in reports)
        return is_over and sum(r.given for r in reports) == sum(r.taken for r in reports) and self.seen.states > 0

    def agree(self, learned: bytes = b"") -> bool:
        """Where steps are merged, with no turn under way: tell everybody of everything, and of what was `learned` here.

        Whether what was seen is worth something: not if anybody has relied on what is not so (`seen.reason` is `stale`,
        whatever it was before), nor if members do not know the same at last (`unknown`): then something was lost on the way.
        """
        if learned:
            self._spread(-1, learned)
        answers: list[Agreed] = [self.call(i, "agreed", self._facts_for(i)) for i in self.members]
        if any(answer.stale for answer in answers):
            self.seen.reason = "stale"
            return False
        if len({answer.sum for answer in answers}) > 1 or any(answer.learned for answer in answers):
            self.seen.reason = self.seen.reason or "unknown"
            return False
        return True

    def call(self, member: int, method: str, *arguments: Any) -> Any:
        """Call a member while no turn is under way, and wait for its answer."""
        self.hosts.ask(member, method, *arguments)
        answer, since = None, time.monotonic()
        while answer is None:
            if time.monotonic() - since > self.patience:
                raise self._silent(member)
            answer = self.hosts.answer(1.0)
        return answer.value

    def _silent(self, member: int) -> Lost:
        return Lost(f"{self.hosts.names[member]} has not answered for {self.patience:.0f} s")

    def way(self, member: int, number: int) -> list[int]:
        """The ordinals that lead from the initial state to a state of a member."""
        ordinals: list[int] = []
        while member >= 0:
            some, member, number = self.call(member, "back", number)
            ordinals += some
            if len(ordinals) > self.seen.depth + 1:
                raise LangError("internal: the way back to a state is longer than the search is deep")
        return ordinals[::-1]


def may_go_on(found: Found) -> bool:
    """Whether a search that collects broken rules goes on after this: not after an error of the model."""
    return found.how != STEP_FAILED or found.kind in (RULE, NONE)


def _key(item: tuple[int, Note]) -> bytes:
    return item[1].key


class LocalHosts:
    """Members in this process, one after the other: what is tested without a cluster."""

    def __init__(self, members: int, workers: int = 1) -> None:
        self.names, self.workers = [f"member {i}" for i in range(members)], [workers] * members
        self.members: list[Member] = []
        self.answers: deque[MemberAnswer] = deque()

    def open(self, job: MemberJob) -> None:
        """Begin a search."""
        self.end()
        count = len(self.names)
        self.members = [Member(job, i, count, self.workers[i], count) for i in range(count)]
        self.answers.clear()

    def ask(self, member: int, method: str, *arguments: Any) -> None:
        """Call a member now."""
        self.answers.append(MemberAnswer(member, getattr(self.members[member], method)(*arguments)))

    def answer(self, seconds: float) -> MemberAnswer | None:
        """The oldest answer."""
        return self.answers.popleft() if self.answers else None

    def end(self) -> None:
        """Give everything back."""
        for member in self.members:
            member.end()
        self.members = []
