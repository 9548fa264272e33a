"""What every part of the front end shares: names, constants known when the model is loaded, types and their fit.

Lowering an expression gives one of four things: an `ir` expression (a scalar), a `Lvalue` (a record, an array or a field,
addressed but not read), a `Bundle` (a `Value`, one expression a field), or a `Static` (something known when the model is
loaded: a function, a class, a module, a constant).
"""

from __future__ import annotations

import ast
import builtins
import enum
import functools
import inspect
from abc import ABC, abstractmethod
from collections import ChainMap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secondsight.lang import ir, tree
from secondsight.lang.errors import Position, Refused
from secondsight.lang.facts import facts_of
from secondsight.lang.locks import LockOperation
from secondsight.lang.records import Record, Value
from secondsight.lang.source import position, refuse
from secondsight.lang.standins import Shared
from secondsight.lang.types import BOOL, LARGEST_NUMBER, PLAIN_INT, ArrayType, IntType, ListType, RecordType, RefType, TupleType

if TYPE_CHECKING:
    from secondsight.lang.frontend import Frontend

__all__ = [
    "ANY_RECORD", "OPERATORS", "ZERO", "Bundle", "Items", "ListLocal", "Lowered", "Lowering", "SeveralResults", "Lvalue", "Static", "Widened", "describe",
]  # fmt: skip

ANY_RECORD = RefType(Record, True)
ZERO = ir.Constant(0, IntType(0, 0))
OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.LShift: "<<", ast.RShift: ">>",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Is: "==", ast.IsNot: "!=",
}  # fmt: skip


@dataclass(eq=False, slots=True)
class Lvalue:
    """Something in the state, addressed but not read."""

    addr: ir.Addr


@dataclass(eq=False, slots=True)
class Bundle:
    """A `Value`: one expression for each field."""

    value: type[Value]
    parts: dict[str, ir.Expr]


@dataclass(eq=False, slots=True)
class ListLocal:
    """A list on the stack: its length and its elements, each a local; `fixed`: a parameter, which nobody here changes."""

    kind: ListType
    length: ir.Var
    items: list[ir.Var]
    fixed: bool


@dataclass(eq=False, slots=True)
class Items:
    """A list on the stack, by its name."""

    name: str
    kind: ListType
    length: ir.Expr
    items: list[ir.Expr]

    @property
    def parts(self) -> dict[str, ir.Expr]:
        """By the names that the parts of a parameter have."""
        return {"len": self.length, **{str(i): item for i, item in enumerate(self.items)}}


@dataclass(eq=False, slots=True)
class SeveralResults:
    """What a call gives that returns several scalars at once."""

    value: ir.Expr
    group: ir.Group


@dataclass(eq=False, slots=True)
class Static:
    """Known when the model is loaded."""

    value: Any


Lowered = ir.Expr | Lvalue | Bundle | Items | SeveralResults | Static


class Widened(Exception):
    """A local turned out to hold more than its first value's type: the function is lowered again with this type."""

    def __init__(self, name: str, kind: ir.Scalar) -> None:
        self.name, self.kind = name, kind
        super().__init__(name)


@functools.cache
def describe(node: ast.AST) -> str:
    """An expression as its author wrote it, shortened."""
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."


class Lowering(ABC):
    """The state of lowering one function, and what does not depend on the kind of expression or statement."""

    def __init__(
        self, frontend: Frontend, source: Any, function_tree: ast.FunctionDef, receiver: type[Record] | None,
        types: dict[str, ir.Scalar],
    ) -> None:  # fmt: skip
        self.frontend, self.source, self.tree, self.receiver, self.types = frontend, source, function_tree, receiver, types
        self.file = source.__code__.co_filename
        self.operation: LockOperation | None = getattr(source, "__operation__", None)
        self.function = ir.Function(
            f"{receiver.__name__}.{source.__name__}" if receiver else source.__name__,
            source, receiver, False, [], None, position(self.file, function_tree),
        )  # fmt: skip
        self.vars: dict[str, ir.Var] = {}
        self.bundles: dict[str, tuple[type[Value], dict[str, ir.Var]]] = {}
        self.lists: dict[str, ListLocal] = {}
        self.declared: set[str] = set()
        self.known: dict[str, IntType] = {}
        self.pending: ir.YieldCall | None = None
        self.leading: ast.AST | None = None
        """The call that the present statement evaluates before anything else."""
        self.named: set[ast.AST] = set()
        """The `:=` of the present statement that have been done."""
        self.depth = 0
        self.hidden = 0
        self.conditional = 0
        closure = dict(inspect.getclosurevars(source).nonlocals) if source.__closure__ else {}
        self.globals = ChainMap(closure, source.__globals__, vars(builtins))
        self.stored = facts_of(function_tree).stored
        self.locals = {a.arg for a in function_tree.args.args} | self.stored

    # Errors.

    def where(self, node: ast.AST) -> Position:
        """The place of a node."""
        return position(self.file, node)

    def refuse(self, node: ast.AST, wrong: str, instead: str) -> Refused:
        """The error for something outside the language."""
        return refuse(self.where(node), wrong, instead)

    # What is known when the model is loaded.

    def static(self, node: ast.AST) -> tuple[bool, Any]:
        """(True, value) for a name, attribute or arithmetic on constants that the state cannot change."""
        match node:
            case ast.Constant():
                return True, node.value
            case ast.Name():
                if node.id in self.locals or node.id in self.vars:
                    return False, None
                first, *others = self.globals.maps
                if node.id in first:
                    return True, first[node.id]
                space = next((s for s in others if node.id in s), None)
                if space is None:
                    return False, None
                if node.id in self.source.__globals__:
                    self.frontend.read(self.source.__globals__, node.id)
                return True, space[node.id]
            case ast.Attribute():
                known, base = self.static(node.value)
                if known and (inspect.ismodule(base) or isinstance(base, type)):
                    return self.static_attribute(node, base)
            case ast.UnaryOp(op=ast.USub()):
                known, value = self.static(node.operand)
                if known and isinstance(value, int):
                    return True, -value
            case ast.BinOp():
                (a, left), (b, right) = self.static(node.left), self.static(node.right)
                if a and b and isinstance(left, int) and isinstance(right, int) and type(node.op) in OPERATORS:
                    if isinstance(node.op, (ast.LShift, ast.RShift)) and not 0 <= right <= 64:
                        raise self.refuse(node, f"a shift by {right} bits", "a shift by 0 to 64")
                    try:
                        return True, eval(f"({int(left)}) {OPERATORS[type(node.op)]} ({int(right)})")
                    except ArithmeticError as error:
                        raise self.refuse(node, str(error), "a constant that has a value") from None
            case ast.Call(func=ast.Name(id="ord"), args=[ast.Constant(value=str() as text)]) if len(text) == 1:
                return True, ord(text)
        return False, None

    def static_attribute(self, node: ast.Attribute, base: Any) -> tuple[bool, Any]:
        """(True, value) for an attribute of a module or a class that has it; to ask may run their own code."""
        try:
            value = getattr(base, node.attr)
        except AttributeError:
            return False, None
        except Exception as error:
            raise self.refuse(node, f"{describe(node)}: {type(error).__name__}: {error}", "something that can be read") from None
        self.frontend.read(base, node.attr)
        return True, value

    # Forms of a value.

    @abstractmethod
    def lower(self, node: ast.expr) -> Lowered:
        """Lower an expression into whichever of the four forms fits it."""

    @abstractmethod
    def truth(self, node: ast.expr) -> ir.Expr:
        """Lower an expression as a truth value."""

    @abstractmethod
    def call(self, node: ast.Call) -> Lowered:
        """Lower a call used as a value."""

    def lower_value(self, node: ast.expr) -> Lowered:
        """`lower`, with constants turned into expressions."""
        lowered = self.lower(node)
        return self.scalar(lowered, node) if isinstance(lowered, Static) else lowered

    def expr(self, node: ast.expr) -> ir.Expr:
        """Lower an expression that must be a scalar: an integer or a reference."""
        return self.scalar(self.lower(node), node)

    def integer(self, node: ast.expr) -> ir.Expr:
        """An expression that must be an integer."""
        value = self.expr(node)
        if not isinstance(value.type, IntType) or value.type.display == "bits":
            raise self.refuse(node, f"{describe(node)} is {value.type}", "an integer")
        return value

    def scalar(self, lowered: Lowered, node: ast.AST) -> ir.Expr:
        """The scalar in a lowered value: a place of a record is a reference to it, a field is read."""
        if type(lowered) in tree.EXPRESSIONS:
            return lowered  # type: ignore[return-value]
        if isinstance(lowered, Lvalue):
            kind = lowered.addr.type
            if isinstance(kind, RecordType):
                return ir.AddressOf(lowered.addr, RefType(kind.record, False))
            if isinstance(kind, (IntType, RefType)):
                return ir.Load(lowered.addr, kind)
            raise self.refuse(node, f"{describe(node)} is an array", "its elements, len(...), or a loop over it")
        if isinstance(lowered, Bundle):
            raise self.refuse(node, f"{describe(node)} is a {lowered.value.__name__}", "its fields")
        if isinstance(lowered, Items):
            raise self.refuse(node, f"{describe(node)} is a list", "its elements, len(...), or a loop over it")
        if isinstance(lowered, SeveralResults):
            instead = "x, y = f(...)" if isinstance(lowered.group.form, TupleType) else "x = f(...), and then its parts"
            raise self.refuse(node, f"{describe(node)} gives several values at once ({lowered.group})", instead)
        if isinstance(lowered, Static):
            value = lowered.value
            if value is None:
                return ir.Constant(0, ANY_RECORD)
            if isinstance(value, bool):
                return ir.Constant(int(value), BOOL)
            if isinstance(value, enum.IntEnum | enum.IntFlag):
                return ir.Constant(int(value), IntType(int(value), int(value), "enum", type(value)))
            if isinstance(value, int):
                if abs(value) > LARGEST_NUMBER:
                    raise self.refuse(node, f"{describe(node)} is {value}, which needs more than 63 bits", "a smaller number")
                return ir.Constant(value, IntType(value, value))
            raise self.refuse(
                node,
                f"{describe(node)} ({type(value).__name__}) is not a value of the language",
                "integers, truth values, enums, records",
            )
        return lowered

    def pure(self, value: ir.Expr, node: ast.AST, why: str) -> ir.Expr:
        """`value`, which is used more than once or not always: it must not write, choose or wait."""
        if tree.effects(value):
            raise self.refuse(node, f"{describe(node)} writes, chooses or waits, {why}", "x = ... in a statement before")
        return value

    # Types.

    def common(self, node: ast.AST, left: ir.Expr, right: ir.Expr) -> ir.Scalar:
        """The type that holds either of two values."""
        found = join(left.type, right.type)
        if found is None:
            raise self.refuse(node, f"one is {left.type}, the other {right.type}", "two of a kind")
        return found

    def fit(self, value: ir.Expr, kind: ir.Scalar, node: ast.AST) -> ir.Expr:
        """`value` for a place of type `kind`: integers are checked by range when run, references by class and for None."""
        if isinstance(kind, RefType):
            given = value.type
            if not isinstance(given, RefType) or not (
                given.record is Record or issubclass(given.record, kind.record) or issubclass(kind.record, given.record)
            ):
                raise self.refuse(node, f"{given} where {kind} is wanted", f"a {kind.record.__name__} record")
            if isinstance(value, ir.Constant) and not kind.nullable:
                raise self.refuse(node, f"None where {kind} is wanted", f"a record, or the type Ref[{kind}]")
            if given.record is not Record and not issubclass(given.record, kind.record):
                if any(not issubclass(c, kind.record) for c in self.frontend.concretes(given.record)):
                    narrow = RefType(kind.record, given.nullable)
                    value = ir.Narrow(value, describe(node), self.where(node), narrow)
            if given.nullable and not kind.nullable:
                return ir.NonNull(value, describe(node), self.where(node), kind)
            return value
        if isinstance(value.type, RefType):
            raise self.refuse(node, f"a reference ({value.type}) where {kind} is wanted", "an integer, or array.index(record)")
        if (kind.display == "bits") != (value.type.display == "bits"):
            raise self.refuse(node, f"{value.type} where {kind} is wanted", "a set of places (Bits), or a number: one is not the other")
        return value

    def local_for(self, target: ast.Name, value: ir.Expr) -> ir.Var:
        """The variable that an assignment to a name sets; without an annotation its values give it its type."""
        name = target.id
        if name in self.bundles or name in self.lists:
            raise self.refuse(target, f"{name} is a {'Value' if name in self.bundles else 'list'} elsewhere", "another name")
        kind = self.first_type(target, value)
        if name not in self.vars:
            self.vars[name] = ir.Var(name, self.types.get(name, kind))
        var = self.vars[name]
        if name in self.declared or var in self.function.params:
            return var
        if isinstance(kind, IntType) and isinstance(var.type, IntType) and is_computed(value):
            if not (var.type.low <= kind.low and kind.high <= var.type.high):
                kind = PLAIN_INT
        wider = join(var.type, kind)
        if wider is None:
            raise self.refuse(target, f"{name} is {var.type}, and here {value.type}", "another name")
        if wider != var.type and not (isinstance(wider, IntType) and same_range(wider, var.type)):
            raise Widened(name, wider)
        return var

    def first_type(self, target: ast.Name, value: ir.Expr) -> ir.Scalar:
        """The type of a local whose first value this is: room for what is computed, the whole of an enum."""
        kind = value.type
        if isinstance(kind, RefType):
            if kind.record is Record and target.id not in self.vars and target.id not in self.types:
                raise self.refuse(target, f"the type of {target.id} is not known", f"{target.id}: Ref[SomeRecord] = None")
            return kind
        if kind.enum is not None:
            members = [int(m) for m in kind.enum]
            if issubclass(kind.enum, enum.IntFlag):
                return IntType(min(0, kind.low), max(kind.high, sum(members)), "enum", kind.enum)
            return IntType(min(kind.low, *members), max(kind.high, *members), "enum", kind.enum)
        if kind.display == "int" and is_computed(value):
            return IntType(min(kind.low, PLAIN_INT.low), max(kind.high, PLAIN_INT.high))
        return kind

    # Records.

    def value_fields(self, cls: type[Value]) -> dict[str, ir.Scalar]:
        """The fields of a `Value`, with the ranges of this machine."""
        return {name: self.frontend.machine.sized(kind) for name, kind in cls.value_fields().items()}

    def record_addr(self, lowered: Lowered, node: ast.AST) -> ir.Addr | None:
        """The place of the record that `lowered` is or refers to."""
        if isinstance(lowered, Lvalue) and isinstance(lowered.addr.type, RecordType):
            return lowered.addr
        if isinstance(lowered, (Bundle, Items, SeveralResults, Static)) or (isinstance(lowered, Lvalue) and isinstance(lowered.addr.type, ArrayType)):
            return None
        value = self.scalar(lowered, node)
        if not isinstance(value.type, RefType):
            return None
        if isinstance(value, ir.AddressOf):
            return value.addr
        kind = RefType(value.type.record, False)
        root = ir.NonNull(value, describe(node), self.where(node), kind) if value.type.nullable else value
        return ir.Addr(root, (), RecordType(value.type.record), self.where(node))

    def is_sure(self, addr: ir.Addr) -> bool:
        """Whether a place is surely there: no None on the way to it and no index outside."""
        if not isinstance(addr.root, (Shared, ir.Local)):
            return False
        for step in addr.path:
            if isinstance(step, ir.IndexStep):
                kind = step.index.type
                assert isinstance(kind, IntType)
                if not 0 <= kind.low <= kind.high < self.frontend.machine.bound(step.array.size):
                    return False
        return True

    def is_exact(self, addr: ir.Addr) -> bool:
        """Whether the record at a place is surely of exactly the class its type says: embedded, or this method's own."""
        if addr.path or isinstance(addr.root, Shared):
            return True
        params = self.function.params
        mine = self.receiver is not None and isinstance(addr.root, ir.Local) and bool(params) and addr.root.var is params[0]
        return mine and params[0].name not in self.stored


def is_computed(value: ir.Expr) -> bool:
    """Whether a value is worked out, rather than taken from somewhere that has a type."""
    return not isinstance(value, (ir.Local, ir.Load, ir.Call, ir.Choose, ir.TableItem, ir.ChooseWhere))


def same_range(a: ir.Scalar, b: ir.Scalar) -> bool:
    """Whether two integer types hold the same numbers."""
    return isinstance(a, IntType) and isinstance(b, IntType) and (a.low, a.high) == (b.low, b.high)


def join(a: ir.Scalar, b: ir.Scalar) -> ir.Scalar | None:
    """The type that holds everything of two types, or None."""
    if isinstance(a, RefType) and isinstance(b, RefType):
        nullable = a.nullable or b.nullable
        if a.record is Record or b.record is Record:
            return RefType(b.record if a.record is Record else a.record, nullable)
        if issubclass(a.record, b.record):
            return RefType(b.record, nullable)
        if issubclass(b.record, a.record):
            return RefType(a.record, nullable)
        shared = next(c for c in a.record.__mro__ if issubclass(b.record, c))
        return RefType(shared, nullable) if shared not in (Record, object) else None
    if isinstance(a, IntType) and isinstance(b, IntType):
        if (a.display == "bits") != (b.display == "bits"):
            return None
        same = a.display == b.display and a.enum is b.enum
        return IntType(min(a.low, b.low), max(a.high, b.high), a.display if same else "int", a.enum if same else None)
    return None
