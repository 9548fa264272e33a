"""The search for a run that has a claim's lines in order: over states, and how far the run has come with the lines.

It goes on with the runs that have come farthest, and of these with the shortest: each line is looked for from where the one before was
come to first. Where no run has all lines every state was seen with every way to have come there. When one has them it goes on for a while:
does any such run break a rule?
"""

from __future__ import annotations

import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from secondsight.claims.patterns import Pattern
from secondsight.claims.reading import Advance, Reader
from secondsight.lang.errors import LangError, NoneFollowed, OutOfRecords, RuleBroken
from secondsight.lang.traced import Traced, TracedEvent
from secondsight.search import Limits, Progress, Step
from secondsight.search.bfs import memory_now

__all__ = ["FoundRun", "Runs", "find_run"]

_CHUNK = 512
_BEYOND = 5_000
"""So many states more are looked at for a run that has all lines and breaks a rule."""


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run, by its steps; the state that it ends in, or None where the last step breaks a rule; how many lines it has, and after how
    many steps."""

    steps: tuple[Step, ...]
    end: bytes | None
    lines: int
    until: int
    rule: str = ""


@dataclass(slots=True)
class Runs:
    """What was seen: `whole` has all lines; if it breaks no rule, `all_seen` says whether no such run does (and else, in how many states
    none does). Where none has: `farthest` are the shortest of those that have the most, `cut` says what rules ended some of these. `reason`:
    which limit ended the search."""

    whole: FoundRun | None = None
    all_seen: bool = False
    farthest: list[FoundRun] = field(default_factory=list)
    cut: dict[str, FoundRun] = field(default_factory=dict)
    states: int = 0
    seconds: float = 0.0
    reason: str | None = None
    error: LangError | None = None


def find_run(
    traced: Traced, patterns: Sequence[Pattern], allowed: Sequence[frozenset[int]], limits: Limits, on_progress: Callable[[Progress], None] | None = None
) -> Runs:
    """Search. `allowed`: by line, the threads that it may be of."""
    return _Search(traced, patterns, allowed, limits, on_progress).run()


_Way = tuple[int, int, tuple[int, ...], bytes | None, tuple[TracedEvent, ...], LangError | None]


class _Search:
    def __init__(
        self, traced: Traced, patterns: Sequence[Pattern], allowed: Sequence[frozenset[int]], limits: Limits, on_progress: Callable[[Progress], None] | None
    ) -> None:
        self.traced, self.allowed, self.limits, self.on_progress = traced, allowed, limits, on_progress
        self.reader, self.count = Reader(traced, patterns), len(patterns)
        self.threads = range(len(traced.threads))
        with traced.program.machine:
            self.nodes: list[tuple[bytes, Advance]] = [(traced.initial, self.reader.begin())]
        self.seen = {self.nodes[0]}
        self.parents, self.hows = array("Q", [0]), [Step(0)]
        self.todo: list[deque[int]] = [deque() for _ in range(self.count + 1)]
        self.todo[0].append(0)
        self.best, self.ends = 0, [0]
        self.ways: dict[bytes, list[_Way]] = {}
        self.found = Runs()
        self.started = self.told = time.perf_counter()
        self.transitions = 0

    def run(self) -> Runs:
        """The whole search."""
        top, turn, found = 0, 0, self.found
        enough: int | None = None
        try:
            with self.traced.program.machine:  # words may depend on how large it is
                while top >= 0 and not (found.whole is not None and found.whole.rule):
                    if found.whole is not None and enough is None:
                        enough = len(self.nodes) + _BEYOND
                    if enough is not None and len(self.nodes) > enough:
                        break
                    if not self.todo[top]:
                        top -= 1
                        continue
                    top = self._expand(self.todo[top].popleft(), top)
                    turn += 1
                    if turn % _CHUNK == 0:
                        self._look()
            found.all_seen = top < 0
        except _Stop as stop:
            found.reason = str(stop) if found.whole is None else None
        except KeyboardInterrupt:
            found.reason = "interrupted"
        except OutOfRecords as error:
            found.reason, found.error = "error", error
        finally:
            self.traced.choices.reset()
        found.states, found.seconds = len({state for state, _ in self.nodes}), time.perf_counter() - self.started
        if found.whole is None:
            found.reason = found.reason or ("error" if found.error is not None else None)
            found.farthest = [self._run(node) for node in self.ends]
        return found

    def _expand(self, node: int, top: int) -> int:
        """Every step from a node; the farthest line that there is something to do at now."""
        state, progress = self.nodes[node]
        reader, allowed = self.reader, self.allowed
        ways = self.ways.get(state)
        if ways is None:
            ways = self.ways[state] = list(self._ways(state))
        for thread, counter, choices, new, events, error in ways:
            self.transitions += 1
            further = reader.take(progress, thread, counter, events, allowed)
            if new is None:
                self._broken(node, Step(thread, choices), further, error)
                continue
            key = (new, further)
            if key in self.seen:
                continue
            self.seen.add(key)
            self.nodes.append(key)
            self.parents.append(node)
            self.hows.append(Step(thread, choices))
            number = len(self.nodes) - 1
            if further.line > self.best:
                self.best, self.ends = further.line, []
                self.found.cut.clear()
            if further.line == self.best and len(self.ends) < 200 and progress.line < further.line:
                self.ends.append(number)
            if further.line == self.count and self.found.whole is None:
                self.found.whole = self._run(number)
            self.todo[further.line].append(number)
            top = max(top, further.line)
        if not ways and not self.traced.finished(state):
            self._stuck(node)
        return top

    def _ways(self, state: bytes) -> Iterator[_Way]:
        traced, seen_of = self.traced, self.reader.seen_of
        for thread in self.threads:
            counter = traced.counter(state, thread)
            if counter:
                for way, events in traced.traced_steps(state, thread):
                    yield thread, counter, way.choices, way.state, seen_of(events), way.error

    def _broken(self, node: int, step: Step, further: Advance, error: LangError | None) -> None:
        """A step that ends the run."""
        if isinstance(error, OutOfRecords):
            raise error
        if not isinstance(error, (RuleBroken, NoneFollowed)):
            self.found.error = self.found.error or error
            return
        rule = error.rule
        further = self.reader.breaks(further, step.thread, rule, self.allowed)
        self._ended(node, (step,), None, further.line, rule)

    def _stuck(self, node: int) -> None:
        state, progress = self.nodes[node]
        counters = [self.traced.counter(state, thread) for thread in self.threads]
        self._ended(node, (), state, self.reader.stands(progress, counters, self.allowed).line, "deadlock")

    def _ended(self, node: int, steps: tuple[Step, ...], end: bytes | None, line: int, rule: str) -> None:
        before = self._run(node) if line >= self.best and (line == self.count or rule not in self.found.cut or line > self.best) else None
        if before is None:
            return
        until = before.until if before.lines == line else len(before.steps) + len(steps)
        run = FoundRun((*before.steps, *steps), end, line, until, rule)
        if line == self.count and (self.found.whole is None or not self.found.whole.rule):
            self.found.whole = run
        if line > self.best:
            self.best, self.ends = line, []
            self.found.cut.clear()
        self.found.cut.setdefault(rule, run)

    def _run(self, node: int) -> FoundRun:
        """The way to a node."""
        state, progress = self.nodes[node]
        steps: list[Step] = []
        behind = 0
        while node:
            steps.append(self.hows[node])
            node = self.parents[node]
            behind += self.nodes[node][1].line == progress.line
        return FoundRun(tuple(reversed(steps)), state, progress.line, len(steps) - behind)

    def _look(self) -> None:
        """Tell how far the search is; stop it at a limit."""
        limits, now = self.limits, time.perf_counter()
        if limits.states is not None and len(self.nodes) >= limits.states:
            raise _Stop("states")
        if limits.seconds is not None and now - self.started >= limits.seconds:
            raise _Stop("seconds")
        if limits.memory is not None and memory_now() >= limits.memory:
            raise _Stop("memory")
        if self.on_progress is not None and now - self.told >= 0.1:
            self.told = now
            frontier = sum(map(len, self.todo))
            self.on_progress(Progress(len(self.nodes), self.transitions, frontier, self.best, now - self.started))


class _Stop(Exception):
    """A limit was reached."""
