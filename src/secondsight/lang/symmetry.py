"""Records up to renaming: states that differ only in which of several interchangeable records is which are one state.

A record class says `interchangeable = True`. Its records lie in one array (`shared_array`, not a pool: a pool gives out the
first free one, which renaming would change). Several classes are renamed beside each other, each within its own array: what
holds for the renamings of each array by themselves holds for one after the other. A renaming moves the records' contents and
changes every reference to them, in the shared state and in the threads' live locals, and every number of one in these
(`array.index(record)`, see `lang.numbers`). That keeps the program's steps only if the program cannot tell the records apart but by reference, number and
contents, so everything else turns the reduction off, with a reason: a number of one that is computed with, a place in the
array that is computed, a loop over the array, a generator over it in which something can fail (which record fails first
depends on the order), a record of another class embedded in it, what is watched of final states. `array[3]` with a constant
3, and a record that is a thread's argument, stay where they are; the others are renamed. Under these conditions a renaming
maps steps to steps, so a state and its renamings reach the same errors, deadlocks, final states and rounds without an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from secondsight.lang import ir, tree
from secondsight.lang.equal import EqualThreads, equal_threads_of
from secondsight.lang.layout import Layout
from secondsight.lang.lifetime import Lifetimes, lifetimes_of
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.numbers import Kind, Numbers, TellsApart
from secondsight.lang.program import Program
from secondsight.lang.records import Record
from secondsight.lang.sequences import Sequences, sequences_of
from secondsight.lang.slots import Slot
from secondsight.lang.types import ArrayType, IntType, RecordType, RefType, Type

__all__ = ["EQUAL", "RECORDS", "SEQUENCES", "Interchangeable", "Symmetry", "numbers_of", "references", "renaming_of", "symmetry_of"]

RECORDS, SEQUENCES, EQUAL = 1, 2, 4
"""What is renamed; as in search/prelude.c."""

_SAFE = (ir.Constant, ir.Local, ir.Load, ir.AddressOf, ir.Compare, ir.Logic, ir.Current, ir.ClassIs)
"""What can be evaluated for any record of an array without an error."""


@dataclass
class Interchangeable:
    """An array whose records may be renamed: where it lies, and the places in it that stay."""

    record: type[Record]
    base: int
    stride: int
    count: int
    fixed: set[int] = field(default_factory=set)
    numbers: Numbers | None = None

    @property
    def name(self) -> tuple[object, ...]:
        """Everything that the rendered text depends on."""
        return self.record.__qualname__, self.base, self.stride, self.count, tuple(sorted(self.fixed))

    def inside(self, offset: int) -> bool:
        """Whether a byte of the shared state is within the array."""
        return self.base <= offset < self.base + self.stride * self.count

    def names(self, kind: Type) -> bool:
        """Whether it is a reference that can be to one of the records."""
        return isinstance(kind, RefType) and (issubclass(self.record, kind.record) or issubclass(kind.record, self.record))

    def mine(self, kind: Type) -> bool:
        """Whether it is the array of the records."""
        return isinstance(kind, ArrayType) and isinstance(kind.element, RecordType) and kind.element.record is self.record


@dataclass
class Symmetry:
    """What may be renamed: the arrays with interchangeable records, each within itself, in the order in which they lie; the
    sequence numbers; equal threads."""

    arrays: tuple[Interchangeable, ...]
    sequences: Sequences | None = None
    threads: EqualThreads | None = None

    @property
    def name(self) -> tuple[object, ...]:
        """Everything that the rendered text depends on."""
        others = [what.name for what in (self.sequences, self.threads) if what is not None]
        return (*(array.name for array in self.arrays), *others)

    @property
    def renames(self) -> int:
        """What is renamed, but for threads, as in search/prelude.c."""
        return (RECORDS if self.arrays else 0) | (SEQUENCES if self.sequences is not None else 0)

    def without_threads(self) -> Symmetry:
        """The same, with equal threads told apart."""
        return replace(self, threads=self.threads and self.threads.told_apart())

    @property
    def equal(self) -> EqualThreads | None:
        """The equal threads, if two are."""
        return self.threads if self.threads is not None and self.threads.there_are else None

    def names(self, kind: Type) -> bool:
        """Whether it is a reference that can be to one of the records."""
        return any(array.names(kind) for array in self.arrays)

    def inside(self, offset: int) -> bool:
        """Whether a byte of the shared state is within one of the arrays."""
        return any(array.inside(offset) for array in self.arrays)

    def same_as(self, size: int) -> list[int]:
        """For each byte of the shared state one that stands for all that it may be renamed to."""
        out = list(range(size))
        for array in self.arrays:
            free = [i for i in range(array.count) if i not in array.fixed]
            for i in free:
                for k in range(array.stride):
                    out[array.base + i * array.stride + k] = array.base + free[0] * array.stride + k
        return out


def renaming_of(program: Program, watch: tuple[int, int] | None = None) -> tuple[Symmetry | None, list[str]]:
    """All that may be renamed in a program, and sentences on what may not; None: there is nothing.

    `watch`: the part of final states that counts.
    """
    symmetry, why = symmetry_of(program, watch)
    told = [f"records are not interchangeable: {why}"] if why else []
    sequences, why = sequences_of(program, watch)
    if why:
        told.append(f"sequence numbers are not renamed: {why}")
    equal, why = equal_threads_of(program, watch)
    if why:
        told.append(f"equal threads are not renamed: {why}")
    if sequences is not None or equal is not None:
        symmetry = Symmetry(symmetry.arrays if symmetry is not None else (), sequences, equal)
    return symmetry, told


def symmetry_of(program: Program, watch: tuple[int, int] | None = None) -> tuple[Symmetry | None, str]:
    """The interchangeable records of a program, and why those of a class are not; None: there are none.

    `watch`: the part of final states that counts.
    """
    arrays, reasons = [], []
    classes = {k for _, k in program.layout.records if getattr(k, "interchangeable", False)}
    for record in sorted(classes, key=lambda k: (k.__module__, k.__qualname__)):
        try:
            array = _renamed_array(program, record, watch)
            if array.count - len(array.fixed) > 1:  # else there is nothing to rename
                arrays.append(array)
        except TellsApart as why:
            reasons.append(f"{record.__name__}: {why}")
    arrays.sort(key=lambda array: array.base)
    return Symmetry(tuple(arrays)) if arrays else None, "; ".join(reasons)


def _renamed_array(program: Program, record: type[Record], watch: tuple[int, int] | None) -> Interchangeable:
    """The array of a class whose records are interchangeable. Raises `TellsApart` if the program can tell them apart."""
    layout = program.layout
    holders = [d for d in layout.declarations if isinstance(d.kind, ArrayType) and d.kind.element == RecordType(record)]
    if len(holders) != 1:
        raise TellsApart("they do not lie in one array of their own")
    kind = holders[0].kind
    assert isinstance(kind, ArrayType)
    array = Interchangeable(record, layout.base[holders[0]], layout.size(kind.element), layout.machine.bound(kind.size))
    if kind.pool:
        raise TellsApart("they are in a pool, which gives out the first free one")
    for at, other in layout.records:
        if (other is record) != (array.inside(at) and (at - array.base) % array.stride == 0):
            raise TellsApart(f"{other.__name__} records lie in or beside them")
        if array.inside(at) and issubclass(other, (Lock, RwLock)):
            raise TellsApart("a lock lies in them")
    name = ("bytes of references", record)
    places = program.code.keep(name, lambda: {at + k for at, slot in references(layout, array.names) for k in range(slot.width)})
    if watch is not None and any(array.inside(i) or i in places for i in range(*watch)):
        raise TellsApart("what is watched of final states names them")
    for root, arguments in program.roots:
        for var, value in zip(root.params, arguments, strict=True):
            if isinstance(var.type, RefType):
                at = program.argument(program.threads[0], value, var)
                if array.inside(at):
                    array.fixed.add((at - array.base) // array.stride)
    asked = f"{record.__module__}.{record.__qualname__} told apart, but for {sorted(array.fixed)}"
    why_not, fixed = program.code.fact(asked, lambda: _looked(program, array))
    if why_not:
        raise TellsApart(why_not)
    array.fixed.update(fixed)
    return array


def numbers_of(program: Program, array: Interchangeable) -> Numbers:
    """The integers that are places in the array."""
    roots = list(program.code.linked.roots.values())
    if array.numbers is None:  # what is known of the records may have come from the cache folder
        array.numbers = Numbers(tree.reached(roots), array.mine, roots)
    return array.numbers


def _looked(program: Program, array: Interchangeable) -> tuple[str, list[int]]:
    """What in the code tells the records apart, if anything does; those that stay where they are."""
    functions = list(tree.reached(program.code.linked.roots.values()))
    try:
        numbers_of(program, array)
        for function in functions:
            _Checker(array, lifetimes_of(program)).body(function.body)
        _fits(array, program)
    except TellsApart as why:
        return str(why), []
    return "", sorted(array.fixed)


def _fits(array: Interchangeable, program: Program) -> None:
    """Every integer that holds a number of one must have room for all; else which of them do not fit tells them apart."""
    numbers = array.numbers
    assert numbers is not None
    narrower = program.code.linked.held
    held = [(v.name, narrower.get(v, v.type), kind) for v, kind in numbers.vars.items()]
    held += [(f.name, f.result, kind) for f, kind in numbers.results.items()]
    held += [(f.name, f.result.parts[i][1], kind) for (f, i), kind in numbers.parts.items() if isinstance(f.result, ir.Group)]
    for name, kind, holds in held:
        if (
            isinstance(kind, IntType)
            and holds in (Kind.FOUND, Kind.PLACE)
            and not kind.low <= 0 <= array.count - 1 <= kind.high
        ):
            raise TellsApart(f"{name} has no room for the number of each of them")


class _Checker:
    """Looks for what tells records apart by their place."""

    def __init__(self, array: Interchangeable, lifetimes: Lifetimes) -> None:
        self.of, self.lifetimes = array, lifetimes

    def body(self, body: list[ir.Stmt]) -> None:
        """All statements of a function."""
        for stmt in tree.statements(body):
            if isinstance(stmt, ir.Store):
                self.addr(stmt.addr, frozenset())
                self.expr(stmt.value, frozenset())
            elif isinstance(stmt, ir.Free):
                self.array(stmt.pool, "they are freed")
                self.addr(stmt.pool, frozenset())
                self.expr(stmt.value, frozenset())
            else:
                for node in tree.expressions(stmt):
                    self.expr(node, frozenset())

    def array(self, addr: ir.Addr, why: str) -> None:
        """Refuse what is done with the array as a whole."""
        if self.of.mine(addr.type):
            raise TellsApart(why)

    def addr(self, addr: ir.Addr, bound: frozenset[ir.Var]) -> None:
        """A place: how it is computed."""
        if isinstance(addr.root, ir.Expr):
            self.expr(addr.root, bound)
        for step in addr.path:
            if not isinstance(step, ir.IndexStep):
                continue
            index = step.index
            if not self.of.mine(step.array):
                self.expr(index, bound)
            elif isinstance(index, ir.Constant):
                self.of.fixed.add(index.value)
            elif (
                isinstance(index, ir.Choose) and isinstance(index.count, ir.Constant) and index.count.value == self.of.count
            ):
                pass
            elif not (isinstance(index, ir.Local) and index.var in bound):
                assert self.of.numbers is not None
                if bound or self.of.numbers.of(index) not in (Kind.FOUND, Kind.PLACE):
                    raise TellsApart("one is found by a number that is computed")
                self.expr(index, bound)

    def expr(self, node: ir.Expr, bound: frozenset[ir.Var]) -> None:
        """An expression; `bound`: the numbers of generators over the array, which may be used for nothing but places in it."""
        match node:
            case ir.Local() if node.var in bound:
                raise TellsApart("the number of one in a generator is used as a value")
            case ir.Load() | ir.AddressOf():
                self.addr(node.addr, bound)
            case ir.IndexOf(array=place) | ir.IsUsed(pool=place):
                if isinstance(node, ir.IsUsed):
                    self.array(place, "they are in a pool")
                self.addr(place, bound)
                self.expr(node.value, bound)
            case ir.Alloc():
                self.array(node.pool, "they are in a pool")
                self.addr(node.pool, bound)
            case ir.Quantifier() | ir.ChooseWhere():
                self.generator(node, bound)
            case _:
                for part in tree.parts(node):
                    self.expr(part, bound)

    def generator(self, node: ir.Quantifier | ir.ChooseWhere, bound: frozenset[ir.Var]) -> None:
        """A generator: over the array if its number is used to find one of the records."""
        items = [value for _, value in node.bindings]
        items += [node.condition] if node.condition is not None else []
        items += [node.test] if isinstance(node, ir.Quantifier) else [node.result]
        if any(self.finds(part, node.var) for item in items for part in tree.walk(item)):
            start, stop = node.start, node.stop
            whole = isinstance(start, ir.Constant) and isinstance(stop, ir.Constant) and start.value == 0
            if not whole or not isinstance(stop, ir.Constant) or stop.value != self.of.count:
                raise TellsApart("a generator goes over some of them")
            for item in items:
                for part in tree.walk(item):
                    if isinstance(part, ir.Load) and self.lifetimes.watches(part.addr):
                        raise TellsApart("a generator over them reads what may have been freed")
                    if not isinstance(part, _SAFE) and not (isinstance(part, ir.Unary) and part.op == "not"):
                        raise TellsApart(f"a generator over them has {type(part).__name__} in it")
            bound = bound | {node.var}
        else:
            self.expr(node.start, bound)
            self.expr(node.stop, bound)
        for item in items:
            self.expr(item, bound)

    def finds(self, node: ir.Expr, var: ir.Var) -> bool:
        """Whether an expression finds a record of the array by a number."""
        if not isinstance(node, (ir.Load, ir.AddressOf)):
            return False
        steps = [s for s in node.addr.path if isinstance(s, ir.IndexStep)]
        return any(self.of.mine(s.array) and isinstance(s.index, ir.Local) and s.index.var is var for s in steps)


# Where references lie.


def references(layout: Layout, names: Callable[[Type], bool]) -> Iterator[tuple[int, Slot]]:
    """All references in the shared state whose type is one of those that `names` knows: the byte of each, and its slot."""

    def visit(kind: Type, at: int) -> Iterator[tuple[int, Slot]]:
        if isinstance(kind, RecordType):
            for name, inner in layout.parts(kind.record).items():
                if not isinstance(inner, RefType):
                    yield from visit(inner, at + layout.offset(kind.record, name))
                elif names(inner):
                    slot = layout.field(kind.record, name)
                    yield at + slot.at, slot
        elif isinstance(kind, ArrayType):
            for i in range(layout.machine.bound(kind.size)):
                if not isinstance(kind.element, RefType):
                    yield from visit(kind.element, at + i * layout.size(kind.element))
                elif names(kind.element):
                    slot = layout.first(kind).element(i)
                    yield at + slot.at, slot

    for declaration in layout.declarations:
        yield from visit(declaration.kind, layout.base[declaration])
