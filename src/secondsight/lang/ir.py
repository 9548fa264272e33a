"""The checked program: what the front end makes of the model's source and what every renderer starts from.

Typed trees over a flat state. Expressions have no side effects but for calls of functions without step boundaries,
`Choose` and `Alloc`. Everything is of a fixed size: integers are bounded, records lie at fixed offsets, there is no
recursion and no heap, so a renderer to C needs nothing that is not here. Addresses are symbolic (`Addr`); `lang.layout`
turns them into offsets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from secondsight.lang.errors import Position
from secondsight.lang.locks import MAX_THREADS, LockOperation
from secondsight.lang.modules import is_ours
from secondsight.lang.records import Record
from secondsight.lang.standins import Shared
from secondsight.lang.types import BOOL, ArrayType, IntType, ListType, RefType, TupleType, Type, ValueType

Scalar = IntType | RefType


@dataclass(frozen=True, slots=True)
class Group:
    """Several scalars at once, by name: the result of a function that returns a tuple, a `Value` or a list (`form`)."""

    parts: tuple[tuple[str, Scalar], ...]
    form: TupleType | ValueType | ListType

    def __str__(self) -> str:
        return str(self.form)


ResultType = IntType | RefType | Group
"""What a function returns."""

# Places in the state.


@dataclass(eq=False, slots=True)
class FieldStep:
    """To a field of a record of class `record`; `operation`: in a lock's own function, which says what it does to the lock."""

    record: type[Record]
    name: str
    operation: LockOperation | None = None


@dataclass(eq=False, slots=True)
class IndexStep:
    """To an element of an array."""

    index: Expr
    array: ArrayType
    name: str
    where: Position


@dataclass(eq=False, slots=True)
class Addr:
    """A place: from a declaration or from the record that `root` refers to, along `path`; `type` is what lies there."""

    root: Shared | Expr
    path: tuple[FieldStep | IndexStep, ...]
    type: Type
    where: Position

    def then(self, step: FieldStep | IndexStep, kind: Type, where: Position) -> Addr:
        """The place one step further."""
        return Addr(self.root, (*self.path, step), kind, where)


# Expressions.


@dataclass(eq=False, slots=True)
class Var:
    """A local of a function. `transient`: the result of a call with boundaries, used up in the statement that called; it alone
    may be a group."""

    name: str
    type: Any
    transient: bool = False

    @property
    def is_item(self) -> bool:
        """Whether it is an element of a list, or a part of a tuple: behind a list's last element is None, whatever its type."""
        return self.name.rpartition(".")[2].isdigit()


@dataclass(eq=False, slots=True)
class Constant:
    """An integer, a truth value, an enum member or None (0 of a reference type)."""

    value: int
    type: Scalar


@dataclass(eq=False, slots=True)
class Local:
    """The value of a local; `known`: a narrower range than its variable's, that it surely has here."""

    var: Var
    known: Scalar | None = None

    @property
    def type(self) -> Scalar:
        """Its variable's, unless more is known."""
        return self.known or self.var.type


@dataclass(eq=False, slots=True)
class Load:
    """The integer or reference that lies at a place."""

    addr: Addr
    type: Scalar


@dataclass(eq=False, slots=True)
class AddressOf:
    """A reference to the record at a place."""

    addr: Addr
    type: RefType


@dataclass(eq=False, slots=True)
class NonNull:
    """A reference that must not be None: `NoneFollowed` otherwise."""

    value: Expr
    name: str
    where: Position
    type: RefType


@dataclass(eq=False, slots=True)
class Narrow:
    """A reference used as one to a subclass: `ModelError` unless it is None or its record is of that class or below."""

    value: Expr
    name: str
    where: Position
    type: RefType


@dataclass(eq=False, slots=True)
class ContainerOf:
    """The record whose field `field` a record is: `ModelError` if it is that field of no such record."""

    value: Expr
    field: str
    name: str
    where: Position
    type: RefType


@dataclass(eq=False, slots=True)
class Fits:
    """An integer that must be in a range within an expression (`Event(x)`): `LeftRange` otherwise."""

    value: Expr
    name: str
    where: Position
    type: IntType


@dataclass(eq=False, slots=True)
class Unary:
    """`-`, `~`, `not`."""

    op: str
    value: Expr
    type: IntType


@dataclass(eq=False, slots=True)
class Binary:
    """Integer arithmetic: `+ - * // % << >> & | ^`, `min`, `max`. Division by zero is an error at `where`.

    `wide`: what it is as written, if the result may be larger than any number; that too is an error, looked for when it is run.
    """

    op: str
    left: Expr
    right: Expr
    type: IntType
    where: Position
    wide: str = ""


@dataclass(eq=False, slots=True)
class Compare:
    """`== != < <= > >=` on integers; `==`, `!=` on references."""

    op: str
    left: Expr
    right: Expr
    type: IntType = BOOL


@dataclass(eq=False, slots=True)
class Logic:
    """`and`, `or` with short circuit; every item is a truth value."""

    op: str
    items: list[Expr]
    type: IntType = BOOL


@dataclass(eq=False, slots=True)
class Conditional:
    """`a if test else b`."""

    test: Expr
    then: Expr
    other: Expr
    type: Scalar


@dataclass(eq=False, slots=True)
class TableItem:
    """An element of a read-only table."""

    table: str
    index: Expr
    type: IntType
    where: Position


@dataclass(eq=False, slots=True)
class TableSize:
    """The length of a read-only table."""

    table: str
    type: IntType


@dataclass(eq=False, slots=True)
class Current:
    """The running thread's number, 1 and up."""

    type: IntType = field(default_factory=lambda: IntType(1, MAX_THREADS))


@dataclass(eq=False, slots=True)
class ClassIs:
    """Whether a reference refers to a record of exactly this class."""

    value: Expr
    record: type[Record]
    type: IntType = BOOL


@dataclass(eq=False, slots=True)
class IndexOf:
    """The place of a record in an array of records; `ModelError` if it is not in it."""

    array: Addr
    value: Expr
    type: IntType
    where: Position


@dataclass(eq=False, slots=True)
class Quantifier:
    """`any`, `all`, `count` or `sum` of `test` for `var` over a domain, where `where` (if given) holds.

    The domain is `range(start, stop)`; over an array `var` is bound by the front end to the element.
    """

    kind: str
    var: Var
    start: Expr
    stop: Expr
    bindings: list[tuple[Var, Expr]]
    condition: Expr | None
    test: Expr
    type: IntType


@dataclass(eq=False, slots=True)
class Choose:
    """Any of 0..count-1."""

    count: Expr
    type: IntType
    where: Position


@dataclass(eq=False, slots=True)
class ChooseWhere:
    """Any `result` for `var` in range(start, stop) that satisfies `condition`."""

    var: Var
    start: Expr
    stop: Expr
    bindings: list[tuple[Var, Expr]]
    condition: Expr
    result: Expr
    type: Scalar
    where: Position


@dataclass(eq=False, slots=True)
class Alloc:
    """The first free record of a pool, marked as used; `OutOfRecords` if there is none."""

    pool: Addr
    type: RefType
    where: Position


@dataclass(eq=False, slots=True)
class IsUsed:
    """Whether a record of a pool is allocated."""

    pool: Addr
    value: Expr
    where: Position
    type: IntType = BOOL


@dataclass(eq=False, slots=True)
class Item:
    """One of several locals, by its number: of the first `count`, `BadIndex` otherwise."""

    items: list[Expr]
    index: Expr
    count: Expr
    name: str
    where: Position
    type: Scalar


@dataclass(eq=False, slots=True)
class Pack:
    """Several scalars at once: what is returned, or handed to `Unpack`."""

    items: list[Expr]
    type: Any


@dataclass(eq=False, slots=True)
class Call:
    """A call of a function without step boundaries."""

    function: Function
    arguments: list[Expr]
    type: Any


Expr = (
    Constant | Local | Load | AddressOf | NonNull | Narrow | ContainerOf | Fits | Unary | Binary | Compare | Logic | Conditional | TableItem | TableSize | Current
    | ClassIs | IndexOf | Quantifier | Choose | ChooseWhere | Alloc | IsUsed | Call | Item | Pack
)  # fmt: skip

# Statements.


@dataclass(eq=False, slots=True)
class Boundary:
    """A step ends here and the next begins; `kind` is `statement`, `leave` (the end of a `with lock:` block), or `after`:
    the rest of a statement whose first part was a call that can be interrupted; `where` is the call.

    `hold`: the name of the hold point that the step begins with, if it is one.
    """

    where: Position
    kind: str = "statement"
    hold: str | None = None


@dataclass(eq=False, slots=True)
class SetVar:
    """Assignment to a local; the value must be in its range."""

    var: Var
    value: Expr
    where: Position


@dataclass(eq=False, slots=True)
class SetItem:
    """Assignment to one of several locals, by its number: one of the first `count`."""

    items: list[Var]
    index: Expr
    count: Expr
    value: Expr
    name: str
    where: Position


@dataclass(eq=False, slots=True)
class Unpack:
    """Assignment to several locals at once: of a `Pack`, or of the result of a function that returns a group."""

    targets: list[Var]
    value: Expr
    where: Position


@dataclass(eq=False, slots=True)
class Store:
    """Assignment to a place; the value must be in its range."""

    addr: Addr
    value: Expr
    where: Position


@dataclass(eq=False, slots=True)
class Free:
    """Give a record back to its pool, zeroed."""

    pool: Addr
    value: Expr
    where: Position


@dataclass(eq=False, slots=True)
class Eval:
    """Evaluate for the side effects of calls."""

    value: Expr
    where: Position


@dataclass(eq=False, slots=True)
class If:
    """Branch; `queues`: where a writer may stand in a lock's queue, which a program that cannot tell does without."""

    test: Expr
    then: list[Stmt]
    other: list[Stmt]
    queues: bool = False


@dataclass(eq=False, slots=True)
class While:
    """Repeat `body` while `test` holds; `step` runs before every new test, after `continue` too."""

    test: Expr
    body: list[Stmt]
    step: list[Stmt]
    where: Position


@dataclass(eq=False, slots=True)
class Break:
    """Leave the innermost loop."""


@dataclass(eq=False, slots=True)
class Continue:
    """Go on with the innermost loop."""


@dataclass(eq=False, slots=True)
class Return:
    """Return to the caller."""

    value: Expr | None
    where: Position


@dataclass(eq=False, slots=True)
class Require:
    """The rule is broken unless `test` holds."""

    test: Expr
    rule: str
    message: str
    where: Position


@dataclass(eq=False, slots=True)
class Wait:
    """The whole step is not enabled unless `test` holds; `sleeps`: not allowed with a spinlock held; `lock`: for a lock."""

    test: Expr
    sleeps: bool
    lock: bool
    where: Position


@dataclass(eq=False, slots=True)
class YieldCall:
    """A call of a function that has step boundaries; its result goes to `target`. `leads`: its statement evaluates it first."""

    target: Var | None
    function: Function
    arguments: list[Expr]
    where: Position
    leads: bool = False


Stmt = Boundary | SetVar | SetItem | Unpack | Store | Free | Eval | If | While | Break | Continue | Return | Require | Wait | YieldCall


@dataclass(eq=False, slots=True)
class Function:
    """One instance of a source function: for a receiver's class, within a step (`atomic`) or not.

    `locals`: the types of its own named locals. `yields`: it has step boundaries. `touches`: a call of it is a step.
    `effects`: evaluating a call twice, or not at all, is not the same as once (it writes, chooses or waits). `mutates`: it may change the state.
    """

    name: str
    source: Callable[..., Any] | None
    receiver: type[Record] | None
    atomic: bool
    params: list[Var]
    result: ResultType | None
    where: Position
    body: list[Stmt] = field(default_factory=list)
    locals: dict[str, Scalar | ListType] = field(default_factory=dict)
    yields: bool = False
    touches: bool = False
    effects: bool = False
    mutates: bool = False

    @property
    def is_users(self) -> bool:
        """Whether a user wrote it, and not we: it may be edited before the next search."""
        return self.source is not None and not is_ours(self.source.__module__ or "")


__all__ = [n for n in dir() if n[0].isupper()]
