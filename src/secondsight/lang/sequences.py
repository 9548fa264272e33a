"""Sequence numbers up to renaming: states that differ only in how far a counter has come are one state.

A field whose type is a sequence number (`SequenceNumber`) is a *counter* if the program adds one to it (`+= 1`) or makes it odd
(`|= 1`); every other is a *copy*, and so is a local that a number is assigned to. A number may be copied, compared with another
by `==` and `!=`, or with 0, which is no number but says that there is none; tested for parity (`& 1`, `% 2`); and of a counter
that is read, the number before may be taken (`- 1`). That nothing else is done with one is found out over the whole program
(`lang.spread`); what does more loses the renaming, and the reason is told.

Then the program cannot tell two states apart that are alike in this way. Let *present* be the numbers from the least counter on
(from the one before, if a program takes that), *old* those below.

  - The present numbers of one are those of the other, shifted by the same even number. What a counter will be is present.
  - Old numbers are equal in one where they are equal in the other, and odd where odd. No old number is made again: counters only
    rise, and whoever copies one copies what somebody holds. 0 is where 0 is.
  - Old numbers that are never compared need not be equal where they are: they are *stale*. Of two spots (fields, locals) it is
    known whether a number of one, wherever it is copied to, can be compared with one of the other: whether they *meet*. Of a
    group of spots of which none meets any other, nor itself, the old numbers that nobody else holds are as good as one.

Of several counters one may never go on, which only a search can know; then the least is that of the others (`lang.canonical_sequences`).

Every step keeps this: a copy is equal to what it was copied from and meets no more than that; a counter's next number is present
in both; a number that becomes old was shifted as all others were. So states that are alike have the same steps, errors,
deadlocks and final states. It takes that every number is known that lies in a live local. A way that leads back to a state which
is like one on it goes on for ever: in the program as it stands the numbers then rise until one leaves its range, which is an
error, so a search that renames ends where one that does not comes to that error. `lang.canonical_sequences` renames, in C.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from secondsight.lang import ir, tree
from secondsight.lang.layout import Layout
from secondsight.lang.program import Program
from secondsight.lang.records import Record
from secondsight.lang.spread import KnownVars, Spread, TellsApart
from secondsight.lang.standins import Shared
from secondsight.lang.types import ArrayType, IntType, RecordType, Type, is_sequence

__all__ = ["Field", "Sequences", "Spots", "field_in", "owned_field", "sequences_of"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field, in all records of the class that has it; or what a module declares outside of any."""

    owner: type[Record] | Shared
    name: str

    def __str__(self) -> str:
        return f"{self.owner.__name__}.{self.name}" if isinstance(self.owner, type) else self.name


NumberPlace = ir.Var | ir.Function | tuple[ir.Function, int] | Field
"""Where a number can lie: a local, a result on its way to the caller or a part of one, a field."""


class Kind(Enum):
    """What an integer may be."""

    ZERO = "0"
    PLAIN = "a number"
    SEQUENCE = "a sequence number, or 0"
    MIXED = "now a sequence number, now another number"


@dataclass(frozen=True, slots=True)
class Holds:
    """What an integer may be; of a sequence number the spots that it may be copied from."""

    kind: Kind
    sources: frozenset[NumberPlace] = frozenset()

    def at(self, spot: NumberPlace) -> Holds:
        """The same, read from a spot."""
        return Holds(self.kind, frozenset({spot})) if self.kind is Kind.SEQUENCE else self


PLAIN, ZERO = Holds(Kind.PLAIN), Holds(Kind.ZERO)


class Spots(Spread[Holds]):
    """The spots of a program's sequence numbers, what is copied from where, and what is compared. Raises `TellsApart`.

    `groups`: of spots that do not meet, their group. `before`: the number before a counter's is taken somewhere.
    """

    def __init__(self, program: Program) -> None:
        self.fields: dict[Field, Holds] = {}
        self.counters: set[Field] = set()
        self.compared: set[tuple[NumberPlace, NumberPlace]] = set()
        self.before = False
        roots = list(program.code.linked.roots.values())
        functions = list(tree.reached(roots))
        super().__init__(functions, roots, PLAIN)
        self._has_room(program)
        for stmt in (s for f in functions for s in tree.statements(f.body)):
            if isinstance(stmt, ir.Free):
                self._is_freed(program.layout, stmt.pool.type)
        self.groups = self._grouped()

    def has(self, spot: NumberPlace) -> bool:
        """Whether a local may hold a number."""
        held = self.vars.get(spot) if isinstance(spot, ir.Var) else None
        return held is not None and held.kind is Kind.SEQUENCE

    # Kinds.

    def join(self, a: Holds, b: Holds) -> Holds:
        """What may be either."""
        kinds = {a.kind, b.kind}
        if len(kinds) == 2:
            kinds.discard(Kind.ZERO)
        return Holds(kinds.pop() if len(kinds) == 1 else Kind.MIXED, a.sources | b.sources)

    def note(self, kind: Holds | None, name: str) -> None:
        """Refuse what holds now a sequence number, now another number."""
        if kind is not None and kind.kind is Kind.MIXED:
            raise TellsApart(f"{name} is now one, now another number")

    def must_be_plain(self, kind: Holds | None) -> None:
        """Refuse a sequence number."""
        if kind is not None and kind.kind is Kind.SEQUENCE:
            raise TellsApart(f"{self.function.name} uses one as a number")

    def constant(self, node: ir.Constant) -> Holds:
        """A constant: 0 says that there is no number."""
        return ZERO if node.value == 0 and isinstance(node.type, IntType) else PLAIN

    def local(self, node: ir.Local, known: KnownVars) -> Holds | None:
        """A local's value."""
        held = self.vars.get(node.var)
        return held and held.at(node.var)

    def load(self, node: ir.Load, known: KnownVars) -> Holds:
        """What is loaded."""
        return Holds(Kind.SEQUENCE).at(field_in(node.addr)) if is_sequence(node.addr.type) else PLAIN

    def called_as(self, function: ir.Function) -> Holds | None:
        """The result of a call."""
        held = super().called_as(function)
        return held and held.at(function)

    def part_of(self, function: ir.Function, number: int) -> Holds | None:
        """A part of the result of a function that returns a group."""
        held = super().part_of(function, number)
        return held and held.at((function, number))

    def computed(self, node: ir.Expr, known: KnownVars) -> Holds:
        """The parity of a number, and the number before a counter's; all else is of plain numbers."""
        if isinstance(node, ir.Binary) and isinstance(node.right, ir.Constant):
            held, operation = self.of(node.left, known), (node.op, node.right.value)
            if held is not None and held.kind is Kind.SEQUENCE:
                if operation in (("&", 1), ("%", 2)):
                    return PLAIN
                if operation == ("-", 1) and isinstance(node.left, ir.Load):
                    if self.checking and field_in(node.left.addr) not in self.counters:
                        raise TellsApart(f"{self.function.name} takes the number before one that is no counter's")
                    self.before = True
                    return held
        return super().computed(node, known)

    def compare(self, node: ir.Compare, known: KnownVars) -> None:
        """Two numbers are compared, or one with 0."""
        left, right = self.of(node.left, known), self.of(node.right, known)
        kinds = {held.kind for held in (left, right) if held is not None}
        if Kind.SEQUENCE not in kinds:
            return
        if self.checking and node.op not in ("==", "!="):
            raise TellsApart(f"{self.function.name} compares one by {node.op}")
        if self.checking and Kind.PLAIN in kinds:
            raise TellsApart(f"{self.function.name} compares one with another number")
        if left is not None and right is not None:
            self.compared |= {(a, b) for a in left.sources for b in right.sources}

    def store(self, stmt: ir.Store, known: KnownVars) -> None:
        """A number is kept in a field, or a counter goes on."""
        if not is_sequence(stmt.addr.type):
            held = self.of(stmt.value, known)
            if self.checking and held is not None and held.kind is Kind.SEQUENCE:
                raise TellsApart(f"{field_in(stmt.addr)} is given one, and is no SequenceNumber")
            return
        to, value = field_in(stmt.addr), stmt.value
        if isinstance(value, ir.Binary) and isinstance(value.left, ir.Load) and isinstance(value.right, ir.Constant):
            if (value.op, value.right.value) in (("+", 1), ("|", 1)) and is_same_place(value.left.addr, stmt.addr):
                self.changed |= to not in self.counters
                self.counters.add(to)
                return
        held = self.of(value, known)
        kept = self._either(self.fields.get(to), held)
        if self.checking and kept is not None and to in self.counters:
            raise TellsApart(f"{to} goes on, and something else is assigned to it too")
        if self.checking and kept is not None and kept.kind not in (Kind.SEQUENCE, Kind.ZERO):
            raise TellsApart(f"{to} is given another number")
        if kept is not None and kept != self.fields.get(to):
            self.fields[to] = kept
            self.changed = True

    # What is looked at when all kinds are known.

    def _has_room(self, program: Program) -> None:
        """Every integer that holds a number must have room for all of them: else its range tells them apart."""
        kinds = {kind for _, _, kind in places(program.layout)}
        most = max((kind.high for kind in kinds), default=0)
        if any(kind.low != 0 or kind.high != most for kind in kinds):
            raise TellsApart("they have several ranges, or one that does not begin at 0")
        narrower = program.code.linked.held
        held: list[tuple[str, object, Holds]] = [(v.name, narrower.get(v, v.type), kind) for v, kind in self.vars.items()]
        held += [(f.name, f.result, kind) for f, kind in self.results.items()]
        held += [(f.name, f.result.parts[i][1], kind) for (f, i), kind in self.parts.items() if isinstance(f.result, ir.Group)]
        for name, type_, kind in held:
            if kind.kind is Kind.SEQUENCE and isinstance(type_, IntType) and not type_.low <= 0 <= most <= type_.high:
                raise TellsApart(f"{name} has no room for all of them")

    def _is_freed(self, layout: Layout, pool: Type) -> None:
        """What is freed is as at the beginning: a counter would go back, and a copy must be 0 then."""
        assert isinstance(pool, ArrayType)
        for field, default in _fields_in(layout, pool.element):
            if field in self.counters or default:
                raise TellsApart(f"{field} is in records that are freed")

    def _grouped(self) -> dict[NumberPlace, int]:
        """Groups of spots that do not meet each other, nor themselves: each spot joins the first that it can."""
        copied: dict[NumberPlace, set[NumberPlace]] = {}
        holders: list[tuple[NumberPlace, Holds]] = [*self.vars.items(), *self.fields.items(), *self.results.items(), *self.parts.items()]
        for spot, held in holders:
            for source in held.sources:
                copied.setdefault(source, set()).add(spot)
        reach = {spot: _closed(spot, copied) for spot, held in holders if held.kind is Kind.SEQUENCE}

        def meet(a: NumberPlace, b: NumberPlace) -> bool:
            return any((x in reach[a] and y in reach[b]) or (x in reach[b] and y in reach[a]) for x, y in self.compared)

        groups: list[list[NumberPlace]] = []
        found: dict[NumberPlace, int] = {}
        for spot in reach:
            if meet(spot, spot) or spot in self.counters:
                continue
            number = next((n for n, group in enumerate(groups) if not any(meet(spot, other) for other in group)), len(groups))
            if number == len(groups):
                groups.append([])
            groups[number].append(spot)
            found[spot] = number
        return found


def _closed(spot: NumberPlace, copied: dict[NumberPlace, set[NumberPlace]]) -> set[NumberPlace]:
    """A spot, and wherever a number can be copied from it."""
    found, todo = {spot}, [spot]
    for one in todo:
        new = copied.get(one, set()) - found
        found |= new
        todo += new
    return found


def is_same_place(a: ir.Addr, b: ir.Addr) -> bool:
    """Whether two places, looked at in one state, are surely one."""
    if a is b:
        return True
    if len(a.path) != len(b.path) or not _is_same(a.root, b.root):
        return False
    for one, other in zip(a.path, b.path, strict=True):
        if isinstance(one, ir.FieldStep) and isinstance(other, ir.FieldStep):
            if (one.record, one.name) != (other.record, other.name):
                return False
        elif not (isinstance(one, ir.IndexStep) and isinstance(other, ir.IndexStep) and _is_same(one.index, other.index)):
            return False
    return True


def _is_same(a: Shared | ir.Expr, b: Shared | ir.Expr) -> bool:
    match a, b:
        case ir.Local(), ir.Local():
            return a.var is b.var
        case ir.Constant(), ir.Constant():
            return a.value == b.value
        case ir.NonNull(), ir.NonNull():
            return _is_same(a.value, b.value)
        case ir.Load(), ir.Load():
            return is_same_place(a.addr, b.addr)
        case ir.AddressOf(), ir.AddressOf():
            return is_same_place(a.addr, b.addr)
    return a is b


# Where they lie.


def owned_field(record: type[Record], name: str) -> Field:
    """A field by the class that has it first, of those that a record's is derived from."""
    return Field(next(c for c in reversed(record.__mro__) if issubclass(c, Record) and c is not Record and name in c.fields()), name)


def field_in(addr: ir.Addr) -> Field:
    """The field that a place is, or is an element of."""
    last = next((step for step in reversed(addr.path) if isinstance(step, ir.FieldStep)), None)
    if last is not None:
        return owned_field(last.record, last.name)
    assert isinstance(addr.root, Shared)
    return Field(addr.root, addr.root.name)


def _fields_in(layout: Layout, kind: Type) -> Iterator[tuple[Field, int]]:
    """The fields that are numbers in what is of a type, and what they begin with."""
    if isinstance(kind, ArrayType):
        yield from _fields_in(layout, kind.element)
    elif isinstance(kind, RecordType):
        for name, inner in layout.machine.fields(kind.record).items():
            element = inner.element if isinstance(inner, ArrayType) else inner
            if is_sequence(element):
                yield owned_field(kind.record, name), 0 if isinstance(inner, ArrayType) else kind.record.default(name)
            yield from _fields_in(layout, inner)


def places(layout: Layout) -> Iterator[tuple[int, Field, IntType]]:
    """Every number of the shared state: where it lies, the field that it is, its type."""

    def visit(kind: Type, at: int, field: Field) -> Iterator[tuple[int, Field, IntType]]:
        if isinstance(kind, IntType):
            if is_sequence(kind):
                yield at, field, kind
        elif isinstance(kind, RecordType):
            for name, inner in layout.parts(kind.record).items():
                yield from visit(inner, at + layout.offset(kind.record, name), owned_field(kind.record, name))
        elif isinstance(kind, ArrayType):
            for i in range(layout.machine.bound(kind.size)):
                yield from visit(kind.element, at + i * layout.size(kind.element), field)

    for declaration in layout.declarations:
        yield from visit(declaration.kind, layout.base[declaration], Field(declaration, declaration.name))


# What a search is told.


@dataclass
class Sequences:
    """A program's sequence numbers, which may be renamed."""

    spots: Spots | None = None
    """Looked for when it is wanted: what is known of a program may have come from the cache folder."""

    @property
    def name(self) -> str:
        """Everything that the rendered text depends on beside the code."""
        return "sequences"

    def spots_of(self, program: Program) -> Spots:
        """Where they lie."""
        if self.spots is None:
            self.spots = Spots(program)
        return self.spots


def sequences_of(program: Program, watch: tuple[int, int] | None = None) -> tuple[Sequences | None, str]:
    """The sequence numbers of a program, and why they are not renamed; None: there are none that go on.

    `watch`: the part of final states that counts.
    """
    known = program.code.keep("places of sequence numbers", lambda: [(at, kind.width) for at, _, kind in places(program.layout)])
    if not known:
        return None, ""
    found = Sequences()

    def look() -> tuple[str, bool]:
        try:
            return "", bool(found.spots_of(program).counters)
        except TellsApart as why:
            return str(why), False

    why, is_counting = program.code.fact("sequence numbers renamed", look)
    if why or not is_counting:
        return None, why
    if watch is not None and any(at < watch[1] and watch[0] < at + width for at, width in known):
        return None, "what is watched of final states has one in it"
    return found, ""
