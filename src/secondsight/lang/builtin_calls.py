"""The front end's builtins and verbs that give a value, and the methods of arrays and pools."""

from __future__ import annotations

import ast
import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from secondsight.lang import ir, ranges
from secondsight.lang.bits import MOST, Bits
from secondsight.lang.expressions import ExpressionLowering
from secondsight.lang.lowering import ANY_RECORD, ZERO, Bundle, Items, Lvalue, SeveralResults, Static, describe
from secondsight.lang.machines import Const
from secondsight.lang.records import Record
from secondsight.lang.types import BOOL, PLAIN_INT, ArrayType, IntType, RecordType, RefType
from secondsight.lang.verbs import choose, container_of, count, current

__all__ = ["BuiltinLowering"]


@dataclass(eq=False, slots=True)
class Domain:
    """A generator, lowered: its counter from `start` to `stop`, what is bound to the element, the tests, the element's value."""

    counter: ir.Var
    start: ir.Expr
    stop: ir.Expr
    bindings: list[tuple[ir.Var, ir.Expr]]
    condition: ir.Expr | None
    value: ir.Expr


_BUILTINS = frozenset({any, all, count, sum, len, min, max, abs, int, bool, choose, current, container_of, Bits})


def _is_builtin(callee: Any) -> bool:
    try:
        return callee in _BUILTINS or (isinstance(callee, type) and issubclass(callee, enum.IntEnum | enum.IntFlag))
    except TypeError:  # it has no hash
        return False


class BuiltinLowering(ExpressionLowering):
    """Lowers the calls that the language itself defines."""

    def builtin(self, node: ast.Call, callee: Any) -> ir.Expr | None:
        """The value of a call of a builtin or verb; None for any other function."""
        if not _is_builtin(callee):
            return None
        makers: dict[Any, tuple[Callable[[ast.Call], ir.Expr], int, int, str]] = {
            any: (lambda n: self.quantifier(n, "any"), 1, 1, "any(x.field for x in array)"),
            all: (lambda n: self.quantifier(n, "all"), 1, 1, "all(x.field for x in array)"),
            count: (lambda n: self.quantifier(n, "count"), 1, 1, "count(x.field for x in array)"),
            sum: (self.total, 1, 1, "sum(x.field for x in array)"),
            len: (self.length, 1, 1, "len(array)"),
            min: (lambda n: self.least(n, "min"), 2, 99, "min(a, b)"),
            max: (lambda n: self.least(n, "max"), 2, 99, "max(a, b)"),
            abs: (self.absolute, 1, 1, "abs(x)"),
            int: (self.whole_number, 1, 1, "int(x)"),
            bool: (lambda n: self.truth(n.args[0]), 1, 1, "bool(x)"),
            choose: (self.choice, 1, 1, "choose(n), choose(array), choose(x for x in array if cond)"),
            current: (lambda n: ir.Current(), 0, 0, "current()"),
            container_of: (self.container, 3, 3, 'container_of(record, Class, "field")'),
            Bits: (self.set_of, 0, 1, "Bits(), Bits([a, b]), Bits(range(start, end))"),
        }
        if isinstance(callee, type) and issubclass(callee, enum.IntEnum | enum.IntFlag):
            self.counted(node, 1, 1, f"{callee.__name__}(x)")
            return self.member(node, callee)
        make, least, most, usage = makers[callee]
        self.counted(node, least, most, usage)
        return make(node)

    def counted(self, node: ast.Call, least: int, most: int, usage: str) -> None:
        """Refuse a call with another number of arguments, or with keywords."""
        if not least <= len(node.args) <= most or node.keywords:
            raise self.refuse(node, f"{describe(node.func)} with other arguments than it takes", usage)

    # Records.

    def container(self, node: ast.Call) -> ir.Expr:
        """`container_of(record, Class, "field")`."""
        of, cls = self.static(node.args[1])
        said, name = self.static(node.args[2])
        if not of or not (isinstance(cls, type) and issubclass(cls, Record)):
            raise self.refuse(node, f"container_of(..., {describe(node.args[1])}, ...)", "a class of records")
        kind = cls.fields().get(name) if said and isinstance(name, str) else None
        if not isinstance(kind, RecordType):
            names = [field for field, inner in cls.fields().items() if isinstance(inner, RecordType)]
            there = ", ".join(f'"{field}"' for field in names) or "none: no record lies in it"
            raise self.refuse(node, f"container_of(..., {cls.__name__}, {describe(node.args[2])})", f"a field that is a record: {there}")
        value = self.fit(self.expr(node.args[0]), RefType(kind.record, False), node.args[0])
        return ir.ContainerOf(value, str(name), describe(node.args[0]), self.where(node), RefType(cls, False))

    # Numbers.

    def length(self, node: ast.Call) -> ir.Expr:
        """`len(array)`, `len(table)`."""
        base = self.lower(node.args[0])
        if isinstance(base, Static) and isinstance(base.value, Const):
            self.frontend.table(base.value, self.where(node))
            return ir.TableSize(base.value.name, PLAIN_INT)
        if isinstance(base, Lvalue) and isinstance(base.addr.type, ArrayType):
            size = self.frontend.machine.bound(base.addr.type.size)
            found = self.reached(base.addr, ir.Constant(size, IntType(size, size)))
            return self.scalar(found, node)
        if isinstance(base, Items):
            return base.length
        places = self.in_set(node.args[0])
        if places is not None:
            assert isinstance(places.type, IntType)
            self.hidden += 1
            size = places.type.high.bit_length()
            var = ir.Var(f"place{self.hidden}", IntType(0, max(0, size - 1)))
            test = self.contains(node, self.pure(places, node.args[0], "in len()"), ir.Local(var))
            return ir.Quantifier("count", var, ZERO, ir.Constant(size, IntType(size, size)), [], None, test, IntType(0, size))
        raise self.refuse(node, f"len({describe(node.args[0])})", "an array or a table")

    def least(self, node: ast.Call, name: str) -> ir.Expr:
        """`min`, `max`."""
        result = self.integer(node.args[0])
        for argument in node.args[1:]:
            right = self.integer(argument)
            assert isinstance(result.type, IntType) and isinstance(right.type, IntType)
            pick = min if name == "min" else max
            kind = IntType(pick(result.type.low, right.type.low), pick(result.type.high, right.type.high))
            result = ir.Binary(name, result, right, kind, self.where(node))
        return result

    def absolute(self, node: ast.Call) -> ir.Expr:
        """`abs(x)`: the greater of x and -x."""
        value = self.pure(self.integer(node.args[0]), node.args[0], "within abs(...)")
        assert isinstance(value.type, IntType)
        low, high = value.type.low, value.type.high
        minus = ir.Unary("-", value, IntType(-high, -low))
        return ir.Binary("max", value, minus, IntType(0, max(abs(low), abs(high))), self.where(node))

    def whole_number(self, node: ast.Call) -> ir.Expr:
        """`int(x)`."""
        value = self.integer(node.args[0])
        assert isinstance(value.type, IntType)
        return ir.Binary("+", value, ZERO, IntType(value.type.low, value.type.high), self.where(node))

    def member(self, node: ast.Call, cls: type[enum.IntEnum] | type[enum.IntFlag]) -> ir.Expr:
        """`Event(x)`: the member with that number."""
        value = self.integer(node.args[0])
        numbers = sorted({int(m) for m in cls})
        kind = IntType(numbers[0], numbers[-1], "enum", cls)
        if issubclass(cls, enum.IntFlag):
            kind = IntType(0, sum(numbers), "enum", cls)
        elif len(numbers) != numbers[-1] - numbers[0] + 1:
            raise self.refuse(
                node, f"{cls.__name__}(...) of a number, and {cls.__name__} has gaps", "members numbered without gaps"
            )
        return ir.Fits(value, cls.__name__, self.where(node), kind)

    def set_of(self, node: ast.Call) -> ir.Expr:
        """`Bits()`, `Bits([a, b])`, `Bits(range(start, end))`."""
        given = node.args[0] if node.args else ast.Tuple([], ast.Load())
        if isinstance(given, (ast.Tuple, ast.List, ast.Set)):
            return self.places(node, given.elts)
        if not (isinstance(given, ast.Call) and self.static(given.func) == (True, range)):
            raise self.refuse(node, f"Bits({describe(given)})", "Bits(), Bits([a, b]), Bits(range(start, end))")
        start, stop, stride = self.range_of(given)
        a, b, where = start.type, stop.type, self.where(node)
        assert isinstance(a, IntType) and isinstance(b, IntType)
        if stride != 1 or a.low < 0 or b.low < 0 or max(a.high, b.high) > MOST:
            raise self.refuse(node, f"a set of the places {a} to {b}", f"a range without a stride, within 0 to {MOST}")
        one, high = ir.Constant(1, IntType(1, 1)), max(a.high, b.high)
        end = ir.Binary("max", self.pure(start, given, "in a set"), self.pure(stop, given, "in a set"), IntType(0, high), where)
        above, below = (ir.Binary("<<", one, at, IntType(1, 1 << high), where) for at in (end, start))
        return ir.Binary("-", above, below, IntType(0, (1 << high) - 1, "bits"), where)

    def in_set(self, node: ast.expr) -> ir.Expr | None:
        """The set that an expression is, if it is one."""
        lowered = self.lower_value(node)
        if isinstance(lowered, (Bundle, Items, SeveralResults)) or (isinstance(lowered, Lvalue) and not isinstance(lowered.addr.type, IntType)):
            return None
        value = self.scalar(lowered, node)
        return value if isinstance(value.type, IntType) and value.type.display == "bits" else None

    # Generators.

    def range_of(self, node: ast.Call) -> tuple[ir.Expr, ir.Expr, int]:
        """Start, stop and stride of `range(...)`."""
        self.counted(node, 1, 3, "range(stop), range(start, stop)")
        values = [self.integer(a) for a in node.args]
        if len(values) > 1:
            for value, argument in zip(values, node.args, strict=True):
                self.pure(value, argument, "in a range with a start")
        stride = 1
        if len(values) == 3:
            known, given = self.static(node.args[2])
            if not known or not isinstance(given, int) or given == 0:
                raise self.refuse(node, "a stride that is not a constant", "range(start, stop, 1)")
            stride = given
        start = values[0] if len(values) > 1 else ZERO
        return start, values[min(1, len(values) - 1)], stride

    def domain(self, node: ast.AST, generator: ast.expr) -> Domain:
        """The parts of a generator over an array or range."""
        if not isinstance(generator, ast.GeneratorExp) or len(generator.generators) != 1:
            raise self.refuse(node, "not one generator", "any(x.field for x in array)")
        part = generator.generators[0]
        if not isinstance(part.target, ast.Name) or part.is_async:
            raise self.refuse(node, "several loop variables", "one")
        where, name = self.where(generator), part.target.id
        self.hidden += 1
        counter = ir.Var(f"{name}_{self.hidden}", PLAIN_INT)
        bindings: list[tuple[ir.Var, ir.Expr]] = []
        member: ir.Expr | None = None
        iterable = part.iter
        if isinstance(iterable, ast.Call) and self.static(iterable.func) == (True, range):
            start, stop, stride = self.range_of(iterable)
            if stride != 1:
                raise self.refuse(iterable, "a stride in a generator", "range(start, stop)")
            assert isinstance(start.type, IntType) and isinstance(stop.type, IntType)
            counter.type = IntType(start.type.low, max(start.type.low, stop.type.high - 1))
            bound = counter
        elif (places := self.in_set(iterable)) is not None:
            assert isinstance(places.type, IntType)
            size = places.type.high.bit_length()
            start, stop = ZERO, ir.Constant(size, IntType(size, size))
            counter.type = IntType(0, max(0, size - 1))
            bound, member = counter, self.contains(iterable, self.pure(places, iterable, "within a generator"), ir.Local(counter))
        elif isinstance(items := self.lower(iterable), Items):
            most, kind = len(items.items), items.kind.element
            assert isinstance(kind, (IntType, RefType))
            start, stop, counter.type = ZERO, items.length, IntType(0, max(0, most - 1))
            bound = ir.Var(f"{name}_{self.hidden}e", kind)
            bindings.append((bound, ir.Item(items.items, ir.Local(counter), items.length, items.name, where, kind)))
        else:
            lowered = items
            if not (isinstance(lowered, Lvalue) and isinstance(lowered.addr.type, ArrayType)):
                raise self.refuse(iterable, f"{describe(iterable)} is not an array", "an array or range(...)")
            array = lowered.addr.type
            size = self.frontend.machine.bound(array.size)
            start, stop = ZERO, ir.Constant(size, IntType(size, size))
            if not self.is_sure(lowered.addr):
                stop = self.scalar(self.reached(lowered.addr, stop), iterable)
            counter.type = IntType(0, max(0, size - 1))
            step = ir.IndexStep(ir.Local(counter), array, describe(iterable), where)
            element = self.scalar(Lvalue(lowered.addr.then(step, array.element, where)), iterable)
            bound = ir.Var(f"{name}_{self.hidden}e", element.type)
            bindings.append((bound, element))
        condition, value = self.within(part, name, bound, generator.elt)
        if member is not None:
            condition = member if condition is None else ir.Logic("and", [member, condition])
        for expression, text in ((start, iterable), (stop, iterable), (condition, generator), (value, generator)):
            if expression is not None:
                self.pure(expression, text, "within a generator")
        return Domain(counter, start, stop, bindings, condition, value)

    def within(self, part: ast.comprehension, name: str, bound: ir.Var, element: ast.expr) -> tuple[ir.Expr | None, ir.Expr]:
        """The tests and the value of a generator, with its loop variable in place."""
        saved, hidden, known = self.vars.get(name), self.bundles.pop(name, None), self.known.pop(name, None)
        self.vars[name] = bound
        self.conditional += 1
        try:
            tests = [self.truth(c) for c in part.ifs]
            value = self.expr(element)
        finally:
            self.conditional -= 1
            del self.vars[name]
            if saved is not None:
                self.vars[name] = saved
            if known is not None:
                self.known[name] = known
            if hidden is not None:
                self.bundles[name] = hidden
        return (tests[0] if len(tests) == 1 else ir.Logic("and", tests) if tests else None), value

    def quantifier(self, node: ast.Call, kind: str) -> ir.Expr:
        """`any`, `all`, `count`."""
        found = self.domain(node, node.args[0])
        test, result = found.value, BOOL
        if not (isinstance(test.type, IntType) and test.type.display == "bool"):
            test = ir.Compare("!=", test, ir.Constant(0, ANY_RECORD) if isinstance(test.type, RefType) else ZERO)
        if kind == "count":
            assert isinstance(found.start.type, IntType) and isinstance(found.stop.type, IntType)
            result = IntType(0, max(0, found.stop.type.high - found.start.type.low))
        return ir.Quantifier(kind, found.counter, found.start, found.stop, found.bindings, found.condition, test, result)

    def in_array(self, node: ast.Compare, left: ir.Expr, among: ast.expr) -> ir.Expr:
        """`x in array`: whether it is one of the elements."""
        lowered = self.lower(among)
        if not (isinstance(lowered, Lvalue) and isinstance(lowered.addr.type, ArrayType)):
            raise self.refuse(among, "`in` something else than values, an array, a list or a set", "x in (A, B), x in array")
        self.hidden += 1
        name = f"element{self.hidden}"
        variable, read = (ast.copy_location(ast.Name(name, way), node) for way in (ast.Store(), ast.Load()))
        part = ast.comprehension(variable, among, [], 0)
        every = self.domain(node, ast.copy_location(ast.GeneratorExp(read, [part]), node))
        test = self.compare_two(node, ast.Eq(), self.pure(left, node.left, "before `in`"), every.value)
        return ir.Quantifier("any", every.counter, every.start, every.stop, every.bindings, every.condition, test, BOOL)

    def total(self, node: ast.Call) -> ir.Expr:
        """`sum(x.field for x in array)`."""
        every = self.domain(node, node.args[0])
        kind = every.value.type
        if not isinstance(kind, IntType) or kind.display == "bits":
            raise self.refuse(node, f"a sum of {kind}", "of integers")
        assert isinstance(every.start.type, IntType) and isinstance(every.stop.type, IntType)
        most = max(0, every.stop.type.high - every.start.type.low)
        result = IntType(min(0, kind.low * most), max(0, kind.high * most))
        if ranges.clipped(result) != result:
            raise self.refuse(node, f"a sum of up to {most} numbers {kind}, which may need more than 63 bits", "a smaller type")
        return ir.Quantifier("sum", every.counter, every.start, every.stop, every.bindings, every.condition, every.value, result)

    def choice(self, node: ast.Call) -> ir.Expr:
        """`choose(n)`, `choose(array)`, `choose(x for x in array if cond)`."""
        where = self.where(node)
        if isinstance(node.args[0], ast.GeneratorExp):
            found = self.domain(node, node.args[0])
            condition = found.condition or ir.Constant(1, BOOL)
            return ir.ChooseWhere(
                found.counter, found.start, found.stop, found.bindings, condition, found.value, found.value.type, where
            )
        lowered = self.lower(node.args[0])
        if isinstance(lowered, Lvalue) and isinstance(lowered.addr.type, ArrayType):
            array = lowered.addr.type
            size = self.frontend.machine.bound(array.size)
            index = ir.Choose(ir.Constant(size, IntType(size, size)), IntType(0, max(0, size - 1)), where)
            step = ir.IndexStep(index, array, describe(node.args[0]), where)
            return self.scalar(Lvalue(lowered.addr.then(step, array.element, where)), node)
        number = self.scalar(lowered, node.args[0])
        if not isinstance(number.type, IntType) or number.type.display == "bits":
            raise self.refuse(node, f"choose among {number.type}", "a number, an array or a generator: choose(x for x in places) of a set")
        return ir.Choose(number, IntType(0, max(0, number.type.high - 1)), where)

    # Arrays and pools.

    def pool_of(self, node: ast.expr) -> ir.Addr | None:
        """The place of a pool, if the expression is one."""
        if self.static(node)[0] or isinstance(node, (ast.Attribute, ast.Subscript)):
            lowered = self.lower(node)
            if isinstance(lowered, Lvalue) and isinstance(lowered.addr.type, ArrayType) and lowered.addr.type.pool:
                return lowered.addr
        return None

    def array_method(self, node: ast.Call) -> ir.Expr | None:
        """`array.index(record)`, `pool.alloc()`, `pool.is_used(record)`."""
        assert isinstance(node.func, ast.Attribute)
        name = node.func.attr
        base = self.lower(node.func.value)
        if not (isinstance(base, Lvalue) and isinstance(base.addr.type, ArrayType)):
            return None
        array, where = base.addr.type, self.where(node)
        if isinstance(array.element, RecordType):
            element = RefType(array.element.record, False)
            if name == "index":
                self.counted(node, 1, 1, "array.index(record)")
                size = self.frontend.machine.bound(array.size)
                value = self.fit(self.expr(node.args[0]), element, node.args[0])
                return ir.IndexOf(base.addr, value, IntType(0, max(0, size - 1)), where)
            if name == "alloc" and array.pool:
                self.counted(node, 0, 0, "pool.alloc()")
                return ir.Alloc(base.addr, element, where)
            if name == "is_used" and array.pool:
                self.counted(node, 1, 1, "pool.is_used(record)")
                return ir.IsUsed(base.addr, self.fit(self.expr(node.args[0]), element, node.args[0]), where)
        raise self.refuse(
            node,
            f"{describe(node)}: not something this array can do here",
            "index(record); on a pool alloc(), is_used(record), and free(record) as a statement",
        )
