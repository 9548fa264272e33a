"""The front end: from the model's source to the checked program.

`Frontend.instance` lowers one function for one receiver class, either with its step boundaries or, within an atomic
step, without; `Frontend.dispatch` makes the choice among the classes that a reference may refer to. The lowering itself
is in layers, each a class above the next: `lang.lowering` (names, types), `lang.expressions`, `lang.builtin_calls`,
`lang.calls`, `lang.blocks`, `lang.statements`. Everything outside the language is refused with `Refused`: file, line,
column, the source line, what is wrong and what to write instead.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from secondsight.lang import ir
from secondsight.lang.errors import LangError, Position, Refused
from secondsight.lang.facts import hints_of, parameters_of
from secondsight.lang.functions import Functions
from secondsight.lang.lowering import Widened, join
from secondsight.lang.machines import Const, Machine
from secondsight.lang.records import Record
from secondsight.lang.source import function_tree, refuse
from secondsight.lang.standins import Shared
from secondsight.lang.statements import StatementLowering
from secondsight.lang.types import BOOL, ArrayType, IntType, RecordType, RefType

__all__ = ["Frontend"]

_ROUNDS = 200
NUMBER = "number of the function"


class Frontend:
    """Lowers functions for one machine (its bounds, pools and rules); instances are made once and shared.

    `holds`: hold points are step boundaries; else they are nothing. `inlines`: small functions are put in the place of their calls.
    """

    def __init__(self, machine: Machine, rules: Iterable[Callable[..., Any]] = (), holds: bool = False, inlines: bool = True) -> None:
        self.machine, self.holds, self.inlines = machine, holds, inlines
        self.rules = list(rules)
        self.lowering: type[StatementLowering] = StatementLowering
        self.instances: dict[tuple[Any, type[Record] | None, bool], ir.Function] = {}
        self.dispatches: dict[tuple[Any, type[Record], bool], ir.Function] = {}
        self.numbered: dict[tuple[int, tuple[int, ...], IntType, bool], ir.Function] = {}
        self.stack: list[tuple[Any, type[Record] | None]] = []
        self._concretes: dict[type[Record], list[type[Record]]] = {}
        self.tables: dict[Const, Position] = {}
        self.reads: dict[tuple[int, str], tuple[Any, str]] = {}
        self.annotations: dict[tuple[Any, str], str] = {}
        self._hints: dict[Any, dict[str, Any]] = {}

    def instance(
        self, function: Any, receiver: type[Record] | None, is_atomic: bool, where: Position | None = None
    ) -> ir.Function:
        """The lowered form of `function`; made when first asked for. Raises `Refused` for recursion."""
        is_atomic = is_atomic or bool(getattr(function, "__atomic__", False))
        key = (function, receiver, is_atomic)
        if key in self.instances:
            return self.instances[key]
        try:
            source = function_tree(function)
        except Refused:
            raise
        except LangError as error:
            if where is None:
                raise
            raise refuse(where, str(error), "a function or method defined with def, in a file") from None
        if (function, receiver) in self.stack:
            chain = " -> ".join(f.__qualname__ for f in [*(k[0] for k in self.stack), function])
            at = where or Position(function.__code__.co_filename, function.__code__.co_firstlineno, 1)
            raise refuse(at, f"recursion: {chain}", "a loop: every thread's place must be of a fixed size")
        self.stack.append((function, receiver))
        types: dict[str, ir.Scalar] = {}
        try:
            for _ in range(_ROUNDS):
                try:
                    made = self.lowering(self, function, source, receiver, types).whole(is_atomic)
                    break
                except Widened as widened:
                    types[widened.name] = widened.kind
            else:
                raise LangError(f"{function.__qualname__}: the types of its locals do not settle: annotate them")
        finally:
            self.stack.pop()
        self.instances[key] = made
        return made

    def hints(self, function: Any) -> dict[str, Any]:
        """The annotations of a function, evaluated."""
        if function not in self._hints:
            self._hints[function] = hints_of(function)
        return self._hints[function]

    def read(self, space: Any, name: str) -> None:
        """Note that the value of a name in a namespace, or of an attribute of a module or a class, was taken."""
        self.reads.setdefault((id(space), name), (space, name))

    def table(self, table: Const, where: Position) -> None:
        """Note that a table is read, and check that it was given."""
        self.machine.table(table)
        self.tables.setdefault(table, where)

    # Methods of references.

    def concretes(self, record: type[Record]) -> list[type[Record]]:
        """The classes, `record` itself or below it, of which this machine has records."""
        if record not in self._concretes:
            self._concretes[record] = self._holding(record, [*self.machine.pools.values(), *self.machine._states])
        return self._concretes[record]

    def is_settled(self) -> bool:
        """Whether the machine has no records of other classes since than were known when references were lowered."""
        now = [*self.machine.pools.values(), *self.machine._states]
        return all(self._holding(record, now) == found for record, found in self._concretes.items())

    def _holding(self, record: type[Record], declarations: Iterable[Shared]) -> list[type[Record]]:
        found: dict[type[Record], None] = {}

        def visit(kind: Any) -> None:
            if isinstance(kind, ArrayType):
                if self.machine.bound(kind.size) > 0:
                    visit(kind.element)
            elif isinstance(kind, RecordType):
                if issubclass(kind.record, record):
                    found[kind.record] = None
                for inner in kind.record.fields().values():
                    visit(inner)

        for declaration in declarations:
            visit(declaration.kind)
        # In one order, whichever state was touched first: the numbers of what is lowered are kept for other processes.
        return sorted(found, key=lambda cls: (cls.__module__, cls.__qualname__))

    def dispatch(
        self, record: type[Record], name: str, is_atomic: bool, where: Position, exact: bool, method: Any = None
    ) -> ir.Function:
        """A method called on a record of class `record`, or below it unless `exact`: that of the record's own class.

        `method`: this one whatever the class (`Base.method(record)`).
        """
        concretes = [record] if exact else self.concretes(record) or [record]
        methods = {cls: method or getattr(cls, name) for cls in concretes}
        for cls, one in methods.items():
            if parameters(one) != parameters(method or getattr(record, name)):
                own = inspect.unwrap(one).__code__
                raise refuse(
                    Position(own.co_filename, own.co_firstlineno, 1),  # not the call: that may be the machinery's
                    f"{cls.__name__}.{name} has other parameters than {record.__name__}.{name}",
                    f"({', '.join(parameters_of(getattr(record, name)))}), the same names and defaults in every class: the call is by reference to any of them",
                )
        if len(methods) == 1:
            return self.instance(methods[concretes[0]], concretes[0], is_atomic, where)
        key = (method or name, record, is_atomic)
        if key not in self.dispatches:
            targets = [(cls, self.instance(one, cls, is_atomic, where)) for cls, one in methods.items()]
            self.dispatches[key] = self._dispatcher(record, name, is_atomic, where, targets)
        return self.dispatches[key]

    def _dispatcher(
        self, record: type[Record], name: str, is_atomic: bool, where: Position, targets: list[tuple[type[Record], ir.Function]]
    ) -> ir.Function:
        """A function that branches on the class of its first parameter."""
        first = targets[0][1]
        params = [ir.Var(first.params[0].name, RefType(record, False))]
        for i, var in enumerate(first.params[1:], 1):
            kind: ir.Scalar | None = var.type
            for _, target in targets:
                kind = None if kind is None or len(target.params) <= i else join(kind, target.params[i].type)
            if kind is None:
                raise refuse(
                    where, f"{var.name} of {record.__name__}.{name} differs among the classes", "one type in all of them"
                )
            params.append(ir.Var(var.name, kind))
        result = first.result
        for cls, target in targets:
            if not _fit_together(result, target.result):
                raise refuse(where, f"{cls.__name__}.{name} returns {target.result}, another class's {result}", "one type")
            result = _either(result, target.result)
        made = self._chooser(f"{record.__name__}.{name}", record, is_atomic, params, result, [t for _, t in targets], where)
        for cls, target in targets:
            arguments = [self._handed_on(p, v, where) for p, v in zip(params, target.params, strict=True)]
            arguments[0] = ir.Local(params[0], RefType(cls, False))
            made.body.append(ir.If(ir.ClassIs(ir.Local(params[0]), cls), self._passed_on(target, arguments, where), []))
        known = ", ".join(cls.__name__ for cls, _ in targets)
        message = f"{record.__name__}.{name} on a record that is none of {known}"
        made.body.append(ir.Require(ir.Constant(0, BOOL), "internal", message, where))
        made.body.append(ir.Return(_nothing(result), where))
        return made

    def by_number(
        self, functions: Functions[Any], named: dict[int, Any], number: IntType, is_atomic: bool, where: Position
    ) -> ir.Function:
        """One of several functions, called by its number, which is the first argument."""
        key = (id(functions), tuple(named), number, is_atomic)
        if key not in self.numbered:
            targets = {n: self.instance(f, None, is_atomic, where) for n, f in named.items()}
            self.numbered[key] = self._by_number(functions.name, targets, number, is_atomic, where)
        return self.numbered[key]

    def _by_number(self, name: str, targets: dict[int, ir.Function], kind: IntType, is_atomic: bool, where: Position) -> ir.Function:
        """A function that branches on its first parameter."""
        first, *others = targets.values()
        result = first.result
        for other in others:
            same = [v.type for v in other.params] == [v.type for v in first.params]
            if not same or not _fit_together(result, other.result):
                raise refuse(where, f"{other.name} and {first.name} have other types", f"the same types for every function of {name}")
            result = _either(result, other.result)
        params = [ir.Var(NUMBER, kind), *(ir.Var(v.name, v.type) for v in first.params)]
        made = self._chooser(f"{name}[...]", None, is_atomic, params, result, list(targets.values()), where)
        for number, target in targets.items():
            arguments: list[ir.Expr] = [ir.Local(param) for param in params[1:]]
            test = ir.Compare("==", ir.Local(params[0]), ir.Constant(number, IntType(number, number)))
            made.body.append(ir.If(test, self._passed_on(target, arguments, where), []))
        made.body.append(ir.Require(ir.Constant(0, BOOL), "internal", f"{name} has no function of that number here", where))
        made.body.append(ir.Return(_nothing(result), where))
        return made

    @staticmethod
    def _chooser(
        name: str, record: type[Record] | None, is_atomic: bool, params: list[ir.Var], result: ir.ResultType | None,
        targets: list[ir.Function], where: Position,
    ) -> ir.Function:  # fmt: skip
        """A function without a source, that calls one of some others."""
        made = ir.Function(name, None, record, is_atomic, params, result, where)
        made.yields = any(t.yields for t in targets)
        made.touches = any(t.touches for t in targets)
        made.effects = any(t.effects for t in targets)
        made.mutates = any(t.mutates for t in targets)
        return made

    @staticmethod
    def _passed_on(target: ir.Function, arguments: list[ir.Expr], where: Position) -> list[ir.Stmt]:
        """Call a function and return what it returns."""
        if target.yields:
            passed = None if target.result is None else ir.Var("result", target.result, transient=True)
            return [ir.YieldCall(passed, target, arguments, where), ir.Return(None if passed is None else ir.Local(passed), where)]
        if target.result is None:
            return [ir.Eval(ir.Call(target, arguments, IntType(0, 0)), where), ir.Return(None, where)]
        return [ir.Return(ir.Call(target, arguments, target.result), where)]

    @staticmethod
    def _handed_on(param: ir.Var, wanted: ir.Var, where: Position) -> ir.Expr:
        """A parameter of a dispatcher as the argument of one of its targets."""
        value: ir.Expr = ir.Local(param)
        if isinstance(wanted.type, RefType) and isinstance(param.type, RefType):
            if wanted.type.record is not param.type.record:
                value = ir.Narrow(value, param.name, where, RefType(wanted.type.record, param.type.nullable))
            if param.type.nullable and not wanted.type.nullable:
                value = ir.NonNull(value, param.name, where, wanted.type)
        return value


def parameters(function: Any) -> list[tuple[str, Any]]:
    """The names of a method's parameters but the first, with their defaults."""
    return [(p.name, p.default) for p in parameters_of(function).values()][1:]


def _fit_together(a: ir.ResultType | None, b: ir.ResultType | None) -> bool:
    """Whether one function can return what either of two does."""
    if isinstance(a, ir.Group) or isinstance(b, ir.Group):
        return a == b
    return (a is None) == (b is None)


def _either(a: ir.ResultType | None, b: ir.ResultType | None) -> ir.ResultType | None:
    """What a function returns that returns either of two results that fit together."""
    if a is None or b is None or isinstance(a, ir.Group) or isinstance(b, ir.Group):
        return a
    return join(a, b)


def _nothing(result: ir.ResultType | None) -> ir.Expr | None:
    """Any value of a result, for a place that is never reached."""
    if isinstance(result, ir.Group):
        return ir.Pack([ir.Constant(0, kind) for _, kind in result.parts], result)
    return None if result is None else ir.Constant(0, result)
