"""Breadth-first search over a program's states with the reference executor: the first counterexample is a shortest one.

Whole states are kept in a hash set, so no state is missed. For each state its parent and which of the parent's successors
it was are remembered, five or six bytes; a trace is rebuilt by walking back and running forward.
"""

from __future__ import annotations

import resource
import time
from array import array
from collections.abc import Callable, Sequence

from secondsight.lang.errors import Blocked, LangError, ModelError, NoneFollowed, RuleBroken
from secondsight.lang.reference import Reference
from secondsight.search.result import Limits, Progress, Result, Step, Trace, Verdict, Violation

__all__ = ["breadth_first"]

_CHECK_EVERY = 512
"""States between two looks at the clock."""


def breadth_first(
    reference: Reference,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    watch: tuple[int, int] | None = None,
    order: Sequence[int] | None = None,
    deadlock: bool = True,
) -> Result:
    """Visit every state that can be reached, or stop at the first broken rule.

    `watch`: the part of the state, from and to, whose values in final states are collected as outcomes. `order`: the order
    in which threads are tried (any order visits the same states). `deadlock`: a state in which nobody can go on although
    a thread has not ended is a broken rule. Ctrl-C ends the search with what was seen.
    """
    return _Search(reference, limits or Limits(), on_progress, watch, order, deadlock).run()


class _Stop(Exception):
    """A limit was reached."""


class _Search:
    def __init__(
        self, reference: Reference, limits: Limits, on_progress: Callable[[Progress], None] | None,
        watch: tuple[int, int] | None, order: Sequence[int] | None, deadlock: bool,
    ) -> None:  # fmt: skip
        self.reference, self.limits, self.on_progress = reference, limits, on_progress
        self.watch, self.deadlock = watch, deadlock
        self.threads = [reference.threads[i] for i in (order or range(len(reference.threads)))]
        self.seen: set[bytes] = {reference.initial}
        self.parents = array("Q", [0])
        self.how = array("H", [0])
        self.outcomes: set[bytes] = set()
        self.transitions = self.depth = 0
        self.violation: Violation | None = None
        self.started = self.told = time.perf_counter()

    def run(self) -> Result:
        reason: str | None = None
        error: LangError | None = None
        try:
            self._levels()
        except _Stop as stop:
            reason = str(stop)
        except KeyboardInterrupt:
            reason = "interrupted"
            self.reference.choices.reset()
        except MemoryError:
            reason = "memory"
        except ModelError as raised:
            reason, error = "error", raised
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
        )

    def _levels(self) -> None:
        level = [self.reference.initial]
        first = 0  # the number of the level's first state, in order of discovery
        while level and self.violation is None:
            following: list[bytes] = []
            self._expand(level, first, following)
            first += len(level)
            level = following
            if level:
                self.depth += 1

    def _expand(self, level: list[bytes], first: int, following: list[bytes]) -> None:
        """Every step from every state of a level. Written out flat: this is the loop that takes the time."""
        seen, parents, how, steps = self.seen, self.parents, self.how, self.reference.steps
        choices, threads, wide = self.reference.choices, self.threads, self.reference.wide
        script = choices.script
        transitions = self.transitions
        for number, state in enumerate(level, first):
            ordinal = 0
            for index, base, thread in threads:
                step = steps[state[base] << 8 | state[base + 1] if wide else state[base]]
                if step is None:
                    continue
                while True:
                    try:
                        result = step(state, base, thread)
                    except Blocked:
                        result = None
                    except NoneFollowed as error:
                        self._found(number, index, NoneFollowed.rule, str(error), error)
                        return
                    except RuleBroken as error:
                        self._found(number, index, error.rule, error.message, error)
                        return
                    except RecursionError:
                        raise ModelError("a loop without a step boundary does not end") from None
                    if result is not None:
                        ordinal += 1
                        new = bytes(result)
                        if new not in seen:
                            seen.add(new)
                            following.append(new)
                            parents.append(number)
                            how.append(ordinal - 1)
                    if not script or not choices.advance():
                        choices.at = 0
                        break
            transitions += ordinal
            self.transitions = transitions
            if not ordinal and not self._final(number, state):
                return
            if not number % _CHECK_EVERY:
                self._look(len(level) - (number - first), len(following))

    # The end of a path.

    def _final(self, number: int, state: bytes) -> bool:
        """A state without successors: an outcome, or a deadlock (then False)."""
        if self.reference.finished(state):
            if self.watch is not None:
                self.outcomes.add(state[self.watch[0] : self.watch[1]])
            return True
        if not self.deadlock:
            return True
        program = self.reference.program
        waiting = []
        for index, thread in enumerate(program.threads):
            counter = self.reference.counter(state, index)
            if counter:
                where = program.counters[counter - 1].where
                waiting.append(f"{thread.name} in {program.counters[counter - 1].function.name} (line {where.line})")
        self.violation = Violation("deadlock", "nobody can go on: " + ", ".join(waiting) + " waits", None, self._trace(number))
        return False

    def _found(self, number: int, thread: int, rule: str, message: str, error: LangError) -> None:
        """A step broke a rule."""
        choices = tuple(self.reference.choices.script)
        self.reference.choices.reset()
        trace = self._trace(number)
        last = Step(thread, choices)
        self.violation = Violation(rule, message, getattr(error, "where", None), Trace((*trace.steps, last), trace.states))

    def _trace(self, number: int) -> Trace:
        """The way to a state, by its number in order of discovery."""
        ordinals: list[int] = []
        while number:
            ordinals.append(self.how[number])
            number = self.parents[number]
        state, steps, states = self.reference.initial, [], []
        for ordinal in reversed(ordinals):
            found = [s for t in self.threads for s in self.reference.thread_successors(state, t[0]) if s.state is not None][
                ordinal
            ]
            assert found.state is not None
            state = found.state
            steps.append(Step(found.thread, found.choices))
            states.append(state)
        return Trace(tuple(steps), tuple(states))

    # Limits and progress.

    def _look(self, left: int, following: int) -> None:
        """Tell how far the search is; stop it at a limit."""
        limits, count = self.limits, len(self.parents)
        now = time.perf_counter()
        if limits.states is not None and count >= limits.states:
            raise _Stop("states")
        if limits.seconds is not None and now - self.started >= limits.seconds:
            raise _Stop("seconds")
        if limits.memory is not None and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 >= limits.memory:
            raise _Stop("memory")
        if self.on_progress is not None and now - self.told >= 0.1:
            self.told = now
            self.on_progress(Progress(count, self.transitions, left + following, self.depth, now - self.started))
