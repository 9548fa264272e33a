"""Numbers of threads and rows: where a program has them, and that it does nothing with them that a renaming of threads would not keep.

What is allowed `lang.equal` says. It is looked for over the whole program (`lang.spread`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from secondsight.lang import ir, tree
from secondsight.lang.layout import Layout, field_of
from secondsight.lang.locks import MAX_THREADS
from secondsight.lang.program import Program
from secondsight.lang.sequences import Field, field_in, owned_field
from secondsight.lang.slots import Slot
from secondsight.lang.spread import KnownVars, Spread, TellsApart
from secondsight.lang.standins import Shared
from secondsight.lang.types import ArrayType, IntType, RecordType, Type

__all__ = ["HeldNumber", "Kind", "Moved", "Names", "Rows", "cells"]


class Kind(Enum):
    """What an integer may be."""

    PLAIN = "a number"
    ZERO = "0"
    ME = "the number of the thread itself"
    THREAD = "the number of a thread, or 0"
    ORDINAL = "the number of the thread itself, from 0"
    SET = "a set of threads"
    OTHERS = "all but a set of threads"
    ROW = "a row of the thread, or the one behind them"
    WITHIN = "a row of the thread"
    MIXED = "now one, now another"


_NUMBERS = frozenset({Kind.PLAIN, Kind.ZERO})
_THREADS = frozenset({Kind.ME, Kind.THREAD, Kind.ZERO})
_SETS = frozenset({Kind.SET, Kind.ZERO})
_ROWS = frozenset({Kind.ROW, Kind.WITHIN})
_STORED = frozenset({Kind.PLAIN, Kind.ZERO, Kind.ME, Kind.THREAD, Kind.SET})

_JOINED = {
    frozenset({Kind.ZERO, Kind.PLAIN}): Kind.PLAIN,
    frozenset({Kind.ZERO, Kind.ME}): Kind.THREAD,
    frozenset({Kind.ZERO, Kind.THREAD}): Kind.THREAD,
    frozenset({Kind.ME, Kind.THREAD}): Kind.THREAD,
    frozenset({Kind.ZERO, Kind.SET}): Kind.SET,
    frozenset({Kind.ROW, Kind.WITHIN}): Kind.ROW,
}

Rows = dict[tuple[int, int], bool]
"""The parameters that are rows, by the number of the function that a thread begins with, and their place; whether each is below the last."""


class Names(Spread[Kind]):
    """Where a program has numbers of threads and rows, and that it does nothing else with them. Raises `TellsApart`.

    `by_thread`, `by_row`: the arrays of which an element is a thread's. `named`: the tables that name elements of the latter. `tables`: those
    that are looked at by row. `zero`: the fields that nobody writes and that go with numbers of threads: they must be 0. `least`, `most`: between these every integer has room that holds a row.
    """

    def __init__(self, program: Program, rows: Rows) -> None:
        self.rows, self.held = rows, program.code.linked.held
        self.numbers = {root: program.code.roots[entry].number for entry, root in program.code.linked.roots.items()}
        roots = list(self.numbers)
        functions = list(tree.reached(roots))
        self.fields: dict[Field, Kind] = {}
        self.by_thread: set[Field] = set()
        self.by_row: set[Field] = set()
        self.by_number: set[Field] = set()
        self.tables: set[str] = set()
        self.named: set[tuple[Field, str]] = set()
        self.zero: set[tuple[str, str]] = set()
        self.least, self.most = 0, 1 << 62
        self.stored = {field_in(s.addr) for f in functions for s in tree.statements(f.body) if isinstance(s, ir.Store)}
        self.each = {var: None for f in functions for var in loops_over_threads(f)}
        super().__init__(functions, roots, Kind.PLAIN)
        self.fields = {name: kind for name, kind in self.fields.items() if kind not in _NUMBERS}
        self._look(functions)

    # Kinds.

    def argument(self, root: ir.Function, param: ir.Var) -> Kind:
        """What a thread's constant argument is."""
        within = self.rows.get((self.numbers[root], root.params.index(param)))
        return Kind.PLAIN if within is None else Kind.WITHIN if within else Kind.ROW

    def join(self, a: Kind, b: Kind) -> Kind:
        """What may be either."""
        return _JOINED.get(frozenset({a, b}), Kind.MIXED)

    def note(self, kind: Kind | None, name: str) -> None:
        """Refuse what cannot be followed."""
        if kind is Kind.MIXED:
            raise TellsApart(f"{name} is now the number of a thread or a row, now another number")
        if kind in (Kind.ORDINAL, Kind.OTHERS):
            raise TellsApart(f"{name} is computed from the number of a thread")

    def must_be_plain(self, kind: Kind | None) -> None:
        """Refuse what is no plain number."""
        if kind is not None and kind not in _NUMBERS:
            raise TellsApart(f"{self.function.name} uses {kind.value} as a number")

    def constant(self, node: ir.Constant) -> Kind:
        """A constant."""
        return Kind.ZERO if node.value == 0 and isinstance(node.type, IntType) else Kind.PLAIN

    def local(self, node: ir.Local, known: KnownVars) -> Kind | None:
        """A local's value."""
        if node.var in self.each:
            return Kind.ME
        return Kind.WITHIN if node.var in known else self.vars.get(node.var)

    def load(self, node: ir.Load, known: KnownVars) -> Kind | None:
        """What is loaded: of what nobody writes a plain number."""
        spot = field_in(node.addr)
        return self.fields.get(spot) if spot in self.stored else Kind.PLAIN

    def of(self, node: ir.Expr, known: KnownVars = frozenset()) -> Kind | None:
        """What the value of an expression may be."""
        if isinstance(node, ir.Conditional) and is_always(node.test):
            return self.of(node.then, known)
        if isinstance(node, ir.Binary | ir.Unary) and not self.checking:
            kinds = {self.of(part, known) for part in tree.parts(node)}
            if None in kinds:  # nothing is known of a part yet, but that what goes with a set is one
                return Kind.SET if kinds & {Kind.SET, Kind.OTHERS} else None
        if isinstance(node, ir.AddressOf):
            for i, step in enumerate(node.addr.path):
                if isinstance(step, ir.IndexStep) and self.of(step.index, known) in (*_THREADS - {Kind.ZERO}, *_ROWS):
                    raise TellsApart(f"{self.function.name} has a reference to what is a thread's: {_array(node.addr, i)}")
        kind = super().of(node, known)
        if isinstance(node, ir.Fits):
            self._has_room(kind, node.type, self.function.name)
        return kind

    def computed(self, node: ir.Expr, known: KnownVars) -> Kind:
        """The thread itself, sets of threads, the next row, what a table says."""
        kind = self._computed(node, known)
        return super().computed(node, known) if kind is None else kind

    def _computed(self, node: ir.Expr, known: KnownVars) -> Kind | None:
        match node:
            case ir.Current():
                return Kind.ME
            case ir.Binary(op="-", left=ir.Current(), right=ir.Constant(value=1)):
                return Kind.ORDINAL
            case ir.Binary(op="<<", left=ir.Constant(value=1)) if self.of(node.right, known) is Kind.ORDINAL:
                return Kind.SET
            case ir.Binary(op="&" | "|" | "^"):
                left, right = self.of(node.left, known), self.of(node.right, known)
                if right in (Kind.SET, Kind.OTHERS) and self._is_constant(node.left):
                    left = Kind.SET
                if left in _SETS and right in _SETS and Kind.SET in (left, right):
                    return Kind.SET
                if node.op == "&" and {left, right} == {Kind.SET, Kind.OTHERS}:
                    return Kind.SET
            case ir.Unary(op="~") if self.of(node.value, known) is Kind.SET:
                return Kind.OTHERS
            case ir.Binary(op="+", right=ir.Constant(value=1)) if self.of(node.left, known) is Kind.WITHIN:
                return Kind.ROW
            case ir.TableItem():
                kind = self.of(node.index, known)
                if kind is Kind.WITHIN:
                    self.tables.add(node.table)
                elif self.checking:
                    self.must_be_plain(kind)
                return Kind.PLAIN
            case ir.Alloc() | ir.IsUsed():
                self._whole(node.pool)
        return None

    def index_of(self, node: ir.IndexOf) -> Kind:
        """The place of a record in an array."""
        self._whole(node.array)
        return Kind.PLAIN

    def compare(self, node: ir.Compare, known: KnownVars) -> None:
        """A number of a thread or a set is compared with another, a row with another of the same thread."""
        if is_always(node) or (isinstance(node.left, ir.Local) and node.left.var in self.each and _is_limit(node.op, node.right)):
            return
        left, right = self.of(node.left, known), self.of(node.right, known)
        equal = node.op in ("==", "!=")
        if equal and ((left in _THREADS and right in _THREADS) or (left in _SETS and right in _SETS)):
            return
        if left in _ROWS and right in _ROWS:
            return
        if equal and (left in _THREADS or right in _THREADS):
            if self._is_constant(node.right if left in _THREADS else node.left):
                return
        self.number(node.left, known)
        self.number(node.right, known)
        if self.checking and None in (left, right):
            self.must_be_plain(left)
            self.must_be_plain(right)

    def _is_constant(self, node: ir.Expr) -> bool:
        """Whether it is a field that nobody writes: it goes with numbers of threads, and sets, as long as it is 0."""
        if not isinstance(node, ir.Load) or field_in(node.addr) in self.stored or not isinstance(step := node.addr.path[-1], ir.FieldStep):
            return False
        self.zero.add(field_of(step.record, step.name))
        return True

    def learned(self, test: ir.Expr) -> KnownVars:
        """The rows that are below the last where a test is true: those below another."""
        if isinstance(test, ir.Logic) and test.op == "and":
            return frozenset(v for item in test.items for v in self.learned(item))
        if isinstance(test, ir.Compare) and test.op == "<" and isinstance(test.left, ir.Local):
            if self.vars.get(test.left.var) in _ROWS and self.of(test.right) in _ROWS:
                return frozenset({test.left.var})
        return frozenset()

    def store(self, stmt: ir.Store, known: KnownVars) -> None:
        """Something is kept in a field."""
        kind, spot = self.of(stmt.value, known), field_in(stmt.addr)
        if self.checking and kind is not None and kind not in _STORED:
            raise TellsApart(f"{spot} is given {kind.value}")
        kept = self._either(self.fields.get(spot), kind)
        kept = Kind.THREAD if kept is Kind.ME else kept
        if kept is Kind.MIXED:
            raise TellsApart(f"{spot} is now the number of a thread, now another number")
        if kept is not None and kept != self.fields.get(spot):
            self.fields[spot] = kept
            self.changed = True
        if self.checking:
            self._has_room(kept, stmt.addr.type, str(spot))

    def addr(self, addr: ir.Addr, known: KnownVars) -> None:
        """A place: which of its arrays have an element for each thread or row."""
        if isinstance(addr.root, ir.Expr):
            self.number(addr.root, known)
        for i, step in enumerate(addr.path):
            if isinstance(step, ir.IndexStep):
                kind, array = self.of(step.index, known), _array(addr, i)
                inner = step.index.value if isinstance(step.index, ir.Fits) else step.index
                if kind in (Kind.ME, Kind.THREAD):
                    self.by_thread.add(array)
                elif kind is Kind.WITHIN:
                    self.by_row.add(array)
                elif isinstance(inner, ir.TableItem):
                    self.named.add((array, inner.table))
                elif self.checking:
                    self.must_be_plain(kind)
                    self.by_number.add(array)

    def _whole(self, addr: ir.Addr) -> None:
        """An array is looked at as a whole."""
        self.by_number.add(field_in(addr))

    def _statement(self, stmt: ir.Stmt, known: KnownVars) -> KnownVars:
        if isinstance(stmt, ir.Free):
            self._whole(stmt.pool)
        if isinstance(stmt, ir.SetVar) and stmt.var in self.each:
            return known
        return super()._statement(stmt, known)

    # What is looked at when all kinds are known.

    def _has_room(self, kind: Kind | None, type_: Type | None, name: str) -> None:
        """An integer that holds one must have room for all of them: else its range tells them apart."""
        if not isinstance(type_, IntType):
            return
        if kind in _ROWS:
            self.least, self.most = max(self.least, type_.low), min(self.most, type_.high)
        most = {Kind.ME: MAX_THREADS, Kind.THREAD: MAX_THREADS, Kind.SET: (1 << MAX_THREADS) - 1}.get(kind or Kind.PLAIN, 0)
        if type_.high < most or (most and type_.low > 0):
            raise TellsApart(f"{name} has no room for the numbers of all threads")

    def _look(self, functions: Sequence[ir.Function]) -> None:
        held = [(v.name, self.held.get(v, v.type), kind) for v, kind in self.vars.items()]
        held += [(f.name, f.result, kind) for f, kind in self.results.items()]
        held += [(f.name, f.result.parts[i][1], kind) for (f, i), kind in self.parts.items() if isinstance(f.result, ir.Group)]
        for name, type_, kind in held:
            self._has_room(kind, type_, name)
        named = {array for array, _ in self.named}
        for array in self.by_thread:
            if array in self.by_number or array in self.by_row or array in named:
                raise TellsApart(f"{array} is looked at by thread, and otherwise too")
        for array in self.by_row & self.by_number:
            raise TellsApart(f"{array} is looked at by row, and otherwise too")
        self.named = {(array, table) for array, table in self.named if array in self.by_row}

    def holds(self, var: ir.Var) -> Kind | None:
        """What a local holds that a renaming changes; None: nothing."""
        kind = self.vars.get(var)
        return kind if kind is not None and kind not in _NUMBERS else None


def is_always(test: ir.Expr) -> bool:
    """Whether a test is that a thread's number is not greater than numbers can be: it is true."""
    return isinstance(test, ir.Compare) and isinstance(test.left, ir.Current) and _is_limit(test.op, test.right)


def _is_limit(op: str, right: ir.Expr) -> bool:
    """Whether what is compared is no greater than a thread's number can be."""
    return isinstance(right, ir.Constant) and (op, right.value) in (("<=", MAX_THREADS), ("<", MAX_THREADS + 1))


def _array(addr: ir.Addr, i: int) -> Field:
    """The array that step `i` of a place finds an element of."""
    last = next((step for step in reversed(addr.path[:i]) if isinstance(step, ir.FieldStep)), None)
    if last is not None:
        return owned_field(last.record, last.name)
    assert isinstance(addr.root, Shared)
    return Field(addr.root, addr.root.name)


# Loops over all threads.


def loops_over_threads(function: ir.Function) -> Iterator[ir.Var]:
    """The counters of the loops of a function that go over the numbers of all threads, and whose rounds do not depend on each other."""
    for body in _bodies(function.body):
        for before, loop in itertools.pairwise(body):
            var = _counts_threads(before, loop)
            if var is not None and isinstance(loop, ir.While) and _is_for_each(function, loop, var):
                yield var


def _bodies(body: list[ir.Stmt]) -> Iterator[list[ir.Stmt]]:
    yield body
    for stmt in body:
        for inner in (stmt.then, stmt.other) if isinstance(stmt, ir.If) else (stmt.body,) if isinstance(stmt, ir.While) else ():
            yield from _bodies(inner)


def _counts_threads(before: ir.Stmt, loop: ir.Stmt) -> ir.Var | None:
    """The counter of `for number in range(1, 8)`; None: it is not that."""
    match before, loop:
        case (
            ir.SetVar(var=var, value=ir.Constant(value=0 | 1)),
            ir.While(
                test=ir.Compare(op="<", left=ir.Local(var=tested), right=ir.Constant(value=end)),
                step=[ir.SetVar(var=counted, value=ir.Binary(op="+", left=ir.Local(var=last), right=ir.Constant(value=1)))],
            ),
        ) if end == MAX_THREADS + 1 and var is tested and var is counted and var is last:
            return var
    return None


def _is_for_each(function: ir.Function, loop: ir.While, var: ir.Var) -> bool:
    """Whether each round reads and writes only what is of the thread with its number, of all that any round writes."""
    within = list(tree.statements(loop.body))
    written = {field_in(stmt.addr) for stmt in within if isinstance(stmt, ir.Store)}
    for stmt in within:
        if isinstance(stmt, ir.Store):
            if not _is_own(stmt.addr, var):
                return False
        elif not isinstance(stmt, ir.If):
            return False
        nodes = [node for item in tree.expressions(stmt) for node in tree.walk(item)]
        if any(tree.effects(item) for item in tree.expressions(stmt)):
            return False
        called = list(tree.reached({n.function: None for n in nodes if isinstance(n, ir.Call)}))
        nodes += [n for f in called for s in tree.statements(f.body) for e in tree.expressions(s) for n in tree.walk(e)]
        if any(isinstance(n, ir.Load) and field_in(n.addr) in written and not _is_own(n.addr, var) for n in nodes):
            return False
    inside = {id(stmt) for stmt in (loop, *within, *loop.step)}
    for stmt in tree.statements(function.body):
        if id(stmt) not in inside and any(
            isinstance(n, ir.Local) and n.var is var for e in tree.expressions(stmt) for n in tree.walk(e)
        ):
            return False
    return sum(var in tree.assigned(stmt) for stmt in tree.statements(function.body)) == 2


def _is_own(addr: ir.Addr, var: ir.Var) -> bool:
    """Whether a place is an element of an array that a round finds by its number."""
    last = addr.path[-1]
    return isinstance(last, ir.IndexStep) and isinstance(last.index, ir.Local) and last.index.var is var


# Where all that lies.


@dataclass(frozen=True, slots=True)
class HeldNumber:
    """A number of the shared state that a renaming changes: the byte that its slot is counted from, the slot, what it holds."""

    at: int
    slot: Slot
    kind: Kind


@dataclass(frozen=True, slots=True)
class Moved:
    """An array of which a renaming moves elements: each as the bits that its numbers take, or as whole bytes.

    `places`: of each element its byte and its lowest bit; `bits` of each, 8 for each byte. `rows`: it is by row, else by thread.
    """

    places: tuple[tuple[int, int], ...]
    bits: int
    rows: bool
    field: Field


def cells(layout: Layout, names: Names) -> tuple[list[HeldNumber], list[Moved]]:
    """All that a renaming changes in the shared state."""
    found: list[HeldNumber] = []
    moved: list[Moved] = []

    def visit(kind: Type, at: int, spot: Field) -> None:
        if isinstance(kind, RecordType):
            for name, inner in layout.parts(kind.record).items():
                here = owned_field(kind.record, name)
                if isinstance(inner, IntType) and here in names.fields:
                    found.append(HeldNumber(at, layout.field(kind.record, name), names.fields[here]))
                elif isinstance(inner, (RecordType, ArrayType)):
                    visit(inner, at + layout.offset(kind.record, name), here)
        elif isinstance(kind, ArrayType):
            count = layout.machine.bound(kind.size)
            is_number = not isinstance(kind.element, RecordType)
            if is_number:
                slots = [layout.first(kind).element(i) for i in range(count)]
                places, bits = [(at + s.at, s.shift) for s in slots], (8 * slots[0].width if slots and slots[0].is_whole else slots[0].bits if slots else 0)
                if spot in names.fields:
                    found.extend(HeldNumber(at, slot, names.fields[spot]) for slot in slots)
            else:
                size = layout.size(kind.element)
                places, bits = [(at + i * size, 0) for i in range(count)], 8 * size
                for place, _ in places:
                    visit(kind.element, place, spot)
            if spot in names.by_thread or spot in names.by_row:
                moved.append(Moved(tuple(places), bits, spot in names.by_row, spot))

    for declaration in layout.declarations:
        visit(declaration.kind, layout.base[declaration], Field(declaration, declaration.name))
    return found, moved
