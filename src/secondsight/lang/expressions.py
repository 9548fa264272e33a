"""The front end's expressions: names, fields, elements, arithmetic, calls.

Lowering an expression gives one of four things: an `ir` expression (a scalar), a `Place` (a record, an array or a field,
addressed but not read), a `Bundle` (a `Value`, one expression a field), or a `Static` (something known when the model is
loaded: a function, a class, a module, a constant).
"""

from __future__ import annotations

import ast
import builtins
import enum
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from secondsight.lang import inline, ir
from secondsight.lang.errors import Position, Refused
from secondsight.lang.records import Const, Record, Shared, Value, _SharedArray, _SharedRecord
from secondsight.lang.source import position, refuse
from secondsight.lang.types import BOOL, PLAIN_INT, ArrayType, IntType, RecordType, RefType
from secondsight.lang.verbs import choose, count, current

if TYPE_CHECKING:
    from secondsight.lang.frontend import Frontend

__all__ = ["Bundle", "ExpressionLowering", "Place", "Static", "describe"]

ANY_RECORD = RefType(Record, True)
_OPERATORS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.LShift: "<<", ast.RShift: ">>",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Is: "==", ast.IsNot: "!=",
}  # fmt: skip


@dataclass(eq=False, slots=True)
class Place:
    """Something in the state, addressed but not read."""

    addr: ir.Addr


@dataclass(eq=False, slots=True)
class Bundle:
    """A `Value`: one expression for each field."""

    value: type[Value]
    parts: dict[str, ir.Expr]


@dataclass(eq=False, slots=True)
class Static:
    """Known when the model is loaded."""

    value: Any


Lowered = ir.Expr | Place | Bundle | Static


def describe(node: ast.AST) -> str:
    """An expression as its author wrote it, shortened."""
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:57] + "..."


class ExpressionLowering:
    """Lowers the expressions of one function; `FunctionLowering` adds the statements."""

    def __init__(self, frontend: Frontend, source: Any, tree: ast.FunctionDef) -> None:
        self.frontend, self.source, self.tree = frontend, source, tree
        self.file = source.__code__.co_filename
        self.vars: dict[str, ir.Var] = {}
        self.bundles: dict[str, tuple[type[Value], dict[str, ir.Var]]] = {}
        self.pending: ir.YieldCall | None = None
        self.depth = 0
        self.hidden = 0
        self.conditional = 0
        self.receiver: type[Record] | None = None
        closure = inspect.getclosurevars(source).nonlocals if source.__closure__ else {}
        self.globals = {**vars(builtins), **source.__globals__, **closure}
        self.locals = {a.arg for a in tree.args.args} | {
            n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }

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
                if node.id in self.locals or node.id not in self.globals:
                    return False, None
                return True, self.globals[node.id]
            case ast.Attribute():
                known, base = self.static(node.value)
                if known and (inspect.ismodule(base) or isinstance(base, type)) and hasattr(base, node.attr):
                    return True, getattr(base, node.attr)
            case ast.UnaryOp(op=ast.USub()):
                known, value = self.static(node.operand)
                if known and isinstance(value, int):
                    return True, -value
            case ast.BinOp():
                (a, left), (b, right) = self.static(node.left), self.static(node.right)
                if a and b and isinstance(left, int) and isinstance(right, int) and type(node.op) in _OPERATORS:
                    try:
                        return True, eval(f"{int(left)} {_OPERATORS[type(node.op)]} {int(right)}")
                    except ArithmeticError as error:
                        raise self.refuse(node, str(error), "a constant that has a value") from None
            case ast.Call(func=ast.Name(id="ord"), args=[ast.Constant(value=str() as text)]) if len(text) == 1:
                return True, ord(text)
        return False, None

    # Forms of a value.

    def lower(self, node: ast.expr) -> Lowered:
        """Lower an expression into whichever of the four forms fits it."""
        known, value = self.static(node)
        if known:
            if isinstance(value, _SharedRecord):
                declaration = object.__getattribute__(value, "_shared")
                return Place(ir.Addr(declaration, (), declaration.kind, self.where(node)))
            if isinstance(value, _SharedArray):
                return Place(ir.Addr(value._shared, (), value._shared.kind, self.where(node)))
            return Static(value)
        match node:
            case ast.Name():
                if node.id in self.vars:
                    return ir.Local(self.vars[node.id])
                if node.id in self.bundles:
                    cls, parts = self.bundles[node.id]
                    return Bundle(cls, {f: ir.Local(v) for f, v in parts.items()})
                if node.id in self.locals:
                    raise self.refuse(
                        node,
                        f"{node.id} is used before it has a value on every path",
                        f"{node.id} = ... first (with a type: {node.id}: U8 = 0)",
                    )
                raise self.refuse(node, f"{node.id} is not defined", "import it, or define it at module level")
            case ast.Attribute():
                return self.attribute(node)
            case ast.Subscript():
                return self.subscript(node)
            case ast.UnaryOp():
                return self.unary(node)
            case ast.BinOp():
                return self.arithmetic(node, node.op, self.expr(node.left), self.expr(node.right))
            case ast.BoolOp():
                items = [self.truth(node.values[0])]
                self.conditional += 1
                items += [self.truth(v) for v in node.values[1:]]
                self.conditional -= 1
                return ir.Logic("and" if isinstance(node.op, ast.And) else "or", items)
            case ast.Compare():
                return self.comparison(node)
            case ast.IfExp():
                test = self.truth(node.test)
                self.conditional += 1
                then, other = self.expr(node.body), self.expr(node.orelse)
                self.conditional -= 1
                return ir.Conditional(test, then, other, self.common(node, then, other))
            case ast.Call():
                return self.call(node)
            case ast.Lambda():
                raise self.refuse(node, "lambda is not in the language", "a function at module level")
            case ast.NamedExpr():
                raise self.refuse(node, ":= is not in the language", "an assignment before")
            case ast.JoinedStr():
                raise self.refuse(node, "formatted text is not in the language", "a constant text: traces show the values")
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                raise self.refuse(node, "a comprehension outside any(), all(), count() and choose()", "a for loop")
            case ast.List() | ast.Tuple() | ast.Dict() | ast.Set():
                raise self.refuse(
                    node, f"a {type(node).__name__.lower()} is not in the language", "an Array in a record, or a Value"
                )
            case ast.Await() | ast.Yield() | ast.YieldFrom():
                raise self.refuse(
                    node,
                    "generators and coroutines are not in the language",
                    "a plain function: it is cut at its steps by itself",
                )
        raise self.refuse(node, f"{type(node).__name__} is not in the language", "see docs/language.md for what is")

    def lower_value(self, node: ast.expr) -> Lowered:
        """`lower`, with constants turned into expressions."""
        lowered = self.lower(node)
        return self.scalar(lowered, node) if isinstance(lowered, Static) else lowered

    def expr(self, node: ast.expr) -> ir.Expr:
        """Lower an expression that must be a scalar: an integer or a reference."""
        return self.scalar(self.lower(node), node)

    def scalar(self, lowered: Lowered, node: ast.AST) -> ir.Expr:
        """The scalar in a lowered value: a place of a record is a reference to it, a field is read."""
        if isinstance(lowered, Place):
            kind = lowered.addr.type
            if isinstance(kind, RecordType):
                return ir.AddressOf(lowered.addr, RefType(kind.record, False))
            if isinstance(kind, (IntType, RefType)):
                return ir.Load(lowered.addr, kind)
            raise self.refuse(node, f"{describe(node)} is an array", "its elements, len(...), or a loop over it")
        if isinstance(lowered, Bundle):
            raise self.refuse(node, f"{describe(node)} is a {lowered.value.__name__}", "its fields")
        if isinstance(lowered, Static):
            value = lowered.value
            if value is None:
                return ir.Constant(0, ANY_RECORD)
            if isinstance(value, bool):
                return ir.Constant(int(value), BOOL)
            if isinstance(value, enum.IntEnum | enum.IntFlag):
                return ir.Constant(int(value), IntType(int(value), int(value), "enum", type(value)))
            if isinstance(value, int):
                return ir.Constant(value, IntType(value, value))
            raise self.refuse(
                node,
                f"{describe(node)} ({type(value).__name__}) is not a value of the language",
                "integers, truth values, enums, records",
            )
        return lowered

    def truth(self, node: ast.expr) -> ir.Expr:
        """An expression as a truth value."""
        value = self.expr(node)
        if isinstance(value.type, RefType):
            return ir.Compare("!=", value, ir.Constant(0, ANY_RECORD))
        if value.type.display == "bool" and (value.type.low, value.type.high) == (0, 1):
            return value
        return ir.Compare("!=", value, ir.Constant(0, IntType(0, 0)))

    def common(self, node: ast.AST, left: ir.Expr, right: ir.Expr) -> ir.Scalar:
        """The type that holds either of two values."""
        a, b = left.type, right.type
        if isinstance(a, RefType) and isinstance(b, RefType):
            record = b.record if a.record is Record or issubclass(a.record, b.record) else a.record
            return RefType(record, a.nullable or b.nullable)
        if isinstance(a, IntType) and isinstance(b, IntType):
            same = a.display == b.display and a.enum is b.enum
            return IntType(min(a.low, b.low), max(a.high, b.high), a.display if same else "int", a.enum if same else None)
        raise self.refuse(node, f"one is {a}, the other {b}", "two of a kind")

    def fit(self, value: ir.Expr, kind: ir.Scalar, node: ast.AST) -> ir.Expr:
        """`value` for a place of type `kind`, checked: integers by range when run, references by class now."""
        if isinstance(kind, RefType):
            if not isinstance(value.type, RefType):
                raise self.refuse(node, f"{value.type} where {kind} is wanted", f"a {kind.record.__name__} record")
            if value.type.record is not Record and not (
                issubclass(value.type.record, kind.record) or issubclass(kind.record, value.type.record)
            ):
                raise self.refuse(node, f"{value.type} where {kind} is wanted", f"a {kind.record.__name__} record")
            if value.type.nullable and not kind.nullable:
                return ir.NonNull(value, describe(node), self.where(node), kind)
            return value
        if isinstance(value.type, RefType):
            raise self.refuse(node, f"a reference ({value.type}) where {kind} is wanted", "an integer, or array.index(record)")
        return value

    # Names, fields, elements.

    def local_for(self, target: ast.Name, value: ir.Expr) -> ir.Var:
        """The variable that an assignment to a name sets; its first value gives it its type."""
        var = self.vars.get(target.id)
        if target.id in self.bundles:
            raise self.refuse(target, f"{target.id} is a Value elsewhere", "another name")
        kind = value.type
        if var is None:
            if isinstance(kind, RefType) and kind.record is Record:
                raise self.refuse(target, f"the type of {target.id} is not known", f"{target.id}: Ref[SomeRecord] = None")
            if (
                isinstance(kind, IntType)
                and kind.display == "int"
                and not isinstance(value, (ir.Local, ir.Load, ir.Call, ir.Choose, ir.TableItem, ir.ChooseWhere))
            ):
                kind = IntType(min(kind.low, PLAIN_INT.low), max(kind.high, PLAIN_INT.high))
            elif isinstance(kind, IntType) and kind.enum is not None:
                members = [int(m) for m in kind.enum]
                kind = IntType(
                    min(0, *members) if len(members) > 1 else min(members),
                    max(kind.high, *members, sum(members) if issubclass(kind.enum, enum.IntFlag) else 0),
                    "enum",
                    kind.enum,
                )
            elif isinstance(value, ir.Constant) and isinstance(kind, IntType) and kind.display == "int":
                kind = PLAIN_INT
            var = self.vars[target.id] = ir.Var(target.id, kind)
        elif (
            isinstance(var.type, RefType)
            and isinstance(kind, RefType)
            and kind.nullable
            and not var.type.nullable
            and var not in self.parameters()
        ):
            var.type = RefType(var.type.record, True)
        return var

    def parameters(self) -> list[ir.Var]:
        """The parameters of the function being lowered."""
        return getattr(self, "function").params  # type: ignore[no-any-return]  # noqa: B009

    def place(self, node: ast.expr) -> Place:
        """A field or element to store to."""
        lowered = self.lower(node)
        if not isinstance(lowered, Place):
            raise self.refuse(node, f"{describe(node)} cannot be assigned", "a field of a record or an element of an array")
        return lowered

    def record_addr(self, lowered: Lowered, node: ast.AST) -> ir.Addr | None:
        """The place of the record that `lowered` is or refers to."""
        if isinstance(lowered, Place) and isinstance(lowered.addr.type, RecordType):
            return lowered.addr
        if isinstance(lowered, (Bundle, Static)) or (isinstance(lowered, Place) and isinstance(lowered.addr.type, ArrayType)):
            return None
        value = self.scalar(lowered, node)
        if not isinstance(value.type, RefType):
            return None
        if isinstance(value, ir.AddressOf):
            return value.addr
        kind = RefType(value.type.record, False)
        root = ir.NonNull(value, describe(node), self.where(node), kind) if value.type.nullable else value
        return ir.Addr(root, (), RecordType(value.type.record), self.where(node))

    def attribute(self, node: ast.Attribute) -> Lowered:
        """`record.field`, `value.field`, a class constant."""
        base = self.lower(node.value)
        if isinstance(base, Bundle):
            if node.attr not in base.parts:
                raise self.refuse(node, f"{base.value.__name__} has no field {node.attr}", f"one of {', '.join(base.parts)}")
            return base.parts[node.attr]
        addr = self.record_addr(base, node.value)
        if addr is None:
            raise self.refuse(node, f"{describe(node.value)} has no field {node.attr}", "a field of a record")
        assert isinstance(addr.type, RecordType)
        record = addr.type.record
        kind = record.fields().get(node.attr)
        if kind is None:
            value = getattr(record, node.attr, None)
            if isinstance(value, int):
                return Static(value)
            raise self.refuse(node, f"{record.__name__} has no field {node.attr}", f"one of {', '.join(record.fields())}")
        return Place(addr.then(ir.FieldStep(record, node.attr), kind, self.where(node)))

    def subscript(self, node: ast.Subscript) -> Lowered:
        """`array[i]`, `table[i]`."""
        base = self.lower(node.value)
        where = self.where(node)
        if isinstance(node.slice, ast.Slice):
            raise self.refuse(node, "a slice", "a loop over the elements")
        index = self.expr(node.slice)
        if not isinstance(index.type, IntType):
            raise self.refuse(node.slice, f"an index of type {index.type}", "an integer")
        if isinstance(base, Static) and isinstance(base.value, Const):
            return ir.TableItem(base.value.name, index, base.value.kind, where)
        if isinstance(base, Place) and isinstance(base.addr.type, ArrayType):
            array = base.addr.type
            return Place(base.addr.then(ir.IndexStep(index, array, describe(node.value), where), array.element, where))
        raise self.refuse(
            node, f"{describe(node.value)} is not an array", "an Array field, or a name declared with shared_array or pool"
        )

    # Operators.

    def unary(self, node: ast.UnaryOp) -> ir.Expr:
        """`not`, `-`, `~`, `+`."""
        if isinstance(node.op, ast.Not):
            return ir.Unary("not", self.truth(node.operand), BOOL)
        value = self.integer(node.operand)
        assert isinstance(value.type, IntType)
        low, high = value.type.low, value.type.high
        if isinstance(node.op, ast.USub):
            return ir.Unary("-", value, IntType(-high, -low))
        if isinstance(node.op, ast.Invert):
            return ir.Unary("~", value, IntType(~high, ~low))
        return value

    def integer(self, node: ast.expr) -> ir.Expr:
        """An expression that must be an integer."""
        value = self.expr(node)
        if not isinstance(value.type, IntType):
            raise self.refuse(node, f"{describe(node)} is {value.type}", "an integer")
        return value

    def arithmetic(self, node: ast.AST, operator: ast.operator, left: ir.Expr, right: ir.Expr) -> ir.Expr:
        """Integer arithmetic, with the range of its result."""
        name = _OPERATORS.get(type(operator))
        if name is None:
            raise self.refuse(node, f"the operator {type(operator).__name__} is not in the language", "+ - * // % << >> & | ^")
        a, b = left.type, right.type
        if not (isinstance(a, IntType) and isinstance(b, IntType)):
            raise self.refuse(node, f"arithmetic on {a if isinstance(a, RefType) else b}", "integers")
        return ir.Binary(name, left, right, _range(name, a, b), self.where(node))

    def comparison(self, node: ast.Compare) -> ir.Expr:
        """Comparisons, chained ones and `in (a, b)` too."""
        links: list[ir.Expr] = []
        left_node = node.left
        left = self.expr(left_node)
        for operator, right_node in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, (ast.In, ast.NotIn)):
                if not isinstance(right_node, (ast.Tuple, ast.List, ast.Set)):
                    raise self.refuse(
                        right_node, "`in` something else than a tuple of values", "x in (A, B), or any(x is y for y in array)"
                    )
                members = [self.compare_two(node, "==", left, self.expr(m)) for m in right_node.elts]
                found: ir.Expr = ir.Logic("or", members) if members else ir.Constant(0, BOOL)
                links.append(found if isinstance(operator, ast.In) else ir.Unary("not", found, BOOL))
                continue
            right = self.expr(right_node)
            links.append(self.compare_two(node, _OPERATORS[type(operator)], left, right))
            left, left_node = right, right_node
        return links[0] if len(links) == 1 else ir.Logic("and", links)

    def compare_two(self, node: ast.AST, operator: str, left: ir.Expr, right: ir.Expr) -> ir.Expr:
        """One comparison."""
        references = [isinstance(e.type, RefType) for e in (left, right)]
        if any(references) and (not all(references) or operator not in ("==", "!=")):
            raise self.refuse(node, f"{left.type} {operator} {right.type}", "integers; or references with is, is not")
        return ir.Compare(operator, left, right)

    # Calls.

    def call(self, node: ast.Call) -> Lowered:
        """A call used as a value."""
        known, callee = self.static(node.func)
        if known:
            if isinstance(callee, type) and issubclass(callee, Value):
                return self.bundle(node, callee)
            if isinstance(callee, type) and issubclass(callee, enum.IntEnum | enum.IntFlag):
                return self.expr(node.args[0])
            builtin = getattr(self, f"_builtin_{getattr(callee, '__name__', '')}", None)
            if builtin is not None and callee in (any, all, len, min, max, abs, int, bool, count, choose, current):
                return builtin(node)  # type: ignore[no-any-return]
            if getattr(callee, "__tracepoint__", False):
                raise self.refuse(node, "a tracepoint used as a value", "a statement of its own")
        if isinstance(node.func, ast.Attribute):
            found = self.array_method(node)
            if found is not None:
                return found
        function, arguments = self.callee(node)
        if function.result is None:
            raise self.refuse(node, f"{function.name} returns nothing", "a statement of its own")
        if function.yields:
            return self.interrupted(node, function, arguments)
        inlined = inline.expression(function, arguments)
        return inlined if inlined is not None else ir.Call(function, arguments, function.result)

    def interrupted(self, node: ast.Call, function: ir.Function, arguments: list[ir.Expr]) -> ir.Local:
        """A call that has step boundaries: it runs first, and its result is used in the rest of the statement."""
        if self.pending is not None:
            raise self.refuse(
                node, f"a second call in one statement that can be interrupted ({function.name})", "one such call a statement"
            )
        if self.conditional:
            raise self.refuse(
                node, f"{function.name} can be interrupted and would be called only sometimes", "an if statement around the call"
            )
        assert function.result is not None
        var = ir.Var("result", function.result, transient=True)
        self.pending = ir.YieldCall(var, function, arguments, self.where(node))
        return ir.Local(var)

    def effect(self, node: ast.Call, where: Position) -> list[ir.Stmt]:
        """A call as a statement: the statements that stand for it (a call that can be interrupted goes to `pending`)."""
        known, callee = self.static(node.func)
        if known and (
            callee in (choose, current, count, any, all, len, min, max)
            or (isinstance(callee, type) and issubclass(callee, Value))
        ):
            raise self.refuse(node, f"{describe(node.func)}(...) without using its value", "x = ...")
        if isinstance(node.func, ast.Attribute):
            found = self.array_method(node)
            if found is not None:
                return [ir.Eval(found, where)]
        function, arguments = self.callee(node)
        return self.call_effect(function, arguments, node, where)

    def call_effect(self, function: ir.Function, arguments: list[ir.Expr], node: ast.AST, where: Position) -> list[ir.Stmt]:
        """The statements for a call whose result is not used."""
        if function.yields:
            if self.pending is not None:
                raise self.refuse(
                    node, f"a second call in one statement that can be interrupted ({function.name})", "one such call a statement"
                )
            self.pending = ir.YieldCall(None, function, arguments, where)
            return []
        inlined = inline.statements(function, arguments)
        if inlined is not None:
            return inlined
        return [ir.Eval(ir.Call(function, arguments, function.result or IntType(0, 0)), where)]

    def method_effect(self, receiver: ir.Expr, name: str, where: Position) -> list[ir.Stmt]:
        """A method without arguments called on a record of a known class (locks)."""
        assert isinstance(receiver.type, RefType)
        cls = receiver.type.record
        function = self.frontend.instance(getattr(cls, name), cls, bool(self.depth), where)
        return self.call_effect(function, [receiver], self.tree, where)

    def callee(self, node: ast.Call) -> tuple[ir.Function, list[ir.Expr]]:
        """Which function instance a call means, and its arguments."""
        where = self.where(node)
        inside = bool(self.depth)
        known, target = self.static(node.func)
        if known:
            if inspect.isfunction(target):
                owner = self.owner_of(node.func, target)
                if owner is not None:
                    if not node.args:
                        raise self.refuse(
                            node, f"{describe(node.func)} needs the record as its first argument", "Base.method(self, ...)"
                        )
                    receiver = self.expr(node.args[0])
                    assert isinstance(receiver.type, RefType)
                    function = self.frontend.instance(target, receiver.type.record, inside, where)
                    rest = ast.Call(node.func, node.args[1:], node.keywords)
                    return function, self.arguments(ast.copy_location(rest, node), function, [receiver], target)
                function = self.frontend.instance(target, None, inside, where)
                return function, self.arguments(node, function, [], target)
            if target is super:
                raise self.refuse(node, "super() is not in the language", "Base.method(self, ...)")
            raise self.refuse(
                node,
                f"{describe(node.func)} cannot be called here",
                "functions of the model, and the builtins that docs/language.md lists",
            )
        if not isinstance(node.func, ast.Attribute):
            raise self.refuse(node, f"{describe(node.func)} is not a function known when the model is loaded", "a call by name")
        if isinstance(node.func.value, ast.Call) and self.static(node.func.value.func) == (True, super):
            raise self.refuse(node, "super() is not in the language", "Base.method(self, ...)")
        base = self.lower(node.func.value)
        addr = self.record_addr(base, node.func.value)
        if addr is None:
            raise self.refuse(node, f"{describe(node.func.value)} has no method {node.func.attr}", "a method of a record")
        assert isinstance(addr.type, RecordType)
        record = addr.type.record
        method = getattr(record, node.func.attr, None)
        if not inspect.isfunction(method):
            raise self.refuse(node, f"{record.__name__} has no method {node.func.attr}", "one of its methods: " + ", ".join(
                n for n, v in inspect.getmembers(record, inspect.isfunction) if not n.startswith("_") and n not in ("fields", "default")) )  # fmt: skip
        if addr.path or isinstance(addr.root, Shared):
            receiver = ir.AddressOf(addr, RefType(record, False))
            exact = True
        else:
            receiver = addr.root
            parameters = self.parameters()
            exact = (
                self.receiver is not None
                and isinstance(receiver, ir.Local)
                and bool(parameters)
                and receiver.var is parameters[0]
            )
        if exact:
            function = self.frontend.instance(method, record, inside, where)
        else:
            function = self.frontend.dispatch(record, node.func.attr, inside, where)
        return function, self.arguments(node, function, [receiver], method)

    def owner_of(self, node: ast.expr, target: Any) -> type[Record] | None:
        """The record class that `Class.method` names, if it is one."""
        if isinstance(node, ast.Attribute):
            known, base = self.static(node.value)
            if known and isinstance(base, type) and issubclass(base, Record):
                return base
        return None

    def arguments(self, node: ast.Call, function: ir.Function, first: list[ir.Expr], source: Any) -> list[ir.Expr]:
        """The arguments of a call, in the order of the parameters; keywords and constant defaults filled in."""
        original = getattr(source, "__wrapped__", source)
        names = [p for p in inspect.signature(original).parameters]
        given: dict[str, ast.expr] = {}
        for name, argument in zip(names[len(first) :], node.args, strict=False):
            given[name] = argument
        if len(node.args) > len(names) - len(first):
            raise self.refuse(
                node,
                f"{function.name} takes {len(names) - len(first)} arguments, not {len(node.args)}",
                "as many as its definition has",
            )
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg not in names or keyword.arg in given:
                raise self.refuse(
                    node, f"{function.name} has no parameter {keyword.arg} left to give", f"one of {', '.join(names)}"
                )
            given[keyword.arg] = keyword.value
        lowered = list(first)
        for name in names[len(first) :]:
            wanted = [v for v in function.params if v.name == name or v.name.startswith(f"{name}.")]
            value: Lowered
            if name in given:
                value = self.lower(given[name])
            else:
                default = inspect.signature(original).parameters[name].default
                if default is inspect.Parameter.empty:
                    raise self.refuse(node, f"{function.name} needs the argument {name}", f"{name}=...")
                value = Static(default)
            at = given.get(name, node)
            if isinstance(value, Bundle):
                for var in wanted:
                    lowered.append(self.fit(value.parts[var.name.rpartition(".")[2]], var.type, at))
            elif len(wanted) == 1 and wanted[0].name == name:
                lowered.append(self.fit(self.scalar(value, at), wanted[0].type, at))
            else:
                raise self.refuse(at, f"{name} is a Value with {len(wanted)} fields", "a Value of that class")
        return lowered

    def bundle(self, node: ast.Call, cls: type[Value]) -> Bundle:
        """`Range(start, end, event, True)`."""
        kinds = cls.value_fields()
        given: dict[str, ast.expr] = dict(zip(kinds, node.args, strict=False))
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg not in kinds or keyword.arg in given:
                raise self.refuse(node, f"{cls.__name__} has no field {keyword.arg} left to give", f"one of {', '.join(kinds)}")
            given[keyword.arg] = keyword.value
        parts: dict[str, ir.Expr] = {}
        for name, kind in kinds.items():
            if name in given:
                parts[name] = self.fit(self.expr(given[name]), kind, given[name])
            elif hasattr(cls, name):
                parts[name] = self.scalar(Static(getattr(cls, name)), node)
            else:
                raise self.refuse(node, f"{cls.__name__} needs {name}", f"{name}=...")
        return Bundle(cls, parts)

    # Arrays and pools.

    def pool_of(self, node: ast.expr) -> ir.Addr | None:
        """The place of a pool, if the expression is one."""
        if self.static(node)[0] or isinstance(node, (ast.Attribute, ast.Subscript)):
            lowered = self.lower(node)
            if isinstance(lowered, Place) and isinstance(lowered.addr.type, ArrayType) and lowered.addr.type.pool:
                return lowered.addr
        return None

    def array_method(self, node: ast.Call) -> ir.Expr | None:
        """`array.index(record)`, `pool.alloc()`, `pool.is_used(record)`."""
        assert isinstance(node.func, ast.Attribute)
        name = node.func.attr
        if name not in ("index", "alloc", "is_used", "free"):
            return None
        base = self.lower(node.func.value)
        if not (isinstance(base, Place) and isinstance(base.addr.type, ArrayType)):
            return None
        array, where = base.addr.type, self.where(node)
        if name == "index" and isinstance(array.element, RecordType) and len(node.args) == 1:
            value = self.fit(self.expr(node.args[0]), RefType(array.element.record, False), node.args[0])
            size = self.frontend.machine.bound(array.size)
            return ir.IndexOf(base.addr, value, IntType(0, max(0, size - 1)), where)
        if name == "alloc" and array.pool and isinstance(array.element, RecordType):
            return ir.Alloc(base.addr, RefType(array.element.record, False), where)
        if name == "is_used" and array.pool and isinstance(array.element, RecordType) and len(node.args) == 1:
            return ir.IsUsed(base.addr, self.fit(self.expr(node.args[0]), RefType(array.element.record, False), node), where)
        raise self.refuse(
            node,
            f"{describe(node)}: not something this array can do",
            "index(record); alloc(), free(record), is_used(record) on a pool",
        )

    # Builtins and verbs used as values.

    def range_of(self, node: ast.Call) -> tuple[ir.Expr, ir.Expr, int]:
        """Start, stop and stride of `range(...)`."""
        values = [self.integer(a) for a in node.args]
        if not 1 <= len(values) <= 3 or node.keywords:
            raise self.refuse(node, "range takes one to three numbers", "range(stop)")
        if len(values) == 3:
            known, stride = self.static(node.args[2])
            if not known or not isinstance(stride, int) or stride == 0:
                raise self.refuse(node, "a stride that is not a constant", "range(start, stop, 1)")
            return values[0], values[1], stride
        if len(values) == 2:
            return values[0], values[1], 1
        return ir.Constant(0, IntType(0, 0)), values[0], 1

    def domain(
        self, node: ast.AST, generator: ast.expr
    ) -> tuple[ir.Var, ir.Expr, ir.Expr, list[tuple[ir.Var, ir.Expr]], ir.Expr | None, ast.expr]:
        """The parts of a generator over an array or range; the loop variable is bound while `finish_domain` is not called."""
        if not isinstance(generator, ast.GeneratorExp) or len(generator.generators) != 1:
            raise self.refuse(node, "not one generator", "any(x.field for x in array)")
        part = generator.generators[0]
        if not isinstance(part.target, ast.Name) or part.is_async:
            raise self.refuse(node, "several loop variables", "one")
        where = self.where(generator)
        self.hidden += 1
        counter = ir.Var(f"{part.target.id}_{self.hidden}", PLAIN_INT)
        bindings: list[tuple[ir.Var, ir.Expr]] = []
        iterable = part.iter
        if isinstance(iterable, ast.Call) and self.static(iterable.func) == (True, range):
            start, stop, stride = self.range_of(iterable)
            if stride != 1:
                raise self.refuse(iterable, "a stride in a generator", "range(start, stop)")
            assert isinstance(start.type, IntType) and isinstance(stop.type, IntType)
            counter.type = IntType(start.type.low, max(start.type.low, stop.type.high - 1))
            bound = counter
        else:
            lowered = self.lower(iterable)
            if not (isinstance(lowered, Place) and isinstance(lowered.addr.type, ArrayType)):
                raise self.refuse(iterable, f"{describe(iterable)} is not an array", "an array or range(...)")
            array = lowered.addr.type
            size = self.frontend.machine.bound(array.size)
            start, stop = ir.Constant(0, IntType(0, 0)), ir.Constant(size, IntType(size, size))
            counter.type = IntType(0, max(0, size - 1))
            step = ir.IndexStep(ir.Local(counter), array, describe(iterable), where)
            element = self.scalar(Place(lowered.addr.then(step, array.element, where)), iterable)
            bound = ir.Var(f"{part.target.id}_{self.hidden}e", element.type)
            bindings.append((bound, element))
        saved = self.vars.get(part.target.id)
        self.vars[part.target.id] = bound
        condition: ir.Expr | None = None
        self.conditional += 1
        try:
            tests = [self.truth(c) for c in part.ifs]
            condition = tests[0] if len(tests) == 1 else ir.Logic("and", tests) if tests else None
            self._inner = self.expr(generator.elt)
        finally:
            self.conditional -= 1
            if saved is None:
                del self.vars[part.target.id]
            else:
                self.vars[part.target.id] = saved
        return counter, start, stop, bindings, condition, generator.elt

    def _quantifier(self, node: ast.Call, kind: str) -> ir.Expr:
        if len(node.args) != 1:
            raise self.refuse(node, f"{kind} takes one generator", f"{kind}(x.field for x in array)")
        counter, start, stop, bindings, condition, _ = self.domain(node, node.args[0])
        test = self._inner
        if not (isinstance(test.type, IntType) and test.type.display == "bool"):
            zero = ir.Constant(0, ANY_RECORD if isinstance(test.type, RefType) else IntType(0, 0))
            test = ir.Compare("!=", test, zero)
        result = BOOL if kind != "count" else IntType(0, max(0, stop.type.high))  # type: ignore[union-attr]
        return ir.Quantifier(kind, counter, start, stop, bindings, condition, test, result)

    def _builtin_any(self, node: ast.Call) -> ir.Expr:
        return self._quantifier(node, "any")

    def _builtin_all(self, node: ast.Call) -> ir.Expr:
        return self._quantifier(node, "all")

    def _builtin_count(self, node: ast.Call) -> ir.Expr:
        return self._quantifier(node, "count")

    def _builtin_current(self, node: ast.Call) -> ir.Expr:
        return ir.Current()

    def _builtin_choose(self, node: ast.Call) -> ir.Expr:
        where = self.where(node)
        if len(node.args) != 1:
            raise self.refuse(node, "choose takes one thing", "choose(n), choose(array), choose(x for x in array if cond)")
        if isinstance(node.args[0], ast.GeneratorExp):
            counter, start, stop, bindings, condition, _ = self.domain(node, node.args[0])
            result = self._inner
            return ir.ChooseWhere(counter, start, stop, bindings, condition or ir.Constant(1, BOOL), result, result.type, where)
        lowered = self.lower(node.args[0])
        if isinstance(lowered, Place) and isinstance(lowered.addr.type, ArrayType):
            array = lowered.addr.type
            size = self.frontend.machine.bound(array.size)
            index = ir.Choose(ir.Constant(size, IntType(size, size)), IntType(0, max(0, size - 1)), where)
            return self.scalar(
                Place(lowered.addr.then(ir.IndexStep(index, array, describe(node.args[0]), where), array.element, where)), node
            )
        number = self.scalar(lowered, node.args[0])
        if not isinstance(number.type, IntType):
            raise self.refuse(node, f"choose among {number.type}", "a number, an array or a generator")
        return ir.Choose(number, IntType(0, max(0, number.type.high - 1)), where)

    def _builtin_len(self, node: ast.Call) -> ir.Expr:
        base = self.lower(node.args[0])
        if isinstance(base, Static) and isinstance(base.value, Const):
            return ir.TableSize(base.value.name, PLAIN_INT)
        if isinstance(base, Place) and isinstance(base.addr.type, ArrayType):
            size = self.frontend.machine.bound(base.addr.type.size)
            return ir.Constant(size, IntType(size, size))
        raise self.refuse(node, f"len({describe(node.args[0])})", "an array or a table")

    def _two(self, node: ast.Call, name: str) -> ir.Expr:
        if len(node.args) < 2:
            raise self.refuse(node, f"{name} takes two numbers or more", f"{name}(a, b)")
        result = self.integer(node.args[0])
        for argument in node.args[1:]:
            right = self.integer(argument)
            assert isinstance(result.type, IntType) and isinstance(right.type, IntType)
            pick = min if name == "min" else max
            kind = IntType(pick(result.type.low, right.type.low), pick(result.type.high, right.type.high))
            result = ir.Binary(name, result, right, kind, self.where(node))
        return result

    def _builtin_min(self, node: ast.Call) -> ir.Expr:
        return self._two(node, "min")

    def _builtin_max(self, node: ast.Call) -> ir.Expr:
        return self._two(node, "max")

    def _builtin_abs(self, node: ast.Call) -> ir.Expr:
        value = self.integer(node.args[0])
        zero = ir.Constant(0, IntType(0, 0))
        assert isinstance(value.type, IntType)
        kind = IntType(0, max(abs(value.type.low), abs(value.type.high)))
        return ir.Conditional(
            ir.Compare("<", value, zero), ir.Unary("-", value, IntType(-value.type.high, -value.type.low)), value, kind
        )

    def _builtin_int(self, node: ast.Call) -> ir.Expr:
        value = self.integer(node.args[0])
        assert isinstance(value.type, IntType)
        return ir.Binary("+", value, ir.Constant(0, IntType(0, 0)), IntType(value.type.low, value.type.high), self.where(node))

    def _builtin_bool(self, node: ast.Call) -> ir.Expr:
        return self.truth(node.args[0])


def _range(operator: str, a: IntType, b: IntType) -> IntType:
    """The smallest range that surely holds the result of an operation."""
    flags = a.enum if a.enum is not None and a.enum is b.enum and issubclass(a.enum, enum.IntFlag) else None
    if operator in ("&", "|", "^"):
        if operator == "&" and (a.low >= 0 or b.low >= 0):
            high = min(t.high for t in (a, b) if t.low >= 0)
            return IntType(0, high, "enum" if flags else "int", flags)
        low = 0 if min(a.low, b.low) >= 0 else -(1 << max(abs(a.low), abs(b.low), a.high, b.high).bit_length())
        return IntType(low, (1 << max(a.high, b.high, -a.low, -b.low, 0).bit_length()) - 1, "enum" if flags else "int", flags)
    if operator == "%":
        return IntType(0, max(0, b.high - 1)) if b.low > 0 else IntType(min(b.low + 1, 0), max(b.high - 1, 0))
    if operator in ("<<", ">>"):
        shifts = (max(0, b.low), min(64, max(0, b.high)))
    elif operator == "//":
        shifts = (b.low, b.high)
        biggest = max(abs(a.low), abs(a.high))
        return IntType(-biggest if a.low < 0 or b.low < 0 else 0, biggest)
    else:
        shifts = (b.low, b.high)
    results = []
    for x in (a.low, a.high):
        for y in shifts:
            results.append(
                {"+": x + y, "-": x - y, "*": x * y}.get(operator, (x << y) if operator == "<<" else (x >> y) if y >= 0 else x)
            )
    return IntType(min(results), max(results))
