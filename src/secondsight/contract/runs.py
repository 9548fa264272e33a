"""What a verdict rests on: which lines of a driver ran, which rules looked, and whether the adversary reached the device.

A search says that no rule is broken in any state. It does not say that anything was tried: a driver that maps nothing breaks
nothing. So some of the interleavings that were searched are run once more, in plain execution, and watched. They are drawn at
random, with a fixed seed; of many that are drawn those are run which go a way through the program that no other went.

What was seen there did happen. What was not seen may still happen in a rare interleaving: it is said as that.
"""

from __future__ import annotations

import ast
import dis
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from greenlet import getcurrent, greenlet

from secondsight.devices.device import Device
from secondsight.lang.errors import LangError
from secondsight.lang.instrument import instrumented
from secondsight.lang.plain import PlainRun, WouldBlock, _Adapter, _Thread
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.runtime import runtime

__all__ = ["Line", "Seen", "files_of", "unseen", "watch"]

MOST_RUN = 20
"""Interleavings of one scenario that are run to see whether its adversary gets at the device."""
MOST_DRAWN = 24
"""Interleavings of one scenario that are drawn for lines that did not run; those are run that go a new way."""
LONGEST = 2_000
"""Steps of one: a driver may go round for long."""

CALLBACKS = frozenset(("invalidate", "invalidate_range_start", "sync_cpu_device_pagetables", "release", "move_notify"))
ACCESSES = frozenset(("device_touches", "job_access", "job_run"))
"""What every access to a page goes through, whatever a driver's own `access` says that it has done."""

SourceLine = tuple[str, int]
"""A file and a line of it."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a driver: its file, its number, its text, the method that it is in."""

    file: str
    number: int
    text: str
    method: str


@dataclass(slots=True)
class Seen:
    """What some runs of a scenario, or of several, did: lines, whether a device got at a page, whether a callback was called."""

    runs: int = 0
    spots: set[SourceLine] = field(default_factory=set)
    accessed: bool = False
    called: bool = False

    def add(self, other: Seen) -> None:
        """What others did too."""
        self.spots |= other.spots
        self.accessed |= other.accessed
        self.called |= other.called

    def looked(self, probe: Callable[..., Any]) -> bool:
        """Whether a rule's function came to a `require`."""
        file = probe.__code__.co_filename
        return any((file, number) in self.spots for number in _demands(probe.__code__))


@cache
def _text(code: CodeType) -> tuple[ast.FunctionDef, list[str]]:
    """A function's syntax tree, and the lines of its file."""
    lines = Path(code.co_filename).read_text().splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef) and node.name == code.co_name and _begins(node) == code.co_firstlineno:
            return node, lines
    raise LangError(f"{code.co_filename}:{code.co_firstlineno}: {code.co_name} is not there any more: the file was changed")


@cache
def _demands(code: CodeType) -> frozenset[int]:
    """The lines of a rule at which a statement begins that demands something."""
    function, _ = _text(code)
    return frozenset(
        n.lineno
        for n in ast.walk(function)
        if isinstance(n, ast.Assert)
        or (isinstance(n, ast.Expr) and isinstance(n.value, ast.Call) and getattr(n.value.func, "id", "") == "require")
    )


def _begins(function: ast.FunctionDef) -> int:
    return min([function.lineno, *(d.lineno for d in function.decorator_list)])


# Drawing.


TakenSteps = list[tuple[int, tuple[int, ...]]]


def _draw(reference: Reference, draw: random.Random, ways: set[tuple[int, int]]) -> tuple[TakenSteps, bool]:
    """A random interleaving, and whether it takes a step that none in `ways` took. A thread goes on for a while, or not."""
    schedule: TakenSteps = []
    state, fresh, stay, thread = reference.initial, False, draw.choice((0.0, 0.8, 0.97, 1.0)), draw.randrange(len(reference.threads))
    threads = list(range(len(reference.threads)))
    while len(schedule) < LONGEST:
        draw.shuffle(threads)
        order = [thread, *threads] if draw.random() < stay else threads
        taken = next((s for t in order for s in [_any(reference, state, t, draw)] if s is not None), None)
        if taken is None or taken.state is None:
            break
        way = reference.counter(state, taken.thread), reference.counter(taken.state, taken.thread)
        fresh |= way not in ways
        ways.add(way)
        state, thread = taken.state, taken.thread
        schedule.append((taken.thread, taken.choices))
    return schedule, fresh


def _any(reference: Reference, state: bytes, thread: int, draw: random.Random) -> Any:
    steps = list(reference.thread_successors(state, thread))
    return draw.choice(steps) if steps else None


# Running.


class _Watched(PlainRun):
    """A plain run that may begin again, in functions that are instrumented already, and notes what is called and where."""

    def __init__(self, program: Program, files: frozenset[str], seen: Seen) -> None:
        super().__init__(program)
        self.files, self.seen = files, seen

    def __enter__(self) -> _Watched:
        self._kept = (runtime.scheduler, runtime.thread, runtime.atomic_depth)
        self._locks = []
        self.program.machine.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        runtime.scheduler, runtime.thread, runtime.atomic_depth = self._kept
        self.program.machine.__exit__(None, None, None)

    def _end(self) -> None:
        runtime.scheduler = None
        for thread in self.threads:
            if not thread.glet.dead and thread.glet:
                thread.glet.throw()

    def run(self, schedule: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        """Run a schedule from the initial state."""
        before = sys.gettrace()
        try:
            self._run(schedule)
        finally:
            sys.settrace(before)

    def _run(self, schedule: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        self._end()
        self.program.layout.decode(self.program.initial_shared)
        runtime.scheduler, runtime.atomic_depth = _Adapter(self), 0
        self.hub = getcurrent()
        self.threads = [_Thread(greenlet(self._body(t.function, t.arguments), parent=self.hub)) for t in self.program.threads]
        for index in range(len(self.threads)):
            self._resume(index)
        self.seen.runs += 1
        for thread, choices in schedule:
            self.choices = list(choices)
            try:
                self._resume(thread)
            except (LangError, WouldBlock):
                return

    def _body(self, function: Callable[..., Any], arguments: Any) -> Callable[[], Any]:
        whole = super()._body(function, arguments)

        def traced() -> None:
            sys.settrace(self._called)  # for the whole thread of Python's, but each greenlet has to say so
            whole()

        return traced

    def enter(self, function: Any, arguments: dict[str, Any]) -> None:
        """Not told."""

    def leave(self, value: Any) -> None:
        """Not told."""

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        if code.co_name in ACCESSES:
            self.seen.accessed = True
        elif code.co_name in CALLBACKS:
            self.seen.called = True
        return self._line if code.co_filename in self.files else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and frame.f_lasti not in _within(frame.f_code):
            self.seen.spots.add((frame.f_code.co_filename, frame.f_lineno))
        return self._line


@cache
def _within(code: CodeType) -> frozenset[int]:
    """Where no statement begins, although Python says that a line does: the calls that plain execution has put before a
    statement of several lines (`lang.instrument`) are counted as of its last line."""
    within = ("LOAD_METHOD", "LOAD_ATTR", "PRECALL", "CALL", "KW_NAMES")
    return frozenset(i.offset for i in dis.get_instructions(code) if i.opname in within)


def watch(
    adversaries: Sequence[Sequence[Program]], files: frozenset[str], reached: Callable[[int, Seen], bool], complete: Callable[[Seen], bool]
) -> list[Seen]:
    """What some runs did, for each adversary, whose programs are given; lines are looked at in `files` only.

    First each adversary's programs are run until it has `reached` the device (by its number, and what was seen), or often. Then all of them, while what was seen
    is not `complete`.
    """
    found = [Seen() for _ in adversaries]
    whole = Seen()
    ways: dict[int, set[tuple[int, int]]] = {}

    def runs(programs: Sequence[Program], seen: Seen, most: int, all_of_them: bool, enough: Callable[[], bool]) -> None:
        for number, program in enumerate(programs):
            if enough():
                return
            kept.change(program.code, partial(instrumented, program, when_called=True))
            reference, draw = Reference(program), random.Random(most + number)
            gone = ways.setdefault(id(program.code), set())
            with _Watched(program, files, seen) as run:
                for _ in range(most):
                    schedule, fresh = _draw(reference, draw, gone)
                    if fresh or all_of_them:
                        run.run(schedule)
                        whole.add(seen)
                        if enough():
                            return

    with _Kept() as kept:
        for number, (programs, seen) in enumerate(zip(adversaries, found, strict=True)):
            runs(programs, seen, MOST_RUN, True, partial(reached, number, seen))
        for programs, seen in zip(adversaries, found, strict=True):
            runs(programs, seen, MOST_DRAWN, False, lambda: complete(whole))
    return found


class _Kept:
    """A context that is entered when it is needed, and left for another one."""

    def __init__(self) -> None:
        self.within: Any = None
        self.name: object = None

    def __enter__(self) -> _Kept:
        return self

    def change(self, name: object, make: Callable[[], Any]) -> None:
        """Leave what was entered, and enter what `make` returns; nothing where that is what `name` was entered for."""
        if self.name is not name:
            self.__exit__()
            self.name, self.within = name, make()
            self.within.__enter__()

    def __exit__(self, *_: object) -> None:
        if self.within is not None:
            self.within.__exit__(None, None, None)
            self.within = None


# Lines of a driver.

_ROOMS = ("secondsight.linux.", "secondsight.lang.", "secondsight.devices.device", "secondsight.devices.buffer_device")


def methods_of(driver: type[Device]) -> list[Callable[..., Any]]:
    """The methods that a driver's own text has, and that are its: those that it overrides are another's."""
    found = {}
    for base in driver.__mro__:
        for name, value in vars(base).items():
            if callable(value) and hasattr(value, "__code__") and name not in found:
                found[name] = value
    return [f for f in found.values() if not (f.__module__ + ".").startswith(_ROOMS)]


def files_of(driver: type[Device]) -> frozenset[str]:
    """The files that a driver's own text is in."""
    return frozenset(method.__code__.co_filename for method in methods_of(driver))


def unseen(driver: type[Device], seen: Seen) -> list[Line]:
    """The driver's lines that did not run: of each run of them that would run one after another the first.

    Those of its own file come first, wherever that lies, then those of the files that it is derived from.
    """
    found = []
    files = list(dict.fromkeys(method.__code__.co_filename for method in methods_of(driver)))
    for method in methods_of(driver):
        if method.__name__ == "attach_to":  # it ran before the threads, and with an error there would be no program
            continue
        code = method.__code__
        function, text = _text(code)
        for number in _first_unseen(function.body, code.co_filename, seen.spots):
            found.append(Line(code.co_filename, number, text[number - 1].strip(), method.__qualname__))
    return sorted(found, key=lambda line: (files.index(line.file), line.number))


def _first_unseen(body: list[ast.stmt], file: str, spots: set[SourceLine]) -> Iterator[int]:
    for stmt in body:
        if isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Constant):
            continue
        if isinstance(stmt, ast.AnnAssign) and stmt.value is None:
            continue
        inner = [part for part in ("body", "orelse") if getattr(stmt, part, None)]
        last = getattr(stmt, inner[0])[0].lineno - 1 if inner else stmt.end_lineno or stmt.lineno
        if not any((file, number) in spots for number in range(stmt.lineno, max(last, stmt.lineno) + 1)):
            yield stmt.lineno
            return
        for part in inner:
            yield from _first_unseen(getattr(stmt, part), file, spots)
