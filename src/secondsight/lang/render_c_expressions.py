"""Expressions and places of the checked program as C text.

Evaluation order is CPython's: what must happen before the rest of an expression (calls, choices, allocations) is written
as statements of its own, and operands that were read earlier are kept in temporaries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secondsight.lang import ir
from secondsight.lang.cfg import Block
from secondsight.lang.errors import Position
from secondsight.lang.inline import substitute
from secondsight.lang.layout import field_of
from secondsight.lang.lifetime import lifetimes_of, used_name
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.movers import Reductions
from secondsight.lang.program import Frame, Program
from secondsight.lang.ranges import MAX_SHIFT
from secondsight.lang.sequences import is_same_place
from secondsight.lang.slots import Slot
from secondsight.lang.standins import Shared
from secondsight.lang.symmetry import Symmetry
from secondsight.lang.types import BOOL, ArrayType, IntType, RecordType, RefType

__all__ = ["CExpressions", "counted", "path_name", "safe_name"]

UNROLL = 16
"""A generator over at most this many elements is written out."""


class CExpressions:
    """What is being written, and how expressions are; `frame` is that of the function with boundaries, None in one without."""

    def __init__(self, program: Program, reductions: Reductions, symmetry: Symmetry | None) -> None:
        self.program, self.layout, self.reductions, self.symmetry = program, program.layout, reductions, symmetry
        self.sites: list[tuple[Position, str]] = []
        self.site_numbers: dict[tuple[Position, str], int] = {}
        self.rules: list[tuple[str, str]] = []
        self.bounds: list[tuple[str, int]] = []
        self.names: dict[ir.Var, str] = {}
        self.calls: dict[ir.Function, str] = {}
        self.queue: list[ir.Function] = []
        names = [*program.machine.data, *(".".join(field) for field in self.layout.constants)]
        self.tables = {name: f"T{i}_{safe_name(name)}" for i, name in enumerate(names)}
        self.blocks: dict[Block, str] = {}
        self.frame: Frame | None = None
        self.result: ir.ResultType | None = None
        self.most_results = 0
        self.loops: list[ir.While] = []
        self.lines: list[str] = []
        self.prototypes: list[str] = []
        self.constants: list[str] = []
        self.short_tables: dict[tuple[tuple[int, ...], int], tuple[str, str]] = {}
        self.depth = 0
        self.temps = 0
        self.frames = list(program.frames.values())
        self.numbers = {f.flow.function: i for i, f in enumerate(self.frames)}
        self.declared: set[ir.Var] = set()
        self.lifetimes = lifetimes_of(program)
        self.reads: dict[int, str] = {}  # how an expression that comes next reads: what is not here, to look at the number

    # Writing.

    def out(self, text: str) -> None:
        """Write a line."""
        self.lines.append("\t" * self.depth + text)

    @contextmanager
    def indented(self) -> Iterator[None]:
        """Write deeper."""
        self.depth += 1
        yield
        self.depth -= 1

    def temp(self, text: str) -> str:
        """Keep a value in a new temporary; its name."""
        self.temps += 1
        self.out(f"i64 t{self.temps} = {text};")
        return f"t{self.temps}"

    def site(self, where: Position, name: str = "") -> int:
        """The number of a place in the source, for errors."""
        key = (where, name)
        if key not in self.site_numbers:
            self.site_numbers[key] = len(self.sites)
            self.sites.append(key)
        return self.site_numbers[key]

    def rule(self, rule: str, message: str) -> int:
        """The number of a rule and its message."""
        if (rule, message) not in self.rules:
            self.rules.append((rule, message))
        return self.rules.index((rule, message))

    def name(self, var: ir.Var) -> str:
        """The C name of a local."""
        if var.transient:
            return "rv"
        if var not in self.names:
            self.names[var] = f"v{len(self.names)}_{safe_name(var.name)}"
        return self.names[var]

    # Places.

    def place(self, addr: ir.Addr) -> str:
        """An offset as C text."""
        constant, terms = self._terms(addr)
        return " + ".join([*terms, str(constant)] if constant or not terms else terms)

    def spot(self, addr: ir.Addr, how: str) -> tuple[str, Slot, str]:
        """Where a number lies that is about to be read or written, `how` says which: its byte, its slot, the lowest of its bits."""
        last = addr.path[-1]
        if isinstance(last, ir.FieldStep):
            slot = self.layout.field(last.record, last.name)
            return self._noted(addr, self.touched(addr), str(slot.shift), how), slot, str(slot.shift)
        slot = self.layout.first(last.array)
        if slot.per_byte == 1:
            return self._noted(addr, self.touched(addr), "0", how), slot, "0"
        place, within = self.place(ir.Addr(addr.root, addr.path[:-1], last.array, addr.where)), slot.per_byte - 1
        if isinstance(last.index, ir.Constant) and 0 <= last.index.value < self.program.machine.bound(last.array.size):
            own = slot.element(last.index.value)
            place, shift = f"{place} + {own.at}", str(own.shift)
        else:
            mark = len(self.lines)
            index = self.temp(self._index(last))
            if not _constant(place):
                place = self._keep_at(mark, place)
            place, shift = f"{place} + ({index} >> {within.bit_length()})", f"(({index} & {within}) * {slot.bits})"
        return self._noted(addr, self._looked_at(addr, place), shift, how), slot, shift

    def _index(self, step: ir.IndexStep) -> str:
        """A place in an array, checked if it may be outside."""
        count, kind = self.program.machine.bound(step.array.size), step.index.type
        assert isinstance(kind, IntType)
        text = self.expr(step.index)
        return text if kind.low >= 0 and kind.high < count else f"ix(x, {text}, {count}, {self.site(step.where, step.name)})"

    def _noted(self, addr: ir.Addr, place: str, shift: str, how: str) -> str:
        """A place that is about to be read or written: noted, when steps are to be merged."""
        if not self.reductions.merge:
            return place
        last = addr.path[-1]
        done = last.operation if isinstance(last, ir.FieldStep) else None
        reads = how in ("RD", "RZ")
        if done in ("looks", "queues"):
            how = "LO" if reads else "QU"
        elif done is not None and not (done == "tries" and reads):
            how = "LW" if reads else "LK"
        return f"{how}({place})" if shift == "0" else f"{how}({place} + {shift} * SHARED_SIZE) - {shift} * SHARED_SIZE"

    def touched(self, addr: ir.Addr, name: str = "") -> str:
        """A place that is about to be read or written: looked at, where the record that it is in can have been freed."""
        return self._looked_at(addr, self.place(addr), name)

    def _looked_at(self, addr: ir.Addr, place: str, name: str = "") -> str:
        if not self.lifetimes.watches(addr):
            return place
        return f"uf(x, s, {place}, {self.site(addr.where, name or used_name(addr))})"

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
            mark = len(self.lines)
            text = self._index(step)
            if len(self.lines) != mark:
                terms = [self._keep_at(mark, " + ".join(terms))] if terms else []
            terms = [*terms, text if stride == 1 else f"{text} * {stride}"]
        return constant, terms

    def pool(self, addr: ir.Addr, touched: bool = True) -> tuple[str, int, int]:
        """Base, stride and size of a pool or array of records; `touched`: it is looked at, not only counted."""
        kind = addr.type
        assert isinstance(kind, ArrayType)
        return self.touched(addr, "a pool") if touched and kind.pool else self.place(addr), self.layout.size(kind.element), self.program.machine.bound(kind.size)

    def load(self, place: str, slot: Slot, shift: str, kind: IntType | RefType) -> str:
        """What lies at a place."""
        width = slot.width
        if slot.is_whole and isinstance(kind, RefType) and not slot.short:
            return f"REF[s[{place}]]" if self.layout.numbered else f"s[{place}]" if width == 1 else f"l2(s + {place})"
        text = slot.text(place, shift) if width == 1 else f"l2(s + {place})" if width == 2 else f"ldn(s + {place}, {width})"
        if slot.records is None:
            return text if slot.low == 0 else f"({text} + ({slot.low}))"
        if len(slot.records) == 2:
            return f"({text} ? {slot.records[1]} : {slot.records[0]})"
        return f"{self._short_tables(tuple(slot.records), slot.bits)[0]}[{text}]"

    def local(self, slot: Slot, kind: IntType | RefType) -> str:
        """The value of a local that has a place in the state."""
        if slot.only is not None:
            return str(slot.only) if slot.only >= 0 else f"({slot.only})"
        return self.load(f"B + {slot.at}", slot, str(slot.shift), kind)

    def number(self, slot: Slot, kind: IntType | RefType, text: str) -> str:
        """What is stored for a value."""
        if slot.records is None:
            return text if slot.low == 0 else f"({text}) - ({slot.low})"
        if not slot.short:
            return f"NUM[{text}]" if self.layout.numbered else text
        if len(slot.records) == 2:
            return f"{text} != {slot.records[0]}"
        return f"{self._short_tables(tuple(slot.records), slot.bits)[1]}[{text}]"

    def _short_tables(self, records: tuple[int, ...], bits: int) -> tuple[str, str]:
        """The names of two tables: the records by their numbers, and the numbers by where the records lie."""
        if (records, bits) not in self.short_tables:
            names = self.short_tables[records, bits] = f"SHORT{len(self.short_tables)}", f"NUMBER{len(self.short_tables)}"
            by_number = [*records, *[0] * ((1 << bits) - len(records))]
            by_place = [records.index(at) if at in records else 0 for at in range(self.layout.shared_size)]
            self.constants.append(f"static SS_WHERE const u16 {names[0]}[] = {{ {', '.join(map(str, by_number))} }};")
            self.constants.append(f"static SS_WHERE const u8 {names[1]}[] = {{ {', '.join(map(str, by_place))} }};")
        return self.short_tables[records, bits]

    def ranged(self, value: ir.Expr, kind: IntType | RefType, name: str, where: Position) -> str:
        """A value, with a check if it may leave the range of where it goes."""
        return self.checked(self.expr(value), value.type, kind, name, where)

    def checked(self, text: str, given: IntType | RefType, kind: IntType | RefType, name: str, where: Position) -> str:
        """The text of a value of type `given`, with a check if it may leave the range of where it goes."""
        if isinstance(kind, IntType) and isinstance(given, IntType) and not (kind.low <= given.low and given.high <= kind.high):
            return f"rg(x, {text}, {kind.low}, {kind.high}, {self.site(where, name)})"
        return text

    # Order of evaluation.

    def _keep_at(self, mark: int, text: str) -> str:
        """Keep a value in a temporary that is written at line `mark`: before what was written since."""
        self.temps += 1
        self.lines.insert(mark, "\t" * self.depth + f"i64 t{self.temps} = {text};")
        return f"t{self.temps}"

    def operands(self, nodes: list[ir.Expr]) -> list[str]:
        """Texts of operands evaluated from left to right: one that writes statements finds the earlier ones kept."""
        texts: list[str] = []
        for node in nodes:
            mark = len(self.lines)
            text = self.expr(node)
            if len(self.lines) != mark:
                for i, earlier in enumerate(texts):
                    if not _constant(earlier):
                        texts[i] = self._keep_at(mark, earlier)
                        mark += 1
            texts.append(text)
        return texts

    def kept(self, texts: list[str]) -> list[str]:
        """Texts that were computed in this order, each in a temporary unless it is a constant."""
        return [t if _constant(t) else self.temp(t) for t in texts]

    def captured(self, node: ir.Expr) -> tuple[list[str], str]:
        """The statements that an expression needs before it, not yet written, and its text."""
        saved, self.lines = self.lines, []
        self.depth += 1
        text = self.expr(node)
        self.depth -= 1
        written, self.lines = self.lines, saved
        return written, text

    # Expressions.

    def expr(self, node: ir.Expr) -> str:
        """An expression as C text; always safe to put next to an operator."""
        match node:
            case ir.Constant():
                return str(node.value) if node.value >= 0 else f"({node.value})"
            case ir.Local():
                if self.frame is not None and node.var in self.frame.slots:
                    return self.local(self.frame.slots[node.var], node.var.type)
                if not node.var.transient:
                    self.declared.add(node.var)
                return self.name(node.var)
            case ir.Load():
                last, how = node.addr.path[-1], self.reads.pop(id(node), "RD")
                if isinstance(last, ir.FieldStep) and self.layout.is_constant(last.record, last.name):
                    holder = ir.Addr(node.addr.root, node.addr.path[:-1], RecordType(last.record), node.addr.where)
                    return f"{self.tables['.'.join(field_of(last.record, last.name))]}[{self.place(holder)}]"
                return self.load(*self.spot(node.addr, how), node.type)
            case ir.AddressOf():
                return f"({self.place(node.addr)})"
            case ir.NonNull():
                return f"nn(x, {self.expr(node.value)}, {self.site(node.where, node.name)})"
            case ir.Narrow():
                value = self.temp(self.expr(node.value))
                allowed = [f"{value} == {at}" for at in (0, *self.layout.instances_below(node.type.record))]
                self.out(f"if (!({' || '.join(allowed)})) fail(x, CLASS, {self.site(node.where, node.name)}, 0, 0, 0);")
                return value
            case ir.ContainerOf():
                value = self.temp(self.expr(node.value))
                places = self.layout.containers(node.type.record, node.field)
                self.out(f"if (!({' || '.join(f'{value} == {at}' for at in places) or '0'})) fail(x, CLASS, {self.site(node.where, node.name)}, 0, 0, 0);")
                distances = {inner - outer for inner, outer in places.items()}
                if len(distances) < 2:
                    return f"({value} - {max(distances, default=0)})"
                return "(" + "".join(f"{value} == {inner} ? {outer} : " for inner, outer in places.items()) + "0)"
            case ir.Fits():
                return self.ranged(node.value, node.type, node.name, node.where)
            case ir.Unary():
                return f"({'!' if node.op == 'not' else node.op}{self.expr(node.value)})"
            case ir.Binary():
                return self._binary(node)
            case ir.Compare():
                if asks_for_zero(node):
                    self.reads[id(node.left)] = "RZ"
                left, right = self.operands([node.left, node.right])
                return f"({left} {node.op} {right})"
            case ir.Logic():
                return self._logic(node)
            case ir.Conditional():
                return self._conditional(node)
            case ir.TableItem():
                table = self.tables[node.table]
                return f"{table}[ix(x, {self.expr(node.index)}, {table}_size, {self.site(node.where, node.table)})]"
            case ir.TableSize():
                return f"{self.tables[node.table]}_size"
            case ir.Current():
                return "t"
            case ir.ClassIs():
                value = self.temp(self.expr(node.value))
                return "(" + (" || ".join(f"{value} == {at}" for at in self.layout.instances(node.record)) or "0") + ")"
            case ir.IndexOf() | ir.IsUsed():
                return self._in_array(node)
            case ir.Alloc():
                base, stride, count = self.pool(node.pool)
                kind = node.pool.type
                assert isinstance(kind, ArrayType)
                return self.stopping(f"al(x, s, {base}, {stride}, {count}, {self.site(node.where, str(kind.size))})")
            case ir.Choose():
                return self.stopping(f"ch(x, {self.expr(node.count)}, {self.site(node.where)})")
            case ir.ChooseWhere():
                return self._choose_where(node)
            case ir.Quantifier():
                return self._quantifier(node)
            case ir.Call():
                return self._call(node)
            case ir.Item():
                return self._item(node)
        raise AssertionError(node)

    def _item(self, node: ir.Item) -> str:
        """One of several locals."""
        items = [self.expr(item) for item in node.items]
        index, count = self.operands([node.index, node.count])
        at = f"ix(x, {index}, {count}, {self.site(node.where, node.name)})"
        if not items:
            return f"({at} * 0)"
        self.temps += 1
        self.out(f"const i64 t{self.temps}[] = {{ {', '.join(items)} }};")
        return f"t{self.temps}[{at}]"

    def packed(self, value: ir.Expr, group: ir.Group, name: str, where: Position) -> None:
        """Leave what a function returns that returns a group where the caller finds it."""
        self.most_results = max(self.most_results, len(group.parts))
        if not isinstance(value, ir.Pack):
            text = self.expr(value)  # a call, which has left it there
            if not text.isidentifier():
                self.out(f"(void)({text});")
            return
        texts = self.kept(self.operands(value.items))
        for i, (text, item, (_, kind)) in enumerate(zip(texts, value.items, group.parts, strict=True)):
            self.out(f"x->results[{i}] = {self.checked(text, item.type, kind, name, where)};")

    def stopping(self, text: str) -> str:
        """A value whose computation may end the step."""
        made = self.temp(text)
        self.out("if (x->stop) return 0;")
        return made

    def _in_array(self, node: ir.IndexOf | ir.IsUsed) -> str:
        place = node.array if isinstance(node, ir.IndexOf) else node.pool
        base, stride, count = self.pool(place, isinstance(node, ir.IsUsed))
        mark = len(self.lines)
        value = self.expr(node.value)
        if len(self.lines) != mark and not _constant(base):
            base = self._keep_at(mark, base)
        at = f"io(x, {base}, {value}, {stride}, {count}, {self.site(node.where)})"
        return at if isinstance(node, ir.IndexOf) else f"(s[RD({base} + {stride * count} + {at})] == USED)"

    def _binary(self, node: ir.Binary) -> str:
        """Arithmetic as Python does it, with the checks of division and shifts."""
        left, right = self.operands([node.left, node.right])
        kind = node.right.type
        assert isinstance(kind, IntType)
        if node.op in ("min", "max"):
            return f"{node.op}64({left}, {right})"
        if node.op in ("//", "%"):
            if kind.low <= 0 <= kind.high:
                right = f"nz(x, {right}, {self.site(node.where)})"
            return f"floor_{'div' if node.op == '//' else 'mod'}({left}, {right})"
        if node.op in ("<<", ">>"):
            most = MAX_SHIFT if node.wide else 62 if node.op == "<<" else 63  # by more: 0 stays 0, a number its sign
            if not 0 <= kind.low <= kind.high <= most:
                right = f"sh(x, {right}, {most}, {self.site(node.where)})"
            if node.wide:
                return f"wd(x, (i128){left} * ((i128)1 << {right}), {self.site(node.where, node.wide)})"
            return f"((i64){left} * (1LL << {right}))" if node.op == "<<" else f"((i64){left} >> {right})"
        if node.wide:
            return f"wd(x, (i128){left} {node.op} {right}, {self.site(node.where, node.wide)})"
        return f"((i64){left} {node.op} {right})"

    def _logic(self, node: ir.Logic) -> str:
        """`and`, `or`: statements that a later item needs run only if it is reached."""
        text = self.expr(node.items[0])
        operator = " && " if node.op == "and" else " || "
        kept = ""
        for item in node.items[1:]:
            written, other = self.captured(item)
            if not written:
                text = f"{text}{operator}{other}"
                continue
            if not kept:
                kept = self.temp(f"({text})")
            elif text != kept:
                self.out(f"{kept} = {text};")
            self.out(f"if ({'' if node.op == 'and' else '!'}{kept}) {{")
            self.lines += written
            self.out(f"\t{kept} = {other};")
            self.out("}")
            text = kept
        return f"({text})"

    def _conditional(self, node: ir.Conditional) -> str:
        test = self.expr(node.test)
        (first, then), (second, other) = self.captured(node.then), self.captured(node.other)
        if not first and not second:
            return f"({test} ? {then} : {other})"
        made = self.temp("0")
        self.out(f"if ({test}) {{")
        self.lines += first
        self.out(f"\t{made} = {then};")
        self.out("} else {")
        self.lines += second
        self.out(f"\t{made} = {other};")
        self.out("}")
        return made

    def _call(self, node: ir.Call) -> str:
        """A call of a function without step boundaries."""
        if node.function not in self.calls:
            self.calls[node.function] = f"f{len(self.calls)}_{safe_name(node.function.name)}"
            self.queue.append(node.function)
        texts = self.operands(node.arguments)
        arguments = []
        for text, argument, parameter in zip(texts, node.arguments, node.function.params, strict=True):
            kind, given = parameter.type, argument.type
            if (
                isinstance(kind, IntType)
                and isinstance(given, IntType)
                and not (kind.low <= given.low and given.high <= kind.high)
            ):
                text = f"rg(x, {text}, {kind.low}, {kind.high}, {self.site(node.function.where, parameter.name)})"
            arguments.append(text)
        return self.stopping(f"{self.calls[node.function]}({', '.join(['s', 'B', 't', 'x', *arguments])})")

    def _loop(self, node: ir.Quantifier | ir.ChooseWhere) -> None:
        """Open the loop of a generator."""
        start, stop = self.kept(self.operands([node.start, node.stop]))
        name = self.name(node.var)
        self.declared.add(node.var)
        self.out(f"for ({name} = {start}; {name} < {stop}; {name}++) {{")
        self.depth += 1
        for var, value in node.bindings:
            self.declared.add(var)
            self.out(f"{self.name(var)} = {self.expr(value)};")
        if node.condition is not None:
            self.out(f"if (!({self.expr(node.condition)})) continue;")

    def _choose_where(self, node: ir.ChooseWhere) -> str:
        """Any of those that satisfy a condition: counted, chosen, found again."""
        count = self.temp("0")
        self._loop(node)
        self.out(f"{count}++;")
        self.depth -= 1
        self.out("}")
        chosen = self.stopping(f"ch(x, {count}, {self.site(node.where)})")
        made = self.temp("0")
        self._loop(node)
        self.out(f"if ({chosen}-- == 0) {{ {made} = {self.expr(node.result)}; break; }}")
        self.depth -= 1
        self.out("}")
        return made

    def _quantifier(self, node: ir.Quantifier) -> str:
        start, stop = node.start, node.stop
        if isinstance(start, ir.Constant) and isinstance(stop, ir.Constant) and stop.value - start.value <= UNROLL:
            unrolled = self._unrolled(node, range(start.value, stop.value))
            return self.expr(unrolled)
        made = self.temp("1" if node.kind == "all" else "0")
        self._loop(node)
        test = self.expr(node.test)
        if node.kind in ("count", "sum"):
            self.out(f"{made} += {test}{' != 0' if node.kind == 'count' else ''};")
        else:
            self.out(f"if ({'!' if node.kind == 'all' else ''}({test})) {{ {made} = {int(node.kind == 'any')}; break; }}")
        self.depth -= 1
        self.out("}")
        return made

    def _unrolled(self, node: ir.Quantifier, numbers: range) -> ir.Expr:
        """`any`, `all` or `count`, written out element by element."""
        items: list[ir.Expr] = []
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
            items.append(test)
        if node.kind in ("count", "sum"):
            total: ir.Expr = ir.Constant(0, IntType(0, 0))
            for item in items:
                one = item if node.kind == "sum" else ir.Compare("!=", item, ir.Constant(0, IntType(0, 0)))
                total = ir.Binary("+", total, one, node.type, Position())
            return total
        if not items:
            return ir.Constant(int(node.kind == "all"), BOOL)
        return ir.Logic("and" if node.kind == "all" else "or", items)


def counted(stmt: ir.Store) -> int:
    """Of a number that is counted up or down: what it is if it was 0 before. 0: that is not what is done."""
    value, last = stmt.value, stmt.addr.path[-1]
    if not (isinstance(value, ir.Binary) and value.op in ("+", "-") and isinstance(value.left, ir.Load) and isinstance(value.right, ir.Constant)):
        return 0
    if isinstance(last, ir.FieldStep) and issubclass(last.record, (Lock, RwLock)):
        return 0
    by = value.right.value if value.op == "+" else -value.right.value
    return by if value.right.value > 0 and is_same_place(value.left.addr, stmt.addr) else 0


def asks_for_zero(node: ir.Compare) -> bool:
    """Whether it is only asked if a number is 0."""
    left, right = node.left, node.right
    if not (isinstance(left, ir.Load) and isinstance(right, ir.Constant) and right.value == 0 and isinstance(left.type, IntType)):
        return False
    return node.op in ("==", "!=") or (node.op in (">", "<=") and left.type.low >= 0)


def _constant(text: str) -> bool:
    """Whether a text is a number or a temporary: nothing that runs later changes it."""
    return text.lstrip("-(").rstrip(")").isdigit() or (text[:1] == "t" and text[1:].isdigit()) or text == "t"


def safe_name(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def path_name(addr: ir.Addr) -> str:
    names = []
    for step in addr.path:
        names.append(f"{step.record.__name__}.{step.name}" if isinstance(step, ir.FieldStep) else f"{step.name}[...]")
    return names[-1] if names else "?"
