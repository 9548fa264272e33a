"""Both sides in step: random walks, and every transition of a configuration.

The model chooses: the reference executor makes a step of a thread, then the C's thread goes on to the place that the model's
next boundary stands for, and the two looks are compared. Commands are sent in batches; the model does not wait for the C.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from secondsight.conform.place import Crossing, Stop, stops_of
from secondsight.conform.side import Side, SideAnswer, SideDied
from secondsight.conform.target import Configuration, Target
from secondsight.lang.errors import RuleBroken
from secondsight.lang.reference import Reference, Successor

__all__ = ["Beside", "Divergence", "Turn", "Tally"]

BATCH = 400
"""Answers in one batch."""

ENDED = Crossing("", "", Stop("ended"))

Turn = tuple[int, tuple[int, ...]]


@dataclass(frozen=True)
class Divergence:
    """Where model and C part: the configuration, the schedule that leads there, and what each says."""

    configuration: Configuration
    schedule: tuple[Turn, ...]
    what: str
    model: str
    c: str
    before: str = ""

    @property
    def steps(self) -> int:
        """How many steps lead there, the one where they part included."""
        return len(self.schedule)


@dataclass
class Tally:
    """What was compared: steps, walks or configurations, states, and the first disagreement."""

    steps: int = 0
    walks: int = 0
    states: int = 0
    places: set[str] = field(default_factory=set)
    broken: dict[str, int] = field(default_factory=dict)
    disagreement: Divergence | None = None
    cut: bool = False


@dataclass(slots=True)
class _Expected:
    """An answer that the model expects: of which step, and what."""

    schedule: tuple[Turn, ...] | None
    enabled: str
    look: str
    rule: tuple[str, ...] | None
    before: str


class Beside:
    """A target's model and its C."""

    def __init__(self, target: Target, side: Side, release: str) -> None:
        self.target, self.side, self.release = target, side, release
        self.passed_before: set[str] = set()

    # Random walks.

    def walk(self, configuration: Configuration, source: random.Random, tally: Tally, most: int = 400) -> None:
        """One random walk to its end, or for `most` steps."""
        run = _Run(self, configuration, tally)
        state = run.reference.initial
        run.begin(state)
        schedule: list[Turn] = []
        before = run.look(state)
        while len(schedule) < most:
            possible = run.successors(state)
            if not possible:
                break
            step = source.choice(possible)
            schedule.append((step.thread, step.choices))
            run.step(step, tuple(schedule), before, state)
            if step.state is None or (run.full and not run.flush()):
                break
            state = step.state
            before = run.last_look
        run.flush()
        tally.walks += 1

    # Every transition.

    def all_transitions(
        self, configuration: Configuration, tally: Tally, deepest: int = 10_000, most: int = 10_000_000,
        on_progress: Callable[[int, int], bool] | None = None, careful: bool = False,
    ) -> None:  # fmt: skip
        """Every transition of the model's graph, depth first: the C is put back to the state that it starts from.

        `deepest` cuts ways that are longer; `most` cuts the number of states; then `tally.cut` is set. `on_progress(states,
        steps)` says whether to go on. `careful`: nobody in the configuration does what leaves the C undefined, so the model may
        break no rule that stands for that.
        """
        run = _Run(self, configuration, tally, careful)
        initial = run.reference.initial
        run.begin(initial)
        run.commands.append("save 0")
        depth_of = {initial: 0}
        schedule: list[Turn] = []
        stack = [iter(run.successors(initial))]
        states = [initial]
        at = [0]  # the depth whose state the C has; None when it must be loaded
        current: int | None = 0
        limited = deepest < 10_000
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                states.pop()
                if schedule:
                    schedule.pop()
                continue
            depth = len(stack) - 1
            if current != depth:
                run.commands.append(f"load {depth}")
            schedule.append((step.thread, step.choices))
            if not run.step(step, tuple(schedule), run.look(states[-1]), states[-1]):
                schedule.pop()
                current = depth
                continue
            current = None
            if run.full:
                if not run.flush():
                    return
                if on_progress is not None and not on_progress(len(depth_of), tally.steps):
                    tally.cut = True
                    break
            new = step.state
            known = None if new is None else depth_of.get(new)
            if new is None or (known is not None and not (limited and known > depth + 1)):
                schedule.pop()
                continue
            if depth + 1 >= deepest or len(depth_of) >= most:
                tally.cut = True
                schedule.pop()
                continue
            depth_of[new] = depth + 1
            run.commands.append(f"save {depth + 1}")
            current = depth + 1
            stack.append(iter(run.successors(new)))
            states.append(new)
            del at[1:]
        run.flush()
        tally.states += len(depth_of)
        tally.walks += 1

    def replay(self, configuration: Configuration, schedule: tuple[Turn, ...], tally: Tally) -> Iterator[tuple[Turn, str, str]]:
        """A schedule step by step, each sent alone: the step, the model's look and what the C says."""
        run = _Run(self, configuration, tally)
        state = run.reference.initial
        run.begin(state)
        run.flush()
        for number, wanted in enumerate(schedule):
            step = next((s for s in run.successors(state) if (s.thread, s.choices) == wanted), None)
            if step is None:
                return
            before = run.look(state)
            run.step(step, schedule[: number + 1], before, state)
            agrees = run.flush()
            model = "" if step.state is None else run.look(step.state)
            yield wanted, model, model if agrees or tally.disagreement is None else tally.disagreement.c
            if not agrees or step.state is None:
                return
            state = step.state


class _Run:
    """One configuration: commands that wait to be sent, and what their answers should be."""

    def __init__(self, beside: Beside, configuration: Configuration, tally: Tally, careful: bool = False) -> None:
        self.beside, self.configuration, self.tally, self.careful = beside, configuration, tally, careful
        target, side = beside.target, beside.side
        self.scene = target.scene(configuration)
        program = self.scene.program
        self.reference = Reference(program)
        self.boundaries = stops_of(program, target.boundaries, target.file)
        self.wanted = {number: side.wanted(boundary) for number, boundary in self.boundaries.items()}
        self.wanted[0] = side.wanted(ENDED)
        self.commands: list[str] = []
        self.expected: list[_Expected] = []
        self.cache: dict[bytes, list[Successor]] = {}
        self.last_look = ""
        self.ended = False  # the C has ended where the model breaks a rule next

    def look(self, state: bytes) -> str:
        """The model's look."""
        return self.scene.look(state)

    @property
    def full(self) -> bool:
        """Whether it is time to send the batch."""
        return len(self.expected) >= BATCH

    def begin(self, state: bytes) -> None:
        """The commands that make the world."""
        self.commands.append("reset " + " ".join(map(str, self.configuration.setup)))
        for number, operations in enumerate(self.configuration.threads):
            self.commands.append(f"thread {number}")
            self.commands += [f"thread {number} {o.code} {' '.join(map(str, o.arguments))}".rstrip() for o in operations]
        self._poke(state)
        self.commands.append("begin")
        self.last_look = self.look(state)
        self.expected.append(_Expected((), self.enabled(state), self.last_look, None, ""))

    def _poke(self, state: bytes) -> None:
        if self.scene.poke is not None:
            self.commands += [f"poke {command}" for command in self.scene.poke(state)]

    def successors(self, state: bytes) -> list[Successor]:
        """The model's steps from a state."""
        found = self.cache.get(state)
        if found is None:
            if len(self.cache) > 2000:
                self.cache.clear()
            found = self.cache[state] = self.reference.successors(state)
        return found

    def enabled(self, state: bytes) -> str:
        """Which threads can go on, as an answer writes it."""
        going = {s.thread for s in self.successors(state)}
        counter = self.reference.counter
        return "".join("-" if not counter(state, i) else "1" if i in going else "0" for i in range(len(self.reference.threads)))

    def step(self, step: Successor, schedule: tuple[Turn, ...], before: str, state: bytes) -> bool:
        """Queue a step of both sides. False: the C is not asked for it."""
        target = self.beside.target
        rule: tuple[str, ...] | None = None
        if step.state is None:
            if not isinstance(step.error, RuleBroken):
                raise step.error or AssertionError
            boundary = self.boundaries[self.reference.counter(state, step.thread)]
            name = step.error.rule
            rule = target.rules.get(f"{name} at {boundary.function}: {boundary.text}", target.rules.get(name))
            self.tally.broken[step.error.rule] = self.tally.broken.get(step.error.rule, 0) + 1
            if rule is None:
                self._differ(schedule, f"the model breaks the rule {step.error.rule}", str(step.error), "not asked", before)
                return False
            if rule == ("undefined",) and self.careful:
                self._differ(schedule, f"the model breaks the rule {name}, and nobody does wrong", str(step.error), "not asked", before)
                return False
            if rule == ("undefined",):
                return False
            wanted = "0 0 0"
        else:
            wanted = self.wanted[self.reference.counter(step.state, step.thread)]
        given = 0
        if self.scene.given is not None and step.state is not None:
            given = self.scene.given(state, step.state, step.thread)
        self._poke(state if step.state is None else step.state)
        self.commands.append(f"go {step.thread} {given} {wanted}")
        enabled, look = ("", "") if step.state is None else (self.enabled(step.state), self.look(step.state))
        self.last_look = look
        self.expected.append(_Expected(schedule, enabled, look, rule, before))
        return True

    def flush(self) -> bool:
        """Send what waits and compare; whether all agrees so far."""
        if self.tally.disagreement is not None or self.ended:
            return False
        commands, expected = self.commands, self.expected
        self.commands, self.expected = [], []
        if not expected:
            return True
        for want, answer in zip(expected, self.beside.side.run(commands, len(expected)), strict=False):
            self.tally.steps += want.schedule != ()
            if not self._compare(want, answer):
                return False
        return True

    def _compare(self, want: _Expected, answer: SideAnswer | SideDied) -> bool:
        schedule = want.schedule or ()
        if want.rule is not None:
            did = answer.reason if isinstance(answer, SideDied) else "warning" if answer.warnings else "no warning"
            place = None if isinstance(answer, SideDied) else self.beside.side.place(answer.place)
            if did in want.rule or (place is not None and place.kind in want.rule):
                return True
            return self._differ(schedule, "the model breaks a rule", " or ".join(want.rule), did, want.before)
        if isinstance(answer, SideDied):
            if self._breaks_next(schedule, answer.reason):
                self.ended = True
                return False
            return self._differ(schedule, "the C side ended", want.look, str(answer), want.before)
        side, target = self.beside.side, self.beside.target
        if answer.which < 0:
            place = side.place(answer.place)
            wanted = self._wanted(schedule)
            return self._differ(schedule, "the thread is at another place", wanted, f"{place}", want.before)
        if answer.passed and answer.passed not in self.beside.passed_before:
            for text in answer.passed.split():
                stop = side.place(text)
                if stop is not None and stop not in target.merged and Stop(stop.kind) not in target.merged:
                    return self._differ(schedule, "the C can be left where the model cannot", "", f"{stop}", want.before)
            self.beside.passed_before.add(answer.passed)
        if answer.warnings and self._breaks_next(schedule, "warning"):
            self.ended = True
            return False
        if answer.warnings:
            return self._differ(schedule, "the kernel warns", "no rule broken", f"{answer.warnings} warnings", want.before)
        if answer.look != want.look and self._breaks_next(schedule, "undefined"):
            self.ended = True
            return False
        if answer.look != want.look:
            return self._differ(schedule, "the states differ", want.look, answer.look, want.before)
        if answer.enabled != want.enabled:
            return self._differ(
                schedule, "other threads can go on", f"{want.enabled} {want.look}", f"{answer.enabled} {answer.look}", want.before
            )
        return True

    def _after(self, schedule: tuple[Turn, ...]) -> bytes:
        """The model's state after a schedule."""
        state = self.reference.initial
        for thread, choices in schedule:
            step = next(s for s in self.reference.successors(state) if (s.thread, s.choices) == (thread, choices))
            assert step.state is not None
            state = step.state
        return state

    def _breaks_next(self, schedule: tuple[Turn, ...], reason: str) -> bool:
        """Whether the thread's next step breaks a rule that stands for what ended the C: the model asks a step later."""
        if not schedule:
            return False
        following = self.reference.thread_successors(self._after(schedule), schedule[-1][0])
        errors = [s.error for s in following if isinstance(s.error, RuleBroken)]
        return any({reason, "undefined"} & {*self.beside.target.rules.get(error.rule, ())} for error in errors)

    def _wanted(self, schedule: tuple[Turn, ...]) -> str:
        """Where a thread should be after a schedule."""
        state = self._after(schedule)
        boundary = self.boundaries.get(self.reference.counter(state, schedule[-1][0]), ENDED)
        return " or ".join(str(stop) for stop in boundary.stops if stop is not None)

    def _differ(self, schedule: tuple[Turn, ...], what: str, model: str, c: str, before: str) -> bool:
        self.tally.disagreement = Divergence(self.configuration, schedule, what, model, c, before)
        return False
