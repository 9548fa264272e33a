"""The checked program as Python text, for the reference executor.

Each step boundary, function entry, return site and join of control becomes one Python function `(s, B, t)`: the state,
the start of the thread's region and the thread's number. It runs to the next boundary and returns the changed state, or
None (or raises `Blocked`) if the step cannot run to its end now. The state it is given stays as it is: it is copied
before the first change.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from types import CodeType

from secondsight.lang import ir, stored, tree
from secondsight.lang.cfg import Block, Branch, CallTo, Exit, Jump
from secondsight.lang.errors import OutOfRecords, Position
from secondsight.lang.locks import Lock, RwLock, SpinLock
from secondsight.lang.overlaid import dead_bits
from secondsight.lang.program import Frame, Program, is_head
from secondsight.lang.render_expressions import ExpressionRenderer
from secondsight.lang.render_order import FunctionOrder
from secondsight.lang.types import IntType, RefType

__all__ = ["PythonRenderer", "PythonText", "render"]

WORTH_KEEPING = 25_000
"""Characters of a model's functions whose code is kept for the edits of a user's to come."""
SITE = IntType(0, 255)
"""What says where a function was called from."""


@dataclass
class PythonText:
    """The Python text, ready to be run too, and what its numbers and names stand for: places in the source, tables by the name
    of their constant. `text` is empty where it came from the cache folder."""

    text: str
    sites: list[tuple[Position, str]]
    tables: dict[str, str]

    compiled: tuple[CodeType, ...]
    """The functions of the model, then those of users and what is left."""


def render(program: Program) -> PythonText:
    """The text of a program; good for every program that shares its code."""
    return PythonRenderer(program).whole()


class PythonRenderer(ExpressionRenderer, FunctionOrder):
    """Writes the functions. `entered`, `left` and `freed` are for who wants to know what a step does (`lang.traced`)."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.lines: list[str] = []
        self.model = 0  # the lines of them that are the model's functions, when all are written
        self.blocks: dict[Block, str] = {}
        self.result: ir.ResultType | None = None
        self.function: ir.Function | None = None
        self.loops: list[ir.While] = []
        self.rounds = 0
        self.spinlocks = self.layout.instances_below(SpinLock)
        self.locks = self.layout.instances_below(Lock)
        self.rwlocks = self.layout.instances_below(RwLock)

    def entered(self, depth: int, function: ir.Function, arguments: list[str]) -> None:
        """Write what is to happen where a function begins."""

    def left(self, depth: int, function: ir.Function | None, value: str) -> str:
        """Write what is to happen where a function returns a value; the value, as text that may be used once."""
        return value

    def freed(self, depth: int, where: Position) -> None:
        """Write what is to happen where a record was freed."""

    # The whole.

    def whole(self) -> PythonText:
        """The text, ready to be run."""
        text = self.render()
        pieces = "\n".join(self.lines[: self.model]) + "\n", "\n".join(self.lines[self.model :]) + "\n"
        compiled = [partial(compile, piece, "<reference executor>", "exec") for piece in pieces]
        is_mixed = len(pieces[0]) > WORTH_KEEPING and any(f.is_users for f in self.program.frames)
        model = stored.piece(pieces[0], compiled[0]) if is_mixed else compiled[0]()
        return PythonText(text, self.sites, dict(self.tables), (model, compiled[1]()))

    def render(self) -> str:
        """The whole text."""
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
        self._functions(of_users=False)
        self.model = len(self.lines)
        self._functions(of_users=True)
        if self.lifetimes.freed_at:
            self.out(0, f"FREED_AT = {self.lifetimes.freed_at!r}")
        for frame in frames:
            self._returns(frame, numbers[id(frame)])
        for records, name in self.number_tables.items():
            self.out(0, f"{name} = {{{', '.join(f'{at}: {i}' for i, at in enumerate(records))}}}")
        return "\n".join(self.lines) + "\n"

    def out(self, depth: int, text: str) -> None:
        """Write a line."""
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

    def _number(self, function: ir.Function) -> int:
        return list(self.program.frames).index(function)

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
        self.entered(1, flow.function, [f"a_{p}" for p in params])
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
            self._set(1, call.target, "rv")
        self._block(1, block, block.boundary is None)

    # Blocks.

    def _block(self, depth: int, block: Block, copied: bool) -> None:
        """The statements of a block and its end. `copied`: the state is already our own to change."""
        assert self.frame is not None
        if block.round_of is not None:
            copied = self._own(depth, copied)
            self.out(depth, f"again(s, {self.site(block.round_of)})")
        for stmt in block.statements:
            copied = self._statement(depth, stmt, copied)
        dirty = self.frame.flow.dirty_out(block)
        end = block.end
        match end:
            case Jump():
                self._jump(depth, end.target, dirty, copied)
            case Branch():
                copied = self._own(depth, copied, tree.mutates(end.test))
                self.out(depth, f"if {self.expr(end.test)}:")
                self._jump(depth + 1, end.then, dirty, copied)  # which returns
                self._jump(depth, end.other, dirty, copied)
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
            self._zero(depth, dirty, target.live_in)
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

    def _zero(self, depth: int, dirty: set[ir.Var], alive: set[ir.Var]) -> None:
        assert self.frame is not None
        taken = dead_bits(self.frame.slots, dirty - alive, alive)
        whole = [at for at, mask in taken.items() if mask == 255]
        if whole:
            self.out(depth, " = ".join(f"s[B + {at}]" for at in whole) + " = 0")
        for at, mask in taken.items():
            if mask != 255:
                self.out(depth, f"s[B + {at}] &= {255 & ~mask}")

    def _call_to(self, depth: int, call: CallTo, dirty: set[ir.Var], copied: bool) -> None:
        assert self.frame is not None
        callee = self.program.frames[call.function]
        self._own(depth, copied)
        arguments = []
        for i, value in enumerate(call.arguments):
            self.out(depth, f"c{i} = {self.expr(value)}")
            arguments.append(f"c{i}")
        self._zero(depth, dirty, self.frame.flow.live_across(call))
        if callee.return_slot is not None:
            self.out(depth, self.assigned(callee.return_slot, SITE, str(callee.sites.index(call) + 1)))
        self.out(depth, f"return e{self._number(call.function)}({', '.join(['s', 'B', 't', *arguments])})")

    def _exit(self, depth: int, end: Exit, dirty: set[ir.Var], copied: bool) -> None:
        assert self.frame is not None
        frame, result = self.frame, self.frame.flow.function.result
        self._own(depth, copied)
        value = "None"
        if end.value is not None and result is not None:
            self.out(depth, f"rv = {self._result(end.value, result, 'the result of ' + frame.flow.function.name, end.where)}")
            value = "rv"
        if frame.return_slot is not None:
            self.out(depth, f"r = {self.local(frame.return_slot, SITE)}; {self.assigned(frame.return_slot, SITE, '0')}")
        self._zero(depth, dirty, set())
        value = self.left(depth, frame.flow.function, value)
        if frame.return_slot is not None:
            self.out(depth, f"return R{self._number(frame.flow.function)}[r](s, B, t, {value})")
        elif frame.is_root:
            self.out(depth, "return finish(s, B, t)")
        else:
            self.out(depth, f"return {self.blocks[frame.sites[0].after]}(s, B, t, {value})")

    # Functions without boundaries.

    def _plain_function(self, function: ir.Function) -> None:
        params = [self.name(p) for p in function.params]
        self.out(0, f"def {self.calls[function]}({', '.join(['s', 'B', 't', *params])}):  # {function.name}")
        self.result, self.function = function.result, function
        self.entered(1, function, params)
        for stmt in function.body:
            self._statement(1, stmt, True)
        self.out(1, "return None")

    # Statements.

    def _statement(self, depth: int, stmt: ir.Stmt, copied: bool) -> bool:
        """Write one statement; returns whether the state is our own afterwards."""
        match stmt:
            case ir.SetVar():
                slot = self.frame is not None and stmt.var in self.frame.slots
                copied = self._own(depth, copied, slot or tree.mutates(stmt.value))
                self._set(depth, stmt.var, self.ranged(stmt.value, stmt.var.type, stmt.var.name, stmt.where))
            case ir.Unpack() | ir.SetItem():
                written = stmt.targets if isinstance(stmt, ir.Unpack) else stmt.items
                slot = self.frame is not None and any(var in self.frame.slots for var in written)
                copied = self._own(depth, copied, slot or any(tree.mutates(e) for e in tree.expressions(stmt)))
                self._several(depth, stmt)
            case ir.Store():
                copied = self._own(depth, copied)
                kind = stmt.addr.type
                assert isinstance(kind, (IntType, RefType))
                value = self.ranged(stmt.value, kind, _path_name(stmt.addr), stmt.where)
                self.out(depth, self.stored(self.spot(stmt.addr), kind, value))
            case ir.Free():
                copied = self._own(depth, copied)
                base, stride, count, fresh = self.pool(stmt.pool)
                self.out(depth, f"fr(s, {base}, {self.expr(stmt.value)}, {stride}, {count}, {fresh!r}, {self.site(stmt.where)})")
                self.freed(depth, stmt.where)
            case ir.Eval():
                copied = self._own(depth, copied, tree.mutates(stmt.value))
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
                self.rounds += 1
                rounds = f"rounds{self.rounds}"
                if not stmt.step:
                    self.out(depth, f"{rounds} = 0")
                self.out(depth, f"while {self.expr(stmt.test)}:")
                if not stmt.step:
                    self.out(depth + 1, f"{rounds} = still({rounds}, {self.site(stmt.where)})")
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
                copied = self._own(depth, copied, tree.mutates(stmt.test))
                site = self.site(stmt.where)
                if stmt.rule == OutOfRecords.rule:
                    self.out(depth, f"full({stmt.message!r}, {self.program.machine.bound(stmt.message)}, {site})")
                else:
                    self.out(depth, f"if not {self.expr(stmt.test)}: broken({stmt.rule!r}, {stmt.message!r}, {site})")
            case ir.Wait():
                copied = self._own(depth, copied, tree.mutates(stmt.test))
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
            self.out(depth, f"return {self.left(depth, self.function, 'None')}")
        else:
            assert self.result is not None
            value = self._result(stmt.value, self.result, "the result", stmt.where)
            self.out(depth, f"return {self.left(depth, self.function, value)}")

    def _result(self, value: ir.Expr, kind: ir.ResultType, name: str, where: Position) -> str:
        return self.packed(value, kind, name, where) if isinstance(kind, ir.Group) else self.ranged(value, kind, name, where)

    def _several(self, depth: int, stmt: ir.Unpack | ir.SetItem) -> None:
        """Assign to several locals at once, or to one of several."""
        if isinstance(stmt, ir.SetItem):
            kind = stmt.items[0].type if stmt.items else None
            value = self.expr(stmt.value) if kind is None else self.ranged(stmt.value, kind, stmt.name, stmt.where)
            self.out(depth, f"item = {value}")
            self.out(depth, f"at = ix({self.expr(stmt.index)}, {self.expr(stmt.count)}, {self.site(stmt.where, stmt.name)})")
            for i, var in enumerate(stmt.items):
                self.out(depth, f"if at == {i}:")
                self._set(depth + 1, var, "item")
            return
        if isinstance(stmt.value, ir.Pack):
            kinds = [item.type for item in stmt.value.items]
        else:
            assert isinstance(stmt.value.type, ir.Group)
            kinds = [kind for _, kind in stmt.value.type.parts]
        parts = [f"part{i}" for i in range(len(kinds))]
        self.out(depth, f"{', '.join(parts)}, = {self.expr(stmt.value)}")
        for var, kind, part in zip(stmt.targets, kinds, parts, strict=True):
            self._set(depth, var, self.checked(part, kind, var.type, var.name, stmt.where))

    def _set(self, depth: int, var: ir.Var, text: str) -> None:
        """Assign to a local: its place in the state, or a Python local."""
        if self.frame is not None and var in self.frame.slots:
            self.out(depth, self.assigned(self.frame.slots[var], var.type, text))
        else:
            self.out(depth, f"{self.name(var)} = {text}")


def _changes(body: list[ir.Stmt], frame: Frame | None) -> bool:
    """Whether statements may change the state, a local kept in it included."""
    return any(
        isinstance(s, (ir.Store, ir.Free)) or (frame is not None and any(var in frame.slots for var in tree.assigned(s)))
        or any(tree.mutates(e) for e in tree.expressions(s))
        for s in tree.statements(body)
    )  # fmt: skip


def _path_name(addr: ir.Addr) -> str:
    names = []
    for step in addr.path:
        names.append(f"{step.record.__name__}.{step.name}" if isinstance(step, ir.FieldStep) else f"{step.name}[...]")
    return names[-1] if names else "?"
