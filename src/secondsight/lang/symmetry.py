"""Records up to renaming: states that differ only in which of several interchangeable records is which are one state.

A record class says `interchangeable = True`. Its records lie in one array (`shared_array`, not a pool: a pool gives out the
first free one, which renaming would change). A renaming moves the records' contents and changes every reference to them, in
the shared state and in the threads' live locals, and every number of one in these (`array.index(record)`, see
`lang.numbers`). That keeps the program's steps only if the program cannot tell the records apart but by reference, number and
contents, so everything else turns the reduction off, with a reason: a number of one that is computed with, a place in the
array that is computed, a loop over the array, a generator over it in which something can fail (which record fails first
depends on the order), a record of another class embedded in it, what is watched of final states. `array[3]` with a constant
3, and a record that is a thread's argument, stay where they are; the others are renamed. Under these conditions a renaming
maps steps to steps, so a state and its renamings reach the same errors, deadlocks, final states and rounds without an end.

`canonical(u8 *)` in the rendered text renames in the order of first use: the shared references from the start of the state
on, the threads' locals, the numbers in these, then the references within records already renamed; unused records go by their contents. Any
renaming would be sound: the order only decides how many states fall together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from secondsight.lang import ir, tree
from secondsight.lang.cfg import CallTo
from secondsight.lang.layout import Layout
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.numbers import BASE, Kind, Numbers, Told
from secondsight.lang.program import Frame, Program
from secondsight.lang.records import Record
from secondsight.lang.types import ArrayType, IntType, RecordType, RefType, Type

__all__ = ["Symmetry", "canonical", "symmetry_of"]

_SAFE = (ir.Constant, ir.Local, ir.Load, ir.AddressOf, ir.Compare, ir.Logic, ir.Current, ir.ClassIs)
"""What can be evaluated for any record of an array without an error."""


@dataclass
class Symmetry:
    """An array whose records may be renamed: where it lies, and the places in it that stay."""

    record: type[Record]
    base: int
    stride: int
    count: int
    fixed: set[int] = field(default_factory=set)
    numbers: Numbers | None = None

    @property
    def name(self) -> tuple[object, ...]:
        """Everything that the rendered text depends on."""
        return self.record.__qualname__, self.base, self.stride, self.count, tuple(sorted(self.fixed))

    def inside(self, offset: int) -> bool:
        """Whether a byte of the shared state is within the array."""
        return self.base <= offset < self.base + self.stride * self.count

    def names(self, kind: Type) -> bool:
        """Whether it is a reference that can be to one of the records."""
        return isinstance(kind, RefType) and (issubclass(self.record, kind.record) or issubclass(kind.record, self.record))

    def mine(self, kind: Type) -> bool:
        """Whether it is the array of the records."""
        return isinstance(kind, ArrayType) and isinstance(kind.element, RecordType) and kind.element.record is self.record

    def same_as(self, size: int) -> list[int]:
        """For each byte of the shared state one that stands for all that it may be renamed to."""
        free = [i for i in range(self.count) if i not in self.fixed]
        out = list(range(size))
        for i in free:
            for k in range(self.stride):
                out[self.base + i * self.stride + k] = self.base + free[0] * self.stride + k
        return out


def symmetry_of(program: Program, watch: tuple[int, int] | None = None) -> tuple[Symmetry | None, str]:
    """The interchangeable records of a program, or None and why there are none. `watch`: the part of final states that counts."""
    layout = program.layout
    found = [d for d in layout.declarations if isinstance(d.kind, ArrayType) and _declared(d.kind.element)]
    classes = {k for _, k in layout.records if getattr(k, "interchangeable", False)}
    if not classes:
        return None, ""
    if len(found) != 1 or len(classes) != 1:
        return None, "interchangeable records of one class in one array are wanted"
    kind = found[0].kind
    assert isinstance(kind, ArrayType) and isinstance(kind.element, RecordType)
    record = kind.element.record
    made = Symmetry(record, layout.base[found[0]], layout.size(kind.element), layout.machine.bound(kind.size))
    try:
        if kind.pool:
            raise Told("they are in a pool, which gives out the first free one")
        for at, other in layout.records:
            if (other is record) != (made.inside(at) and (at - made.base) % made.stride == 0):
                raise Told(f"{other.__name__} records lie in or beside them")
            if made.inside(at) and issubclass(other, (Lock, RwLock)):
                raise Told("a lock lies in them")
        references = {p + k for p in _references(layout, made) for k in range(layout.ref_width)}
        if watch is not None and any(made.inside(i) or i in references for i in range(*watch)):
            raise Told("what is watched of final states names them")
        for root, arguments in program.roots:
            for var, value in zip(root.params, arguments, strict=True):
                if isinstance(var.type, RefType):
                    at = program.argument(program.threads[0], value, var)
                    if made.inside(at):
                        made.fixed.add((at - made.base) // made.stride)
        why_not, fixed = program.code.fact(f"told apart, but for {sorted(made.fixed)}", lambda: _looked(program, made))
        if why_not:
            raise Told(why_not)
        made.fixed.update(fixed)
    except Told as why:
        return None, f"{record.__name__}: {why}"
    if made.count - len(made.fixed) < 2:
        return None, f"{record.__name__}: fewer than two can be renamed"
    return made, ""


def _looked(program: Program, symmetry: Symmetry) -> tuple[str, list[int]]:
    """What in the code tells the records apart, if anything does; those that stay where they are."""
    functions = list(_reached(program))
    try:
        symmetry.numbers = _numbers_in(program, symmetry, functions)
        for function in functions:
            _Checker(symmetry).body(function.body)
        _fits(symmetry, functions)
    except Told as why:
        return str(why), []
    return "", sorted(symmetry.fixed)


def _numbers_in(program: Program, symmetry: Symmetry, functions: list[ir.Function]) -> Numbers:
    return Numbers(functions, symmetry.mine, program.code.linked.roots.values())


def _fits(symmetry: Symmetry, functions: list[ir.Function]) -> None:
    """Every integer that holds a number of one must have room for all; else which of them do not fit tells them apart."""
    numbers = symmetry.numbers
    assert numbers is not None
    held = [(v.name, v.type, kind) for v, kind in numbers.vars.items()]
    held += [(f.name, f.result, numbers.results[f]) for f in functions if f.result is not None and f in numbers.results]
    for name, kind, holds in held:
        if (
            isinstance(kind, IntType)
            and holds in (Kind.FOUND, Kind.PLACE)
            and not kind.low <= 0 <= symmetry.count - 1 <= kind.high
        ):
            raise Told(f"{name} has no room for the number of each of them")
        if isinstance(kind, IntType) and holds is Kind.LIST and (kind.low or not _is_power(kind.high + 1)):
            raise Told(f"{name}, a list of numbers of them, has a range other than 0 to a power of {BASE} less 1")
    if numbers.lists and (0 not in symmetry.fixed or symmetry.count > BASE):
        raise Told(f"a list of numbers of them, and the first may be renamed or there are more than {BASE}")


def _is_power(number: int) -> bool:
    while number > 1 and number % BASE == 0:
        number //= BASE
    return number == 1


def _declared(kind: Type) -> bool:
    return isinstance(kind, RecordType) and bool(getattr(kind.record, "interchangeable", False))


def _reached(program: Program) -> Iterator[ir.Function]:
    """Every function that the threads can come to."""
    todo = list(program.code.linked.roots.values())
    seen = set(todo)
    for function in todo:
        yield function
        for stmt in tree.statements(function.body):
            called = [stmt.function] if isinstance(stmt, ir.YieldCall) else []
            called += [n.function for e in tree.expressions(stmt) for n in tree.walk(e) if isinstance(n, ir.Call)]
            for other in called:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)


class _Checker:
    """Looks for what tells records apart by their place."""

    def __init__(self, symmetry: Symmetry) -> None:
        self.symmetry = symmetry

    def body(self, body: list[ir.Stmt]) -> None:
        """All statements of a function."""
        for stmt in tree.statements(body):
            if isinstance(stmt, ir.Store):
                self.addr(stmt.addr, frozenset())
                self.expr(stmt.value, frozenset())
            elif isinstance(stmt, ir.Free):
                self.array(stmt.pool, "they are freed")
                self.addr(stmt.pool, frozenset())
                self.expr(stmt.value, frozenset())
            else:
                for node in tree.expressions(stmt):
                    self.expr(node, frozenset())

    def array(self, addr: ir.Addr, why: str) -> None:
        """Refuse what is done with the array as a whole."""
        if self.symmetry.mine(addr.type):
            raise Told(why)

    def addr(self, addr: ir.Addr, bound: frozenset[ir.Var]) -> None:
        """A place: how it is computed."""
        if isinstance(addr.root, ir.Expr):
            self.expr(addr.root, bound)
        for step in addr.path:
            if not isinstance(step, ir.IndexStep):
                continue
            index = step.index
            if not self.symmetry.mine(step.array):
                self.expr(index, bound)
            elif isinstance(index, ir.Constant):
                self.symmetry.fixed.add(index.value)
            elif (
                isinstance(index, ir.Choose) and isinstance(index.count, ir.Constant) and index.count.value == self.symmetry.count
            ):
                pass
            elif not (isinstance(index, ir.Local) and index.var in bound):
                assert self.symmetry.numbers is not None
                if bound or self.symmetry.numbers.of(index) not in (Kind.FOUND, Kind.PLACE):
                    raise Told("one is found by a number that is computed")
                self.expr(index, bound)

    def expr(self, node: ir.Expr, bound: frozenset[ir.Var]) -> None:
        """An expression; `bound`: the numbers of generators over the array, which may be used for nothing but places in it."""
        match node:
            case ir.Local() if node.var in bound:
                raise Told("the number of one in a generator is used as a value")
            case ir.Load() | ir.AddressOf():
                self.addr(node.addr, bound)
            case ir.IndexOf(array=place) | ir.IsUsed(pool=place):
                if isinstance(node, ir.IsUsed):
                    self.array(place, "they are in a pool")
                self.addr(place, bound)
                self.expr(node.value, bound)
            case ir.Alloc():
                self.array(node.pool, "they are in a pool")
                self.addr(node.pool, bound)
            case ir.Quantifier() | ir.ChooseWhere():
                self.generator(node, bound)
            case _:
                for part in tree.parts(node):
                    self.expr(part, bound)

    def generator(self, node: ir.Quantifier | ir.ChooseWhere, bound: frozenset[ir.Var]) -> None:
        """A generator: over the array if its number is used to find one of the records."""
        items = [value for _, value in node.bindings]
        items += [node.condition] if node.condition is not None else []
        items += [node.test] if isinstance(node, ir.Quantifier) else [node.result]
        if any(self.finds(part, node.var) for item in items for part in tree.walk(item)):
            start, stop = node.start, node.stop
            whole = isinstance(start, ir.Constant) and isinstance(stop, ir.Constant) and start.value == 0
            if not whole or not isinstance(stop, ir.Constant) or stop.value != self.symmetry.count:
                raise Told("a generator goes over some of them")
            for item in items:
                for part in tree.walk(item):
                    if not isinstance(part, _SAFE) and not (isinstance(part, ir.Unary) and part.op == "not"):
                        raise Told(f"a generator over them has {type(part).__name__} in it")
            bound = bound | {node.var}
        else:
            self.expr(node.start, bound)
            self.expr(node.stop, bound)
        for item in items:
            self.expr(item, bound)

    def finds(self, node: ir.Expr, var: ir.Var) -> bool:
        """Whether an expression finds a record of the array by a number."""
        if not isinstance(node, (ir.Load, ir.AddressOf)):
            return False
        steps = [s for s in node.addr.path if isinstance(s, ir.IndexStep)]
        return any(self.symmetry.mine(s.array) and isinstance(s.index, ir.Local) and s.index.var is var for s in steps)


# Where references lie.


def _references(layout: Layout, symmetry: Symmetry) -> Iterator[int]:
    """The places of all references in the shared state that can be to one of the records."""

    def visit(kind: Type, at: int) -> Iterator[int]:
        if isinstance(kind, RefType):
            if symmetry.names(kind):
                yield at
        elif isinstance(kind, RecordType):
            for name, inner in kind.record.fields().items():
                yield from visit(inner, at + layout.offset(kind.record, name))
        elif isinstance(kind, ArrayType):
            for i in range(layout.machine.bound(kind.size)):
                yield from visit(kind.element, at + i * layout.size(kind.element))

    for declaration in layout.declarations:
        yield from visit(declaration.kind, layout.base[declaration])


Picked = Callable[[Frame, set[ir.Var]], list[str]]
"""Of a frame's live locals those that are wanted, as text."""


def _slots(symmetry: Symmetry) -> Picked:
    """Those that can refer to one of the records: where they lie."""

    def pick(frame: Frame, live: set[ir.Var]) -> list[str]:
        found = sorted(frame.slots[v] for v in live if v in frame.slots and symmetry.names(v.type))
        return [f"B + {at}" for at in found]

    return pick


def _numbers(symmetry: Symmetry) -> Picked:
    """Those that are numbers of the records."""
    numbers = symmetry.numbers
    assert numbers is not None

    def pick(frame: Frame, live: set[ir.Var]) -> list[str]:
        found = []
        for var in sorted((v for v in live if v in frame.slots), key=lambda v: frame.slots[v]):
            kind = numbers.kind(var)
            if isinstance(var.type, IntType) and kind in (Kind.FOUND, Kind.PLACE, Kind.LIST):
                parts = frame.slots[var], var.type.low, var.type.width, int(kind is Kind.LIST)
                found.append("(ss_number){{ B + {}, {}, {}, {} }}".format(*parts))
        return found

    return pick


def canonical(program: Program, symmetry: Symmetry) -> list[str]:
    """`canonical(u8 *)` as C text."""
    layout = program.layout
    if symmetry.numbers is None:  # what is known of the records came from the cache folder
        symmetry.numbers = _numbers_in(program, symmetry, list(_reached(program)))
    width = layout.ref_width
    outside = [p for p in _references(layout, symmetry) if not symmetry.inside(p)]
    within = [p - symmetry.base for p in _references(layout, symmetry) if symmetry.base <= p < symmetry.base + symmetry.stride]
    reference = "REF[s[at]]" if layout.numbered else "s[at]" if width == 1 else "l2(s + at)"
    store = "s[at] = NUM[to]" if layout.numbered else "s[at] = (u8)to" if width == 1 else "s2(s + at, to)"
    lines = [
        "#define SS_CANONICAL",
        f"enum {{ SAME = {symmetry.base}, SAME_SIZE = {symmetry.stride}, SAMES = {symmetry.count} }};",
        f"enum {{ OUTSIDE = {len(outside)}, WITHIN = {len(within)} }};",
        f"static const u16 OUTSIDE_AT[] = {{ {', '.join(map(str, outside or [0]))} }};",
        f"static const u16 WITHIN_AT[] = {{ {', '.join(map(str, within or [0]))} }};",
        f"static const u8 STAYS[] = {{ {', '.join(str(int(i in symmetry.fixed)) for i in range(symmetry.count))} }};",
        f"static inline i64 reference_at(const u8 *s, i64 at) {{ return {reference}; }}",
        f"static inline void refer_to(u8 *s, i64 at, i64 to) {{ {store}; }}",
        "typedef struct { i64 at, low; i32 width, list; } ss_number;",
        *_live(program, "live_references", "i64", _slots(symmetry)),
        *_live(program, "live_numbers", "ss_number", _numbers(symmetry)),
        f"enum {{ MOST_REFERENCES = OUTSIDE + THREADS * {program.region} + 1, MOST_NUMBERS = THREADS * {program.region} + 1 }};",
        f"enum {{ LIST_BASE = {BASE} }};",
    ]
    return [*lines, _RENAME]


def _live(program: Program, name: str, kind: str, pick: Picked) -> list[str]:
    """A function that gives some of a thread's live locals, those of its callers too."""
    frames = list(program.frames.values())
    number = {id(f): i for i, f in enumerate(frames)}
    owner: dict[int, Frame] = {id(b.end): f for f in frames for b in f.flow.blocks if isinstance(b.end, CallTo)}

    def outs(found: list[str]) -> str:
        return "".join(f" out[n++] = {one};" for one in found)

    lines = [
        f"static int {name}(const u8 *s, i64 B, {kind} *out)",
        "{",
        "\tint n = 0, frame = -1;",
        "\tswitch (counter_of(s, B)) {",
    ]
    for counter in program.counters:
        slots = pick(counter.frame, counter.block.live_in)
        lines.append(f"\tcase {counter.number}:{outs(slots)} frame = {number[id(counter.frame)]}; break;")
    lines += ["\t}", "\tfor (;;)", "\t\tswitch (frame) {"]
    for frame in frames:
        if not frame.sites:
            continue
        lines += [f"\t\tcase {number[id(frame)]}:"]
        place = f"s[B + {frame.return_slot}]" if frame.return_slot is not None else "1"
        lines += [f"\t\t\tswitch ({place}) {{"]
        for i, site in enumerate(frame.sites, 1):
            caller = owner[id(site)]
            slots = pick(caller, caller.flow.live_across(site))
            lines.append(f"\t\t\tcase {i}:{outs(slots)} frame = {number[id(caller)]}; break;")
        lines += ["\t\t\tdefault: return n;", "\t\t\t}", "\t\t\tbreak;"]
    return [*lines, "\t\tdefault: return n;", "\t\t}", "}"]


_RENAME = """\
static inline int which(i64 reference)
{
	return reference >= SAME && reference < SAME + SAME_SIZE * SAMES ? (int)((reference - SAME) / SAME_SIZE) : -1;
}

static inline void renamed(u8 *s, i64 at, const u16 *name)
{
	i64 to = reference_at(s, at);
	int i = which(to);
	if (i >= 0)
		refer_to(s, at, to + (name[i] - i) * SAME_SIZE);
}

static inline i64 number_at(const u8 *s, const ss_number *n) { return ldn(s + n->at, n->width) + n->low; }

/* Rename the interchangeable records in the order of their first use. */
static void canonical(u8 *s)
{
	i64 places[MOST_REFERENCES];
	ss_number numbers[MOST_NUMBERS];
	u16 name[SAMES];
	u8 known[SAMES], moved[SAME_SIZE * SAMES];
	int count = 0, counted = 0, next = 0, done = 0, changed = 0;
	for (int i = 0; i < OUTSIDE; i++)
		places[count++] = OUTSIDE_AT[i];
	for (int t = 0; t < THREADS; t++) {
		count += live_references(s, BASE[t], places + count);
		counted += live_numbers(s, BASE[t], numbers + counted);
	}
	for (int i = 0; i < SAMES; i++) {
		known[i] = STAYS[i];
		name[i] = (u16)i;
	}
	int queue[SAMES], queued = 0;
	for (int i = 0; i < SAMES; i++)
		if (STAYS[i])
			queue[queued++] = i;
	int k = 0, number = 0;
	i64 digits = 0;
	for (;;) {
		i64 at;
		int i;
		if (k < count) {
			at = places[k++];
		} else if (digits || number < counted) {
			if (!digits) {
				const ss_number *n = &numbers[number++];
				digits = number_at(s, n);
				if (!n->list)
					digits = digits >= 0 && digits < SAMES ? -1 - digits : 0;
				if (!digits)
					continue;
			}
			i = (int)(digits < 0 ? -1 - digits : digits % LIST_BASE);
			digits = digits < 0 ? 0 : digits / LIST_BASE;
			goto used;
		} else if (done < queued * WITHIN) {
			at = SAME + queue[done / (WITHIN ? WITHIN : 1)] * SAME_SIZE + WITHIN_AT[done % (WITHIN ? WITHIN : 1)];
			done++;
		} else
			break;
		i = which(reference_at(s, at));
	used:
		if (i < 0 || i >= SAMES || known[i])
			continue;
		while (STAYS[next]) /* ends: i has no name yet, so a place is free */
			next++;
		known[i] = 1;
		name[i] = (u16)next++;
		queue[queued++] = i;
	}
	int rest[SAMES], left = 0;
	for (int i = 0; i < SAMES; i++) {
		if (known[i])
			continue;
		int j = left++;
		while (j > 0 && memcmp(s + SAME + rest[j - 1] * SAME_SIZE, s + SAME + i * SAME_SIZE, SAME_SIZE) > 0) {
			rest[j] = rest[j - 1];
			j--;
		}
		rest[j] = i;
	}
	for (int j = 0; j < left; j++) {
		while (STAYS[next])
			next++;
		name[rest[j]] = (u16)next++;
	}
	for (int i = 0; i < SAMES; i++)
		changed |= name[i] != i;
	if (!changed)
		return;
	for (int i = 0; i < SAMES; i++)
		memcpy(moved + name[i] * SAME_SIZE, s + SAME + i * SAME_SIZE, SAME_SIZE);
	memcpy(s + SAME, moved, sizeof moved);
	for (int i = 0; i < SAMES; i++)
		for (int j = 0; j < WITHIN; j++)
			renamed(s, SAME + i * SAME_SIZE + WITHIN_AT[j], name);
	for (int i = 0; i < count; i++)
		renamed(s, places[i], name);
	for (int i = 0; i < counted; i++) {
		const ss_number *n = &numbers[i];
		i64 old = number_at(s, n), new = old;
		if (n->list) {
			new = 0;
			for (i64 unit = 1; old; old /= LIST_BASE, unit *= LIST_BASE)
				new += unit * (old % LIST_BASE < SAMES ? name[old % LIST_BASE] : old % LIST_BASE);
		} else if (old >= 0 && old < SAMES) {
			new = name[old];
		}
		stn(s + n->at, new - n->low, n->width);
	}
}
"""
