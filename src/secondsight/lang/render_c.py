"""The checked program as C text, for the native executor.

The same shape as the Python text of `lang.render`: each step boundary, function entry, return site and join of control is
one C function of the state, the start of the thread's region and the thread's number. A step works in place on a copy; it
returns 1 when it reached the next boundary, 0 when it cannot be taken now. An error sets `x->stop` once and is looked at
when the step is over: what is computed in between goes to a copy that is thrown away, and stays inside the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from secondsight.lang import ir
from secondsight.lang.canonical import canonical
from secondsight.lang.canonical_equal import NO_FACTS, WHICH
from secondsight.lang.cfg import Block, Branch, CallTo, Exit, Jump
from secondsight.lang.errors import OutOfRecords, Position
from secondsight.lang.locks import Lock, RwLock, SpinLock
from secondsight.lang.movers import Reductions, merged_steps, notes_before
from secondsight.lang.overlaid import dead_bits
from secondsight.lang.program import Frame, Program, is_head
from secondsight.lang.render_c_expressions import CExpressions, counted, path_name
from secondsight.lang.render_order import FunctionOrder
from secondsight.lang.slots import Slot
from secondsight.lang.symmetry import Symmetry
from secondsight.lang.types import IntType, RefType

__all__ = ["CText", "render_c"]

SITE = IntType(0, 255)
"""What says where a function was called from."""

@dataclass
class CText:
    """The C text and what its numbers stand for."""

    text: str
    sites: list[tuple[Position, str]]
    rules: list[tuple[str, str]]
    bounds: list[tuple[str, int]]
    tables: list[str]


def prelude() -> str:
    """What every rendered model begins with."""
    return resources.files("secondsight.search").joinpath("prelude.c").read_text()


def render_c(program: Program, reductions: Reductions | None = None, symmetry: Symmetry | None = None) -> CText:
    """The model of a program in C, for the engine (`search/engine.c`), which is compiled by itself."""
    return _CRenderer(program, reductions or Reductions.none(), symmetry).render()


class _CRenderer(CExpressions, FunctionOrder):
    """Writes the functions: those with boundaries block by block, the others whole."""

    # The whole.

    def render(self) -> CText:
        """The whole text."""
        joins = 0
        for frame in self.frames:
            for block in frame.flow.blocks:
                if block in self.program.number:
                    self.blocks[block] = f"p{self.program.number[block]}"
                elif is_head(frame.flow, block):
                    joins += 1
                    self.blocks[block] = f"b{joins}"
        self.ends: list[int] = []
        self._finish()
        self._functions(of_users=False)
        model = len(self.lines)
        self._functions(of_users=True)
        for i, frame in enumerate(self.frames):
            self._returns(frame, i)
        functions = len(self.lines)
        self._interface()
        self._part(model, functions)
        noting = notes_before(self.layout) if self.reductions.merge else []
        room = ["#include <stdint.h>", f"#define SS_RESULTS int64_t results[{self.most_results}];"] if self.most_results else []
        head = [*room, *noting, prelude(), *self.lifetimes.c_text(), *self._tables(), *self.constants, *self.prototypes, ""]
        text = "\n".join([*head, *self.lines]) + "\n"
        return CText(text, self.sites, self.rules, self.bounds, list(self.tables))

    def _part(self, model: int, functions: int) -> None:
        """Divide the lines between compilers that work at once (`compiler.load`).

        Those from `model` on, a user's functions and what comes after all functions, are in the first part: the others are the same after
        an edit, and not compiled again. Where all functions are a user's, or none is, there are two parts.
        """
        lines = self.lines
        is_mixed = self.ends and self.ends[0] <= model and any(f.flow.function.is_users for f in self.frames)
        wanted = model // 2 if is_mixed else functions - len(lines) // 2
        end = min(self.ends, key=lambda at: abs(at - wanted), default=0)
        if is_mixed:
            parts = [(2, lines[:end]), (3, lines[end:model]), (1, lines[model:])]
        else:
            parts = [(1, lines[:end]), (2, lines[end:functions]), (1, lines[functions:])]
        self.lines = [line for number, part in parts for line in (f"#if PART({number})", *part, "#endif")]

    def _tables(self) -> list[str]:
        program, layout = self.program, self.layout
        bases = [layout.shared_size + i * program.region for i in range(program.code.capacity)]
        lines = [
            f"enum {{ STATE_SIZE = {program.size}, THREADS = {len(bases)} }};",
            f"static SS_WHERE const i64 BASE[] = {{ {', '.join(map(str, bases))} }};",
        ]
        lines += [f"DATA const i64 *{name};\nDATA i64 {name}_size;" for name in self.tables.values()]
        if layout.numbered:
            references = [*layout.to_offset, *[0] * (256 - len(layout.to_offset))]
            lines.append(f"static SS_WHERE const u16 REF[256] = {{ {', '.join(map(str, references))} }};")
            lines.append(f"static SS_WHERE const u8 NUM[] = {{ {', '.join(str(n or 0) for n in layout.to_number)} }};")
        return lines

    def _finish(self) -> None:
        """What happens when a thread ends, and whether it holds a spinlock."""
        locks = [f"s[{at}] == t" for at in self.layout.instances_below(Lock)]
        for at in self.layout.instances_below(RwLock):
            owner, readers = at + self.layout.offset(RwLock, "owner"), at + self.layout.offset(RwLock, "readers")
            locks += [f"s[{owner}] == t", f"s[{readers}] & 1 << (t - 1)"]
        self.prototypes.append("MODEL int finish(u8 *s, i64 B, i64 t, ss_x *x, i64 rv);")
        self.out("MODEL int finish(u8 *s, i64 B, i64 t, ss_x *x, i64 rv)")
        self.out("{")
        with self.indented():
            for at in self._lock_bytes() if self.reductions.merge else []:
                self.out(f"ss_touch(x, {at}, QUERY);")
            if locks:
                held = self.rule("lock-held-at-exit", "the thread ends with a lock held")
                self.out(f"if ({' || '.join(locks)})")
                self.out(f"\tfail(x, RULE, -1, {held}, 0, 0);")
            self.out("s[B] = 0;" if self.program.counter_width == 1 else "s2(s + B, 0);")
            self.out("return 1;")
        self.out("}")
        self.spinlocks = " || ".join(f"s[{at}] == t" for at in self.layout.instances_below(SpinLock))

    def _lock_bytes(self) -> list[int]:
        """Where it is written who holds a lock."""
        places = [at + self.layout.offset(Lock, "owner") for at in self.layout.instances_below(Lock)]
        for at in self.layout.instances_below(RwLock):
            places += [at + self.layout.offset(RwLock, name) for name in ("owner", "readers")]
        return places

    def _open(self, signature: str, comment: str = "") -> None:
        self.prototypes.append(f"MODEL {signature};")
        if comment:
            self.out(f"/* {comment} */")
        self.out(f"MODEL {signature}")
        self.out("{")
        self.depth += 1
        self.declared = set()
        self.opened = len(self.lines)

    def _close(self) -> None:
        """End a function; its C locals are declared at its top."""
        names = [f"i64 {self.name(v)} = 0;" for v in sorted(self.declared, key=self.name)]
        self.lines[self.opened : self.opened] = ["\t" + n for n in names]
        self.depth -= 1
        self.out("}")
        self.out("")
        self.ends.append(len(self.lines))

    def _entry(self, frame: Frame, number: int) -> None:
        """Entering a function: arguments to their places, then its first block."""
        function = frame.flow.function
        parameters = "".join(f", i64 a{i}" for i in range(len(function.params)))
        self._open(f"int e{number}(u8 *s, i64 B, i64 t, ss_x *x{parameters})", f"enter {function.name}")
        for i, var in enumerate(function.params):
            value = f"a{i}"
            if isinstance(var.type, IntType):
                value = f"rg(x, {value}, {var.type.low}, {var.type.high}, {self.site(function.where, var.name)})"
            self._set(var, value)
        self._jump(frame.flow.entry, set(function.params), entering=True)
        self._close()

    def _returns(self, frame: Frame, number: int) -> None:
        """Where a function that is called from several places goes on when it returns: by its return site."""
        if frame.return_slot is not None:
            self._open(f"int r{number}(i64 place, u8 *s, i64 B, i64 t, ss_x *x, i64 rv)", f"return from {frame.flow.function.name}")
            self.out("switch (place) {")
            for i, call in enumerate(frame.sites, 1):
                self.out(f"case {i}: return {self.blocks[call.after]}(s, B, t, x, rv);")
            self.out("}")
            self.out("return finish(s, B, t, x, rv);")
            self._close()

    def _head(self, block: Block) -> None:
        assert self.frame is not None
        where = block.boundary.where if block.boundary else None
        comment = f"{where.file.rpartition('/')[2]}:{where.line} {self.frame.flow.function.name}" if where else ""
        rv = ", i64 rv" if block.after_call is not None else ""
        self._open(f"int {self.blocks[block]}(u8 *s, i64 B, i64 t, ss_x *x{rv})", comment)
        call = block.after_call
        if call is not None and call.target is not None and not call.target.transient:
            self._set(call.target, "rv")
        self._block(block)
        self._close()

    def _interface(self) -> None:
        """What the engine and the caller use."""
        steps = ", ".join(["0", *(f"p{c.number}" for c in self.program.counters)])
        self.out(f"static SS_WHERE int (*const STEPS[])(u8 *, i64, i64, ss_x *) = {{ {steps} }};")
        load = "s[B]" if self.program.counter_width == 1 else "(int)l2(s + B)"
        self.out(f"static SS_WHERE inline int counter_of(const u8 *s, i64 B) {{ return {load}; }}")
        self.out("SS_WHERE void ss_set_table(int table, const i64 *items, i64 size)\n{\n\tswitch (table) {")
        for i, name in enumerate(self.tables.values()):
            self.out(f"\tcase {i}: {name} = items; {name}_size = size; break;")
        self.out("\t}\n}")
        self.out("SS_WHERE int ss_enter(u8 *s, int function, i64 B, i64 t, const i64 *a, ss_x *x)\n{\n\tswitch (function) {")
        for i, frame in enumerate(self.frames):
            if frame.is_root:
                arguments = "".join(f", a[{k}]" for k in range(len(frame.flow.function.params)))
                self.out(f"\tcase {i}: return e{i}(s, B, t, x{arguments});")
        self.out("\t}\n\treturn -1;\n}")
        if not self.reductions.merge:
            self.out(f"static SS_WHERE i32 by_form = {0 if self.symmetry is None else self.symmetry.renames};")
        if self.symmetry is not None and self.symmetry.threads is not None:
            self.lines.append(WHICH if self.reductions.merge else WHICH + NO_FACTS)
        if self.reductions.merge:
            self.lines += merged_steps(self.program, self.symmetry)
        if self.symmetry is not None:
            self.lines += canonical(self.program, self.symmetry)
        merging = ", ".join(["step_at", "kept_inside", "names_untried", "names_tried"] if self.reductions.merge else ["0"] * 4)
        sizes = f"STATE_SIZE, THREADS, sizeof(ss_x), {int(self.program.counter_width > 1)}"
        self.out(f"SS_WHERE __attribute__((visibility(\"hidden\"))) const ss_model the_model = {{ {sizes}, BASE, STEPS, {0 if self.symmetry is None else 'canonical'}, &by_form, {merging} }};")

    # Blocks.

    def _block(self, block: Block) -> None:
        """The statements of a block and its end, which returns."""
        assert self.frame is not None
        if block.goes_round:
            self.out("x->round = 1;")
        if block.round_of is not None:
            failed = f"fail(x, ROUNDS, {self.site(block.round_of)}, SS_ROUNDS, 0, 0)"
            self.out(f"if (x->rounds++ >= SS_ROUNDS) {{ {failed}; return 0; }}")
        for stmt in block.statements:
            self._statement(stmt)
        dirty = self.frame.flow.dirty_out(block)
        match block.end:
            case Jump() as end:
                self._jump(end.target, dirty)
            case Branch() as end:
                self.out(f"if ({self.expr(end.test)}) {{")
                with self.indented():
                    self._jump(end.then, dirty)
                self.out("}")
                self._jump(end.other, dirty)
            case CallTo() as end:
                self._call_to(end, dirty)
            case Exit() as end:
                self._exit(end, dirty)

    def _jump(self, target: Block, dirty: set[ir.Var], entering: bool = False) -> None:
        assert self.frame is not None
        if target.boundary is not None:
            self._zero(dirty, target.live_in)
            number = self.program.number[target]
            self.out(f"s[B] = {number};" if self.program.counter_width == 1 else f"s2(s + B, {number});")
            self.out("return 1;")
        elif target in self.blocks and not (entering and not self._needs_own(self.frame, target)):
            self.out(f"return {self.blocks[target]}(s, B, t, x);")
        else:
            self._block(target)

    def _zero(self, dirty: set[ir.Var], alive: set[ir.Var]) -> None:
        assert self.frame is not None
        taken = dead_bits(self.frame.slots, dirty - alive, alive)
        whole = [at for at, mask in taken.items() if mask == 255]
        if whole:
            self.out(" = ".join(f"s[B + {at}]" for at in whole) + " = 0;")
        for at, mask in taken.items():
            if mask != 255:
                self.out(f"s[B + {at}] &= {255 & ~mask};")

    def _call_to(self, call: CallTo, dirty: set[ir.Var]) -> None:
        assert self.frame is not None
        callee = self.program.frames[call.function]
        arguments = [self.temp(text) for text in self.operands(call.arguments)]
        self._zero(dirty, self.frame.flow.live_across(call))
        if callee.return_slot is not None:
            self._keep(callee.return_slot, SITE, str(callee.sites.index(call) + 1))
        self.out(f"return e{self.numbers[call.function]}({', '.join(['s', 'B', 't', 'x', *arguments])});")

    def _exit(self, end: Exit, dirty: set[ir.Var]) -> None:
        assert self.frame is not None
        frame, result = self.frame, self.frame.flow.function.result
        value = "0"
        if end.value is not None and result is not None:
            called = "the result of " + frame.flow.function.name
            if isinstance(result, ir.Group):
                self.packed(end.value, result, called, end.where)
            else:
                value = self.temp(self.ranged(end.value, result, called, end.where))
        place = ""
        if frame.return_slot is not None:
            place = self.temp(self.local(frame.return_slot, SITE))
            self._keep(frame.return_slot, SITE, "0")
        self._zero(dirty, set())
        if frame.return_slot is not None:
            self.out(f"return r{self.numbers[frame.flow.function]}({place}, s, B, t, x, {value});")
        elif frame.is_root:
            self.out("return finish(s, B, t, x, 0);")
        else:
            self.out(f"return {self.blocks[frame.sites[0].after]}(s, B, t, x, {value});")

    def _plain_function(self, function: ir.Function) -> None:
        """A function without step boundaries."""
        parameters = "".join(f", i64 {self.name(p)}" for p in function.params)
        self._open(f"i64 {self.calls[function]}(u8 *s, i64 B, i64 t, ss_x *x{parameters})", function.name)
        self.result = function.result
        self.parameters = set(function.params)
        for stmt in function.body:
            self._statement(stmt)
        self.out("return 0;")
        self.declared -= self.parameters
        self._close()

    # Statements.

    def _statement(self, stmt: ir.Stmt) -> None:
        match stmt:
            case ir.SetVar():
                self._set(stmt.var, self.ranged(stmt.value, stmt.var.type, stmt.var.name, stmt.where))
            case ir.Unpack():
                self._unpack(stmt)
            case ir.SetItem():
                self._set_item(stmt)
            case ir.Store():
                kind = stmt.addr.type
                assert isinstance(kind, (IntType, RefType))
                from_zero = counted(stmt) if self.reductions.merge else 0
                if from_zero:
                    self.reads[id(stmt.value.left)] = "NO"  # type: ignore[union-attr]
                value = self.temp(self.ranged(stmt.value, kind, path_name(stmt.addr), stmt.where))
                if from_zero:
                    way = "UP" if from_zero > 0 else "DOWN"
                    assert isinstance(kind, IntType)
                    self.out(f"x->counts = {value} == 0 || {value} == {from_zero} || {value} > {kind.high} - THREADS ? WRITE : {way};")
                self._stored(*self.spot(stmt.addr, "CT" if from_zero else "WR"), kind, value)
            case ir.Free():
                base, stride, count = self.pool(stmt.pool)
                record = stmt.pool.type.element.record  # type: ignore[union-attr]
                fresh = f"FRESH{len(self.constants)}"
                self.constants.append(f"static SS_WHERE const u8 {fresh}[] = {{ {', '.join(map(str, self.layout.fresh(record)))} }};")
                base, value = self.kept([base, self.expr(stmt.value)])
                self.out(f"fr(x, s, {base}, {value}, {stride}, {count}, {fresh}, {self.site(stmt.where)});")
            case ir.Eval():
                text = self.expr(stmt.value)
                if not text.isidentifier():
                    self.out(f"(void)({text});")
            case ir.If():
                self.out(f"if ({self.expr(stmt.test)}) {{")
                self._suite(stmt.then)
                if stmt.other:
                    self.out("} else {")
                    self._suite(stmt.other)
                self.out("}")
            case ir.While():
                self._while(stmt)
            case ir.Break():
                self.out("break;")
            case ir.Continue():
                for step in self.loops[-1].step:
                    self._statement(step)
                self.out("continue;")
            case ir.Return():
                if stmt.value is None:
                    self.out("return 0;")
                else:
                    assert self.result is not None
                    if isinstance(self.result, ir.Group):
                        self.packed(stmt.value, self.result, "the result", stmt.where)
                        self.out("return 0;")
                        return
                    self.out(f"return {self.ranged(stmt.value, self.result, 'the result', stmt.where)};")
            case ir.Require():
                self._require(stmt)
            case ir.Wait():
                if stmt.sleeps and self.spinlocks:
                    rule = self.rule("sleep-in-atomic", "sleeps while it holds a spinlock")
                    if self.reductions.merge:
                        for at in self.layout.instances_below(SpinLock):
                            self.out(f"ss_touch(x, {at}, QUERY);")
                    self.out(f"if ({self.spinlocks}) {{ fail(x, RULE, {self.site(stmt.where)}, {rule}, 0, 0); return 0; }}")
                if self.reductions.merge:
                    self.out(f"x->{'acquires' if stmt.lock else 'waits'}++;")
                self.out(f"if (!({self.expr(stmt.test)})) return block(x);")
                if self.reductions.merge and stmt.lock:
                    self.out("x->inside = x->noted;")
            case _:
                raise AssertionError(f"{type(stmt).__name__} inside a step")

    def _unpack(self, stmt: ir.Unpack) -> None:
        """Assign to several locals: all values are there before the first is assigned."""
        if isinstance(stmt.value, ir.Pack):
            kinds = [item.type for item in stmt.value.items]
            texts = [self.temp(text) for text in self.operands(stmt.value.items)]
        else:
            assert isinstance(stmt.value.type, ir.Group)
            self.packed(stmt.value, stmt.value.type, "", stmt.where)
            kinds = [kind for _, kind in stmt.value.type.parts]
            texts = [self.temp(f"x->results[{i}]") for i in range(len(kinds))]
        for var, kind, text in zip(stmt.targets, kinds, texts, strict=True):
            self._set(var, self.checked(text, kind, var.type, var.name, stmt.where))

    def _set_item(self, stmt: ir.SetItem) -> None:
        """Assign to one of several locals."""
        kind = stmt.items[0].type if stmt.items else stmt.value.type
        value = self.temp(self.ranged(stmt.value, kind, stmt.name, stmt.where))
        index, count = self.operands([stmt.index, stmt.count])
        self.out(f"switch (ix(x, {index}, {count}, {self.site(stmt.where, stmt.name)})) {{")
        for i, var in enumerate(stmt.items):
            self.out(f"case {i}:")
            with self.indented():
                self._set(var, value)
                self.out("break;")
        self.out("}")

    def _require(self, stmt: ir.Require) -> None:
        site = self.site(stmt.where)
        if stmt.rule == OutOfRecords.rule:
            self.bounds.append((stmt.message, self.program.machine.bound(stmt.message)))
            self.out(f"fail(x, FULL, {site}, {self.bounds[-1][1]}, {len(self.bounds)}, 0);")
            self.out("return 0;")
        else:
            rule = self.rule(stmt.rule, stmt.message)
            self.out(f"if (!({self.expr(stmt.test)})) {{ fail(x, RULE, {site}, {rule}, 0, 0); return 0; }}")

    def _suite(self, body: list[ir.Stmt]) -> None:
        with self.indented():
            for stmt in body:
                self._statement(stmt)

    def _while(self, stmt: ir.While) -> None:
        """A loop without a boundary; `continue` runs its step first."""
        self.temps += 1
        rounds = f"rounds{self.temps}"
        if not stmt.step:
            self.out(f"i32 {rounds} = 0;")
        self.out("for (;;) {")
        with self.indented():
            self.out(f"if (!({self.expr(stmt.test)})) break;")
            if not stmt.step:
                self.out(f"if ({rounds}++ >= 100000) {{ fail(x, ROUNDS, {self.site(stmt.where)}, 100000, 0, 0); return 0; }}")
        self.loops.append(stmt)
        self._suite([*stmt.body, *stmt.step])
        self.loops.pop()
        self.out("}")

    def _set(self, var: ir.Var, text: str) -> None:
        """Assign to a local: its place in the state, or a C local."""
        if self.frame is not None and var in self.frame.slots:
            self._keep(self.frame.slots[var], var.type, text)
        else:
            self.declared.add(var)
            self.out(f"{self.name(var)} = {text};")

    def _keep(self, slot: Slot, kind: IntType | RefType, text: str) -> None:
        """Give a local that has a place in the state a value."""
        if slot.bits:
            self._stored(f"B + {slot.at}", slot, str(slot.shift), kind, text)
        elif not text.isalnum():
            self.out(f"(void)({text});")

    def _stored(self, place: str, slot: Slot, shift: str, kind: IntType | RefType, text: str) -> None:
        value = self.number(slot, kind, text)
        if slot.width > 1:
            self.out(f"s2(s + {place}, {value});" if slot.width == 2 else f"stn(s + {place}, {value}, {slot.width});")
            return
        if not slot.is_whole and not place.removeprefix("B + ").isdigit():
            place = self.temp(place)
        self.out(f"s[{place}] = (u8)({slot.changed(place, shift, value)});")
