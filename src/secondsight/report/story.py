"""A trace as a story: which calls each thread made, in which order, and which of them are worth a line.

The trace is replayed in plain execution (so it is checked once more), and every step's call stack and events are
gathered into a tree of calls for each thread. Worth a line are: what a thread was asked to do, a driver's own functions
and statements, what a driver calls, and the milestones of the machinery (`lang.milestone`). Steps without a line are
told by `...` where another thread goes on after them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from secondsight.lang import Mutex, Record, RwLock, SpinLock
from secondsight.lang.plain import PlainEvent, PlainStep
from secondsight.lang.program import Program
from secondsight.report.words import (
    call_text,
    is_harness,
    is_machinery,
    is_written_by_hand,
    lock_text,
    result,
    statement,
)
from secondsight.search import Trace

__all__ = ["LOCK_VERBS", "QUEUED", "Besides", "Look", "StoryLine", "tell"]

_LOCKS = (Mutex, SpinLock, RwLock)
LOCK_VERBS = {
    "lock", "unlock", "trylock", "read_lock", "read_trylock", "read_unlock", "write_lock", "write_trylock", "write_unlock",
    "write_downgrade",
}  # fmt: skip
QUEUED = "waits, and so do readers that come now"
ELSEWHERE = "..."
BENEATH_NOTICE = {"access", "read_again", "read_alone"}


@dataclass(slots=True)
class StoryLine:
    """A line of the story: by which thread, how deep in its calls, the text, the place in the driver's source."""

    thread: int
    depth: int
    text: str
    where: str = ""
    step: int = 0
    mark: str = ""
    """What it is to the whole, if anything: `broken`, `at` (the line that breaks), `freed`, `round`, `folded`."""
    returned: bool = False
    """Whether it only says what came back of a call that has a line before."""
    claimed: int = 0
    """The line of a claim that it is, by its number there."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A step with the frames it began in, outermost first, their lines, its choices, and its thread's frames afterwards."""

    number: int
    step: PlainStep
    frames: list[FrameType]
    lines: list[int]
    choices: tuple[int, ...]
    afterwards: list[FrameType]


@dataclass(slots=True, eq=False)
class StoryCall:
    """A call that is going on: its function, its frame once it has one, and its line once it has one."""

    function: Callable[..., Any] | None
    name: str
    arguments: dict[str, Any]
    parent: StoryCall | None
    frame: FrameType | None = None
    entry: StoryLine | None = None
    begun: bool = False
    ended: bool = False
    hidden: bool = False
    value: Any = None
    told: bool = False

    @property
    def depth(self) -> int:
        """How far its line is indented: one for each caller that has a line."""
        depth, call = 0, self.parent
        while call is not None:
            depth, call = depth + (call.entry is not None), call.parent
        return depth


Look = Callable[[list[FrameType]], None]
"""Somebody who is shown the frames of a thread's own functions, outermost first, when it begins a step."""


@dataclass(frozen=True, slots=True)
class Besides:
    """What is to have a line although it would have none by itself: calls of functions, steps that begin at places, locks by the last
    name of their path (`mmap_lock`), or all of them."""

    functions: frozenset[Callable[..., Any]] = frozenset()
    places: frozenset[tuple[str, int]] = frozenset()
    locks: frozenset[str] = frozenset()
    all_locks: bool = False


def tell(
    program: Program, trace: Trace, look: Look | None = None, besides: Besides | None = None
) -> tuple[list[StoryLine], list[PlainStep]]:
    """The trace's lines, and its steps as they ran; `look` is called at each. Raises `Disagreement` if plain execution does not take
    the trace."""
    stacks: list[list[FrameType]] = []
    codes: set[CodeType] = set()

    def on_step(number: int, frame: FrameType) -> None:
        if not codes:
            codes.update(f.source.__code__ for f in program.frontend.instances.values() if f.source is not None)
        stack: list[FrameType] = []
        at: FrameType | None = frame
        while at is not None:
            if at.f_code in codes:
                stack.insert(0, at)
            at = at.f_back
        stacks.append(stack)
        lines.append([f.f_lineno for f in stack])
        if look is not None:
            look(stack)

    lines: list[list[int]] = []
    steps = trace.replay(program, on_step)
    teller = _Teller(program, besides or Besides())
    with program.machine:  # words may depend on how large it is
        for number, step in enumerate(steps):
            again = next((n for n in range(number + 1, len(steps)) if steps[n].thread == step.thread), None)
            moment = Moment(number, step, stacks[number], lines[number], trace.steps[number].choices, stacks[again] if again else [])
            teller.tell(moment)
    return teller.entries, steps


@dataclass(slots=True)
class _Teller:
    """Builds the story step by step."""

    program: Program
    besides: Besides
    entries: list[StoryLine] = field(default_factory=list)
    stacks: dict[int, list[StoryCall]] = field(default_factory=dict)
    silent: set[int] = field(default_factory=set)
    """The threads that have taken a step without a line since their last line."""
    heard: set[int] = field(default_factory=set)
    """The threads that have had a line."""
    functions: dict[str, list[Callable[..., Any]]] = field(default_factory=dict)
    by_code: dict[tuple[str, int], Callable[..., Any]] = field(default_factory=dict)
    queued: dict[int, tuple[str, StoryCall, str]] = field(default_factory=dict)
    """By thread, the lock's function in the middle of which it stands in a queue: its name, the call, its text."""
    last: int | None = None
    spoke: bool = False
    """Whether the present step has added to a line that was there."""

    def __post_init__(self) -> None:
        for instance in self.program.frontend.instances.values():
            source = instance.source
            if source is not None:
                known = self.functions.setdefault(source.__qualname__, [])
                if source not in known:
                    known.append(source)
                self.by_code[source.__code__.co_filename, source.__code__.co_firstlineno] = source

    # One step.

    def tell(self, now: Moment) -> None:
        """Tell one step."""
        thread = now.step.thread
        if self.last is not None and self.last != thread and self.last in self.silent & self.heard:
            self._elsewhere(self.last, now.number)
        self.last, self.spoke = thread, False
        stack = self._synchronise(now)
        inmost = stack[-1] if stack else None
        heard = len(self.entries)
        for depth, call in enumerate(stack):
            if not call.begun:
                self._begin(call, now, now.lines[depth - 1] if depth else 0)
        before = len(self.entries)  # a function's first statement has a line beside the call's
        leaving = now.step.line == 0
        for place, event in enumerate(now.step.events):
            if event.kind == "call":
                self._called(stack, event, now, leaving, _returns_at_once(now.step.events, place))
                leaving = False
            elif event.kind == "return":
                self._returned(stack, event, now)
        for call in reversed(stack):
            if call.ended and call.frame not in now.afterwards:
                self._result(call)
        if (len(self.entries) == before and not self.spoke) or self._is_wanted(now, before):
            self._statement(inmost, now)
        if len(self.entries) > heard or self.spoke:
            self.silent.discard(thread)
            self.heard.add(thread)
        else:
            self.silent.add(thread)

    def _is_wanted(self, now: Moment, before: int) -> bool:
        """Whether the step's statement is to have a line, and none of those since `before` stands for it."""
        place = f"{Path(now.step.file).name}:{now.step.line}"
        return (now.step.file, now.step.line) in self.besides.places and all(entry.where != place for entry in self.entries[before:])

    def _synchronise(self, now: Moment) -> list[StoryCall]:
        """The thread's open calls, brought in line with its frames: those that are gone have ended."""
        stack = self.stacks.setdefault(now.step.thread, [])
        for depth, frame in enumerate(now.frames):
            if depth < len(stack) and (stack[depth].frame is frame or (stack[depth].frame is None and not stack[depth].ended)):
                stack[depth].frame = frame
                continue
            del stack[depth:]
            code = frame.f_code
            function = self.by_code.get((code.co_filename, code.co_firstlineno))
            given = {name: frame.f_locals[name] for name in code.co_varnames[: code.co_argcount] if name in frame.f_locals}
            stack.append(StoryCall(function, code.co_qualname, given, stack[-1] if stack else None, frame))
        del stack[len(now.frames) :]
        return stack

    # Calls.

    def _called(self, stack: list[StoryCall], event: PlainEvent, now: Moment, leaving: bool, at_once: bool) -> None:
        while not leaving and stack and stack[-1].ended:
            self._result(stack.pop())
        parent = stack[-1] if stack else None
        function = self._function(event)
        call = StoryCall(function, event.name, event.arguments, parent)
        stack.append(call)
        lock = event.arguments.get("self")
        if isinstance(lock, _LOCKS):
            call.hidden = True
            self._lock(call, lock, now, self._line(parent, event, now), at_once)
        elif hasattr(function, "__on__") or (parent is not None and parent.hidden) or now.step.thread in self.queued:
            call.hidden = True
        elif at_once or getattr(function, "__atomic__", False):
            self._begin(call, now, self._line(parent, event, now))

    @staticmethod
    def _line(caller: StoryCall | None, event: PlainEvent, now: Moment) -> int:
        """The line of a call: a step may go on behind the line where it begins, and behind the function in which it does."""
        code = None if caller is None or caller.function is None else caller.function.__code__
        if code is None or event.where is None or event.where.file != code.co_filename:
            return now.step.line
        return event.where.line

    def _returned(self, stack: list[StoryCall], event: PlainEvent, now: Moment) -> None:
        call = next((c for c in reversed(stack) if not c.ended and c.name == event.name), None)
        if call is None:
            self._had_its_turn(event, now)
            return
        call.ended, call.value = True, event.value
        if call.frame is None:
            self._result(call)
            while stack and stack[-1].ended and stack[-1].frame is None:
                stack.pop()

    def _begin(self, call: StoryCall, now: Moment, line: int) -> None:
        """A call begins: give it its line if it is worth one."""
        call.begun = True
        caller = call.parent
        if caller is None or not self._worth(call):
            return
        asked = caller.parent is None or is_harness(caller.function)
        by_machinery = is_machinery(caller.function) and not asked
        named = asked or not is_machinery(call.function)
        text = call_text(call.function, call.name, call.arguments, named=named, of_class=by_machinery)
        self._add(call, text, now, line if is_written_by_hand(caller.function) else 0)

    def _worth(self, call: StoryCall) -> bool:
        """Whether a call is worth a line; see the module."""
        function, caller = call.function, call.parent
        assert caller is not None
        name = call.name.rpartition(".")[2]
        if function in self.besides.functions:
            return True
        if function is None or name.startswith("_") or name in BENEATH_NOTICE:
            return False
        if is_harness(function):
            return False
        if caller.parent is None or is_harness(caller.function) or getattr(function, "__milestone__", False) or is_written_by_hand(function):
            return True
        return is_written_by_hand(caller.function) and (not is_machinery(function) or name in _exported(function))

    def _result(self, call: StoryCall) -> None:
        """A call has returned: say what, on its own line if something came in between."""
        text = result(call.function, call.value)
        if call.entry is None or text is None or call.told:
            return
        call.told = True
        if self.entries[-1] is call.entry:
            call.entry.text += f" = {text}"
            self.spoke = True
        elif call.function in self.besides.functions or (call.value and call.parent is not None and (
            call.parent.parent is None or is_harness(call.parent.function) or is_written_by_hand(call.parent.function)
        )):
            name = call.entry.text.partition("(")[0]
            self.entries.append(StoryLine(call.entry.thread, call.entry.depth, f"{name}() = {text}", step=call.entry.step, returned=True))

    # Locks, statements, silence.

    def _lock(self, call: StoryCall, lock: Record, now: Moment, line: int, at_once: bool) -> None:
        name = call.name.rpartition(".")[2]
        caller = call.parent
        if name not in LOCK_VERBS or caller is None or not now.frames:
            return
        text = lock_text(name, lock, now.frames[-1].f_locals)
        if not at_once and now.step.error is None:
            self.queued[now.step.thread] = call.name, call, text
            self._add(call, f"{text} {QUEUED}", now, line)
        elif is_written_by_hand(caller.function) or self._is_lock_wanted(lock):
            self._add(call, text, now, line if is_written_by_hand(caller.function) else 0)
        call.entry = None

    def _is_lock_wanted(self, lock: Record) -> bool:
        return self.besides.all_locks or repr(lock).strip("<>").rpartition(".")[2] in self.besides.locks

    def _had_its_turn(self, event: PlainEvent, now: Moment) -> None:
        """A lock's function returns that began in an earlier step: the thread has the lock."""
        name, call, text = self.queued.get(now.step.thread, ("", None, ""))
        if name == event.name and call is not None and call.parent is not None:
            del self.queued[now.step.thread]
            if is_written_by_hand(call.parent.function):
                self._add(call, text, now, now.step.line)
                call.entry = None

    def _statement(self, call: StoryCall | None, now: Moment) -> None:
        """A step of hand-written code that called nothing worth a line: its statement, and what it chose."""
        step = now.step
        wanted = (step.file, step.line) in self.besides.places
        if call is None or not (is_written_by_hand(call.function) or wanted) or not step.line:
            return
        text = statement(step.file, step.line)
        if now.choices:
            text += f" = {', '.join(map(str, now.choices))}"
        depth = call.depth + (call.entry is not None)
        self.entries.append(StoryLine(step.thread, depth, text, f"{Path(step.file).name}:{step.line}", now.number))

    def _elsewhere(self, thread: int, number: int) -> None:
        """Another thread goes on, and this one has taken steps without a line since its last."""
        depth = max((c.depth + 1 for c in self.stacks[thread] if c.entry is not None), default=0)
        self.entries.append(StoryLine(thread, depth, ELSEWHERE, step=number - 1))
        self.silent.discard(thread)

    def _add(self, call: StoryCall, text: str, now: Moment, line: int) -> None:
        where = ""
        if line and call.parent is not None and call.parent.function is not None:
            where = f"{Path(call.parent.function.__code__.co_filename).name}:{line}"
        call.entry = StoryLine(now.step.thread, call.depth, text, where, now.number)
        self.entries.append(call.entry)

    def _function(self, event: PlainEvent) -> Callable[..., Any] | None:
        """The function of an event: by its name, and by its parameters where two share the name."""
        known = self.functions.get(event.name, [])
        given = list(event.arguments)
        fitting = [f for f in known if list(f.__code__.co_varnames[: f.__code__.co_argcount]) == given]
        return next(iter(fitting or known), None)


def _returns_at_once(events: list[PlainEvent], place: int) -> bool:
    """Whether the call at a place among a step's events returns within that step."""
    call = events[place]
    return any(e.kind == "return" and e.name == call.name and e.depth == call.depth for e in events[place + 1 :])


def _exported(function: Callable[..., Any]) -> set[str]:
    return set(function.__globals__.get("__all__", ())) or {function.__name__}
