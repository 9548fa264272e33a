"""Breadth-first search over a program's states with the reference executor: the counterexample is a shortest one.

Whole states are kept in a hash set, so no state is missed. For each state its parent and which of the parent's successors
it was are remembered, twelve bytes; a trace is rebuilt by walking back and running forward.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Sequence

from secondsight.lang.errors import Blocked, LangError, ModelError, NoneFollowed, RuleBroken
from secondsight.lang.reference import Reference, Successor
from secondsight.search.lock_order import LockOrder
from secondsight.search.loop import livelock
from secondsight.search.messages import deadlock_message
from secondsight.search.progress import Edges, Stand, lock_steps
from secondsight.search.request import Request
from secondsight.search.result import Progress, Result, Step, Trace, Verdict, Violation, reported

__all__ = ["breadth_first", "memory_now"]

_CHUNK = 512
"""States between two looks at the clock."""


def breadth_first(
    reference: Reference, request: Request | None = None, order: Sequence[int] | None = None, until: Callable[[int], bool] | None = None
) -> Result:
    """Visit every state that can be reached, or stop with the level in which a rule is broken (`search.result.reported`).

    `request`: see `Request`. `order`: the order in which threads are tried (any order visits the same states). A livelock's
    trace leads to the first state, in order of discovery, that lies on a loop which can go round for ever, and goes once round a
    shortest one; looking for it takes memory for every transition. Ctrl-C ends the search with what was seen. `until`: asked every
    so often, with how many states were seen, whether to stop; the reason is `states` then.
    """
    return _Search(reference, request or Request(), order, until).run()


class _Stop(Exception):
    """A limit was reached."""


class _Search:
    def __init__(
        self, reference: Reference, request: Request, order: Sequence[int] | None, until: Callable[[int], bool] | None
    ) -> None:
        self.reference, self.request, self.limits, self.until = reference, request, request.limits, until
        self.threads = [reference.threads[i] for i in (range(len(reference.threads)) if order is None else order)]
        if sorted(i for i, _, _ in self.threads) != list(range(len(reference.threads))):
            raise ValueError(f"order={order}: each thread once")
        self.lock_order = LockOrder(reference.program) if request.lock_order else None
        self.daemons = sum(1 << i for i, t in enumerate(reference.program.threads) if t.daemon)
        self.edges = Edges(self.daemons) if request.livelock else None
        self.seen: dict[bytes, int] = {reference.initial: 0}
        self.parents = array("Q", [0])
        self.how = array("I", [0])
        self.outcomes: set[bytes] = set()
        self.transitions = self.depth = 0
        self.violation: Violation | None = None
        self.stopped: int | None = None  # the state in which something was found
        self.against: Violation | None = None
        self.error_trace: Trace | None = None
        self.weighed = 0  # states that there were when memory was looked at last
        self.started = self.told = time.perf_counter()

    def run(self) -> Result:
        """The whole search."""
        reason: str | None = None
        error: LangError | None = None
        try:
            self._levels()
            if self.edges is not None and self.violation is None:
                self._goes_round(self.edges)
        except _Stop as stop:
            reason = str(stop)
        except KeyboardInterrupt:
            reason = "interrupted"
        except MemoryError:
            reason = "memory"
        except ModelError as raised:
            reason, error = "error", raised
        finally:
            self.reference.choices.reset()
        verdict = Verdict.BROKEN if self.violation else Verdict.NOT_FINISHED if reason else Verdict.HOLDS
        seconds = time.perf_counter() - self.started
        return Result(
            verdict,
            len(self.parents),
            self.transitions,
            self.depth,
            seconds,
            self.violation,
            reason,
            error,
            frozenset(self.outcomes),
            error_trace=self.error_trace,
        )

    def _levels(self) -> None:
        chunk = _CHUNK if self.limits.states is None else max(1, min(_CHUNK, self.limits.states // 4))
        level = [self.reference.initial]
        first = 0  # the number of the level's first state, in order of discovery
        while level:
            following: list[bytes] = []
            for start in range(0, len(level), chunk):
                self._expand(level[start : start + chunk], first + start, following)
                if self.stopped is not None:
                    self._judge(level[self.stopped - first :], self.stopped)
                    return
                self._look(len(level) - start + len(following), following or start + chunk < len(level))
            first += len(level)
            level = following
            if level:
                self.depth += 1

    def _expand(self, states: list[bytes], first: int, following: list[bytes]) -> None:
        """Every step from every one of some states. Written out flat: this is the loop that takes the time."""
        seen, parents, how, steps, edges = self.seen, self.parents, self.how, self.reference.steps, self.edges
        choices, threads, wide = self.reference.choices, self.threads, self.reference.wide
        script = choices.script
        if edges is not None:
            targets = edges.targets
        taking: frozenset[int] = frozenset()
        if self.lock_order is not None:
            taking, look, holders = self.lock_order.counters, self.lock_order.look, self.lock_order.holders
        final = self.daemons
        for number, state in enumerate(states, first):
            ordinal = 0
            if edges is not None:
                edges.starts.append(len(targets))
            for index, base, thread in threads:
                counter = state[base] << 8 | state[base + 1] if wide else state[base]
                step = steps[counter]
                if step is None:
                    continue
                while True:
                    try:
                        result = step(state, base, thread)
                    except Blocked:
                        result = None
                    except (ModelError, RuleBroken, RecursionError):
                        choices.reset()
                        self.stopped = number
                        return
                    if result is not None:
                        ordinal += 1
                        new = bytes(result)
                        count = len(parents)
                        target = seen.setdefault(new, count)
                        if target == count:
                            following.append(new)
                            parents.append(number)
                            how.append(ordinal - 1)
                        if edges is not None:
                            targets.append(target)
                        if counter in taking and thread in holders[look(state)]:
                            self.against = self._inverts(state, new, thread, counter, number, Step(index, tuple(script)))
                            if self.against is not None:
                                choices.reset()
                                self.stopped = number
                                return
                    if not script:
                        break
                    if not choices.advance():
                        break
            self.transitions += ordinal
            if (final or not ordinal) and not self._final(state, ordinal):
                self.stopped = number
                return

    # The end of a path.

    def _final(self, state: bytes, successors: int) -> bool:
        """A state without successors, or with daemons' only: an outcome, or a deadlock (then False)."""
        if self.reference.finished(state):
            if self.request.watch is not None:
                self.outcomes.add(state[self.request.watch[0] : self.request.watch[1]])
            return True
        return bool(successors) or not self.request.deadlock

    def _judge(self, states: list[bytes], first: int) -> None:
        """Something is wrong in the first of these states: see what is wrong in it and in the rest of its level, and what counts."""
        found: dict[str, tuple[int, Successor | Violation | None]] = {}
        errors: list[tuple[int, Successor]] = []
        interrupted = False
        if self.against is not None:
            found["lock-order"] = first, self.against
        try:
            for number, state in enumerate(states, first):
                if self._look_through(number, state, found, errors):
                    break
                late = number % _CHUNK == 0 and self.limits.seconds is not None
                if late and time.perf_counter() - self.started >= (self.limits.seconds or 0):
                    break
        except KeyboardInterrupt:
            interrupted = True
        if found:
            self.violation = self._violation(*found[reported(found)])
        if interrupted:
            raise KeyboardInterrupt
        if errors and not found:
            number, way = errors[0]
            assert isinstance(way.error, ModelError)
            trace = self._trace(number)
            self.error_trace = trace.then([Step(way.thread, way.choices)])
            raise way.error

    def _look_through(
        self, number: int, state: bytes, found: dict[str, tuple[int, Successor | Violation | None]], errors: list[tuple[int, Successor]]
    ) -> bool:
        """What is wrong in a state; True where nothing counts more than what was found."""
        steps = failed = 0
        for index, _, thread in self.threads:
            for way in self.reference.thread_successors(state, index):
                failed += way.error is not None
                steps += way.error is None
                if isinstance(way.error, (RuleBroken, NoneFollowed)):
                    found.setdefault(way.error.rule, (number, way))
                elif way.error is not None:
                    errors.append((number, way))
                elif "lock-order" not in found:
                    against = self._takes(state, way, thread, number)
                    if against is not None:
                        found["lock-order"] = number, against
        if not steps and not failed and self.request.deadlock and not self.reference.finished(state):
            found["deadlock"] = number, None
            return True
        return False

    def _takes(self, state: bytes, way: Successor, thread: int, number: int) -> Violation | None:
        """What is wrong with a step's taking a lock, if anything is."""
        counter = self.reference.counter(state, way.thread)
        order = self.lock_order
        if order is None or counter not in order.counters or thread not in order.holders[order.look(state)]:
            return None
        assert way.state is not None
        return self._inverts(state, way.state, thread, counter, number, Step(way.thread, way.choices))

    def _violation(self, number: int, what: Successor | Violation | None) -> Violation:
        """A broken rule, with the trace to where it is broken; None: nobody can go on in that state."""
        if isinstance(what, Violation):
            return what
        trace = self._trace(number)
        if what is None:
            last = trace.states[-1] if trace.states else self.reference.initial
            return Violation("deadlock", deadlock_message(self.reference, last), None, trace)
        error = what.error
        assert isinstance(error, (RuleBroken, NoneFollowed))
        message = error.message if isinstance(error, RuleBroken) else str(error)
        return Violation(error.rule, message, error.where, trace.then([Step(what.thread, what.choices)]))

    def _goes_round(self, edges: Edges) -> None:
        """A fair cycle in which a thread has not ended is a livelock."""
        states: list[bytes] = []

        def look(number: int) -> Stand:
            """How the threads stand in a state."""
            if not states:
                states.extend(self.seen)  # they are there in order of discovery
            return self._stand(states[number])

        found = edges.livelocked(look)
        if found:
            first = self._trace(min(found))
            self.violation = livelock(self.reference, first, lambda state: self.seen.get(state) in found)

    def _stand(self, state: bytes) -> Stand:
        """Who can take a step in a state, who has not ended, and who stands at a lock; and whose steps lead from it."""
        locks, alive, locking = lock_steps(self.reference.program), 0, 0
        movers: list[int] = []
        for index, _, _ in self.threads:
            counter = self.reference.counter(state, index)
            if counter:
                alive |= 1 << index
                locking |= (counter in locks) << index
                movers += [index for way in self.reference.thread_successors(state, index) if way.state is not None]
        return Stand(sum(1 << index for index in set(movers)), alive, locking, movers)

    def _inverts(self, state: bytes, new: bytes, thread: int, counter: int, number: int, step: Step) -> Violation | None:
        """The broken rule, if a step took a lock against the order that other steps took locks in."""
        assert self.lock_order is not None
        found = self.lock_order.note(state, new, thread, counter)
        if found is None:
            return None
        message, where = found
        choices = self.reference.choices
        kept = choices.script[:], choices.sizes[:], choices.at
        choices.reset()
        trace = self._trace(number)
        choices.script[:], choices.sizes[:], choices.at = kept
        return Violation("lock-order", message, where, trace.then([step], [new]))

    def _trace(self, number: int) -> Trace:
        """The way to a state, by its number in order of discovery."""
        ordinals: list[int] = []
        while number:
            ordinals.append(self.how[number])
            number = self.parents[number]
        state, steps, states = self.reference.initial, [], []
        for ordinal in reversed(ordinals):
            found = [s for t in self.threads for s in self.reference.thread_successors(state, t[0]) if s.state is not None]
            state = found[ordinal].state or b""
            steps.append(Step(found[ordinal].thread, found[ordinal].choices))
            states.append(state)
        return Trace(tuple(steps), tuple(states))

    # Limits and progress.

    def _look(self, frontier: int, more: object) -> None:
        """Tell how far the search is; stop it at a limit if there is more to see."""
        limits, count = self.limits, len(self.parents)
        now = time.perf_counter()
        if more and ((limits.states is not None and count >= limits.states) or (self.until is not None and self.until(count))):
            raise _Stop("states")
        if more and limits.seconds is not None and now - self.started >= limits.seconds:
            raise _Stop("seconds")
        if more and limits.memory is not None and (count >= self.weighed + _CHUNK or not self.weighed):
            self.weighed = count
            if memory_now() >= limits.memory:
                raise _Stop("memory")
        if self.request.on_progress is not None and now - self.told >= 0.1:
            self.told = now
            self.request.on_progress(Progress(count, self.transitions, frontier, self.depth, now - self.started))


def memory_now() -> int:
    """Bytes of memory that this process has now (where that is not known, the most it ever had)."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
