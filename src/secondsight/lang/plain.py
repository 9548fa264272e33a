"""Plain execution: the user's own functions in CPython, cut at their step boundaries, under a given schedule.

Every thread is a greenlet; at a boundary it switches back to the run, which decides who goes on. It does not pass through
the lowering, so it is the independent check on every executor: `replay` runs a trace step by step and compares, after
each step, the whole shared state, where each thread stands, and the locals that live there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from greenlet import getcurrent, greenlet

from secondsight.lang.cuts import cuts_of, has_queues
from secondsight.lang.errors import LangError, ModelError, NoneFollowed, Position, RuleBroken
from secondsight.lang.instrument import instrumented
from secondsight.lang.locks import Lock, RwLock, SpinLock
from secondsight.lang.program import Counter, Program
from secondsight.lang.records import Record, Value, records_in
from secondsight.lang.runtime import SETUP_THREAD, runtime
from secondsight.lang.standins import unwrap

__all__ = ["Disagreement", "PlainEvent", "PlainRun", "PlainStep", "WouldBlock", "compare", "replay"]


class Disagreement(LangError):
    """Plain execution and another executor differ: a bug in secondsight, never in the model that was run."""


class WouldBlock(Exception):
    """A step cannot be taken now: something it waits for does not hold. The run is spent."""


@dataclass(frozen=True, slots=True)
class PlainEvent:
    """Something worth telling about a step: `call` of a function with its arguments and the line that called it, its `return` with the
    value, or the `free` of a record (`value`), with the line that freed it."""

    kind: str
    name: str
    depth: int
    arguments: dict[str, Any]
    value: Any = None
    where: Position | None = None


@dataclass(slots=True)
class PlainStep:
    """One step as it ran: by which thread, from which line, what was called, the shared state after it, how it ended."""

    thread: int
    line: int
    file: str
    events: list[PlainEvent] = field(default_factory=list)
    shared: bytes = b""
    error: LangError | None = None


@dataclass(slots=True)
class _Thread:
    """One greenlet and where it stands."""

    glet: greenlet
    line: int = 0
    column: int = 0
    ended: bool = False
    atomic_depth: int = 0
    calls: list[str] = field(default_factory=list)


class PlainRun:
    """Runs a program's threads step by step in CPython. Use it as a context manager; `step` takes one step.

    `on_step(step_number, frame)` is called when a step begins, in the thread's own code: a debugger can stop there.
    """

    def __init__(self, program: Program, on_step: Callable[[int, FrameType], None] | None = None) -> None:
        self.program, self.on_step = program, on_step
        self.threads: list[_Thread] = []
        self.steps: list[PlainStep] = []
        self.active: _Thread | None = None
        self.choices: list[int] = []
        self.now = PlainStep(0, 0, "?")
        self.started = 0

    # As a context: machine, scheduler and instrumented functions are in place within it.

    def __enter__(self) -> PlainRun:
        self._instrumented = instrumented(self.program)
        self._instrumented.__enter__()
        self.program.machine.__enter__()
        self.program.layout.decode(self.program.initial_shared)
        state = self.program.machine.state
        self._locks = [r for d in self.program.layout.declarations for r in records_in(state(d)) if isinstance(r, (Lock, RwLock))]
        self._kept = (runtime.scheduler, runtime.thread, runtime.atomic_depth)
        runtime.scheduler = _Adapter(self)
        runtime.atomic_depth = 0
        self.hub = getcurrent()
        try:
            for thread in self.program.threads:
                self.threads.append(_Thread(greenlet(self._body(thread.function, thread.arguments), parent=self.hub)))
            for index in range(len(self.threads)):
                self._resume(index)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        runtime.scheduler = None
        for thread in self.threads:
            if not thread.glet.dead and thread.glet:
                thread.glet.throw()
        runtime.scheduler, runtime.thread, runtime.atomic_depth = self._kept
        self.program.machine.__exit__(None, None, None)
        self._instrumented.__exit__(None, None, None)

    def _body(self, function: Callable[..., Any], arguments: Iterable[Any]) -> Callable[[], Any]:
        def whole() -> None:
            function(*arguments)
            if any(held(lock, runtime.thread) for lock in self._locks):
                raise RuleBroken("lock-held-at-exit", "the thread ends with a lock held")

        return whole

    def _resume(self, index: int) -> None:
        """Let a thread run to its next boundary or its end; errors come out here."""
        thread = self.threads[index]
        runtime.thread, runtime.atomic_depth, runtime.rounds = index + 1, thread.atomic_depth, 0
        self.active = thread
        try:
            thread.glet.switch()
        finally:
            thread.atomic_depth = runtime.atomic_depth
            runtime.thread, runtime.atomic_depth = SETUP_THREAD, 0
            self.active = None
        thread.ended = thread.glet.dead

    # Stepping.

    def step(self, index: int, choices: Iterable[int] = ()) -> PlainStep:
        """One step of a thread, with the choices it makes. A broken rule is in the step's `error`.

        Raises `WouldBlock` when the thread cannot take the step now, `Disagreement` when it has ended or makes other
        choices than these.
        """
        thread = self.threads[index]
        if thread.ended:
            raise Disagreement(f"{self.program.threads[index].name} has ended in plain execution")
        self.choices = list(choices)
        frame = self.frames(index)
        self.now = PlainStep(index, thread.line, frame[0].f_code.co_filename if frame else "?")
        try:
            self._resume(index)
        except (RuleBroken, ModelError) as error:
            self.now.error = error
            if error.where is None:
                error.where = self._raised_at(error)
        except AttributeError as error:
            if error.obj is not None:
                raise
            self.now.error = NoneFollowed(str(error.name), self._raised_at(error))
        except ZeroDivisionError as error:
            self.now.error = ModelError("division by zero", self._raised_at(error))
        except ValueError as error:
            if "shift" not in str(error):
                raise
            self.now.error = ModelError(str(error), self._raised_at(error))
        if self.choices and self.now.error is None:
            raise Disagreement(f"plain execution leaves {len(self.choices)} choices of the schedule unmade")
        self.now.shared = self.program.layout.encode()
        self.steps.append(self.now)
        return self.now

    def _raised_at(self, error: BaseException) -> Position | None:
        """The innermost line of the model that an error came from."""
        codes, found, at = {code for _, code in self._sources()}, None, error.__traceback__
        while at is not None:
            if at.tb_frame.f_code in codes:
                found = Position(at.tb_frame.f_code.co_filename, at.tb_lineno)
            at = at.tb_next
        return found

    # What instrumented code asks (the runtime's scheduler).

    def begin(self, line: int, column: int) -> None:
        """Note where the active thread stands and give up control."""
        assert self.active is not None
        thread = self.active
        thread.line, thread.column = line, column
        self.hub.switch()
        if self.on_step is not None:
            self.started += 1
            frame = sys._getframe(3)
            self.on_step(self.started, frame)

    def wait(self, condition: bool, sleeps: bool) -> None:
        """`wait_until`: a schedule never runs a step that cannot be taken."""
        if sleeps and any(isinstance(lock, SpinLock) and held(lock, runtime.thread) for lock in self._locks):
            raise RuleBroken("sleep-in-atomic", "sleeps while it holds a spinlock")
        if not condition:
            raise WouldBlock

    def stand_in_queue(self) -> None:
        """End the step in the middle of a lock's function: the thread stands where it stood."""
        self.hub.switch()
        if self.on_step is not None:
            self.started += 1
            self.on_step(self.started, self._own(sys._getframe())[0])

    def choose(self, count: int) -> int:
        """The next choice of the schedule."""
        if not self.choices:
            raise Disagreement("plain execution makes a choice that the schedule does not have")
        if not 0 <= self.choices[0] < count:
            raise Disagreement(f"the schedule chooses number {self.choices[0]} of {count}")
        return self.choices.pop(0)

    def enter(self, function: Any, arguments: dict[str, Any]) -> None:
        """Note a call."""
        if self.active is not None:
            event = PlainEvent("call", str(function), len(self.active.calls), dict(arguments), where=_called_at(str(function)))
            self.now.events.append(event)
            self.active.calls.append(str(function))

    def leave(self, value: Any) -> None:
        """Note a return."""
        if self.active is not None and self.active.calls:
            name = self.active.calls.pop()
            self.now.events.append(PlainEvent("return", name, len(self.active.calls), {}, value))

    def freed(self, record: Any, where: Position) -> None:
        """Note that a record was freed."""
        if self.active is not None:
            self.now.events.append(PlainEvent("free", repr(record), len(self.active.calls), {}, unwrap(record), where))

    # Where threads stand.

    def _sources(self) -> Iterator[tuple[Callable[..., Any], CodeType]]:
        """The program's functions, with the code that they have now."""
        for function in cuts_of(self.program):
            yield function, function.__code__

    def frames(self, index: int) -> list[FrameType]:
        """The frames of a suspended thread's own functions, innermost first."""
        return self._own(self.threads[index].glet.gr_frame)

    def _own(self, frame: FrameType | None) -> list[FrameType]:
        """Those of the model's functions from a frame on outwards; a thread in a lock's queue stands where it called the lock's."""
        mine = {code for f, code in self._sources() if not hasattr(f, "__operation__")}
        found: list[FrameType] = []
        while frame is not None:
            if frame.f_code in mine:
                found.append(frame)
            frame = frame.f_back
        return found


def _called_at(function: str) -> Position | None:
    """Where the function was called that has just begun."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_qualname != function:
        frame = frame.f_back
    caller = None if frame is None else frame.f_back
    return None if caller is None else Position(caller.f_code.co_filename, caller.f_lineno)


# `step` of the scheduler protocol has other arguments than `PlainRun.step`: the runtime gets this adapter.
class _Adapter:
    """Presents a `PlainRun` to the runtime."""

    def __init__(self, run: PlainRun) -> None:
        self.run, self.queues = run, has_queues(run.program)
        self.wait, self.choose, self.stand_in_queue = run.wait, run.choose, run.stand_in_queue
        self.enter, self.leave, self.freed = run.enter, run.leave, run.freed

    def step(self, line: int, column: int) -> None:
        """A boundary was reached."""
        self.run.begin(line, column)


def held(lock: Lock | RwLock, thread: int) -> bool:
    """Whether a thread holds a lock, in whatever way."""
    fields = lock.__dict__  # the lock of a record that was freed may be looked at here
    return fields["owner"] == thread or (isinstance(lock, RwLock) and bool(fields["readers"] & 1 << (thread - 1)))


def expected_stack(program: Program, state: bytes, thread: int) -> list[tuple[Counter | None, dict[str, int], Any]]:
    """Where the reference says a thread stands: for each frame, innermost first, its live locals by name."""
    base = program.bases[thread]
    number = int.from_bytes(state[base : base + program.counter_width], "big")
    if not number:
        return []
    counter: Counter | None = program.counters[number - 1]
    assert counter is not None
    frame, live = counter.frame, counter.block.live_in
    found: list[tuple[Counter | None, dict[str, int], Any]] = []
    while True:
        values: dict[str, int] = {}
        for var in live:
            if var in frame.slots:
                values[var.name] = frame.slots[var].value(state, base)
        if frame.flow.function.source is not None:
            found.append((counter, values, frame.flow.function))
        counter = None
        if frame.return_slot is not None:
            site = frame.return_slot.number(state, base)
            if site == 0:
                return found
            call = frame.sites[site - 1]
        elif frame.is_root:
            return found
        else:
            call = frame.sites[0]
        caller = next(f for f in program.frames.values() if any(b.after_call is call for b in f.flow.blocks))
        frame, live = caller, caller.flow.live_across(call)


def compare(run: PlainRun, state: bytes) -> None:
    """Raise `Disagreement` unless the plain run stands exactly where a state of another executor says; so it does of bytes that are no state of the program."""
    try:
        _compare(run, state)
    except (IndexError, StopIteration):  # a number of no step boundary, call or record: of a driver that was edited since
        raise Disagreement("the state is none of this program") from None


def _compare(run: PlainRun, state: bytes) -> None:
    program = run.program
    shared = program.layout.encode()
    if shared != state[: len(shared)]:
        here = {p: s for p, _, s in program.layout.fields(shared)}
        there = {p: s for p, _, s in program.layout.fields(state)}
        differing = [f"{p}: plain {here[p]}, reference {there[p]}" for p in here if here[p] != there[p]]
        raise Disagreement("the shared states differ: " + "; ".join(differing[:5]))
    if written := program.layout.written_after_all():
        raise Disagreement(f"plain execution has written what nobody writes: {', '.join(written[:5])}")
    for index, thread in enumerate(run.threads):
        name = program.threads[index].name
        expected = expected_stack(program, state, index)
        if thread.ended or not expected:
            if thread.ended != (not expected):
                raise Disagreement(f"{name} has {'' if thread.ended else 'not '}ended in plain execution")
            continue
        counter = expected[0][0]
        assert counter is not None
        at = (thread.line, thread.column)
        wanted = (counter.where.line, counter.where.column) if counter.kind != "leave" else (0, 0)
        if at != wanted:
            raise Disagreement(
                f"{name} stands at line {at[0]} in plain execution, at line {counter.where.line} ({counter.kind}) in the reference"
            )
        frames = run.frames(index)
        if len(frames) != len(expected):
            raise Disagreement(f"{name} is {len(frames)} calls deep in plain execution, {len(expected)} in the reference")
        for frame, (_, values, function) in zip(frames, expected, strict=True):
            for variable, value in values.items():
                seen = _local(program, frame, variable)
                if seen is not None and seen != value:
                    raise Disagreement(
                        f"{name}: {variable} in {function.name} is {seen} in plain execution, {value} in the reference"
                    )


def _local(program: Program, frame: FrameType, name: str) -> int | None:
    """A local of a plain frame as the reference counts it; None for what exists only there."""
    first, _, rest = name.partition(".")
    if first not in frame.f_locals:
        return None
    value = unwrap(frame.f_locals[first])
    if rest:
        if isinstance(value, list):
            place = int(rest) if rest.isdigit() else None
            value = len(value) if place is None else value[place] if place < len(value) else None
            if value is None and place is not None and place >= len(frame.f_locals[first]):
                return None  # behind the last: the reference has nothing there
        elif not isinstance(value, Value):
            return None
        else:
            value = getattr(value, rest)
        value = unwrap(value)
    if value is None:
        return 0
    if isinstance(value, Record):
        return program.layout.addresses[id(value)]
    return int(value)


def replay(
    program: Program,
    steps: Iterable[tuple[int, tuple[int, ...]]],
    states: Iterable[bytes] = (),
    on_step: Callable[[int, FrameType], None] | None = None,
) -> list[PlainStep]:
    """Run a schedule in plain execution and compare with `states`: one for each step, but for a last one that breaks a rule.

    Without any states nothing is compared. Returns the steps as they ran; the last one's `error` is the broken rule, if it
    broke one. Raises `Disagreement`.
    """
    schedule, expected = list(steps), list(states)
    with PlainRun(program, on_step) as run:
        for i, (thread, choices) in enumerate(schedule):
            try:
                done = run.step(thread, choices)
            except WouldBlock:
                raise Disagreement(f"step {i + 1} ({program.threads[thread].name}) blocks in plain execution") from None
            if done.error is not None:
                if i < len(expected):
                    raise Disagreement(f"step {i + 1} breaks a rule in plain execution only: {done.error}")
                break
            if i < len(expected):
                compare(run, expected[i])
            elif expected:
                raise Disagreement(f"step {i + 1} breaks no rule in plain execution")
        return run.steps
