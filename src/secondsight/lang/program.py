"""The checked program: threads, functions cut into blocks, numbered steps, and the layout of a state.

`build` runs the front end from the threads' root functions and links what it finds: every step boundary gets a number
(a thread's program counter while it waits there; 0 when it has ended), every call of a function with boundaries a
return site, every local that lives across a step a place in the thread's region. There is no recursion, so each
function's frame lies at one fixed offset: behind the deepest of its callers' frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from secondsight.lang import ir
from secondsight.lang.cfg import Block, CallTo, Flow
from secondsight.lang.errors import LangError, Position
from secondsight.lang.frontend import Frontend
from secondsight.lang.layout import Layout
from secondsight.lang.locks import MAX_THREADS
from secondsight.lang.records import Machine, Record, unwrap
from secondsight.lang.types import RefType

__all__ = ["Counter", "Program", "Thread", "build"]


@dataclass(frozen=True)
class Thread:
    """One thread: its name, its function (or a record's bound method) and constant arguments (integers or records).

    `daemon`: it may be waiting for ever when everything else has ended; that is no deadlock.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    daemon: bool = False


@dataclass(eq=False)
class Frame:
    """Where a function's locals lie: offsets from the start of the thread's region."""

    flow: Flow
    start: int = 0
    size: int = 0
    return_slot: int | None = None
    slots: dict[ir.Var, int] = field(default_factory=dict)
    sites: list[CallTo] = field(default_factory=list)
    is_root: bool = False


@dataclass(eq=False)
class Counter:
    """One value of a program counter: the step boundary that a thread waits at."""

    number: int
    frame: Frame
    block: Block

    @property
    def where(self) -> Position:
        """The statement that the step begins with."""
        assert self.block.boundary is not None
        return self.block.boundary.where

    @property
    def kind(self) -> str:
        """`statement`, or `leave`: the end of a `with lock:` block."""
        assert self.block.boundary is not None
        return self.block.boundary.kind

    @property
    def hold(self) -> str | None:
        """The name of the hold point that the step begins with."""
        assert self.block.boundary is not None
        return self.block.boundary.hold

    @property
    def function(self) -> ir.Function:
        """The function it is in."""
        return self.frame.flow.function


class Program:
    """A checked program; made by `build`. `holds`: its hold points are step boundaries."""

    def __init__(
        self, machine: Machine, threads: Sequence[Thread], rules: Iterable[Callable[..., Any]] = (), holds: bool = False
    ) -> None:
        if not threads:
            raise LangError("a program needs a thread")
        if len(threads) > MAX_THREADS:
            raise LangError(f"{len(threads)} threads; the limit is {MAX_THREADS}")
        self.machine, self.threads, self.rules, self.holds = machine, list(threads), list(rules), holds
        machine.rules = self.rules
        with machine:
            self._lower()
        self.layout = Layout(machine)
        self._link()
        self.initial_shared = self.layout.encode()

    # From threads to functions.

    def _lower(self) -> None:
        """Lower everything that the threads reach; again if that reached state whose classes a dispatch did not know."""
        while True:
            self.frontend = Frontend(self.machine, self.rules, self.holds)
            self.roots = [self._root(t) for t in self.threads]
            if self.frontend.is_settled():
                return

    def _root(self, thread: Thread) -> tuple[ir.Function, list[Any]]:
        function, arguments = thread.function, list(thread.arguments)
        receiver: type[Record] | None = None
        owner = getattr(function, "__self__", None)
        if owner is not None:
            owner = unwrap(owner)
            function = function.__func__  # type: ignore[attr-defined]
            receiver, arguments = type(owner), [owner, *arguments]
        made = self.frontend.instance(function, receiver, False)
        if made.atomic:
            raise LangError(
                f"thread {thread.name}: {made.name} is @atomic: call it from a plain function, or it would run before the first step"
            )
        if len(arguments) != len(made.params):
            raise LangError(f"thread {thread.name}: {made.name} takes {len(made.params)} arguments, not {len(arguments)}")
        return made, arguments

    # Linking.

    def _link(self) -> None:
        self.frames: dict[ir.Function, Frame] = {}
        self.counters: list[Counter] = []
        order: list[Frame] = []

        def visit(function: ir.Function) -> None:
            if function in self.frames:
                return
            frame = self.frames[function] = Frame(Flow(function))
            for block in frame.flow.blocks:
                if isinstance(block.end, CallTo):
                    visit(block.end.function)
            order.append(frame)

        for root, _ in self.roots:
            visit(root)
            self.frames[root].is_root = True
        order.reverse()  # callers before those they call
        for frame in order:
            for block in frame.flow.blocks:
                if isinstance(block.end, CallTo):
                    self.frames[block.end.function].sites.append(block.end)
        for frame in order:
            for block in frame.flow.blocks:
                if block.boundary is not None:
                    self.counters.append(Counter(len(self.counters) + 1, frame, block))
        self.number = {c.block: c.number for c in self.counters}
        self.counter_width = 1 if len(self.counters) < 256 else 2
        for frame in order:
            frame.start = max(frame.start, self.counter_width)
            self._place(frame)
            for block in frame.flow.blocks:
                if isinstance(block.end, CallTo):
                    callee = self.frames[block.end.function]
                    callee.start = max(callee.start, frame.start + frame.size)
        region = max([f.start + f.size for f in order], default=self.counter_width)
        self.region = region
        self.bases = [self.layout.shared_size + i * region for i in range(len(self.threads))]
        self.size = self.layout.shared_size + region * len(self.threads)

    def _place(self, frame: Frame) -> None:
        """Give a place to every local that outlives a step or a join of control."""
        at = frame.start
        if len(frame.sites) > 1 or (frame.is_root and frame.sites):
            frame.return_slot, at = at, at + 1
            if len(frame.sites) > 254:
                raise LangError(f"{frame.flow.function.name} is called from more than 254 places")
        for var in self.kept(frame.flow):
            frame.slots[var] = at
            at += self.layout.width(var.type)
        frame.size = at - frame.start

    def kept(self, flow: Flow) -> list[ir.Var]:
        """The locals that live where a rendered piece of code starts, in a fixed order."""
        found: dict[ir.Var, None] = {}
        for block in flow.blocks:
            if is_head(flow, block):
                for var in sorted(block.live_in, key=lambda v: v.name):
                    if not var.transient and not (block is flow.entry and not _looped(flow, block)):
                        found[var] = None
        return list(found)

    # Arguments.

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


def is_head(flow: Flow, block: Block) -> bool:
    """Whether a block is rendered as a piece of its own: a step's start, a return, an entry, or where control joins."""
    return (
        block.boundary is not None or block.after_call is not None or block is flow.entry or flow.predecessors.get(block, 0) > 1
    )


def _looped(flow: Flow, entry: Block) -> bool:
    """Whether control can come back to the entry block."""
    return flow.predecessors.get(entry, 0) > 0 or entry.boundary is not None


def build(
    machine: Machine, threads: Sequence[Thread], rules: Iterable[Callable[..., Any]] = (), holds: bool = False
) -> Program:
    """The checked program of `threads` on `machine`, whose present state is the initial one; `holds`: with hold points.

    Raises `Refused` for a construct outside the language, `LangError` for bad threads or bounds.
    """
    return Program(machine, threads, rules, holds)
