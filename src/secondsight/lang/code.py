"""What programs of one shape share: their functions lowered and linked, and what was made of them since.

A *shape* is everything that the lowered functions depend on: the functions that threads begin with, the rules, the bounds
and pools of the machine, the names of its tables, room for so many threads, and the source of all of it. Programs that
differ only in what their tables hold, in their initial state, in which thread runs what and with which arguments have one
shape, and one `Code`. The code of a shape that other processes had before comes from the cache folder (`lang.stored`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from secondsight.lang import ir, stored
from secondsight.lang.collecting import may_go, uncollected
from secondsight.lang.errors import LangError, Position
from secondsight.lang.facts import meaning_of
from secondsight.lang.layout import Layout, set_apart
from secondsight.lang.link import Callee, Linked
from secondsight.lang.machines import Machine
from secondsight.lang.origin import Origin
from secondsight.lang.types import ArrayType, resolve

__all__ = ["Code", "StepPlace", "Root", "shared_code"]

T = TypeVar("T")

_lowering = [threading.RLock()]
"""Held while functions are lowered. A process that is forked meanwhile has one of its own: nobody there would give this one back."""
os.register_at_fork(after_in_child=lambda: _lowering.__setitem__(0, threading.RLock()))

MOST_SHARED = 32
"""Shapes that are kept for the programs to come; what was not used for longest goes first."""


@dataclass(frozen=True, slots=True)
class Root:
    """A function that a thread begins with: its name, its parameters, the number of its frame."""

    name: str
    atomic: bool
    params: tuple[ir.Var, ...]
    number: int


@dataclass(frozen=True, slots=True)
class StepPlace:
    """Where a program counter stands."""

    where: Position
    function: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is read: its name, the range of its numbers, and where it is read."""

    name: str
    low: int
    high: int
    kind: str
    where: str


class Code:
    """The lowered and linked functions of a shape, made for `machine` and good for every machine of its bounds and pools.

    With an `origin` it may come from the cache folder: then nothing is lowered before somebody asks for what only lowering
    can tell, to print a trace for instance.
    """

    def __init__(
        self, machine: Machine, entries: Iterable[Callee], rules: Iterable[Callable[..., Any]], capacity: int, holds: bool,
        origin: Origin | None = None, inlines: bool = True, threads: Sequence[Callee] | None = None,
    ) -> None:  # fmt: skip
        begin = list(entries)
        self.machine, self.entries, self.rules = machine, list(dict.fromkeys(begin)), list(rules)
        self.threads = begin if origin is None else threads
        self.capacity, self.holds, self.inlines, self.origin = capacity, holds, inlines, origin
        self.made: dict[Hashable, Any] = {}
        self.searches = self.searched = 0  # by the reference executor: how many, each with its weight (`search.request`), and their states
        self.hurried = 0  # states that were searched by native code compiled in haste
        self._linked: Linked | None = None
        self.region: int
        self.counter_width: int
        self.facts: dict[str, Any] = {}
        self.texts: dict[str, Any] = {}
        self.changed = True
        self.known = None if origin is None else stored.find(origin, machine)
        if self.known is None:
            self._link()
        else:
            data = self.known.data
            self.layout: Layout = self.known.layout
            self.region, self.counter_width = data["region"], data["counter_width"]
            self.places = [StepPlace(*place) for place in self.known.places]
            self.tables = [Table(*table) for table in data["tables"]]
            self.roots = {entry: Root(*root) for entry, root in zip(self.entries, self.known.roots, strict=True)}
            self.facts, self.texts, self.changed = data["facts"], data["texts"], False

    def _link(self) -> Linked:
        with uncollected():
            layout = None if self.known is None else self.known.layout
            linked = self._linked = Linked(self.machine, self.entries, self.rules, self.holds, self.threads, self.inlines, layout)
        numbers = {function: number for number, function in enumerate(linked.frames)}
        places = [StepPlace(c.where, c.function.name) for c in linked.counters]
        if self.known is not None:
            if (places, linked.region) != (self.places, self.region):
                raise LangError("the source has changed since this search began: begin it again")
            return linked
        self.layout, self.region, self.counter_width, self.places = linked.layout, linked.region, linked.counter_width, places
        self.roots = {e: Root(f.name, f.atomic, tuple(f.params), numbers[f]) for e, f in linked.roots.items()}
        self.tables = [
            Table(t.name, kind.low, kind.high, str(kind), str(where))
            for t, where in linked.frontend.tables.items()
            for kind in (self.machine.sized(t.kind),)
        ]
        return linked

    @property
    def linked(self) -> Linked:
        """The lowered functions: the same ones for every thread of the process that asks."""
        if self._linked is None:
            with _lowering[0]:
                return self._linked or self._link()
        return self._linked

    @property
    def is_lowered(self) -> bool:
        """Whether that is there already."""
        return self._linked is not None

    def keep(self, name: Hashable, make: Callable[[], T]) -> T:
        """What `make` returns, made once: `name` must say everything that it depends on beside the code."""
        if name not in self.made:
            self.made[name] = make()
        found: T = self.made[name]
        return found

    def fact(self, name: str, make: Callable[[], Any]) -> Any:
        """As `keep`, for what JSON can say: it is kept for other processes too."""
        if name not in self.facts:
            self.facts[name], self.changed = make(), True
            stored.keep(self)
        return self.facts[name]

    def is_like(self, other: Code) -> None:
        """Its programs are as large at least as those of other code, which had less of something: what was searched of these says so."""
        if not self.searches:
            self.searches, self.searched = other.searches, other.searched

    def fits(self, machine: Machine) -> bool:
        """Whether a machine has no other state than the one that the code was made for, and the source is as it was."""
        known = self.layout.known.issuperset(machine._states) and self.layout.suits(machine)
        return known and (self.origin is None or (self.origin.stands() and self._means_the_same(self.origin)))

    def _means_the_same(self, origin: Origin) -> bool:
        """Whether the annotations of locals mean what they meant."""
        if self._linked is None:
            return self.known is not None and stored.means_the_same(self.known.data["annotations"], list(origin.functions))
        return all(repr(resolve(meaning_of(text, f))) == meant for (f, text), meant in self._linked.frontend.annotations.items())

    def check_tables(self, machine: Machine) -> None:
        """Check that the tables that are read were given, with values in the range of their types."""
        for table in self.tables:
            if table.name not in machine.data:
                raise LangError(f"the table {table.name!r} was not given: pass data={{{table.name!r}: [...]}}")
            row = machine.data[table.name]
            if row and not (table.low <= min(row) and max(row) <= table.high):
                i, value = next((i, v) for i, v in enumerate(row) if not table.low <= v <= table.high)
                raise LangError(f"{table.where}: {table.name}[{i}] is {value}, outside {table.kind}")
            stray = next((v for v in row if table.name in machine.only and v not in machine.only[table.name]), None)
            if stray is not None:
                allowed = ", ".join(map(str, machine.only[table.name]))
                raise LangError(f"{table.where}: {table.name} has {stray}, and was said to have only {allowed}")
            if len(row) > 32767:
                raise LangError(f"{table.where}: the table {table.name} has more than 32767 elements")


_shared: dict[Hashable, Code] = {}


def shared_code(
    machine: Machine, entries: Sequence[Callee], rules: Sequence[Callable[..., Any]], capacity: int, holds: bool, inlines: bool = True,
    threads: Sequence[Callee] | None = None,
) -> Code:  # fmt: skip
    """The code of a shape, made when it is first asked for. `threads`: what each of its programs' threads begin with, if they have just these."""
    entries = list(dict.fromkeys(entries))
    sizes = [(cls, d.kind.size) for cls, d in machine.pools.items() if isinstance(d.kind, ArrayType)]
    rest = (sorted(machine.bounds.items()), list(machine.data), sorted(machine.only.items()), capacity, holds, *(() if inlines else ("not inlined",)))
    key = (tuple(entries), tuple(rules), tuple(sizes), repr(rest), None if threads is None else tuple(threads))
    found = _shared.pop(key, None)
    if found is None or not found.fits(machine):
        pools = [(f"{cls.__module__}.{cls.__qualname__}", size) for cls, size in sizes]
        begin = [(f"{f.__module__}.{f.__qualname__}", cls and cls.__qualname__) for f, cls in entries]
        apart = sorted(set_apart(machine, [*machine.pools.values(), *machine._states]))  # it says where everything lies
        numbers = () if threads is None else ([entries.index(entry) for entry in threads],)  # each has its name in `begin`
        shape = repr((rest, pools, begin, apart, *numbers))
        roots = [*(part for entry in entries for part in entry), *rules]
        states = sorted(machine._states, key=lambda d: d.name)
        with uncollected():
            origin = Origin(shape, roots, [*machine.pools.values(), *states])
            found = Code(machine, entries, rules, capacity, holds, origin, inlines, threads)
    _shared[key] = found
    while len(_shared) > MOST_SHARED:
        del _shared[next(iter(_shared))]
        may_go()
    return found
