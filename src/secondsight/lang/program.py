"""The checked program: threads on a machine, and the code that they run.

`build` runs the front end from the threads' root functions and links what it finds (`lang.code`). A `Program` is one machine in
its initial state with its threads; programs that share a shape share their `Code`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from secondsight.lang import ir
from secondsight.lang.cfg import Block
from secondsight.lang.code import Code, Root, shared_code
from secondsight.lang.errors import LangError
from secondsight.lang.frontend import Frontend
from secondsight.lang.link import Callee, Counter, Frame, is_head
from secondsight.lang.locks import MAX_THREADS
from secondsight.lang.machines import SWITCHES, Machine
from secondsight.lang.records import Record
from secondsight.lang.standins import unwrap
from secondsight.lang.types import RefType

__all__ = ["Counter", "Frame", "Program", "Room", "Thread", "build", "is_head"]


@dataclass(frozen=True)
class Thread:
    """One thread: its name, its function (or a record's bound method) and constant arguments (integers or records).

    `daemon`: it may be waiting for ever when everything else has ended; that is no deadlock.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    daemon: bool = False


@dataclass(frozen=True)
class Room:
    """A shape that is roomier than one program needs, so that others have it too: their code is then made only once.

    `threads`: room for so many. `functions`: what threads of such programs may begin with. A thread that is not there is one
    that has ended: it adds bytes to a state, and no states. `rules`: those that any of such programs watches: each program says
    which it watches, and they are switched on and off as it runs (`lang.machines.SWITCHES`). `exact`: its programs have just the
    threads of this one, whatever their arguments: they cost no more than without a room, and what is known of their code is kept.
    """

    threads: int = 0
    functions: tuple[Callable[..., Any], ...] = ()
    rules: tuple[Callable[..., Any], ...] = ()
    exact: bool = False


class Program:
    """A checked program; made by `build`.

    `holds`: its hold points are step boundaries. `room`: it shares its code with every program of that shape. `inlines`: small
    functions are put in the place of their calls.
    """

    def __init__(
        self, machine: Machine, threads: Sequence[Thread], rules: Iterable[Callable[..., Any]] = (), holds: bool = False,
        room: Room | None = None, inlines: bool = True,
    ) -> None:  # fmt: skip
        if not threads:
            raise LangError("a program needs a thread")
        if len(threads) > MAX_THREADS:
            raise LangError(f"{len(threads)} threads; the limit is {MAX_THREADS}")
        self.machine, self.threads, self.rules, self.holds, self.room = machine, list(threads), list(rules), holds, room
        machine.rules = self.rules
        machine.data.pop(SWITCHES.name, None)  # of a program that the machine had before
        begin = [_entry(t) for t in self.threads]
        entries = [entry for entry, _ in begin]
        if room is None:
            self.code = Code(machine, entries, self.rules, len(threads), holds, inlines=inlines)
        else:
            wanted = [*((f, None) for f in room.functions), *entries]
            compiled = self.rules
            if room.rules:
                compiled = list(dict.fromkeys([*room.rules, *self.rules]))
                machine.data[SWITCHES.name] = tuple(int(rule in self.rules) for rule in compiled)
            exact = entries if room.exact else None
            self.code = shared_code(machine, wanted, compiled, max(room.threads, len(threads)), holds, inlines, exact)
        self.layout = self.code.layout.of(machine)
        self.roots = [
            (self._root(thread, self.code.roots[entry], arguments), arguments)
            for thread, (entry, arguments) in zip(self.threads, begin, strict=True)
        ]
        self.code.check_tables(machine)
        self.region, self.counter_width = self.code.region, self.code.counter_width
        self.bases = [self.layout.shared_size + i * self.region for i in range(len(self.threads))]
        self.size = self.layout.shared_size + self.region * self.code.capacity
        self.initial_shared = self.layout.encode(begin=True)

    def with_every_call(self) -> Program:
        """The same program with no function put in the place of its calls: whoever runs it can say of each step what it called."""
        with self.machine:
            self.layout.decode(self.initial_shared)
        return Program(self.machine, self.threads, self.rules, self.holds, self.room, inlines=False)

    @property
    def frontend(self) -> Frontend:
        """The lowered functions."""
        return self.code.linked.frontend

    @property
    def frames(self) -> dict[ir.Function, Frame]:
        """Each function with boundaries, and where its locals lie."""
        return self.code.linked.frames

    @property
    def counters(self) -> list[Counter]:
        """The step boundaries, in the order of their numbers."""
        return self.code.linked.counters

    @property
    def number(self) -> dict[Block, int]:
        """The program counter of each block that a step starts with."""
        return self.code.linked.number

    def row(self, table: str) -> Sequence[int]:
        """The contents of a table that the code reads: one of the machine's, or the values of a constant field."""
        owner, _, name = table.rpartition(".")
        field = owner, name
        return self.machine.data[table] if field not in self.layout.constants else self.layout.row(field)

    def blank(self) -> bytes:
        """The initial state before any thread was entered."""
        return self.initial_shared + bytes(self.region * self.code.capacity)

    # Arguments.

    @staticmethod
    def _root(thread: Thread, made: Root, arguments: Sequence[Any]) -> Root:
        if made.atomic:
            raise LangError(
                f"thread {thread.name}: {made.name} is @atomic: call it from a plain function, or it would run before the first step"
            )
        if len(arguments) != len(made.params):
            raise LangError(f"thread {thread.name}: {made.name} takes {len(made.params)} arguments, not {len(arguments)}")
        return made

    def argument(self, thread: Thread, value: Any, var: ir.Var) -> int:
        """A thread's constant argument as a number. Raises `LangError` if it is not of the parameter's type."""
        value, kind = unwrap(value), var.type
        if isinstance(kind, RefType):
            if value is None and kind.nullable:
                return 0
            if not isinstance(value, kind.record) or id(value) not in self.layout.addresses:
                raise LangError(f"thread {thread.name}: {var.name} is {kind}, not {value!r} (a record of this machine)")
            return self.layout.addresses[id(value)]
        if not isinstance(value, int) or not kind.low <= value <= kind.high:
            raise LangError(f"thread {thread.name}: {var.name} is {kind}, not {value!r}")
        return int(value)


def _entry(thread: Thread) -> tuple[Callee, list[Any]]:
    """What a thread begins with: the function, the class of the record it is bound to, and all arguments."""
    owner = getattr(thread.function, "__self__", None)
    if owner is None:
        return (thread.function, None), list(thread.arguments)
    owner = unwrap(owner)
    receiver: type[Record] = type(owner)
    return (thread.function.__func__, receiver), [owner, *thread.arguments]  # type: ignore[attr-defined]


def build(
    machine: Machine, threads: Sequence[Thread], rules: Iterable[Callable[..., Any]] = (), holds: bool = False,
    room: Room | None = None,
) -> Program:  # fmt: skip
    """The checked program of `threads` on `machine`, whose present state is the initial one; `holds`: with hold points.

    Raises `Refused` for a construct outside the language, `LangError` for bad threads or bounds.
    """
    return Program(machine, threads, rules, holds, room)
