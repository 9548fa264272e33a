"""Lowered functions linked: every step boundary numbered, every local that outlives a step at its place.

Every step boundary gets a number (a thread's program counter while it waits there; 0 when it has ended), every call of a
function with boundaries a return site, every local that lives across a step a place in the thread's region. There is no
recursion, so each function's locals have fixed places: none where its callers have what they still need, whoever of them called it.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from secondsight.lang import ir, tree
from secondsight.lang.cfg import Block, CallTo, Flow
from secondsight.lang.errors import LangError, Position, Refused
from secondsight.lang.frontend import Frontend
from secondsight.lang.held import held_ranges
from secondsight.lang.layout import FieldName, Layout, field_of
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.machines import Machine
from secondsight.lang.overlaid import Overlaid, apart, bits_of
from secondsight.lang.records import Record
from secondsight.lang.refusals import other_refusals
from secondsight.lang.slots import Slot
from secondsight.lang.types import ArrayType, RecordType, Type

__all__ = ["Counter", "Callee", "Frame", "Linked", "is_head"]

Callee = tuple[Callable[..., Any], "type[Record] | None"]
"""A function that a thread begins with, and the class of the record that it is a method of."""


MOST_COUNTERS = 65535


@dataclass(eq=False)
class Frame:
    """Where a function's locals lie, in a thread's region.

    `taken`: the bits, the lowest first, that its callers still need whoever they are; `end`: the bit behind the last of all.
    `return_slot`: which of `sites` it was called from; 0: from none, a thread begins with it.
    """

    flow: Flow
    taken: int = 0
    end: int = 0
    return_slot: Slot | None = None
    slots: dict[ir.Var, Slot] = field(default_factory=dict)
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
        """`statement`; `leave`: the end of a `with lock:` block; `after`: behind a call, within a statement."""
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


class Linked:
    """What threads that begin with `entries` can reach, lowered for `machine` and linked.

    `threads`: what each thread begins with; None: any of the entries may have several. `layout`: where the shared state lies, if that
    is known already. `queues`: writers stand in the queues
    of locks. They do where two threads can tell: one that reads, and one that comes to read then.
    """

    def __init__(
        self, machine: Machine, entries: Sequence[Callee], rules: Iterable[Callable[..., Any]], holds: bool,
        threads: Sequence[Callee] | None = None, inlines: bool = True, layout: Layout | None = None,
    ) -> None:  # fmt: skip
        with machine:
            while True:  # again if that reached state whose classes a dispatch did not know
                self.frontend = Frontend(machine, rules, holds, inlines)
                try:
                    self.roots = {entry: self.frontend.instance(*entry, False) for entry in entries}
                except Refused as refused:
                    refused.find_others = partial(other_refusals, refused, machine, entries, list(self.frontend.rules), holds)
                    raise
                if self.frontend.is_settled():
                    break
        written = written_by(self.frontend.instances.values())
        if layout is not None and not written <= (layout.written or frozenset()):
            raise LangError("the source has changed since this search began: begin it again")
        self.layout = layout or Layout(machine, written)
        reading = {entry for entry, root in self.roots.items() if reads_locks(root)}
        self.queues = bool(reading) if threads is None else sum(entry in reading for entry in threads) > 1
        self._link()

    def _link(self) -> None:
        self.frames: dict[ir.Function, Frame] = {}
        self.counters: list[Counter] = []
        order: list[Frame] = []

        def visit(function: ir.Function) -> None:
            if function in self.frames:
                return
            frame = self.frames[function] = Frame(Flow(function, self.queues))
            for block in frame.flow.blocks:
                if isinstance(block.end, CallTo):
                    visit(block.end.function)
            order.append(frame)

        for root in self.roots.values():
            visit(root)
            self.frames[root].is_root = True
        order.reverse()  # callers before those they call
        self.frames = dict(sorted(self.frames.items(), key=lambda one: one[0].is_users))  # whose edits then change no number of the model's
        numbered = sorted(order, key=lambda frame: frame.flow.function.is_users)
        for frame in numbered:
            for block in frame.flow.blocks:
                if isinstance(block.end, CallTo):
                    self.frames[block.end.function].sites.append(block.end)
        for frame in numbered:
            for block in frame.flow.blocks:
                if block.boundary is not None:
                    self.counters.append(Counter(len(self.counters) + 1, frame, block))
        self.number = {c.block: c.number for c in self.counters}
        if len(self.counters) > MOST_COUNTERS:
            raise LangError(f"{len(self.counters)} step boundaries; the limit is {MOST_COUNTERS}: let fewer functions be reached")
        self.counter_width = 1 if len(self.counters) < 256 else 2
        keeps = {frame: kept(frame.flow) for frame in order}
        self.held = held_ranges(self.frames, self.roots.values(), (var for some in keeps.values() for var in some))
        for frame in order:
            frame.taken |= (1 << 8 * self.counter_width) - 1
            self._place(frame, keeps[frame])
            for block in frame.flow.blocks:
                if isinstance(block.end, CallTo):
                    self.frames[block.end.function].taken |= self._needed(frame, block.end)
        self.region = max([-(-f.end // 8) for f in order], default=self.counter_width)

    def _place(self, frame: Frame, keeps: list[ir.Var]) -> None:
        """Give a place to every local that outlives a step or a join of control."""
        kinds = {var: self.held.get(var, var.type) for var in keeps}
        room = Overlaid(frame.taken, apart(frame.flow, kinds))
        if len(frame.sites) > 1 or (frame.is_root and frame.sites):
            if len(frame.sites) > 254:
                raise LangError(f"{frame.flow.function.name} is called from more than 254 places")
            bits = len(frame.sites).bit_length()
            at, width, shift = room.always(bits)
            frame.return_slot = Slot(at, width, shift, bits)
        surviving: collections.Counter[ir.Var] = collections.Counter()
        for block in frame.flow.blocks:
            if isinstance(block.end, CallTo):
                surviving.update(frame.flow.live_across(block.end))
        sizes = {var: self.layout.bits(kind, 0, var.is_item) for var, kind in kinds.items()}
        for var in sorted(kinds, key=lambda v: (-surviving[v], sizes[v] < 8)):  # small ones fill gaps
            frame.slots[var] = self.layout.slot(kinds[var], room.take(var, sizes[var]), 0, var.is_item)
        frame.end = room.end

    @staticmethod
    def _needed(frame: Frame, call: CallTo) -> int:
        """The bits of all that must survive a call."""
        alive = frame.flow.live_across(call)
        slots = [slot for var, slot in frame.slots.items() if var in alive]
        return frame.taken | bits_of(slots if frame.return_slot is None else [frame.return_slot, *slots])


def written_by(functions: Iterable[ir.Function]) -> frozenset[FieldName]:
    """The fields that some functions may write; those of a record that can be freed are zeroed then. Locks are looked at by others too."""
    found = {field_of(record, name) for record in (Lock, RwLock) for name in record.fields()}

    def whole(kind: Type) -> None:
        if isinstance(kind, ArrayType):
            whole(kind.element)
        elif isinstance(kind, RecordType):
            for name, inner in kind.record.fields().items():
                found.add(field_of(kind.record, name))
                whole(inner)

    for function in functions:
        for stmt in tree.statements(function.body):
            if isinstance(stmt, ir.Store) and isinstance(stmt.addr.path[-1], ir.FieldStep):
                found.add(field_of(stmt.addr.path[-1].record, stmt.addr.path[-1].name))
            elif isinstance(stmt, ir.Free):
                whole(stmt.pool.type)
    return frozenset(found)


def reads_locks(root: ir.Function) -> bool:
    """Whether a function, with those it calls, can become a reader of an `RwLock` or try to take one: whatever a queue can show to."""
    todo = [root]
    for function in todo:
        for stmt in tree.statements(function.body):
            if isinstance(stmt, ir.Store) and is_readers(stmt.addr):
                return True
            called = [stmt.function] if isinstance(stmt, ir.YieldCall) else []
            for node in (n for e in tree.expressions(stmt) for n in tree.walk(e)):
                if isinstance(node, ir.Load) and is_tried(node.addr):
                    return True
                called += [node.function] if isinstance(node, ir.Call) else []
            todo += [f for f in called if f not in todo]
    return False


def is_readers(addr: ir.Addr) -> bool:
    """Whether a place says who reads a lock."""
    last = addr.path[-1] if addr.path else None
    return isinstance(last, ir.FieldStep) and issubclass(last.record, RwLock) and last.name == "readers"


def is_tried(addr: ir.Addr) -> bool:
    """Whether a lock's place is read in a `trylock`."""
    last = addr.path[-1] if addr.path else None
    return isinstance(last, ir.FieldStep) and issubclass(last.record, RwLock) and last.operation == "tries"


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
