"""The checked program as C text, for the native executor.

The same shape as the Python text of `lang.render`: each step boundary, function entry, return site and join of control is
one C function of the state, the start of the thread's region and the thread's number. A step works in place on a copy; it
returns 1 when it reached the next boundary, 0 when it cannot be taken now. An error sets `x->stop` once and is looked at
when the step is over: what is computed in between goes to a copy that is thrown away, and stays inside the state.

Evaluation order is CPython's: what must happen before the rest of an expression (calls, choices, allocations) is written
as statements of its own, and operands that were read earlier are kept in temporaries.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from secondsight.lang import ir
from secondsight.lang.cfg import Block, Branch, CallTo, Exit, Jump
from secondsight.lang.errors import OutOfRecords, Position
from secondsight.lang.inline import substitute
from secondsight.lang.locks import Lock, RwLock, SpinLock
from secondsight.lang.movers import LOCKS_FILE, Reductions, merged_steps, notes_before
from secondsight.lang.program import Frame, Program, is_head
from secondsight.lang.ranges import MAX_SHIFT
from secondsight.lang.records import Shared
from secondsight.lang.symmetry import Symmetry, canonical
from secondsight.lang.types import BOOL, ArrayType, IntType, RefType

__all__ = ["CText", "render_c"]

UNROLL = 16
"""A generator over at most this many elements is written out."""

PRELUDE = """\
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

#ifndef SS_NOTED
#define SS_NOTED
#define RD(place) (place)
#define WR(place) (place)
#define FIRST_CHOICE(count) 0
#endif

enum { SS_CHOICES = 64 };
enum { SS_BLOCKED = 1, SS_FAILED = 2 };
enum { RULE = 1, RANGE, INDEX, NONE, CLASS, DIVISION, SHIFT, NOT_IN_ARRAY, FULL, FREED, NO_CHOICE, ROUNDS, CHOICES };

/* What a step leaves behind: how it stopped, and the choices it made. */
typedef struct {
	i32 stop, kind, site;
	i64 value, low, high;
	i32 made, at;
	i32 script[SS_CHOICES], sizes[SS_CHOICES];
	SS_NOTED
} ss_x;

static void fail(ss_x *x, i32 kind, i32 site, i64 value, i64 low, i64 high)
{
	if (!x->stop) {
		x->stop = SS_FAILED;
		x->kind = kind;
		x->site = site;
		x->value = value;
		x->low = low;
		x->high = high;
	}
}
static inline int block(ss_x *x) { if (!x->stop) x->stop = SS_BLOCKED; return 0; }
static inline i64 rg(ss_x *x, i64 v, i64 low, i64 high, i32 site)
{ if (v >= low && v <= high) return v; fail(x, RANGE, site, v, low, high); return low; }
static inline i64 ix(ss_x *x, i64 i, i64 count, i32 site)
{ if ((u64)i < (u64)count) return i; fail(x, INDEX, site, i, 0, count); return 0; }
static inline i64 nn(ss_x *x, i64 ref, i32 site)
{ if (ref) return ref; fail(x, NONE, site, 0, 0, 0); return 0; }
static inline i64 nz(ss_x *x, i64 v, i32 site)
{ if (v) return v; fail(x, DIVISION, site, 0, 0, 0); return 1; }
static inline i64 sh(ss_x *x, i64 v, i32 site)
{ if (v >= 0 && v <= 64) return v < 63 ? v : 62; fail(x, SHIFT, site, v, 0, 0); return 0; }
static inline i64 floor_div(i64 a, i64 b) { i64 q = a / b; return q - ((a % b != 0) & ((a < 0) != (b < 0))); }
static inline i64 floor_mod(i64 a, i64 b) { i64 r = a % b; return r + (((r != 0) & ((r < 0) != (b < 0))) ? b : 0); }
static inline i64 min64(i64 a, i64 b) { return b < a ? b : a; }
static inline i64 max64(i64 a, i64 b) { return b > a ? b : a; }
static inline i64 l2(const u8 *p) { return p[0] << 8 | p[1]; }
static inline void s2(u8 *p, i64 v) { p[0] = (u8)(v >> 8); p[1] = (u8)v; }
static inline i64 ldn(const u8 *p, int width) { i64 v = 0; for (int i = 0; i < width; i++) v = v << 8 | p[i]; return v; }
static inline void stn(u8 *p, i64 v, int width) { for (int i = width - 1; i >= 0; i--, v >>= 8) p[i] = (u8)v; }
static i64 io(ss_x *x, i64 base, i64 ref, i64 stride, i64 count, i32 site)
{
	i64 at = ref - base;
	if (at >= 0 && at % stride == 0 && at / stride < count)
		return at / stride;
	fail(x, NOT_IN_ARRAY, site, 0, 0, 0);
	return 0;
}
static i64 al(ss_x *x, u8 *s, i64 base, i64 stride, i64 count, i32 site)
{
	for (i64 i = 0; i < count; i++)
		if (!s[RD(base + stride * count + i)]) {
			s[WR(base + stride * count + i)] = 1;
			return base + i * stride;
		}
	fail(x, FULL, site, count, 0, 0);
	return base;
}
static void fr(ss_x *x, u8 *s, i64 base, i64 ref, i64 stride, i64 count, const u8 *fresh, i32 site)
{
	i64 i = io(x, base, ref, stride, count, site);
	if (x->stop)
		return;
	if (!s[RD(base + stride * count + i)]) {
		fail(x, FREED, site, 0, 0, 0);
		return;
	}
	s[WR(base + stride * count + i)] = 0;
	for (i64 j = 0; j < stride; j++)
		s[WR(ref + j)] = fresh[j];
}
static i64 ch(ss_x *x, i64 count, i32 site)
{
	if (x->stop)
		return 0;
	if (count <= 0) {
		fail(x, NO_CHOICE, site, 0, 0, 0);
		return 0;
	}
	if (x->at == x->made) {
		if (x->made == SS_CHOICES) {
			fail(x, CHOICES, site, 0, 0, 0);
			return 0;
		}
		x->script[x->made] = FIRST_CHOICE(count);
		x->sizes[x->made++] = (i32)count;
	}
	return x->script[x->at++];
}
"""


@dataclass
class CText:
    """The C text and what its numbers stand for."""

    text: str
    sites: list[tuple[Position, str]]
    rules: list[tuple[str, str]]
    bounds: list[tuple[str, int]]
    tables: list[str]
    entries: dict[ir.Function, int] = field(default_factory=dict)


def render_c(program: Program, reductions: Reductions | None = None, symmetry: Symmetry | None = None) -> CText:
    """The model of a program in C. The engine's text goes behind it (`search/engine.c`)."""
    return _CRenderer(program, reductions or Reductions.none(), symmetry).render()


class _CRenderer:
    """Writes the functions; `frame` is that of the function with boundaries being written, None in one without."""

    def __init__(self, program: Program, reductions: Reductions, symmetry: Symmetry | None) -> None:
        self.program, self.layout, self.reductions, self.symmetry = program, program.layout, reductions, symmetry
        self.observes = False
        self.sites: list[tuple[Position, str]] = []
        self.site_numbers: dict[tuple[Position, str], int] = {}
        self.rules: list[tuple[str, str]] = []
        self.bounds: list[tuple[str, int]] = []
        self.names: dict[ir.Var, str] = {}
        self.calls: dict[ir.Function, str] = {}
        self.queue: list[ir.Function] = []
        self.tables = {name: f"T{i}_{_safe(name)}" for i, name in enumerate(program.machine.data)}
        self.blocks: dict[Block, str] = {}
        self.frame: Frame | None = None
        self.result: IntType | RefType | None = None
        self.loops: list[ir.While] = []
        self.lines: list[str] = []
        self.prototypes: list[str] = []
        self.constants: list[str] = []
        self.depth = 0
        self.temps = 0
        self.frames = list(program.frames.values())
        self.numbers = {f.flow.function: i for i, f in enumerate(self.frames)}
        self.declared: set[ir.Var] = set()

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
            self.names[var] = f"v{len(self.names)}_{_safe(var.name)}"
        return self.names[var]

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
        self._finish()
        for i, frame in enumerate(self.frames):
            self.frame = frame
            self._entry(frame, i)
            for block in frame.flow.blocks:
                if is_head(frame.flow, block) and not (block is frame.flow.entry and not self._needs_own(frame, block)):
                    self._head(block)
        self.frame = None
        while self.queue:
            self._plain_function(self.queue.pop())
        for i, frame in enumerate(self.frames):
            self._returns(frame, i)
        self._interface()
        noting = notes_before(self.layout) if self.reductions.merge else []
        head = [*noting, PRELUDE, *self._tables(), *self.constants, *self.prototypes, ""]
        text = "\n".join([*head, *self.lines]) + "\n"
        return CText(text, self.sites, self.rules, self.bounds, list(self.tables), self.numbers)

    def _tables(self) -> list[str]:
        program, layout = self.program, self.layout
        lines = [
            f"enum {{ STATE_SIZE = {program.size}, THREADS = {len(program.threads)} }};",
            f"static const i64 BASE[] = {{ {', '.join(str(b) for b in program.bases)} }};",
        ]
        lines += [f"static const i64 *{name};\nstatic i64 {name}_size;" for name in self.tables.values()]
        if layout.numbered:
            references = [*layout.to_offset, *[0] * (256 - len(layout.to_offset))]
            lines.append(f"static const u16 REF[256] = {{ {', '.join(map(str, references))} }};")
            lines.append(f"static const u8 NUM[] = {{ {', '.join(str(n or 0) for n in layout.to_number)} }};")
        return lines

    def _finish(self) -> None:
        """What happens when a thread ends, and whether it holds a spinlock."""
        locks = [f"s[{at}] == t" for at in self.layout.instances_below(Lock)]
        for at in self.layout.instances_below(RwLock):
            owner, readers = at + self.layout.offset(RwLock, "owner"), at + self.layout.offset(RwLock, "readers")
            locks += [f"s[{owner}] == t", f"s[{readers}] & 1 << (t - 1)"]
        self.prototypes.append("static int finish(u8 *s, i64 B, i64 t, ss_x *x, i64 rv);")
        self.out("static int finish(u8 *s, i64 B, i64 t, ss_x *x, i64 rv)")
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

    def _needs_own(self, frame: Frame, block: Block) -> bool:
        """Whether an entry block is also reached otherwise."""
        return block.boundary is not None or any(block in b.successors() for b in frame.flow.blocks)

    def _open(self, signature: str, comment: str = "") -> None:
        self.prototypes.append(f"static {signature};")
        if comment:
            self.out(f"/* {comment} */")
        self.out(f"static {signature}")
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
        """The table of return sites of a function that is called from several places."""
        if frame.return_slot is not None:
            names = ["finish", *(self.blocks[c.after] for c in frame.sites)]
            declaration = f"static int (*const R{number}[{len(names)}])(u8 *, i64, i64, ss_x *, i64)"
            self.prototypes.append(f"{declaration};")
            self.out(f"{declaration} = {{ {', '.join(names)} }};")

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
        self.out(f"static int (*const STEPS[])(u8 *, i64, i64, ss_x *) = {{ {steps} }};")
        if not self.reductions.merge:
            self.out(
                "static inline int step_at(int counter, u8 *s, i64 B, i64 t, ss_x *x) { return STEPS[counter](s, B, t, x); }"
            )
        load = "s[B]" if self.program.counter_width == 1 else "(int)l2(s + B)"
        self.out(f"static inline int counter_of(const u8 *s, i64 B) {{ return {load}; }}")
        self.out("static u32 daemons;")
        self.out("static inline int finished(const u8 *s)")
        self.out("{")
        self.out("\tfor (int i = 0; i < THREADS; i++)")
        self.out("\t\tif (!(daemons >> i & 1) && counter_of(s, BASE[i]))\n\t\t\treturn 0;")
        self.out("\treturn 1;\n}")
        self.out("void ss_set_daemons(u32 mask) { daemons = mask; }")
        self.out("void ss_set_table(int table, const i64 *items, i64 size)\n{\n\tswitch (table) {")
        for i, name in enumerate(self.tables.values()):
            self.out(f"\tcase {i}: {name} = items; {name}_size = size; break;")
        self.out("\t}\n}")
        self.out("int ss_enter(u8 *s, int function, i64 B, i64 t, const i64 *a, ss_x *x)\n{\n\tswitch (function) {")
        for i, frame in enumerate(self.frames):
            if frame.is_root:
                arguments = "".join(f", a[{k}]" for k in range(len(frame.flow.function.params)))
                self.out(f"\tcase {i}: return e{i}(s, B, t, x{arguments});")
        self.out("\t}\n\treturn -1;\n}")
        if self.reductions.merge:
            self.lines += merged_steps(self.layout, self.symmetry)
        if self.symmetry is not None:
            self.lines += canonical(self.program, self.symmetry)

    # Blocks.

    def _block(self, block: Block) -> None:
        """The statements of a block and its end, which returns."""
        assert self.frame is not None
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
            self._zero(dirty - target.live_in)
            number = self.program.number[target]
            self.out(f"s[B] = {number};" if self.program.counter_width == 1 else f"s2(s + B, {number});")
            self.out("return 1;")
        elif target in self.blocks and not (entering and not self._needs_own(self.frame, target)):
            self.out(f"return {self.blocks[target]}(s, B, t, x);")
        else:
            self._block(target)

    def _zero(self, dead: set[ir.Var]) -> None:
        assert self.frame is not None
        places: list[int] = []
        for var in dead:
            if var in self.frame.slots:
                places += [self.frame.slots[var] + i for i in range(self.layout.width(var.type))]
        if places:
            self.out(" = ".join(f"s[B + {p}]" for p in sorted(places)) + " = 0;")

    def _call_to(self, call: CallTo, dirty: set[ir.Var]) -> None:
        assert self.frame is not None
        callee = self.program.frames[call.function]
        arguments = [self.temp(text) for text in self.operands(call.arguments)]
        self._zero(dirty - self.frame.flow.live_across(call))
        if callee.return_slot is not None:
            self.out(f"s[B + {callee.return_slot}] = {callee.sites.index(call) + 1};")
        self.out(f"return e{self.numbers[call.function]}({', '.join(['s', 'B', 't', 'x', *arguments])});")

    def _exit(self, end: Exit, dirty: set[ir.Var]) -> None:
        assert self.frame is not None
        frame, result = self.frame, self.frame.flow.function.result
        value = "0"
        if end.value is not None and result is not None:
            value = self.temp(self.ranged(end.value, result, "the result of " + frame.flow.function.name, end.where))
        place = ""
        if frame.return_slot is not None:
            place = self.temp(f"s[B + {frame.return_slot}]")
            self.out(f"s[B + {frame.return_slot}] = 0;")
        self._zero(dirty)
        if frame.return_slot is not None:
            self.out(f"return R{self.numbers[frame.flow.function]}[{place}](s, B, t, x, {value});")
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
        self.observes = function.source is not None and function.source.__name__ == "trylock"
        for stmt in function.body:
            self._statement(stmt)
        self.observes = False
        self.out("return 0;")
        self.declared -= self.parameters
        self._close()

    # Statements.

    def _statement(self, stmt: ir.Stmt) -> None:
        match stmt:
            case ir.SetVar():
                self._set(stmt.var, self.ranged(stmt.value, stmt.var.type, stmt.var.name, stmt.where))
            case ir.Store():
                kind = stmt.addr.type
                assert isinstance(kind, (IntType, RefType))
                value = self.temp(self.ranged(stmt.value, kind, _path_name(stmt.addr), stmt.where))
                self._stored(self._noted(stmt.addr, "WR"), kind, value)
            case ir.Free():
                base, stride, count = self.pool(stmt.pool)
                record = stmt.pool.type.element.record  # type: ignore[union-attr]
                fresh = f"FRESH{len(self.constants)}"
                self.constants.append(f"static const u8 {fresh}[] = {{ {', '.join(map(str, self.layout.fresh(record)))} }};")
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
                    self.out(f"x->{'acquires' if stmt.where.file == LOCKS_FILE else 'waits'}++;")
                self.out(f"if (!({self.expr(stmt.test)})) return block(x);")
                if self.reductions.merge and stmt.where.file == LOCKS_FILE:
                    self.out("x->inside = x->noted;")
            case _:
                raise AssertionError(f"{type(stmt).__name__} inside a step")

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
                self.out(f"if ({rounds}++ >= 100000) {{ fail(x, ROUNDS, {self.site(stmt.where)}, 0, 0, 0); return 0; }}")
        self.loops.append(stmt)
        self._suite([*stmt.body, *stmt.step])
        self.loops.pop()
        self.out("}")

    def _set(self, var: ir.Var, text: str) -> None:
        """Assign to a local: its place in the state, or a C local."""
        if self.frame is not None and var in self.frame.slots:
            self._stored(f"B + {self.frame.slots[var]}", var.type, text)
        else:
            self.declared.add(var)
            self.out(f"{self.name(var)} = {text};")

    def _stored(self, place: str, kind: IntType | RefType, text: str) -> None:
        width = self.layout.width(kind)
        if isinstance(kind, RefType):
            value = f"NUM[{text}]" if self.layout.numbered else text
        else:
            value = text if kind.low == 0 else f"({text}) - ({kind.low})"
        if width == 1:
            self.out(f"s[{place}] = (u8)({value});")
        else:
            self.out(f"s2(s + {place}, {value});" if width == 2 else f"stn(s + {place}, {value}, {width});")

    # Places.

    def place(self, addr: ir.Addr) -> str:
        """An offset as C text."""
        constant, terms = self._terms(addr)
        return " + ".join([*terms, str(constant)] if constant or not terms else terms)

    def _noted(self, addr: ir.Addr, how: str) -> str:
        """A place that is about to be read or written: noted, when steps are to be merged."""
        if not self.reductions.merge:
            return self.place(addr)
        last = addr.path[-1] if addr.path else None
        lock = isinstance(last, ir.FieldStep) and issubclass(last.record, (Lock, RwLock)) and addr.where.file == LOCKS_FILE
        if lock and not (self.observes and how == "RD"):
            how = "LK"
        return f"{how}({self.place(addr)})"

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
            index, kind = step.index, step.index.type
            assert isinstance(kind, IntType)
            if isinstance(index, ir.Constant) and 0 <= index.value < count:
                constant += index.value * stride
                continue
            mark = len(self.lines)
            text = self.expr(index)
            if len(self.lines) != mark:
                terms = [self._keep_at(mark, " + ".join(terms))] if terms else []
            if not (kind.low >= 0 and kind.high < count):
                text = f"ix(x, {text}, {count}, {self.site(step.where, step.name)})"
            terms = [*terms, text if stride == 1 else f"{text} * {stride}"]
        return constant, terms

    def pool(self, addr: ir.Addr) -> tuple[str, int, int]:
        """Base, stride and size of a pool or array of records."""
        kind = addr.type
        assert isinstance(kind, ArrayType)
        return self.place(addr), self.layout.size(kind.element), self.program.machine.bound(kind.size)

    def load(self, place: str, kind: IntType | RefType) -> str:
        """What lies at a place."""
        width = self.layout.width(kind)
        if isinstance(kind, RefType):
            return f"REF[s[{place}]]" if self.layout.numbered else f"s[{place}]" if width == 1 else f"l2(s + {place})"
        text = f"s[{place}]" if width == 1 else f"l2(s + {place})" if width == 2 else f"ldn(s + {place}, {width})"
        return text if kind.low == 0 else f"({text} + ({kind.low}))"

    def ranged(self, value: ir.Expr, kind: IntType | RefType, name: str, where: Position) -> str:
        """A value, with a check if it may leave the range of where it goes."""
        text, given = self.expr(value), value.type
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
                    return self.load(f"B + {self.frame.slots[node.var]}", node.var.type)
                if not node.var.transient:
                    self.declared.add(node.var)
                return self.name(node.var)
            case ir.Load():
                return self.load(self._noted(node.addr, "RD"), node.type)
            case ir.AddressOf():
                return f"({self.place(node.addr)})"
            case ir.NonNull():
                return f"nn(x, {self.expr(node.value)}, {self.site(node.where, node.name)})"
            case ir.Narrow():
                value = self.temp(self.expr(node.value))
                allowed = [f"{value} == {at}" for at in (0, *self.layout.instances_below(node.type.record))]
                self.out(f"if (!({' || '.join(allowed)})) fail(x, CLASS, {self.site(node.where, node.name)}, 0, 0, 0);")
                return value
            case ir.Fits():
                return self.ranged(node.value, node.type, node.name, node.where)
            case ir.Unary():
                return f"({'!' if node.op == 'not' else node.op}{self.expr(node.value)})"
            case ir.Binary():
                return self._binary(node)
            case ir.Compare():
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
        raise AssertionError(node)

    def stopping(self, text: str) -> str:
        """A value whose computation may end the step."""
        made = self.temp(text)
        self.out("if (x->stop) return 0;")
        return made

    def _in_array(self, node: ir.IndexOf | ir.IsUsed) -> str:
        place = node.array if isinstance(node, ir.IndexOf) else node.pool
        base, stride, count = self.pool(place)
        mark = len(self.lines)
        value = self.expr(node.value)
        if len(self.lines) != mark and not _constant(base):
            base = self._keep_at(mark, base)
        at = f"io(x, {base}, {value}, {stride}, {count}, {self.site(node.where)})"
        return at if isinstance(node, ir.IndexOf) else f"(s[RD({base} + {stride * count} + {at})] != 0)"

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
            if not 0 <= kind.low <= kind.high <= MAX_SHIFT or kind.high > 62:
                right = f"sh(x, {right}, {self.site(node.where)})"
            return f"((i64){left} * (1LL << {right}))" if node.op == "<<" else f"((i64){left} >> {right})"
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
            self.calls[node.function] = f"f{len(self.calls)}_{_safe(node.function.name)}"
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
        if node.kind == "count":
            self.out(f"{made} += {test} != 0;")
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
                if node.kind == "all":
                    test = ir.Logic("or", [ir.Unary("not", condition, BOOL), test])
                else:
                    test = ir.Logic("and", [condition, test])
            items.append(test)
        if node.kind == "count":
            total: ir.Expr = ir.Constant(0, IntType(0, 0))
            for item in items:
                one = ir.Compare("!=", item, ir.Constant(0, IntType(0, 0)))
                total = ir.Binary("+", total, one, IntType(0, len(items)), Position())
            return total
        if not items:
            return ir.Constant(int(node.kind == "all"), BOOL)
        return ir.Logic("and" if node.kind == "all" else "or", items)


def _constant(text: str) -> bool:
    """Whether a text is a number or a temporary: nothing that runs later changes it."""
    return text.lstrip("-(").rstrip(")").isdigit() or (text[:1] == "t" and text[1:].isdigit()) or text == "t"


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _path_name(addr: ir.Addr) -> str:
    names = []
    for step in addr.path:
        names.append(f"{step.record.__name__}.{step.name}" if isinstance(step, ir.FieldStep) else f"{step.name}[...]")
    return names[-1] if names else "?"
