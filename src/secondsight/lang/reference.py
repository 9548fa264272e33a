"""The reference executor: the checked program rendered to Python functions over a flat state.

Each step boundary, function entry, return site and join of control becomes one Python function `(s, B, t)`: the state,
the start of the thread's region and the thread's number. It runs to the next boundary and returns the changed state, or
None if the step cannot run to its end now. `Reference.source` is the text, names kept, a comment for each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from secondsight.lang import ir, support
from secondsight.lang.cfg import Block, Branch, CallTo, Exit, Jump
from secondsight.lang.errors import LangError, ModelError, OutOfRecords, Position, RuleBroken
from secondsight.lang.inline import substitute
from secondsight.lang.locks import Lock, RwLock, SpinLock
from secondsight.lang.program import Frame, Program, is_head
from secondsight.lang.records import Record, Shared
from secondsight.lang.types import ArrayType, IntType, RefType

__all__ = ["Reference", "Successor"]

UNROLL = 8
"""A generator over at most this many elements is written out."""


@dataclass(frozen=True, slots=True)
class Successor:
    """One step that can be taken: by which thread, with which choices, to which state; or the error it ends in."""

    thread: int
    choices: tuple[int, ...]
    state: bytes | None
    error: LangError | None = None


StepFunction = Callable[[Any, int, int], Any]


class Reference:
    """Runs a checked program's steps; see the module."""

    def __init__(self, program: Program) -> None:
        self.program = program
        renderer = _Renderer(program)
        self.source = renderer.render()
        self.choices = support.Choices()
        self.namespace: dict[str, Any] = {
            **support.functions(renderer.sites, self.choices), "Blocked": support.Blocked,
            **{f"TABLE_{_safe(n)}": row for n, row in program.machine.data.items()},
        }  # fmt: skip
        exec(compile(self.source, "<reference executor>", "exec"), self.namespace)
        self.steps: list[StepFunction | None] = [None, *(self.namespace[f"p{c.number}"] for c in program.counters)]
        self.threads = [(i, base, i + 1) for i, base in enumerate(program.bases)]
        self.wide = program.counter_width == 2
        self.initial = self._initial()

    def _initial(self) -> bytes:
        """Every thread run to its first boundary; that part must touch nothing shared."""
        state = bytearray(self.program.initial_shared + bytes(self.program.region * len(self.threads)))
        for (index, base, number), (root, arguments) in zip(self.threads, self.program.roots, strict=True):
            values = [self.program.argument(v, p) for v, p in zip(arguments, root.params, strict=True)]
            entry = self.namespace[f"e{_number(self.program, root)}"]
            result = entry(state, base, number, *values)
            if result is None:
                raise ModelError(f"thread {self.program.threads[index].name} blocks before its first step")
        return bytes(state)

    def counter(self, state: bytes, thread: int) -> int:
        """The program counter of a thread (0: ended)."""
        base = self.program.bases[thread]
        return state[base] << 8 | state[base + 1] if self.wide else state[base]

    def successors(self, state: bytes) -> list[Successor]:
        """Every step that can be taken from a state, in the order of threads and choices."""
        return [s for index in range(len(self.threads)) for s in self.thread_successors(state, index)]

    def thread_successors(self, state: bytes, thread: int) -> Iterator[Successor]:
        """The steps that one thread can take."""
        error: LangError | None
        step = self.steps[self.counter(state, thread)]
        if step is None:
            return
        _, base, number = self.threads[thread]
        choices = self.choices
        while True:
            try:
                result, error = step(state, base, number), None
            except support.Blocked:
                result = error = None
            except RecursionError:
                error = ModelError("a loop without a step boundary does not end")
            except (ModelError, RuleBroken) as raised:
                error = raised
            script = tuple(choices.script)
            if error is not None:
                yield Successor(thread, script, None, error)
            elif result is not None:
                yield Successor(thread, script, bytes(result))
            if not choices.script or not choices.advance():
                break
        choices.reset()

    def finished(self, state: bytes) -> bool:
        """Whether every thread that is not a daemon has ended."""
        return all(t.daemon or not self.counter(state, i) for i, t in enumerate(self.program.threads))


def _safe(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name)


def _number(program: Program, function: ir.Function) -> int:
    return list(program.frames).index(function)


class _Renderer:
    """Writes the Python text."""

    def __init__(self, program: Program) -> None:
        self.program, self.layout = program, program.layout
        self.lines: list[str] = []
        self.sites: list[tuple[Position, str]] = []
        self.site_numbers: dict[tuple[Position, str], int] = {}
        self.calls: dict[ir.Function, str] = {}
        self.queue: list[ir.Function] = []
        self.blocks: dict[Block, str] = {}
        self.names: dict[ir.Var, str] = {}
        self.frame: Frame | None = None
        self.result: IntType | RefType | None = None
        self.loops: list[ir.While] = []
        self.spinlocks = self.layout.instances(SpinLock)
        self.locks = [a for c in _lock_classes() for a in self.layout.instances(c)]
        self.rwlocks = self.layout.instances(RwLock)

    # The whole.

    def render(self) -> str:
        frames = list(self.program.frames.values())
        numbers = {id(f): i for i, f in enumerate(frames)}
        count = 0
        for frame in frames:
            for block in frame.flow.blocks:
                if block in self.program.number:
                    self.blocks[block] = f"p{self.program.number[block]}"
                elif is_head(frame.flow, block):
                    count += 1
                    self.blocks[block] = f"b{count}"
        self._finish_function()
        for frame in frames:
            self.frame = frame
            self._entry(frame, numbers[id(frame)])
            for block in frame.flow.blocks:
                if is_head(frame.flow, block) and not (block is frame.flow.entry and not self._needs_own(frame, block)):
                    self._head(block)
        self.frame = None
        while self.queue:
            self._plain_function(self.queue.pop())
        for frame in frames:
            self._returns(frame, numbers[id(frame)])
        return "\n".join(self.lines) + "\n"

    def _needs_own(self, frame: Frame, block: Block) -> bool:
        """Whether an entry block is also reached otherwise."""
        return block.boundary is not None or any(block in b.successors() for b in frame.flow.blocks)

    def out(self, depth: int, text: str) -> None:
        self.lines.append("    " * depth + text)

    def _finish_function(self) -> None:
        """What happens when a thread ends."""
        self.out(0, "def finish(s, B, t, rv=None):")
        for at in self.locks:
            self.out(1, f"if s[{at}] == t: left_held(t)")
        for at in self.rwlocks:
            owner, readers = at + self.layout.offset(RwLock, "owner"), at + self.layout.offset(RwLock, "readers")
            self.out(1, f"if s[{owner}] == t or s[{readers}] & (1 << (t - 1)): left_held(t)")
        self.out(1, "s[B] = 0" if self.program.counter_width == 1 else "s[B] = s[B + 1] = 0")
        self.out(1, "return s")
        self.out(0, "def spinning(s, t):")
        test = " or ".join(f"s[{at}] == t" for at in self.spinlocks) or "False"
        self.out(1, f"return {test}")

    def _entry(self, frame: Frame, number: int) -> None:
        """Entering a function: arguments to their places, then its first block."""
        flow = frame.flow
        params = [self.name(p) for p in flow.function.params]
        self.out(0, f"def e{number}({', '.join(['s', 'B', 't', *(f'a_{p}' for p in params)])}):  # {flow.function.name}")
        for var, param in zip(flow.function.params, params, strict=True):
            value = f"a_{param}"
            if isinstance(var.type, IntType):
                value = f"rg({value}, {var.type.low}, {var.type.high}, {self.site(flow.function.where, var.name)})"
            self._set(1, var, value)
        self._jump(1, flow.entry, set(flow.function.params), True, entering=True)

    def _returns(self, frame: Frame, number: int) -> None:
        """The table of return sites of a function that is called from several places."""
        if frame.return_slot is not None:
            names = ["finish", *(self.blocks[c.after] for c in frame.sites)]
            self.out(0, f"R{number} = ({', '.join(names)},)")

    def _head(self, block: Block) -> None:
        name = self.blocks[block]
        where = block.boundary.where if block.boundary else None
        extra = ", rv=None" if block.after_call is not None else ""
        comment = f"  # {where.file}:{where.line} {self.frame.flow.function.name}" if where and self.frame else ""
        self.out(0, f"def {name}(s, B, t{extra}):{comment}")
        call = block.after_call
        if call is not None and call.target is not None and not call.target.transient:
            assert isinstance(call.target.type, (IntType, RefType))
            self._set(1, call.target, "rv")
        self._block(1, block, block.boundary is None)

    # Blocks.

    def _block(self, depth: int, block: Block, copied: bool) -> None:
        """The statements of a block and its end. `copied`: the state is already our own to change."""
        assert self.frame is not None
        for stmt in block.statements:
            copied = self._statement(depth, stmt, copied)
        dirty = self.frame.flow.dirty_out(block)
        end = block.end
        match end:
            case Jump():
                self._jump(depth, end.target, dirty, copied)
            case Branch():
                copied = self._own(depth, copied, mutates(end.test))
                self.out(depth, f"if {self.expr(end.test)}:")
                self._jump(depth + 1, end.then, dirty, copied)
                self.out(depth, "else:")
                self._jump(depth + 1, end.other, dirty, copied)
            case CallTo():
                self._call_to(depth, end, dirty, copied)
            case Exit():
                self._exit(depth, end, dirty, copied)
            case None:
                raise AssertionError("a block without an end")

    def _own(self, depth: int, copied: bool, needed: bool = True) -> bool:
        """Make the state our own before it is changed."""
        if needed and not copied:
            self.out(depth, "s = bytearray(s)")
        return copied or needed

    def _jump(self, depth: int, target: Block, dirty: set[ir.Var], copied: bool, entering: bool = False) -> None:
        assert self.frame is not None
        if target.boundary is not None:
            self._own(depth, copied)
            self._zero(depth, dirty - target.live_in)
            self._set_counter(depth, self.program.number[target])
            self.out(depth, "return s")
        elif target in self.blocks and not (entering and not self._needs_own(self.frame, target)):
            self._own(depth, copied)
            self.out(depth, f"return {self.blocks[target]}(s, B, t)")
        else:
            self._block(depth, target, copied)

    def _set_counter(self, depth: int, number: int) -> None:
        if self.program.counter_width == 1:
            self.out(depth, f"s[B] = {number}")
        else:
            self.out(depth, f"s[B] = {number >> 8}; s[B + 1] = {number & 255}")

    def _zero(self, depth: int, dead: set[ir.Var]) -> None:
        assert self.frame is not None
        places = []
        for var in dead:
            if var in self.frame.slots:
                places += [self.frame.slots[var] + i for i in range(self.layout.width(var.type))]
        if places:
            self.out(depth, " = ".join(f"s[B + {p}]" for p in sorted(places)) + " = 0")

    def _call_to(self, depth: int, call: CallTo, dirty: set[ir.Var], copied: bool) -> None:
        assert self.frame is not None
        callee = self.program.frames[call.function]
        self._own(depth, copied)
        arguments = []
        for i, value in enumerate(call.arguments):
            self.out(depth, f"c{i} = {self.expr(value)}")
            arguments.append(f"c{i}")
        self._zero(depth, dirty - self.frame.flow.live_across(call))
        if callee.return_slot is not None:
            self.out(depth, f"s[B + {callee.return_slot}] = {callee.sites.index(call) + 1}")
        self.out(depth, f"return e{_number(self.program, call.function)}({', '.join(['s', 'B', 't', *arguments])})")

    def _exit(self, depth: int, end: Exit, dirty: set[ir.Var], copied: bool) -> None:
        assert self.frame is not None
        frame, result = self.frame, self.frame.flow.function.result
        self._own(depth, copied)
        value = "None"
        if end.value is not None and result is not None:
            self.out(depth, f"rv = {self._ranged(end.value, result, 'the result of ' + frame.flow.function.name, end.where)}")
            value = "rv"
        if frame.return_slot is not None:
            self.out(depth, f"r = s[B + {frame.return_slot}]; s[B + {frame.return_slot}] = 0")
        self._zero(depth, dirty)
        if frame.return_slot is not None:
            self.out(depth, f"return R{_number(self.program, frame.flow.function)}[r](s, B, t, {value})")
        elif frame.is_root:
            self.out(depth, "return finish(s, B, t)")
        else:
            self.out(depth, f"return {self.blocks[frame.sites[0].after]}(s, B, t, {value})")

    # Functions without boundaries.

    def _plain_function(self, function: ir.Function) -> None:
        params = [self.name(p) for p in function.params]
        self.out(0, f"def {self.calls[function]}({', '.join(['s', 'B', 't', *params])}):  # {function.name}")
        self.result = function.result
        for stmt in function.body:
            self._statement(1, stmt, True)
        self.out(1, "return None")

    # Statements.

    def _statement(self, depth: int, stmt: ir.Stmt, copied: bool) -> bool:
        """Write one statement; returns whether the state is our own afterwards."""
        match stmt:
            case ir.SetVar():
                slot = self.frame is not None and stmt.var in self.frame.slots
                copied = self._own(depth, copied, slot or mutates(stmt.value))
                self._set(depth, stmt.var, self._ranged(stmt.value, stmt.var.type, stmt.var.name, stmt.where))
            case ir.Store():
                copied = self._own(depth, copied)
                kind = stmt.addr.type
                assert isinstance(kind, (IntType, RefType))
                self._store(depth, self.place(stmt.addr), kind, self._ranged(stmt.value, kind, _path_name(stmt.addr), stmt.where))
            case ir.Free():
                copied = self._own(depth, copied)
                base, stride, count, fresh = self.pool(stmt.pool)
                self.out(depth, f"fr(s, {self.expr(stmt.value)}, {base}, {stride}, {count}, {fresh!r}, {self.site(stmt.where)})")
            case ir.Eval():
                copied = self._own(depth, copied, mutates(stmt.value))
                self.out(depth, self.expr(stmt.value))
            case ir.If():
                copied = self._own(depth, copied, _changes([stmt], self.frame))
                self.out(depth, f"if {self.expr(stmt.test)}:")
                self._suite(depth + 1, stmt.then)
                if stmt.other:
                    self.out(depth, "else:")
                    self._suite(depth + 1, stmt.other)
            case ir.While():
                copied = self._own(depth, copied, _changes([stmt], self.frame))
                if not stmt.step:
                    self.out(depth, "rounds = 0")
                self.out(depth, f"while {self.expr(stmt.test)}:")
                if not stmt.step:
                    self.out(depth + 1, f"rounds = still(rounds, {self.site(stmt.where)})")
                self.loops.append(stmt)
                self._suite(depth + 1, [*stmt.body, *stmt.step])
                self.loops.pop()
            case ir.Break():
                self.out(depth, "break")
            case ir.Continue():
                for step in self.loops[-1].step:
                    self._statement(depth, step, True)
                self.out(depth, "continue")
            case ir.Return():
                self._return(depth, stmt)
            case ir.Require():
                copied = self._own(depth, copied, mutates(stmt.test))
                site = self.site(stmt.where)
                if stmt.rule == OutOfRecords.rule:
                    self.out(depth, f"full({stmt.message!r}, {self.program.machine.bound(stmt.message)}, {site})")
                else:
                    self.out(depth, f"if not {self.expr(stmt.test)}: broken({stmt.rule!r}, {stmt.message!r}, {site})")
            case ir.Wait():
                copied = self._own(depth, copied, mutates(stmt.test))
                if stmt.sleeps and self.spinlocks:
                    self.out(
                        depth,
                        f"if spinning(s, t): broken('sleep-in-atomic', 'sleeps while it holds a spinlock', {self.site(stmt.where)})",
                    )
                self.out(depth, f"if not {self.expr(stmt.test)}: {'raise Blocked' if self.frame is None else 'return None'}")
            case _:
                raise AssertionError(f"{type(stmt).__name__} inside a step")
        return copied

    def _suite(self, depth: int, body: list[ir.Stmt]) -> None:
        for stmt in body:
            self._statement(depth, stmt, True)
        if not body:
            self.out(depth, "pass")

    def _return(self, depth: int, stmt: ir.Return) -> None:
        """A return from a function without boundaries."""
        if stmt.value is None:
            self.out(depth, "return None")
        else:
            assert self.result is not None
            self.out(depth, f"return {self._ranged(stmt.value, self.result, 'the result', stmt.where)}")

    def _ranged(self, value: ir.Expr, kind: IntType | RefType, name: str, where: Position) -> str:
        """A value, with a check if it may leave the range of where it goes."""
        text = self.expr(value)
        if (
            isinstance(kind, IntType)
            and isinstance(value.type, IntType)
            and not (kind.low <= value.type.low and value.type.high <= kind.high)
        ):
            return f"rg({text}, {kind.low}, {kind.high}, {self.site(where, name)})"
        return text

    def _set(self, depth: int, var: ir.Var, text: str) -> None:
        """Assign to a local: its place in the state, or a Python local."""
        if self.frame is not None and var in self.frame.slots:
            self._store(depth, f"B + {self.frame.slots[var]}", var.type, text)
        else:
            self.out(depth, f"{self.name(var)} = {text}")

    def _store(self, depth: int, place: str, kind: IntType | RefType, text: str) -> None:
        width = self.layout.width(kind)
        low = kind.low if isinstance(kind, IntType) else 0
        value = text if low == 0 else f"{text} - {low}" if low > 0 else f"{text} + {-low}"
        if width == 1:
            self.out(depth, f"s[{place}] = {value}")
        else:
            self.out(depth, f"st(s, {place}, {width}, {value})")

    # Expressions.

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
            self.names[var] = f"v{len(self.names)}_{_safe(var.name)}"
        return self.names[var]

    def place(self, addr: ir.Addr) -> str:
        """An offset as Python text: constants folded."""
        constant, terms = self._terms(addr)
        if not terms:
            return str(constant)
        return " + ".join([*terms, str(constant)] if constant else terms)

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
            elif kind.low >= 0 and kind.high < count:
                terms = [*terms, f"{self.expr(index)} * {stride}"]
            else:
                terms = [*terms, f"ix({self.expr(index)}, {count}, {self.site(step.where, step.name)}) * {stride}"]
        return constant, terms

    def pool(self, addr: ir.Addr) -> tuple[str, int, int, bytes]:
        """Base, stride, size and a zeroed record of a pool."""
        kind = addr.type
        assert isinstance(kind, ArrayType)
        record = kind.element.record  # type: ignore[union-attr]
        return self.place(addr), self.layout.size(kind.element), self.program.machine.bound(kind.size), self.layout.fresh(record)

    def load(self, place: str, kind: IntType | RefType) -> str:
        width = self.layout.width(kind)
        low = kind.low if isinstance(kind, IntType) else 0
        text = f"s[{place}]" if width == 1 else f"ld(s, {place}, {width})"
        return text if low == 0 else f"({text} + {low})" if low > 0 else f"({text} - {-low})"

    def expr(self, node: ir.Expr) -> str:
        """An expression as Python text; always safe to put next to an operator."""
        match node:
            case ir.Constant():
                return str(node.value) if node.value >= 0 else f"({node.value})"
            case ir.Local():
                if self.frame is not None and node.var in self.frame.slots:
                    return self.load(f"B + {self.frame.slots[node.var]}", node.var.type)
                return self.name(node.var)
            case ir.Load():
                return self.load(self.place(node.addr), node.type)
            case ir.AddressOf():
                constant, terms = self._terms(node.addr)
                return str(constant) if not terms else f"({self.place(node.addr)})"
            case ir.NonNull():
                return f"nn({self.expr(node.value)}, {self.site(node.where, node.name)})"
            case ir.Unary():
                return f"(not {self.expr(node.value)})" if node.op == "not" else f"({node.op}{self.expr(node.value)})"
            case ir.Binary():
                left, right = self.expr(node.left), self.expr(node.right)
                if node.op in ("min", "max"):
                    return f"{node.op}({left}, {right})"
                if (
                    node.op in ("//", "%")
                    and isinstance(node.right.type, IntType)
                    and node.right.type.low <= 0 <= node.right.type.high
                ):
                    right = f"nz({right}, {self.site(node.where)})"
                if (
                    node.op in ("<<", ">>")
                    and isinstance(node.right.type, IntType)
                    and not 0 <= node.right.type.low <= node.right.type.high <= 64
                ):
                    right = f"sh({right}, {self.site(node.where)})"
                return f"({left} {node.op} {right})"
            case ir.Compare():
                return f"({self.expr(node.left)} {node.op} {self.expr(node.right)})"
            case ir.Logic():
                return "(" + f" {node.op} ".join(self.expr(i) for i in node.items) + ")"
            case ir.Conditional():
                return f"({self.expr(node.then)} if {self.expr(node.test)} else {self.expr(node.other)})"
            case ir.TableItem():
                table = f"TABLE_{_safe(node.table)}"
                return f"{table}[ix({self.expr(node.index)}, len({table}), {self.site(node.where, node.table)})]"
            case ir.TableSize():
                return f"len(TABLE_{_safe(node.table)})"
            case ir.Current():
                return "t"
            case ir.ClassIs():
                return f"({self.expr(node.value)} in {tuple(self.layout.instances(node.record))!r})"
            case ir.IndexOf():
                base, stride, count, _ = self.pool(node.array)
                return f"io({self.expr(node.value)}, {base}, {stride}, {count}, {self.site(node.where)})"
            case ir.IsUsed():
                base, stride, count, _ = self.pool(node.pool)
                return f"us(s, {self.expr(node.value)}, {base}, {stride}, {count}, {self.site(node.where)})"
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
                if node.function not in self.calls:
                    self.calls[node.function] = f"f{len(self.calls)}_{_safe(node.function.name)}"
                    self.queue.append(node.function)
                arguments = [
                    self._ranged(a, p.type, p.name, node.function.where)
                    for a, p in zip(node.arguments, node.function.params, strict=True)
                ]
                return f"{self.calls[node.function]}({', '.join(['s', 'B', 't', *arguments])})"
        raise AssertionError(node)

    def _generator(self, node: ir.Quantifier | ir.ChooseWhere) -> str:
        text = f"for {self.name(node.var)} in range({self.expr(node.start)}, {self.expr(node.stop)})"
        for var, value in node.bindings:
            text += f" for {self.name(var)} in ({self.expr(value)},)"
        return text + (f" if {self.expr(node.condition)}" if node.condition is not None else "")

    def _quantifier(self, node: ir.Quantifier) -> str:
        start, stop = node.start, node.stop
        if isinstance(start, ir.Constant) and isinstance(stop, ir.Constant) and stop.value - start.value <= UNROLL:
            items = []
            for i in range(start.value, stop.value):
                table: dict[ir.Var, ir.Expr] = {node.var: ir.Constant(i, IntType(i, i))}
                for var, value in node.bindings:
                    table[var] = substitute(value, table)
                test = substitute(node.test, table)
                if node.condition is not None:
                    condition = substitute(node.condition, table)
                    if node.kind == "all":
                        test = ir.Logic("or", [ir.Unary("not", condition, IntType(0, 1, "bool")), test])
                    else:
                        test = ir.Logic("and", [condition, test])
                items.append(self.expr(test))
            if node.kind == "count":
                return "(" + " + ".join(f"bool({i})" for i in items) + ")" if items else "0"
            if not items:
                return "True" if node.kind == "all" else "False"
            return "(" + (" and " if node.kind == "all" else " or ").join(items) + ")"
        kind = "sum" if node.kind == "count" else node.kind
        item = f"bool({self.expr(node.test)})" if node.kind == "count" else self.expr(node.test)
        return f"{kind}({item} {self._generator(node)})"


def mutates(node: ir.Expr) -> bool:
    """Whether evaluating an expression may change the state."""
    return any(isinstance(n, ir.Alloc) or (isinstance(n, ir.Call) and _function_mutates(n.function)) for n in ir.walk(node))


def _function_mutates(function: ir.Function) -> bool:
    return any(
        isinstance(s, (ir.Store, ir.Free)) or any(mutates(e) for e in ir.expressions(s)) for s in ir.statements(function.body)
    )


def _changes(body: list[ir.Stmt], frame: Frame | None) -> bool:
    """Whether statements may change the state, a local kept in it included."""
    return any(
        isinstance(s, (ir.Store, ir.Free)) or (isinstance(s, ir.SetVar) and frame is not None and s.var in frame.slots)
        or any(mutates(e) for e in ir.expressions(s))
        for s in ir.statements(body)
    )  # fmt: skip


def _path_name(addr: ir.Addr) -> str:
    names = []
    for step in addr.path:
        names.append(f"{step.record.__name__}.{step.name}" if isinstance(step, ir.FieldStep) else f"{step.name}[...]")
    return names[-1] if names else "?"


def _lock_classes() -> list[type[Record]]:
    return [Lock, *Lock.__subclasses__()]
