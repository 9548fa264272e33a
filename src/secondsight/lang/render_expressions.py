"""Expressions of the checked program as Python text: places folded to constants where they can be, checks where needed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from secondsight.lang import ir
from secondsight.lang.errors import Position
from secondsight.lang.inline import substitute
from secondsight.lang.layout import field_of
from secondsight.lang.lifetime import lifetimes_of, used_name
from secondsight.lang.program import Frame, Program
from secondsight.lang.ranges import MAX_SHIFT
from secondsight.lang.slots import Slot
from secondsight.lang.standins import Shared
from secondsight.lang.types import BOOL, ArrayType, IntType, RecordType, RefType

__all__ = ["ExpressionRenderer", "safe"]

UNROLL = 8
"""A generator over at most this many elements is written out."""


def safe(name: str) -> str:
    """A name as a part of a Python name."""
    return "".join(c if c.isalnum() else "_" for c in name)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a number lies, as text: its byte, its slot, the lowest of its bits; without that `place` is its first bit, counted from the
    start of the state."""

    place: str
    slot: Slot
    shift: str


def _local(slot: Slot) -> Spot:
    return Spot(f"B + {slot.at}", slot, str(slot.shift))


class ExpressionRenderer:
    """Writes expressions; `frame` is that of the function with boundaries being written, None in one without."""

    def __init__(self, program: Program) -> None:
        self.program, self.layout = program, program.layout
        self.sites: list[tuple[Position, str]] = []
        self.site_numbers: dict[tuple[Position, str], int] = {}
        self.calls: dict[ir.Function, str] = {}
        self.queue: list[ir.Function] = []
        self.names: dict[ir.Var, str] = {}
        names = [*program.machine.data, *(".".join(field) for field in self.layout.constants)]
        self.tables = {name: f"T{i}_{safe(name)}" for i, name in enumerate(names)}
        self.frame: Frame | None = None
        self.number_tables: dict[tuple[int, ...], str] = {}
        self.lifetimes = lifetimes_of(program)

    def site(self, where: Position, name: str = "") -> int:
        """The number of a place in the source, for errors."""
        key = (where, name)
        if key not in self.site_numbers:
            self.site_numbers[key] = len(self.sites)
            self.sites.append(key)
        return self.site_numbers[key]

    def name(self, var: ir.Var) -> str:
        """The Python name of a local."""
        if var.transient:
            return "rv"
        if var not in self.names:
            self.names[var] = f"v{len(self.names)}_{safe(var.name)}"
        return self.names[var]

    # Places.

    def place(self, addr: ir.Addr) -> str:
        """An offset as Python text: constants folded."""
        constant, terms = self._terms(addr)
        if not terms:
            return str(constant)
        return " + ".join([*terms, str(constant)] if constant else terms)

    def spot(self, addr: ir.Addr) -> Spot:
        """Where a number lies that is about to be read or written."""
        last = addr.path[-1]
        if isinstance(last, ir.FieldStep):
            slot = self.layout.field(last.record, last.name)
            return Spot(self.touched(addr), slot, str(slot.shift))
        slot = self.layout.first(last.array)
        if slot.per_byte == 1:
            return Spot(self.touched(addr), slot, "0")
        whole = ir.Addr(addr.root, addr.path[:-1], last.array, addr.where)
        start, within = self.place(whole), slot.per_byte - 1
        if isinstance(last.index, ir.Constant) and 0 <= last.index.value < self.program.machine.bound(last.array.size):
            own = slot.element(last.index.value)
            return Spot(self._looked_at(addr, f"{start} + {own.at}" if own.at else start), slot, str(own.shift))
        index = self._index(last)
        if re.search(r"\w\(", index):  # what is called is called once
            at = f"({start}) * 8 + {index} * {slot.bits}" if slot.bits > 1 else f"({start}) * 8 + {index}"
            return Spot(self._looked_at(addr, at, look="ub"), slot, "")
        return Spot(self._looked_at(addr, f"{start} + ({index} >> {within.bit_length()})"), slot, f"(({index} & {within}) * {slot.bits})")

    def _index(self, step: ir.IndexStep) -> str:
        """A place in an array, checked if it may be outside."""
        count, kind = self.program.machine.bound(step.array.size), step.index.type
        assert isinstance(kind, IntType)
        text = self.expr(step.index)
        return text if kind.low >= 0 and kind.high < count else f"ix({text}, {count}, {self.site(step.where, step.name)})"

    def _terms(self, addr: ir.Addr) -> tuple[int, list[str]]:
        terms: list[str] = []
        constant = 0
        if isinstance(addr.root, Shared):
            constant = self.layout.base[addr.root]
        elif isinstance(addr.root, ir.AddressOf):
            constant, terms = self._terms(addr.root.addr)
        else:
            terms = [self.expr(addr.root)]
        for step in addr.path:
            if isinstance(step, ir.FieldStep):
                constant += self.layout.offset(step.record, step.name)
                continue
            count, stride = self.program.machine.bound(step.array.size), self.layout.size(step.array.element)
            if isinstance(step.index, ir.Constant) and 0 <= step.index.value < count:
                constant += step.index.value * stride
                continue
            text = self._index(step)
            terms = [*terms, text if stride == 1 else f"{text} * {stride}"]
        return constant, terms

    def touched(self, addr: ir.Addr, name: str = "") -> str:
        """A place that is about to be read or written: looked at, where the record that it is in can have been freed."""
        return self._looked_at(addr, self.place(addr), name)

    def _looked_at(self, addr: ir.Addr, place: str, name: str = "", look: str = "uf") -> str:
        if not self.lifetimes.watches(addr):
            return place
        return f"{look}(s, FREED_AT, {place}, {self.site(addr.where, name or used_name(addr))})"

    def pool(self, addr: ir.Addr, touched: bool = True) -> tuple[str, int, int, bytes]:
        """Base, stride, size and a zeroed record of a pool or array of records; `touched`: it is looked at, not only counted."""
        kind = addr.type
        assert isinstance(kind, ArrayType)
        record = kind.element.record  # type: ignore[union-attr]
        return self.touched(addr, "a pool") if touched and kind.pool else self.place(addr), self.layout.size(kind.element), self.program.machine.bound(kind.size), self.layout.fresh(record)

    def load(self, spot: Spot, kind: IntType | RefType) -> str:
        """What lies at a place."""
        slot, place, width = spot.slot, spot.place, spot.slot.width
        if slot.is_whole and isinstance(kind, RefType) and not slot.short:
            return f"REF[s[{place}]]" if self.layout.numbered else f"s[{place}]" if width == 1 else f"l2(s, {place})"
        if width > 1:
            text = f"l2(s, {place})" if width == 2 else f"ld(s, {place}, {width})"
        elif not spot.shift:
            text = f"gp(s, {place}, {(1 << slot.bits) - 1})"
        else:
            text = slot.text(place, spot.shift)
        if slot.records is None:
            return text if slot.low == 0 else f"({text} + {slot.low})" if slot.low > 0 else f"({text} - {-slot.low})"
        if len(slot.records) == 2 and slot.records[0] == 0:
            return f"({text} * {slot.records[1]})"
        return f"{tuple(slot.records)}[{text}]"

    def stored(self, spot: Spot, kind: IntType | RefType, text: str) -> str:
        """The statement that puts a value at a place; the value is evaluated first, as in CPython."""
        slot, place = spot.slot, spot.place
        if slot.short and slot.records is not None:
            number = "0" if text == "0" and slot.records[0] == 0 else f"{self.numbers(tuple(slot.records))}[{text}]"
        elif isinstance(kind, RefType):
            number = f"NUM[{text}]" if self.layout.numbered and text != "0" else text
        else:
            number = text if slot.low == 0 else f"{text} - {slot.low}" if slot.low > 0 else f"{text} + {-slot.low}"
            if slot.low and text.strip("()").lstrip("-").isdigit():
                number = str(int(text.strip("()")) - slot.low)
        if slot.width > 1:
            return f"st(s, {number}, {place}, {slot.width})"
        if slot.is_whole:
            return f"s[{place}] = {number}"
        mask = (1 << slot.bits) - 1
        if not spot.shift:
            return f"n = {number}; p = {place}; s[p >> 3] = s[p >> 3] & ~({mask} << (p & 7)) | n << (p & 7)"
        own = place.startswith("B + ")
        if own or (place.isdigit() and spot.shift.isdigit() and not re.search(r"\w\(", number)):  # what is called may change the byte
            return f"s[{place}] = {slot.changed(place, spot.shift, number)}"
        return f"n = {number}; p = {place}; s[p] = {slot.changed('p', spot.shift, 'n')}"

    def numbers(self, records: tuple[int, ...]) -> str:
        """The name of a table that says which of some records one is, by its offset."""
        return self.number_tables.setdefault(records, f"N{len(self.number_tables)}")

    def local(self, slot: Slot, kind: IntType | RefType) -> str:
        """The value of a local that has a place in the state."""
        if slot.only is not None:
            return str(slot.only) if slot.only >= 0 else f"({slot.only})"
        return self.load(_local(slot), kind)

    def assigned(self, slot: Slot, kind: IntType | RefType, text: str) -> str:
        """The statement that gives a local that has a place in the state a value."""
        return self.stored(_local(slot), kind, text) if slot.bits else text

    def packed(self, value: ir.Expr, group: ir.Group, name: str, where: Position) -> str:
        """What a function returns that returns a group."""
        if not isinstance(value, ir.Pack):
            return self.expr(value)
        parts = [self.ranged(item, kind, name, where) for item, (_, kind) in zip(value.items, group.parts, strict=True)]
        return f"({''.join(f'{part}, ' for part in parts)})"

    def ranged(self, value: ir.Expr, kind: IntType | RefType, name: str, where: Position) -> str:
        """A value, with a check if it may leave the range of where it goes."""
        return self.checked(self.expr(value), value.type, kind, name, where)

    def checked(self, text: str, given: IntType | RefType, kind: IntType | RefType, name: str, where: Position) -> str:
        """The text of a value of type `given`, with a check if it may leave the range of where it goes."""
        if isinstance(kind, IntType) and isinstance(given, IntType) and not (kind.low <= given.low and given.high <= kind.high):
            return f"rg({text}, {kind.low}, {kind.high}, {self.site(where, name)})"
        return text

    # Expressions.

    def expr(self, node: ir.Expr) -> str:
        """An expression as Python text; always safe to put next to an operator."""
        match node:
            case ir.Constant():
                return str(node.value) if node.value >= 0 else f"({node.value})"
            case ir.Local():
                if self.frame is not None and node.var in self.frame.slots:
                    return self.local(self.frame.slots[node.var], node.var.type)
                return self.name(node.var)
            case ir.Load():
                last = node.addr.path[-1]
                if isinstance(last, ir.FieldStep) and self.layout.is_constant(last.record, last.name):
                    holder = ir.Addr(node.addr.root, node.addr.path[:-1], RecordType(last.record), node.addr.where)
                    return f"{self.tables['.'.join(field_of(last.record, last.name))]}[{self.place(holder)}]"
                return self.load(self.spot(node.addr), node.type)
            case ir.AddressOf():
                constant, terms = self._terms(node.addr)
                return str(constant) if not terms else f"({self.place(node.addr)})"
            case ir.NonNull():
                return f"nn({self.expr(node.value)}, {self.site(node.where, node.name)})"
            case ir.Narrow():
                offsets = self.layout.instances_below(node.type.record)
                return (
                    f"na({self.expr(node.value)}, {self.constant(frozenset([0, *offsets]))}, {self.site(node.where, node.name)})"
                )
            case ir.ContainerOf():
                return self._container(node)
            case ir.Fits():
                return self.ranged(node.value, node.type, node.name, node.where)
            case ir.Unary():
                return f"(not {self.expr(node.value)})" if node.op == "not" else f"({node.op}{self.expr(node.value)})"
            case ir.Binary():
                return self.binary(node)
            case ir.Compare():
                if isinstance(node.right, ir.Constant) and node.right.value == 0 and node.op == "!=":
                    return f"({self.expr(node.left)} != 0)"
                return f"({self.expr(node.left)} {node.op} {self.expr(node.right)})"
            case ir.Logic():
                return "(" + f" {node.op} ".join(self.expr(i) for i in node.items) + ")"
            case ir.Conditional():
                return f"({self.expr(node.then)} if {self.expr(node.test)} else {self.expr(node.other)})"
            case ir.TableItem():
                table = self.tables[node.table]
                return f"{table}[ix({self.expr(node.index)}, len({table}), {self.site(node.where, node.table)})]"
            case ir.TableSize():
                return f"len({self.tables[node.table]})"
            case ir.Current():
                return "t"
            case ir.ClassIs():
                offsets = self.layout.instances(node.record)
                return f"({self.expr(node.value)} in {self.constant(frozenset(offsets))})"
            case ir.IndexOf():
                base, stride, count, _ = self.pool(node.array, False)
                return f"io({base}, {self.expr(node.value)}, {stride}, {count}, {self.site(node.where)})"
            case ir.IsUsed():
                base, stride, count, _ = self.pool(node.pool)
                return f"us(s, {base}, {self.expr(node.value)}, {stride}, {count}, {self.site(node.where)})"
            case ir.Alloc():
                base, stride, count, _ = self.pool(node.pool)
                kind = node.pool.type
                assert isinstance(kind, ArrayType)
                return f"al(s, {base}, {stride}, {count}, {str(kind.size)!r}, {self.site(node.where)})"
            case ir.Choose():
                return f"ch({self.expr(node.count)}, {self.site(node.where)})"
            case ir.ChooseWhere():
                return f"cw([{self.expr(node.result)} {self._generator(node)}], {self.site(node.where)})"
            case ir.Quantifier():
                return self._quantifier(node)
            case ir.Call():
                return self._call(node)
            case ir.Item():
                items = "".join(f"{self.expr(item)}, " for item in node.items) or "0, "
                return f"({items})[ix({self.expr(node.index)}, {self.expr(node.count)}, {self.site(node.where, node.name)})]"
            case ir.Pack():
                return f"({''.join(f'{self.expr(item)}, ' for item in node.items)})"
        raise AssertionError(node)

    def _container(self, node: ir.ContainerOf) -> str:
        """A difference of places, which subclasses may have more than one of."""
        by_distance: dict[int, list[int]] = {}
        for inner, outer in self.layout.containers(node.type.record, node.field).items():
            by_distance.setdefault(inner - outer, []).append(inner)
        distances = ", ".join(f"({self.constant(frozenset(places))}, {d})" for d, places in sorted(by_distance.items()))
        return f"co({self.expr(node.value)}, ({distances}{',' if distances else ''}), {self.site(node.where, node.name)})"

    def constant(self, value: frozenset[int]) -> str:
        """A set of numbers as a constant that CPython makes once."""
        return "{" + ", ".join(str(v) for v in sorted(value)) + "}" if value else "()"

    def binary(self, node: ir.Binary) -> str:
        """Arithmetic, with the checks of division and shifts."""
        left, right, kind = self.expr(node.left), self.expr(node.right), node.right.type
        assert isinstance(kind, IntType)
        if node.op in ("min", "max"):
            return f"{node.op}({left}, {right})"
        if node.op in ("//", "%") and kind.low <= 0 <= kind.high:
            right = f"nz({right}, {self.site(node.where)})"
        if node.op in ("<<", ">>") and not 0 <= kind.low <= kind.high <= MAX_SHIFT:
            right = f"sh({right}, {self.site(node.where)})"
        if node.op in ("+", "-") and right == "0":
            return f"(+{left})"  # int() of a truth value
        if node.wide:
            return f"wd({left} {node.op} {right}, {self.site(node.where, node.wide)})"
        return f"({left} {node.op} {right})"

    def _call(self, node: ir.Call) -> str:
        """A call of a function without step boundaries."""
        if node.function not in self.calls:
            self.calls[node.function] = f"f{len(self.calls)}_{safe(node.function.name)}"
            self.queue.append(node.function)
        arguments = [
            self.ranged(a, p.type, p.name, node.function.where) for a, p in zip(node.arguments, node.function.params, strict=True)
        ]
        return f"{self.calls[node.function]}({', '.join(['s', 'B', 't', *arguments])})"

    def _generator(self, node: ir.Quantifier | ir.ChooseWhere) -> str:
        text = f"for {self.name(node.var)} in range({self.expr(node.start)}, {self.expr(node.stop)})"
        for var, value in node.bindings:
            text += f" for {self.name(var)} in ({self.expr(value)},)"
        return text + (f" if {self.expr(node.condition)}" if node.condition is not None else "")

    def _quantifier(self, node: ir.Quantifier) -> str:
        start, stop = node.start, node.stop
        if isinstance(start, ir.Constant) and isinstance(stop, ir.Constant) and stop.value - start.value <= UNROLL:
            return self._unrolled(node, range(start.value, stop.value))
        kind = "sum" if node.kind == "count" else node.kind
        item = {"count": "bool({})", "sum": "int({})"}.get(node.kind, "{}").format(self.expr(node.test))
        return f"{kind}({item} {self._generator(node)})"

    def _unrolled(self, node: ir.Quantifier, numbers: range) -> str:
        """`any`, `all` or `count`, written out element by element."""
        items = []
        for i in numbers:
            table: dict[ir.Var, ir.Expr] = {node.var: ir.Constant(i, IntType(i, i))}
            for var, value in node.bindings:
                table[var] = substitute(value, table)
            test = substitute(node.test, table)
            if node.condition is not None:
                condition = substitute(node.condition, table)
                if node.kind == "sum":
                    test = ir.Conditional(condition, test, ir.Constant(0, IntType(0, 0)), node.type)
                elif node.kind == "all":
                    test = ir.Logic("or", [ir.Unary("not", condition, BOOL), test])
                else:
                    test = ir.Logic("and", [condition, test])
            items.append(self.expr(test))
        if node.kind == "sum":
            return "(" + " + ".join(f"int({i})" for i in items) + ")" if items else "0"
        if node.kind == "count":
            return "(" + " + ".join(f"bool({i})" for i in items) + ")" if items else "0"
        if not items:
            return "True" if node.kind == "all" else "False"
        return "(" + (" and " if node.kind == "all" else " or ").join(items) + ")"
