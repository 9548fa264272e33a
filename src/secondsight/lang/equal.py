"""Equal threads: states that differ only in which of several equal threads is which are one state.

Threads are *equal* if they begin with the same function and equal arguments. Integers among these may differ, all by the same:
then they are *rows*, and a thread's rows are those from the least of its arguments on to before the greatest. Equal threads'
rows must say the same in each table that the program finds something in by a row.

A renaming of equal threads moves their places and locals, with the shared state that is theirs: the elements of arrays by thread
(`array[current()]`) and by row (`results[row]`). It changes their numbers wherever these lie, in locks, in fields (`owner`), in
live locals; a set of threads is an integer with a bit for each. That keeps the program's steps only if the program does nothing else with the
number of a thread or a row. So it is looked for over the whole program (`lang.spread`):

  - A number of a thread, `current()`, is copied, compared with another or with 0 by `==` and `!=`, and used as a place in an array that has
    nothing else for places. `1 << (current() - 1)` is a set; sets are joined, intersected, and compared.
  - A row is compared with another of the same thread, counted on by one from below the last, and used, below the last, as a place in an array
    or in a table. It is kept in locals only. Places in the same array that come out of a table stay where they are (`named`).
  - A loop over the numbers of all threads may do something with what is each one's: it reads and writes, of arrays by thread, only the
    element of its number, and assigns nothing else. Rounds then do not depend on each other, nor on their order.
    (If several of them fail, in different ways, the order decides which error it is; that there is one it does not.)

Everything else turns the renaming off, with a reason. The initial state must be its own renaming: that is tried out on the state itself.
`lang.canonical_equal` renames, in C. What a search has to mind beside that is in docs/engine.md.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from secondsight.lang import ir, tree
from secondsight.lang.layout import Layout, field_of
from secondsight.lang.locks import MAX_THREADS
from secondsight.lang.program import Program
from secondsight.lang.sequences import Field, field_in, owned_field
from secondsight.lang.slots import Slot
from secondsight.lang.spread import Known, Spread, TellsApart
from secondsight.lang.standins import Shared
from secondsight.lang.types import ArrayType, IntType, RecordType, Type

__all__ = ["HeldNumber", "EqualThreads", "Kind", "Moved", "Names", "cells", "equal_threads_of"]


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
        self.rows = rows
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

    def local(self, node: ir.Local, known: Known) -> Kind | None:
        """A local's value."""
        if node.var in self.each:
            return Kind.ME
        return Kind.WITHIN if node.var in known else self.vars.get(node.var)

    def load(self, node: ir.Load, known: Known) -> Kind | None:
        """What is loaded: of what nobody writes a plain number."""
        spot = field_in(node.addr)
        return self.fields.get(spot) if spot in self.stored else Kind.PLAIN

    def of(self, node: ir.Expr, known: Known = frozenset()) -> Kind | None:
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

    def computed(self, node: ir.Expr, known: Known) -> Kind:
        """The thread itself, sets of threads, the next row, what a table says."""
        kind = self._computed(node, known)
        return super().computed(node, known) if kind is None else kind

    def _computed(self, node: ir.Expr, known: Known) -> Kind | None:
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

    def compare(self, node: ir.Compare, known: Known) -> None:
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

    def learned(self, test: ir.Expr) -> Known:
        """The rows that are below the last where a test is true: those below another."""
        if isinstance(test, ir.Logic) and test.op == "and":
            return frozenset(v for item in test.items for v in self.learned(item))
        if isinstance(test, ir.Compare) and test.op == "<" and isinstance(test.left, ir.Local):
            if self.vars.get(test.left.var) in _ROWS and self.of(test.right) in _ROWS:
                return frozenset({test.left.var})
        return frozenset()

    def store(self, stmt: ir.Store, known: Known) -> None:
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

    def addr(self, addr: ir.Addr, known: Known) -> None:
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

    def _statement(self, stmt: ir.Stmt, known: Known) -> Known:
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
        held = [(v.name, v.type, kind) for v, kind in self.vars.items()]
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


# What a search is told.


@dataclass
class EqualThreads:
    """Threads that may be renamed. `classes`: by thread the first that it is equal to; `first`, `end`: its rows."""

    classes: tuple[int, ...]
    first: tuple[int, ...]
    end: tuple[int, ...]
    rows: Rows
    names: Names | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Everything that the rendered text depends on beside the code."""
        return f"equal threads with rows {sorted(self.rows.items())}"

    @property
    def there_are(self) -> bool:
        """Whether two threads are equal."""
        return len(set(self.classes)) < len(self.classes)

    def names_of(self, program: Program) -> Names:
        """Where their numbers lie."""
        if self.names is None:  # what is known of the program may have come from the cache folder
            self.names = Names(program, self.rows)
        return self.names

    def tell(self, library: Any) -> None:
        """Tell a library which threads are equal."""
        rows = [(ctypes.c_int32 * len(row))(*row) for row in (self.classes, self.first, self.end)]
        library.ss_set_equal(*rows, len(self.classes))

    def alone(self) -> EqualThreads:
        """The same without what is known of a program's functions."""
        return replace(self, names=None)

    def told_apart(self) -> EqualThreads:
        """The same, where no threads are equal."""
        return replace(self, classes=tuple(range(len(self.classes))))

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Neighbours in a class: whoever exchanges these comes to every renaming."""
        last: dict[int, int] = {}
        for thread, of in enumerate(self.classes):
            if of in last:
                yield last[of], thread
            last[of] = thread


def equal_threads_of(program: Program, watch: tuple[int, int] | None = None) -> tuple[EqualThreads | None, str]:
    """The equal threads of a program, and why they are not renamed; None: there are none.

    Programs that share their code have one library: in one of these no threads may be equal. `watch`: the part of final states that counts.
    """
    values = [
        [program.argument(program.threads[i], value, param) for value, param in zip(arguments, root.params, strict=True)]
        for i, (root, arguments) in enumerate(program.roots)
    ]
    differ = [[_differ_in(program, values, i, j) for j in range(i + 1)] for i in range(len(values))]
    alike = tuple(next(j for j, places in enumerate(row) if places is not None) for row in differ)
    shared = program.code.threads is None and program.code.capacity > 1
    if not shared and len(set(alike)) == len(alike):
        return None, ""
    roots = {root.number: root for root in program.code.roots.values()}
    if shared:
        wanted = {(number, p) for number, root in roots.items() for p, param in enumerate(root.params) if _may_be_row(param.type)}
    else:
        kinds = {program.roots[i][0].params[p].type for i, j in enumerate(alike) for p in differ[i][j] or ()}
        wanted = {(number, p) for number, root in roots.items() for p, param in enumerate(root.params) if param.type in kinds}
    first, end = [0] * len(values), [0] * len(values)
    within = dict.fromkeys(wanted, True)
    for i, (root, _) in enumerate(program.roots):
        mine = {p: values[i][p] for p in range(len(root.params)) if (root.number, p) in wanted}
        first[i], end[i] = min(mine.values(), default=0), max(mine.values(), default=0)
        within.update({(root.number, p): within[root.number, p] and value < end[i] for p, value in mine.items()})
    why, facts = "", None
    for rows in (dict.fromkeys(wanted, False), within):  # that a row is below the last need not count
        equal = EqualThreads(alike, tuple(first), tuple(end), rows)
        why, facts = _looked(program, equal)
        if not why:
            break
    equal.classes = _by_tables(program, equal, list(program.machine.data) if facts is None else facts["tables"], facts is not None)
    if facts is None:
        return None, why if equal.there_are else ""
    why = _unfit(program, equal, facts, watch) if equal.there_are else ""
    if why:
        equal = equal.told_apart()
    return (equal if shared or equal.there_are else None), why


def _may_be_row(kind: Type) -> bool:
    return isinstance(kind, IntType) and kind.display != "bool"


def _differ_in(program: Program, values: list[list[int]], i: int, j: int) -> list[int] | None:
    """The places of the arguments by which two threads differ, all by the same; None: they are not alike."""
    (root, _), (other, _) = program.roots[i], program.roots[j]
    if root.number != other.number or program.threads[i].daemon != program.threads[j].daemon:
        return None
    places = [p for p, (a, b) in enumerate(zip(values[i], values[j], strict=True)) if a != b]
    if not all(_may_be_row(root.params[p].type) for p in places):
        return None
    return places if len({values[j][p] - values[i][p] for p in places}) <= 1 else None


def _looked(program: Program, equal: EqualThreads) -> tuple[str, dict[str, Any] | None]:
    """What in the code tells threads apart, if anything does; else what a program has to be like."""

    def look() -> list[Any]:
        try:
            names = equal.names_of(program)
        except TellsApart as why:
            return [str(why), None]
        found, moved = cells(program.layout, names)
        facts = {
            "tables": sorted(names.tables), "named": sorted({table for _, table in names.named}), "zero": sorted(names.zero),
            "least": names.least, "most": names.most, "cells": [[c.at + c.slot.at, c.slot.width] for c in found],
            "moved": [[[at for at, _ in a.places], (a.bits + 7) // 8, a.rows, str(a.field)] for a in moved],
        }  # fmt: skip
        return ["", facts]

    why, facts = program.code.fact(f"what tells threads apart, with rows {sorted(equal.rows.items())}", look)
    return why, facts


def _by_tables(program: Program, equal: EqualThreads, tables: Sequence[str], is_sure: bool) -> tuple[int, ...]:
    """The classes of threads whose rows say the same in some tables. Unless it `is_sure` that rows are looked up there, a short one says nothing."""

    def says(thread: int) -> list[object]:
        span = slice(equal.first[thread], equal.end[thread])
        return [list(program.row(table)[span]) for table in tables if is_sure or len(program.row(table)) > 1]

    said = [says(thread) for thread in range(len(equal.classes))]
    return tuple(
        next(j for j in range(i + 1) if equal.classes[j] == of and said[j] == said[i]) for i, of in enumerate(equal.classes)
    )


def _unfit(program: Program, equal: EqualThreads, facts: dict[str, Any], watch: tuple[int, int] | None) -> str:
    """Why rows or what is watched do not allow it; nothing: they do."""
    spans = [range(first, end) for first, end in zip(equal.first, equal.end, strict=True)]
    moved = facts["moved"]
    for owner, name in facts["zero"]:
        if not _is_zero(program, (owner, name)):
            return f"{name} goes with the numbers of threads, and is not 0"
    if min(equal.first) < facts["least"] or max(equal.end) > facts["most"]:
        return "an integer has no room for the rows of all threads"
    if any(max(equal.end) > len(program.row(table)) for table in facts["tables"]):
        return "a table does not have the rows of all threads"
    if any(rows for _, _, rows, _ in moved):
        if any(set(a) & set(b) for i, a in enumerate(spans) for b in spans[:i]):
            return "two threads have a row together"
        movable = {row for i, of in enumerate(equal.classes) if equal.classes.count(of) > 1 for row in spans[i]}
        for table in facts["named"]:
            if movable & set(program.row(table)):
                return f"the table {table} names a row of one of them"
    for places, size, rows, name in moved:
        inside = {_is_inside(at, size, watch) for at in places}
        if len(inside) > 1 or None in inside:
            return "what is watched of final states is a part of what is moved"
        if rows and max(equal.end) > len(places):
            return f"{name} does not have the rows of all threads"
        if not rows and len(places) <= len(program.threads):
            return f"{name} does not have an element for each thread"
    if any(_is_inside(at, width, watch) is None for at, width in facts["cells"]):
        return "what is watched of final states is a part of what holds the number of a thread"
    return ""


def _is_zero(program: Program, wanted: tuple[str, str]) -> bool:
    """Whether a field is 0 in all records in the initial state."""
    layout = program.layout
    for at, record in layout.records:
        name = next((name for name in layout.machine.fields(record) if field_of(record, name) == wanted), None)
        if name is not None and layout.reader(record, name)(program.initial_shared, at):
            return False
    return True


def _is_inside(at: int, size: int, watch: tuple[int, int] | None) -> bool | None:
    """Whether some bytes are watched; None: a part of them."""
    watched = sum(watch[0] <= k < watch[1] for k in range(at, at + size)) if watch is not None else 0
    return None if 0 < watched < size else watched > 0
