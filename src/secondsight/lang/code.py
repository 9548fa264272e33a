"""What programs of one shape share: their functions lowered and linked, and what was made of them since.

A *shape* is everything that the lowered functions depend on: the functions that threads begin with, the rules, the bounds
and pools of the machine, the names of its tables, room for so many threads. Programs that differ only in what their
tables hold, in their initial state, in which thread runs what and with which arguments have one shape, and one `Code`.

Linking: every step boundary gets a number (a thread's program counter while it waits there; 0 when it has ended), every
call of a function with boundaries a return site, every local that lives across a step a place in the thread's region.
There is no recursion, so each function's frame lies at one fixed offset: behind the deepest of its callers' frames.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from secondsight.lang import ir
from secondsight.lang.cfg import Block, CallTo, Flow
from secondsight.lang.errors import LangError, Position
from secondsight.lang.frontend import Frontend
from secondsight.lang.layout import Layout
from secondsight.lang.records import Machine, Record
from secondsight.lang.types import ArrayType

__all__ = ["Code", "Counter", "Entry", "Frame", "is_head", "shared_code"]

T = TypeVar("T")

Entry = tuple[Callable[..., Any], "type[Record] | None"]
"""A function that a thread begins with, and the class of the record that it is a method of."""

MOST_SHARED = 32
"""Shapes that are kept for the programs to come; what was not used for longest goes first."""


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


class Code:
    """The lowered and linked functions of a shape, made for `machine` and good for every machine of its bounds and pools."""

    def __init__(
        self, machine: Machine, entries: Iterable[Entry], rules: Iterable[Callable[..., Any]], capacity: int, holds: bool
    ) -> None:
        self.machine, self.entries, self.rules = machine, list(dict.fromkeys(entries)), list(rules)
        self.capacity, self.holds = capacity, holds
        self.made: dict[Hashable, Any] = {}
        self.searched = 0  # states, by the reference executor
        with machine:
            self._lower()
        self.layout = Layout(machine)
        self._link()

    def keep(self, name: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, made once: `name` must say everything that it depends on beside the code."""
        if name not in self.made:
            self.made[name] = make()
        found: T = self.made[name]
        return found

    def fits(self, machine: Machine) -> bool:
        """Whether a machine has no other state than the one that the code was made for."""
        return self.layout.known.issuperset(machine._states)

    # From entries to functions.

    def _lower(self) -> None:
        """Lower everything that the threads reach; again if that reached state whose classes a dispatch did not know."""
        while True:
            self.frontend = Frontend(self.machine, self.rules, self.holds)
            self.roots = {entry: self.frontend.instance(*entry, False) for entry in self.entries}
            if self.frontend.is_settled():
                return

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

        for root in self.roots.values():
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
        self.region = max([f.start + f.size for f in order], default=self.counter_width)

    def _place(self, frame: Frame) -> None:
        """Give a place to every local that outlives a step or a join of control."""
        at = frame.start
        if len(frame.sites) > 1 or (frame.is_root and frame.sites):
            frame.return_slot, at = at, at + 1
            if len(frame.sites) > 254:
                raise LangError(f"{frame.flow.function.name} is called from more than 254 places")
        for var in kept(frame.flow):
            frame.slots[var] = at
            at += self.layout.width(var.type)
        frame.size = at - frame.start


def kept(flow: Flow) -> list[ir.Var]:
    """The locals that live where a rendered piece of code starts, in a fixed order."""
    found: dict[ir.Var, None] = {}
    for block in flow.blocks:
        if is_head(flow, block):
            for var in sorted(block.live_in, key=lambda v: v.name):
                if not var.transient and not (block is flow.entry and not _looped(flow, block)):
                    found[var] = None
    return list(found)


def is_head(flow: Flow, block: Block) -> bool:
    """Whether a block is rendered as a piece of its own: a step's start, a return, an entry, or where control joins."""
    return (
        block.boundary is not None or block.after_call is not None or block is flow.entry or flow.predecessors.get(block, 0) > 1
    )


def _looped(flow: Flow, entry: Block) -> bool:
    """Whether control can come back to the entry block."""
    return flow.predecessors.get(entry, 0) > 0 or entry.boundary is not None


_shared: dict[Hashable, Code] = {}


def shared_code(
    machine: Machine, entries: Sequence[Entry], rules: Sequence[Callable[..., Any]], capacity: int, holds: bool
) -> Code:
    """The code of a shape, made when it is first asked for."""
    key = (
        tuple(dict.fromkeys(entries)), tuple(rules), tuple(sorted(machine.bounds.items())),
        tuple((cls, d.kind.size) for cls, d in machine.pools.items() if isinstance(d.kind, ArrayType)), tuple(machine.data),
        capacity, holds,
    )  # fmt: skip
    found = _shared.pop(key, None)
    if found is None or not found.fits(machine):
        found = Code(machine, entries, rules, capacity, holds)
    _shared[key] = found
    while len(_shared) > MOST_SHARED:
        del _shared[next(iter(_shared))]
    return found
