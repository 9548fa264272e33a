"""The front end's calls: which function instance is meant, its arguments, and whether it can be interrupted."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from secondsight.lang import inline, ir, tree
from secondsight.lang.builtin_calls import BuiltinLowering
from secondsight.lang.errors import Position
from secondsight.lang.facts import parameters_of
from secondsight.lang.functions import Functions
from secondsight.lang.locks import RwLock, spin_until, stand_in_queue
from secondsight.lang.lowering import Bundle, Items, Lowered, SeveralResults, Static, describe
from secondsight.lang.records import Record, Value
from secondsight.lang.types import BOOL, IntType, RecordType, RefType
from secondsight.lang.verbs import (
    atomic,
    choose,
    count,
    current,
    hold_point,
    out_of_records,
    require,
    rule,
    tracepoint,
    wait_until,
)

__all__ = ["CallLowering"]

_STATEMENTS = (require, wait_until, spin_until, stand_in_queue, hold_point, out_of_records, atomic, rule, tracepoint)
_VALUES = (choose, current, count, any, all, sum, len, min, max, abs, int, bool)


class CallLowering(BuiltinLowering):
    """Lowers calls of the model's own functions and methods."""

    def call(self, node: ast.Call) -> Lowered:
        """A call used as a value."""
        known, callee = self.static(node.func)
        if known:
            if isinstance(callee, type) and issubclass(callee, Value):
                return self.bundle(node, callee)
            found = self.builtin(node, callee)
            if found is not None:
                return found
            if is_one_of(callee, _STATEMENTS) or getattr(callee, "__tracepoint__", False):
                raise self.refuse(node, f"{describe(node.func)}(...) used as a value", "a statement of its own")
        if isinstance(node.func, ast.Attribute):
            found = self.array_method(node)
            if found is not None:
                return found
        function, arguments = self.callee(node)
        if function.result is None:
            raise self.refuse(node, f"{function.name} returns nothing", "a statement of its own")
        if function.yields:
            return self.interrupted(node, function, arguments)
        if isinstance(function.result, ir.Group):
            return SeveralResults(ir.Call(function, arguments, function.result), function.result)
        inlined = inline.expression(function, arguments) if self.frontend.inlines else None
        return inlined if inlined is not None else ir.Call(function, arguments, function.result)

    def interrupted(self, node: ast.Call, function: ir.Function, arguments: list[ir.Expr]) -> Lowered:
        """A call that has step boundaries: it runs first, and its result is used in the rest of the statement."""
        if self.conditional:
            raise self.refuse(
                node, f"{function.name} can be interrupted and would be called only sometimes", "an if statement around the call"
            )
        assert function.result is not None
        var = ir.Var("result", function.result, transient=True)
        self.pend(ir.YieldCall(var, function, arguments, self.where(node), node is self.leading), node)
        return SeveralResults(ir.Local(var), function.result) if isinstance(function.result, ir.Group) else ir.Local(var)

    def pend(self, call: ir.YieldCall, node: ast.AST) -> None:
        """Note the one call of this statement that can be interrupted."""
        if self.pending is not None:
            raise self.refuse(
                node,
                f"a second call in one statement that can be interrupted ({call.function.name})",
                "one such call a statement",
            )
        self.pending = call

    def effect(self, node: ast.Call, where: Position) -> list[ir.Stmt]:
        """A call as a statement: the statements that stand for it (a call that can be interrupted goes to `pending`)."""
        known, callee = self.static(node.func)
        if known and (is_one_of(callee, _VALUES) or isinstance(callee, type)):
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
            self.pend(ir.YieldCall(None, function, arguments, where), node)
            return []
        if function.source is RwLock.write_lock and not self.depth:
            return self.take_in_turn(function, arguments[0], where)
        return self.whole_call(function, arguments, where)

    def take_in_turn(self, function: ir.Function, lock: ir.Expr, where: Position) -> list[ir.Stmt]:
        """`rw.write_lock()` in a statement of its own: while others read, the thread first stands in the lock's queue."""
        assert isinstance(lock.type, RefType)
        held, made = lock, list[ir.Stmt]()
        if tree.touches(lock):  # it stays in the queue of this lock, wherever the way leads by then
            self.hidden += 1
            var = ir.Var(f"held{self.hidden}", lock.type)
            made.append(ir.SetVar(var, lock, where))
            held = ir.Local(var)
        looks, queues = (
            self.frontend.instance(one, lock.type.record, True, where) for one in (RwLock.is_read_by_others, RwLock.queue_for_writing)
        )
        test = inline.expression(looks, [held]) or ir.Call(looks, [held], BOOL)
        made.append(ir.If(test, [*self.whole_call(queues, [held], where), ir.Boundary(where)], [], queues=True))
        return [*made, *self.whole_call(function, [held], where)]

    def whole_call(self, function: ir.Function, arguments: list[ir.Expr], where: Position) -> list[ir.Stmt]:
        """A call that cannot be interrupted, without its result."""
        inlined = inline.statements(function, arguments) if self.frontend.inlines else None
        if inlined is not None:
            return inlined
        return [ir.Eval(ir.Call(function, arguments, function.result or IntType(0, 0)), where)]

    def method_effect(self, receiver: ir.Expr, name: str, where: Position) -> list[ir.Stmt]:
        """A method without arguments called on a record (locks)."""
        assert isinstance(receiver.type, RefType)
        function = self.frontend.dispatch(receiver.type.record, name, bool(self.depth), where, self.exactly(receiver))
        return self.call_effect(function, [receiver], self.tree, where)

    def exactly(self, receiver: ir.Expr) -> bool:
        """Whether a reference is surely to a record of exactly the class of its type."""
        if isinstance(receiver, ir.AddressOf):
            return self.is_exact(receiver.addr)
        assert isinstance(receiver.type, RefType)
        return self.is_exact(ir.Addr(receiver, (), RecordType(receiver.type.record), self.function.where))

    # Which function.

    def callee(self, node: ast.Call) -> tuple[ir.Function, list[ir.Expr]]:
        """Which function instance a call means, and its arguments."""
        known, target = self.static(node.func)
        if known:
            return self.known_callee(node, target)
        if isinstance(node.func, ast.Subscript):
            known, functions = self.static(node.func.value)
            if known and isinstance(functions, Functions):
                return self.numbered(node, node.func, functions)
        if isinstance(node.func, ast.Name) and node.func.id not in self.locals:
            self.name(node.func)  # it is not defined, or a local
        if not isinstance(node.func, ast.Attribute):
            raise self.refuse(node, f"{describe(node.func)} is not a function known when the model is loaded", "a call by name")
        if isinstance(node.func.value, ast.Call) and self.static(node.func.value.func) == (True, super):
            raise self.refuse(node, "super() is not in the language", "Base.method(self, ...)")
        base = self.lower(node.func.value)
        self.has(base, node.func)
        addr = self.record_addr(base, node.func.value)
        if addr is None:
            raise self.refuse(node, f"{describe(node.func.value)} has no method {node.func.attr}", "a method of a record")
        assert isinstance(addr.type, RecordType)
        record, name = addr.type.record, node.func.attr
        method = self.method_of(node, record, name)
        if not addr.path and isinstance(addr.root, ir.Expr):
            receiver = addr.root
        else:
            receiver = ir.AddressOf(addr, RefType(record, False))
        function = self.frontend.dispatch(record, name, bool(self.depth), self.where(node), self.is_exact(addr))
        return function, self.arguments(node, function, [receiver], method)

    def method_of(self, node: ast.AST, record: type[Record], name: str) -> Any:
        """A plain method of a record class."""
        method = inspect.getattr_static(record, name, None)
        if not inspect.isfunction(method) or name in Record.__dict__:
            if isinstance(method, (staticmethod, classmethod, property)):
                raise self.refuse(node, f"{record.__name__}.{name} is a {type(method).__name__}", "a plain method, or a function")
            methods = [
                n for n, v in inspect.getmembers(record, inspect.isfunction) if not n.startswith("_") and n not in Record.__dict__
            ]
            raise self.refuse(node, f"{record.__name__} has no method {name}", f"one of: {', '.join(methods) or 'it has none'}")
        return method

    def known_callee(self, node: ast.Call, target: Any) -> tuple[ir.Function, list[ir.Expr]]:
        """A call by name: a function, or `Base.method(record, ...)`."""
        where, inside = self.where(node), bool(self.depth)
        if target is super:
            raise self.refuse(node, "super() is not in the language", "Base.method(self, ...)")
        if target is print:
            raise self.refuse(
                node, "print() is not in the language: a search runs a step many times", "nothing; `secondsight replay ... --show N` prints the machine "
                "after a step of a trace, `--pdb N` stops there in the debugger",
            )  # fmt: skip
        if not inspect.isfunction(target):
            raise self.refuse(
                node,
                f"{describe(node.func)} cannot be called here",
                "functions of the model, and the builtins that docs/language.md lists",
            )
        owner = self.owner_of(node.func)
        if owner is None:
            function = self.frontend.instance(target, None, inside, where)
            return function, self.arguments(node, function, [], target)
        assert isinstance(node.func, ast.Attribute)
        method = self.method_of(node, owner, node.func.attr)
        if not node.args:
            raise self.refuse(node, f"{describe(node.func)} needs the record as its first argument", "Base.method(self, ...)")
        given = self.expr(node.args[0])
        kind = given.type
        below = isinstance(kind, RefType) and kind.record is not Record and issubclass(kind.record, owner)
        record = kind.record if below and isinstance(kind, RefType) else owner
        receiver = self.fit(given, RefType(record, False), node.args[0])
        function = self.frontend.dispatch(record, node.func.attr, inside, where, self.exactly(given), method)
        rest = ast.copy_location(ast.Call(node.func, node.args[1:], node.keywords), node)
        return function, self.arguments(rest, function, [receiver], method)

    def numbered(self, node: ast.Call, chosen: ast.Subscript, functions: Functions[Any]) -> tuple[ir.Function, list[ir.Expr]]:
        """`ACTS[number](...)`: of the functions those that the number may stand for."""
        number = self.pure(self.integer(chosen.slice), chosen.slice, "as a function's number")
        allowed = self.frontend.machine.only.get(number.table) if isinstance(number, ir.TableItem) else None
        assert isinstance(number.type, IntType)
        numbers = list(range(number.type.low, number.type.high + 1) if allowed is None else allowed)
        if not numbers or numbers[0] < 0 or numbers[-1] >= len(functions):
            said = f"{describe(chosen.slice)} may be {numbers[0]} to {numbers[-1]}" if numbers else f"{describe(chosen.slice)} may be nothing"
            raise self.refuse(chosen, f"{said}, and {functions.name} has {len(functions)} functions", "a number in range")
        named = {n: functions[n] for n in numbers}
        first, *others = (list(parameters_of(f).values()) for f in named.values())
        for target, given in zip(list(named.values())[1:], others, strict=True):
            if [(p.name, p.default) for p in given] != [(p.name, p.default) for p in first]:
                raise self.refuse(
                    node, f"{target.__qualname__} has other parameters than {named[numbers[0]].__qualname__}",
                    f"the same names and defaults for every function of {functions.name}",
                )  # fmt: skip
        function = self.frontend.by_number(functions, named, number.type, bool(self.depth), self.where(node))
        return function, [number, *self.arguments(node, function, [], named[numbers[0]])]

    def owner_of(self, node: ast.expr) -> type[Record] | None:
        """The record class that `Class.method` names, if it is one."""
        if isinstance(node, ast.Attribute):
            known, base = self.static(node.value)
            if known and isinstance(base, type) and issubclass(base, Record):
                return base
        return None

    # Arguments.

    def given(self, node: ast.Call, names: list[str], name_of_function: str) -> dict[str, ast.expr]:
        """The arguments of a call by the names of the parameters."""
        if len(node.args) > len(names):
            raise self.refuse(
                node, f"{name_of_function} takes {len(names)} arguments, not {len(node.args)}", f"({', '.join(names)})"
            )
        found = dict(zip(names, node.args, strict=False))
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.refuse(node, "**arguments", "the arguments, written out")
            if keyword.arg not in names or keyword.arg in found:
                raise self.refuse(
                    node, f"{name_of_function} has no {keyword.arg} left to give", f"one of {', '.join(names) or 'none'}"
                )
            found[keyword.arg] = keyword.value
        return found

    def arguments(self, node: ast.Call, function: ir.Function, first: list[ir.Expr], source: Any) -> list[ir.Expr]:
        """The arguments of a call, in the order of the parameters; keywords and constant defaults filled in."""
        signature = parameters_of(source)
        names = list(signature)[len(first) :]
        given = self.given(node, names, function.name)
        lowered, values = list(first), {name: self.lower(argument) for name, argument in given.items()}
        in_order = [n for n in names if n in given] == list(given)
        for name in names:
            wanted = [v for v in function.params if v.name == name or v.name.startswith(f"{name}.")]
            at = given.get(name, node)
            if name not in given and signature[name].default is inspect.Parameter.empty:
                raise self.refuse(node, f"{function.name} needs the argument {name}", f"{name}=...")
            value = values[name] if name in given else Static(signature[name].default)
            if isinstance(value, (Bundle, Items)):
                if len(wanted) != len(value.parts) or any(v.name.rpartition(".")[2] not in value.parts for v in wanted):
                    given_type = value.kind if isinstance(value, Items) else value.value.__name__
                    raise self.refuse(at, f"{name} is not a {given_type}", "an argument of the parameter's type")
                made = [self.fit(value.parts[v.name.rpartition(".")[2]], v.type, at) for v in wanted]
            elif len(wanted) == 1 and wanted[0].name == name:
                made = [self.fit(self.scalar(value, at), wanted[0].type, at)]
            else:
                raise self.refuse(at, f"{name} is a Value or a list, of {len(wanted)} parts", "a local of that type")
            lowered += made if in_order else [self.pure(m, at, "in a keyword argument out of order") for m in made]
        return lowered

    def bundle(self, node: ast.Call, cls: type[Value]) -> Bundle:
        """`Range(start, end, event, True)`."""
        kinds = self.value_fields(cls)
        given = self.given(node, list(kinds), cls.__name__)
        parts: dict[str, ir.Expr] = {}
        for name, kind in kinds.items():
            if name in given:
                value = self.fit(self.expr(given[name]), kind, given[name])
                if isinstance(kind, IntType) and not within(value, kind):
                    value = ir.Fits(value, f"{cls.__name__}.{name}", self.where(given[name]), kind)
                parts[name] = value
            elif hasattr(cls, name):
                parts[name] = self.scalar(Static(getattr(cls, name)), node)
            else:
                raise self.refuse(node, f"{cls.__name__} needs {name}", f"{name}=...")
        return Bundle(cls, parts)


def within(value: ir.Expr, kind: IntType) -> bool:
    """Whether a value is surely in a range."""
    return isinstance(value.type, IntType) and kind.low <= value.type.low and value.type.high <= kind.high


def is_one_of(callee: Any, functions: tuple[Any, ...]) -> bool:
    """Whether a callee is one of some functions, by identity."""
    return any(callee is f for f in functions)
