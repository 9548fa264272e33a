"""The front end's expressions: names, fields, elements, operators and comparisons. Calls are in `lang.calls`."""

from __future__ import annotations

import ast
import enum
import inspect
from abc import abstractmethod
from typing import Any

from secondsight.lang import ir, ranges
from secondsight.lang.bits import MOST
from secondsight.lang.lowering import (
    ANY_RECORD,
    OPERATORS,
    ZERO,
    Bundle,
    Items,
    Lowered,
    Lowering,
    Lvalue,
    SeveralResults,
    Static,
    describe,
)
from secondsight.lang.machines import Const
from secondsight.lang.names import instead_of, like_it
from secondsight.lang.records import Record
from secondsight.lang.standins import Shared, SharedArray, SharedRecord
from secondsight.lang.types import BOOL, ArrayType, IntType, RecordType, RefType

__all__ = ["ExpressionLowering"]

_REFUSED: dict[type[ast.expr], tuple[str, str]] = {
    ast.Lambda: ("lambda is not in the language", "a function at module level"),
    ast.NamedExpr: (":= elsewhere than at the beginning of an if's or a while's test", "an assignment before"),
    ast.JoinedStr: ("formatted text is not in the language", "a constant text: traces show the values"),
    ast.ListComp: ("a comprehension outside any(), all(), count(), sum() and choose()", "a for loop"),
    ast.SetComp: ("a comprehension outside any(), all(), count(), sum() and choose()", "a for loop, or Bits(range(start, end))"),
    ast.DictComp: ("a comprehension outside any(), all(), count(), sum() and choose()", "a for loop"),
    ast.GeneratorExp: ("a comprehension outside any(), all(), count(), sum() and choose()", "a for loop"),
    ast.List: ("a list without a type, or within an expression", "x: List[Frame, 'pages'] = [] first, and then x"),
    ast.Tuple: ("a tuple within an expression", "return a, b; x, y = f(...); or a Value"),
    ast.Dict: ("a dict is not in the language", "an Array in a record, or a const() table"),
    ast.Await: ("await is not in the language", "a plain function: it is cut at its steps by itself"),
    ast.Yield: ("yield is not in the language", "a plain function: it is cut at its steps by itself"),
    ast.YieldFrom: ("yield is not in the language", "a plain function: it is cut at its steps by itself"),
    ast.Slice: ("a slice", "a loop over the elements"),
    ast.Starred: ("*args", "the arguments, written out"),
}


class ExpressionLowering(Lowering):
    """Lowers the expressions of one function."""

    def lower(self, node: ast.expr) -> Lowered:
        """Lower an expression into whichever of the four forms fits it."""
        known, value = self.static(node)
        if known:
            if isinstance(value, SharedRecord):
                declaration = object.__getattribute__(value, "_shared")
                self.frontend.machine.state(declaration)
                return Lvalue(ir.Addr(declaration, (), declaration.kind, self.where(node)))
            if isinstance(value, SharedArray):
                self.frontend.machine.state(value._shared)
                return Lvalue(ir.Addr(value._shared, (), value._shared.kind, self.where(node)))
            return Static(value)
        match node:
            case ast.Name():
                return self.name(node)
            case ast.Attribute():
                return self.attribute(node)
            case ast.Subscript():
                return self.subscript(node)
            case ast.UnaryOp():
                return self.unary(node)
            case ast.BinOp():
                return self.arithmetic(node, node.op, self.expr(node.left), self.expr(node.right))
            case ast.BoolOp():
                return self.logic(node, values=True)
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
            case ast.Set():
                return self.places(node, node.elts)
            case ast.NamedExpr() if node in self.named:
                return ir.Local(self.vars[node.target.id])
        wrong, instead = _REFUSED.get(type(node), (f"{type(node).__name__} is not in the language", "see docs/language.md"))
        raise self.refuse(node, wrong, instead)

    def truth(self, node: ast.expr) -> ir.Expr:
        """An expression as a truth value."""
        if isinstance(node, ast.Name) and node.id in self.lists:
            return ir.Compare("!=", ir.Local(self.lists[node.id].length), ZERO)
        value = self.logic(node, values=False) if isinstance(node, ast.BoolOp) else self.expr(node)
        if isinstance(value, ir.Constant):
            return ir.Constant(int(value.value != 0), BOOL)
        if isinstance(value.type, RefType):
            return ir.Compare("!=", value, ir.Constant(0, ANY_RECORD))
        return value if is_truth(value) else ir.Compare("!=", value, ZERO)

    # Names, fields, elements.

    def name(self, node: ast.Name) -> Lowered:
        """A local."""
        if node.id in self.vars:
            return ir.Local(self.vars[node.id], self.known.get(node.id))
        if node.id in self.bundles:
            cls, parts = self.bundles[node.id]
            return Bundle(cls, {f: ir.Local(v) for f, v in parts.items()})
        if node.id in self.lists:
            known = self.lists[node.id]
            return Items(node.id, known.kind, ir.Local(known.length), [ir.Local(v) for v in known.items])
        if node.id in self.locals:
            raise self.refuse(
                node,
                f"{node.id} may have no value here: it is not assigned before",
                f"{node.id} = ... first (with a type: {node.id}: U8 = 0)",
            )
        near = like_it(node.id, [*self.locals, *self.globals])
        raise self.refuse(node, f"{node.id} is not defined", f"{near}import it, or define it at module level")

    def place(self, node: ast.expr) -> Lvalue:
        """A field or element to store to."""
        lowered = self.lower(node)
        if not isinstance(lowered, Lvalue):
            raise self.refuse(node, f"{describe(node)} cannot be assigned", "a field of a record or an element of an array")
        return lowered

    def attribute(self, node: ast.Attribute) -> Lowered:
        """`record.field`, `value.field`, a class constant."""
        base = self.lower(node.value)
        if isinstance(base, Bundle):
            if node.attr not in base.parts:
                raise self.refuse(node, f"{base.value.__name__} has no field {node.attr}", f"one of {', '.join(base.parts)}")
            return base.parts[node.attr]
        self.has(base, node)
        addr = self.record_addr(base, node.value)
        if addr is None:
            raise self.refuse(node, f"{describe(node.value)} has no field {node.attr}", "a field of a record")
        assert isinstance(addr.type, RecordType)
        record = addr.type.record
        kind = self.frontend.machine.fields(record).get(node.attr)
        if kind is not None:
            return Lvalue(addr.then(ir.FieldStep(record, node.attr, self.operation), kind, self.where(node)))
        constant = self.class_constant(node, addr, record)
        if constant is not None:
            return constant
        raise self.refuse(
            node,
            f"{record.__name__} has no field {node.attr}",
            f"one of {', '.join(record.fields()) or 'none: it has no fields'}",
        )

    def has(self, base: Lowered, node: ast.Attribute) -> None:
        """Refuse a name that a module does not have."""
        if isinstance(base, Static) and inspect.ismodule(base.value):
            called = describe(node.value)
            raise self.refuse(node, f"{called} has no {node.attr}", instead_of(node.attr, base.value, called))

    def class_constant(self, node: ast.Attribute, addr: ir.Addr, record: type[Record]) -> Lowered | None:
        """`record.CONSTANT`: that of the record's own class."""
        classes = [record] if self.is_exact(addr) else self.frontend.concretes(record) or [record]
        values = [getattr(c, node.attr, None) for c in classes]
        if not all(isinstance(v, int) for v in values):
            return None
        if all(v == values[0] and type(v) is type(values[0]) for v in values):
            return self.reached(addr, self.scalar(Static(values[0]), node))
        assert isinstance(addr.root, ir.Expr)
        self.pure(addr.root, node.value, "where a class's constant is read")
        found = self.scalar(Static(values[-1]), node)
        for cls, value in zip(classes[:-1], values[:-1], strict=True):
            this = self.scalar(Static(value), node)
            found = ir.Conditional(ir.ClassIs(addr.root, cls), this, found, self.common(node, this, found))
        return found

    def reached(self, addr: ir.Addr, constant: ir.Expr) -> Lowered:
        """Something constant of the record at a place: the way there must still not lead through None."""
        if not self.is_sure(addr):
            way = ir.AddressOf(ir.Addr(addr.root, addr.path, RecordType(Record), addr.where), RefType(Record, False))
            return ir.Conditional(ir.Compare("!=", way, ir.Constant(0, ANY_RECORD)), constant, constant, constant.type)
        return constant

    def subscript(self, node: ast.Subscript) -> Lowered:
        """`array[i]`, `table[i]`."""
        base = self.lower(node.value)
        where = self.where(node)
        if isinstance(node.slice, ast.Slice):
            raise self.refuse(node, "a slice", "a loop over the elements")
        index = self.expr(node.slice)
        if not isinstance(index.type, IntType) or index.type.display == "bits":
            raise self.refuse(node.slice, f"an index of type {index.type}", "an integer")
        if isinstance(base, Static) and isinstance(base.value, Const):
            self.frontend.table(base.value, where)
            return ir.TableItem(base.value.name, index, self.frontend.machine.sized(base.value.kind), where)
        if isinstance(base, SeveralResults):
            self.scalar(base, node.value)
        if isinstance(base, Items):
            element = base.kind.element
            assert isinstance(element, (IntType, RefType))
            return ir.Item(base.items, index, base.length, base.name, where, element)
        if isinstance(base, Lvalue) and isinstance(base.addr.type, ArrayType):
            array = base.addr.type
            return Lvalue(base.addr.then(ir.IndexStep(index, array, describe(node.value), where), array.element, where))
        raise self.refuse(
            node, f"{describe(node.value)} is not an array", "an Array field, or a name declared with shared_array or pool"
        )

    # Operators.

    def unary(self, node: ast.UnaryOp) -> ir.Expr:
        """`not`, `-`, `~`, `+`."""
        if isinstance(node.op, ast.Not):
            value = self.truth(node.operand)
            return ir.Constant(1 - value.value, BOOL) if isinstance(value, ir.Constant) else ir.Unary("not", value, BOOL)
        value = self.integer(node.operand)
        assert isinstance(value.type, IntType)
        low, high, flags = value.type.low, value.type.high, value.type.enum
        if isinstance(node.op, ast.USub):
            return ir.Unary("-", value, IntType(-high, -low))
        if isinstance(node.op, ast.Invert):
            if ranges.clipped(IntType(~high, ~low)) != IntType(~high, ~low):  # -x - 1 is looked at when it is run
                minus, one = ir.Unary("-", value, IntType(-high, -low)), ir.Constant(1, IntType(1, 1))
                return self.bounded(node, "-", minus, one)
            inverted = ir.Unary("~", value, IntType(~high, ~low))
            if flags is None or not issubclass(flags, enum.IntFlag):
                return inverted
            mask = sum(m.value for m in flags)  # as Python has it: the other flags of the class
            kind = IntType(0, mask, "enum", flags)
            return ir.Binary("&", ir.Constant(mask, IntType(mask, mask)), inverted, kind, self.where(node))
        return ir.Binary("+", value, ZERO, IntType(low, high), self.where(node))

    def arithmetic(self, node: ast.AST, operator: ast.operator, left: ir.Expr, right: ir.Expr) -> ir.Expr:
        """Integer arithmetic, with the range of its result."""
        name = OPERATORS.get(type(operator))
        if name is None:
            raise self.refuse(node, f"the operator {type(operator).__name__} is not in the language", "+ - * // % << >> & | ^")
        a, b = left.type, right.type
        if not (isinstance(a, IntType) and isinstance(b, IntType)):
            raise self.refuse(node, f"arithmetic on {a if isinstance(a, RefType) else b}", "integers")
        if "bits" in (a.display, b.display):
            return self.set_operation(node, name, left, right)
        return self.bounded(node, name, left, right)

    def bounded(self, node: ast.AST, name: str, left: ir.Expr, right: ir.Expr) -> ir.Binary:
        """An operation, marked where its result may be larger than any number of the language."""
        assert isinstance(left.type, IntType) and isinstance(right.type, IntType)
        kind = ranges.of_operation(name, left.type, right.type)
        bounded = ranges.clipped(kind)
        return ir.Binary(name, left, right, bounded, self.where(node), describe(node) if bounded != kind else "")

    # Sets of places.

    def places(self, node: ast.AST, members: list[ast.expr]) -> ir.Expr:
        """`{a, b}`, `Bits([a, b])`: one bit for each."""
        made: ir.Expr = ir.Constant(0, IntType(0, 0, "bits"))
        for member in members:
            at, where = ir.Fits(self.integer(member), "a place in a set", self.where(member), IntType(0, MOST - 1)), self.where(node)
            given = at.value.type
            assert isinstance(given, IntType)
            high = min(given.high, MOST - 1) if given.high >= 0 else 0
            bit = ir.Binary("<<", ir.Constant(1, IntType(1, 1)), at, IntType(0, 1 << high, "bits"), where)
            assert isinstance(made.type, IntType)
            made = ir.Binary("|", made, bit, IntType(0, max(made.type.high, (2 << high) - 1), "bits"), where)
        return made

    def set_operation(self, node: ast.AST, name: str, left: ir.Expr, right: ir.Expr) -> ir.Expr:
        """`|`, `&`, `^`, and `-`: what is in the one and not in the other."""
        a, b, where = left.type, right.type, self.where(node)
        assert isinstance(a, IntType) and isinstance(b, IntType)
        if name not in ("|", "&", "^", "-") or a.display != b.display:
            raise self.refuse(node, f"{a} {name} {b}", "| & - ^ between two sets: pages | {va}, pages - others")
        if name == "-":
            return ir.Binary("&", left, ir.Unary("~", right, IntType(~b.high, -1)), a, where)
        high = min(a.high, b.high) if name == "&" else max(a.high, b.high)
        return ir.Binary(name, left, right, IntType(0, (1 << high.bit_length()) - 1, "bits"), where)

    def contains(self, node: ast.AST, places: ir.Expr, place: ir.Expr) -> ir.Expr:
        """Whether a place is in a set."""
        kind, where = place.type, self.where(node)
        assert isinstance(kind, IntType) and isinstance(places.type, IntType)
        most = places.type.high.bit_length()
        at: ir.Expr = place
        if not 0 <= kind.low <= kind.high <= MOST:
            at = ir.Binary("min", ir.Binary("max", place, ZERO, IntType(0, max(0, kind.high)), where), _number(MOST), IntType(0, MOST), where)
        shifted = ir.Binary(">>", places, at, IntType(0, places.type.high), where)
        inside = ir.Compare("!=", ir.Binary("&", shifted, _number(1), IntType(0, 1), where), ZERO)
        if kind.low >= 0 and kind.high <= MOST and most:
            return inside
        return ir.Logic("and", [inside, ir.Compare(">=", self.pure(place, node, "before `in`"), ZERO)])

    def logic(self, node: ast.BoolOp, values: bool) -> ir.Expr:
        """`and`, `or`. As a value (`values`) only of truth values: `a and 5` would be 5."""
        items = []
        for i, part in enumerate(node.values):
            self.conditional += bool(i)
            item = self.logic(part, values) if isinstance(part, ast.BoolOp) else self.expr(part) if values else self.truth(part)
            if values and not is_truth(item):
                raise self.refuse(
                    part, f"{describe(part)} is {item.type}, in an and/or used as a value", "bool(...), or a if c else b"
                )
            items.append(item)
            self.conditional -= bool(i)
        return ir.Logic("and" if isinstance(node.op, ast.And) else "or", items)

    def comparison(self, node: ast.Compare) -> ir.Expr:
        """Comparisons, chained ones and `in (a, b)` too."""
        links: list[ir.Expr] = []
        left = self.expr(node.left)
        pairs = list(zip(node.ops, node.comparators, strict=True))
        for i, (operator, right_node) in enumerate(pairs):
            self.conditional += i > 0
            if isinstance(operator, (ast.In, ast.NotIn)):
                if len(pairs) > 1:
                    raise self.refuse(node, "`in` within a chain of comparisons", "x in (A, B) and ...")
                links.append(self.among(node, left, right_node))
                if isinstance(operator, ast.NotIn):
                    links[-1] = ir.Unary("not", links[-1], BOOL)
            else:
                right = self.expr(right_node)
                if i + 1 < len(pairs):
                    self.pure(right, right_node, "in the middle of a chain of comparisons")
                links.append(self.compare_two(node, operator, left, right))
                left = right
            self.conditional -= i > 0
        return links[0] if len(links) == 1 else ir.Logic("and", links)

    def among(self, node: ast.Compare, left: ir.Expr, members_node: ast.expr) -> ir.Expr:
        """`x in (A, B)`: all the members are evaluated, as in Python."""
        if not isinstance(members_node, (ast.Tuple, ast.List, ast.Set)):
            return self.contained(node, left, members_node)
        self.pure(left, node.left, "before `in`")
        members = [self.pure(self.expr(m), m, "after `in`") for m in members_node.elts]
        found: ir.Expr = ir.Constant(0, BOOL)
        for i, member in enumerate(members):
            same = self.compare_two(node, ast.Eq(), left, member)
            found = ir.Binary("|", found, same, BOOL, self.where(node)) if i else same
        return found

    def contained(self, node: ast.Compare, left: ir.Expr, among: ast.expr) -> ir.Expr:
        """`x in places`."""
        lowered = self.lower_value(among)
        if isinstance(lowered, Items):
            self.pure(left, node.left, "before `in`")
            found: list[ir.Expr] = []
            for i, item in enumerate(lowered.items):
                there = ir.Compare(">", lowered.length, _number(i))
                found.append(ir.Logic("and", [there, self.compare_two(node, ast.Eq(), left, item)]))
            return ir.Logic("or", [ir.Constant(0, BOOL), *found])
        places = self.scalar(lowered, among) if not (isinstance(lowered, Lvalue) and isinstance(lowered.addr.type, ArrayType)) else None
        if places is None or not (isinstance(places.type, IntType) and places.type.display == "bits"):
            return self.in_array(node, left, among)
        if not isinstance(left.type, IntType) or left.type.display == "bits":
            raise self.refuse(node.left, f"{left.type} in a set of places", "a number")
        return self.contains(node, self.pure(places, among, "after `in`"), self.pure(left, node.left, "before `in`"))

    @abstractmethod
    def in_array(self, node: ast.Compare, left: ir.Expr, among: ast.expr) -> ir.Expr:
        """`x in array`: whether it is one of the elements."""

    def compare_two(self, node: ast.AST, operator: ast.cmpop, left: ir.Expr, right: ir.Expr) -> ir.Expr:
        """One comparison."""
        a, b, text = left.type, right.type, OPERATORS[type(operator)]
        if isinstance(a, RefType) and isinstance(b, RefType):
            if text not in ("==", "!="):
                raise self.refuse(node, f"{a} {text} {b}", "references are compared with is, is not")
            kin = Record in (a.record, b.record) or issubclass(a.record, b.record) or issubclass(b.record, a.record)
            if not kin and not any(issubclass(c, b.record) for c in self.frontend.concretes(a.record)):
                raise self.refuse(node, f"{a} is never {b}", "records of one class")
            for side in (left, right):
                if isinstance(operator, (ast.Is, ast.IsNot)) and is_declared_record(side):
                    raise self.refuse(node, "`is` with a name declared by shared(): it only stands for the record", "==, or !=")
        elif isinstance(a, RefType) or isinstance(b, RefType):
            raise self.refuse(node, f"{a} {text} {b}", "integers; or references with is, is not")
        elif isinstance(operator, (ast.Is, ast.IsNot)):
            raise self.refuse(node, "`is` between integers", f"{text}")
        elif "bits" in (a.display, b.display) and (a.display != b.display or text not in ("==", "!=")):
            raise self.refuse(node, f"{a} {text} {b}", "== and != between two sets, place in places, places & others")
        return ir.Compare(text, left, right)


def _number(value: int) -> ir.Constant:
    return ir.Constant(value, IntType(value, value))


def is_truth(value: ir.Expr) -> bool:
    """Whether a value is of type bool."""
    kind: Any = value.type
    return isinstance(kind, IntType) and kind.display == "bool" and kind.low >= 0 and kind.high <= 1


def is_declared_record(value: ir.Expr) -> bool:
    """Whether a value is the record of a `shared()` declaration itself."""
    return isinstance(value, ir.AddressOf) and isinstance(value.addr.root, Shared) and not value.addr.path
