"""From a function's tree to blocks, with the locals that live across each step.

Only functions with step boundaries are cut into blocks. A block ends in a jump (possibly across a step boundary), a
branch, a call of a function with boundaries, or a return. Statements without a boundary inside stay whole. `Flow` then
computes which locals live where: a local that is not needed after a step is zeroed in the state, so that two states
that differ only in dead locals are one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from secondsight.lang import ir, tree
from secondsight.lang.errors import Position

__all__ = ["Block", "Branch", "CallTo", "Exit", "Flow", "Jump"]


@dataclass(eq=False, slots=True)
class Jump:
    """Go on at another block; at one with a `boundary` the step ends."""

    target: Block


@dataclass(eq=False, slots=True)
class Branch:
    """One of two blocks."""

    test: ir.Expr
    then: Block
    other: Block


@dataclass(eq=False, slots=True)
class CallTo:
    """Enter a function with boundaries; its result goes to `target` when `after` is reached."""

    function: ir.Function
    arguments: list[ir.Expr]
    target: ir.Var | None
    after: Block
    where: Position


@dataclass(eq=False, slots=True)
class Exit:
    """Return to the caller, or end the thread."""

    value: ir.Expr | None
    where: Position


@dataclass(eq=False, slots=True)
class Block:
    """Straight code. `boundary`: a step starts here. `after_call`: the call whose return leads here.

    `goes_round`: control comes here to begin another round of a `while` loop. `in_loop`: it is inside of one. A `for` loop
    does not count: its rounds are counted, so that no thread goes round in it for ever. `round_of`: control comes here to begin
    another round of the loop there, of either kind, perhaps without a step boundary since the last.
    """

    number: int
    statements: list[ir.Stmt] = field(default_factory=list)
    end: Jump | Branch | CallTo | Exit | None = None
    boundary: ir.Boundary | None = None
    after_call: CallTo | None = None
    live_in: set[ir.Var] = field(default_factory=set)
    dirty_in: set[ir.Var] = field(default_factory=set)
    goes_round: bool = False
    in_loop: bool = False
    round_of: Position | None = None

    def successors(self) -> list[Block]:
        """The blocks that control may reach next within this function."""
        match self.end:
            case Jump(target=t):
                return [t]
            case Branch(then=a, other=b):
                return [a, b]
            case CallTo(after=a):
                return [a]
        return []


class Flow:
    """The blocks of one function, and what lives in them."""

    def __init__(self, function: ir.Function, queues: bool) -> None:
        self.function, self.queues = function, queues
        self.blocks: list[Block] = []
        self._whiles = 0  # how many `while` loops are open
        self.entry = self._new()
        self._current: Block | None = self.entry
        self._loops: list[tuple[Block, Block]] = []
        self._body(function.body)
        if self._current is not None:
            self._current.end = Exit(None, function.where)
        self._thread_jumps()
        self.blocks = self._reachable()
        self.predecessors: dict[Block, int] = {}
        for block in self.blocks:
            for nxt in block.successors():
                self.predecessors[nxt] = self.predecessors.get(nxt, 0) + 1
        for block in self.blocks:
            if block.round_of is not None and not self._comes_back(block):
                block.round_of = None
        self._liveness()
        self._dirtiness()

    @staticmethod
    def _comes_back(start: Block) -> bool:
        """Whether a way leads from a block to itself without a step boundary of this function."""
        ways = start.successors()
        for block in ways:
            if block is start:
                return True
            if block.boundary is None:
                ways += [b for b in block.successors() if b not in ways]
        return False

    # Cutting.

    def _new(self) -> Block:
        block = Block(len(self.blocks), in_loop=self._whiles > 0)
        self.blocks.append(block)
        return block

    def _body(self, body: list[ir.Stmt]) -> None:
        for stmt in body:
            if self._current is None:
                return
            self._statement(stmt, self._current)

    def _statement(self, stmt: ir.Stmt, current: Block) -> None:
        match stmt:
            case ir.Boundary():
                block = self._new()
                block.boundary = stmt
                current.end = Jump(block)
                self._current = block
            case ir.YieldCall():
                after = self._new()
                call = CallTo(stmt.function, stmt.arguments, stmt.target, after, stmt.where)
                current.end, after.after_call = call, call
                self._current = after
            case ir.Return():
                current.end = Exit(stmt.value, stmt.where)
                self._current = None
            case ir.Break() | ir.Continue():
                current.end = Jump(self._loops[-1][0 if isinstance(stmt, ir.Continue) else 1])
                self._current = None
            case ir.If(queues=True) if not self.queues:
                return
            case ir.If() if _cut(stmt):
                then, other, join = self._new(), self._new(), self._new()
                current.end = Branch(stmt.test, then, other)
                for block, part in ((then, stmt.then), (other, stmt.other)):
                    self._current = block
                    self._body(part)
                    if self._current is not None:
                        self._current.end = Jump(join)
                self._current = join
            case ir.While() if _cut(stmt):
                after = self._new()
                self._whiles += not stmt.step
                head, body, step = self._new(), self._new(), self._new()
                step.goes_round, step.round_of = not stmt.step, stmt.where
                current.end = Jump(head)
                if isinstance(stmt.test, ir.Constant) and stmt.test.value == 1:
                    head.end = Jump(body)
                else:
                    head.end = Branch(stmt.test, body, after)
                self._loops.append((step, after))
                self._current = body
                self._body(stmt.body)
                if self._current is not None:
                    self._current.end = Jump(step)
                self._loops.pop()
                self._current = step
                self._body(stmt.step)
                step.end = Jump(head)
                self._whiles -= not stmt.step
                self._current = after
            case _:
                current.statements.append(stmt)

    def _thread_jumps(self) -> None:
        """Skip empty blocks that only jump on, so that a loop leads back to the boundary at its head."""

        def final(block: Block) -> Block:
            seen = set()
            while (
                not block.statements and block.boundary is None and block.after_call is None and not block.goes_round
                and isinstance(block.end, Jump) and block not in seen
            ):  # fmt: skip
                seen.add(block)
                block = block.end.target
            return block

        for block in self.blocks:
            match block.end:
                case Jump():
                    block.end.target = final(block.end.target)
                case Branch():
                    block.end.then, block.end.other = final(block.end.then), final(block.end.other)
        self.entry = final(self.entry)

    def _reachable(self) -> list[Block]:
        order: list[Block] = []
        stack = [self.entry]
        seen = {self.entry}
        while stack:
            block = stack.pop()
            order.append(block)
            for nxt in reversed(block.successors()):
                if nxt not in seen:
                    seen.add(nxt)
                    stack.append(nxt)
        return order

    # What lives where.

    def _liveness(self) -> None:
        changed = True
        while changed:
            changed = False
            for block in reversed(self.blocks):
                live = self.live_out(block)
                for stmt in reversed(block.statements):
                    live = live_before(stmt, live)
                if live != block.live_in:
                    block.live_in, changed = live, True

    def live_out(self, block: Block) -> set[ir.Var]:
        """The locals needed after the statements of a block, its own end included."""
        live: set[ir.Var] = set()
        for nxt in block.successors():
            live |= nxt.live_in
        match block.end:
            case Branch():
                live |= reads(block.end.test)
            case CallTo():
                live = self.live_across(block.end)
                for argument in block.end.arguments:
                    live |= reads(argument)
            case Exit():
                if block.end.value is not None:
                    live |= reads(block.end.value)
        return live

    def live_across(self, call: CallTo) -> set[ir.Var]:
        """The locals that must survive a call."""
        return call.after.live_in - ({call.target} if call.target is not None else set())

    def _dirtiness(self) -> None:
        """Which locals may hold something else than zero: those have to be zeroed when they die."""
        entry = set(self.function.params)
        changed = True
        self.entry.dirty_in = entry
        while changed:
            changed = False
            for block in self.blocks:
                dirty = self.dirty_out(block)
                for nxt in block.successors():
                    into = dirty
                    if nxt.boundary is not None:
                        into = dirty & nxt.live_in
                    if isinstance(block.end, CallTo):
                        into = dirty & self.live_across(block.end)
                        if block.end.target is not None and not block.end.target.transient:
                            into = into | {block.end.target}
                    if not into <= nxt.dirty_in:
                        nxt.dirty_in, changed = nxt.dirty_in | into, True

    def dirty_out(self, block: Block) -> set[ir.Var]:
        """The locals that may not be zero after the statements of a block."""
        return block.dirty_in | {v for s in tree.statements(block.statements) for v in tree.assigned(s) if not v.transient}


def _cut(stmt: ir.Stmt) -> bool:
    """Whether a statement cannot stay whole: a boundary inside, or control that leaves it."""
    return any(isinstance(s, (ir.Boundary, ir.YieldCall, ir.Return)) for s in tree.statements([stmt])) or _escapes([stmt])


def _escapes(body: list[ir.Stmt]) -> bool:
    """Whether a break or continue leaves the body."""
    for stmt in body:
        if isinstance(stmt, (ir.Break, ir.Continue)):
            return True
        if isinstance(stmt, ir.If) and (_escapes(stmt.then) or _escapes(stmt.other)):
            return True
    return False


def reads(node: ir.Expr) -> set[ir.Var]:
    """The locals of the function that an expression reads (not the loop variables of a generator)."""
    found: set[ir.Var] = set()
    bound: set[ir.Var] = set()
    for part in tree.walk(node):
        if isinstance(part, ir.Local) and not part.var.transient:
            found.add(part.var)
        elif isinstance(part, (ir.Quantifier, ir.ChooseWhere)):
            bound |= {part.var, *(v for v, _ in part.bindings)}
    return found - bound


def live_before(
    stmt: ir.Stmt, after: set[ir.Var], on_break: set[ir.Var] | None = None, on_continue: set[ir.Var] | None = None
) -> set[ir.Var]:
    """The locals needed before a statement, given those needed after it and, in a loop, where it may be left to."""
    used: set[ir.Var] = set()
    for node in tree.expressions(stmt):
        used |= reads(node)
    match stmt:
        case ir.SetVar():
            return (after - {stmt.var}) | used
        case ir.Unpack():
            return (after - set(stmt.targets)) | used
        case ir.Break() if on_break is not None:
            return on_break
        case ir.Continue() if on_continue is not None:
            return on_continue
        case ir.If():
            return live_body(stmt.then, after, on_break, on_continue) | live_body(stmt.other, after, on_break, on_continue) | used
        case ir.While():
            live = after | used
            while True:
                step = live_body(stmt.step, live)
                more = live_body(stmt.body, step, after, step) | after | used
                if more <= live:
                    return live
                live |= more
    return after | used


def live_body(
    body: list[ir.Stmt], after: set[ir.Var], on_break: set[ir.Var] | None = None, on_continue: set[ir.Var] | None = None
) -> set[ir.Var]:
    """`live_before` over a list."""
    live = set(after)
    for stmt in reversed(body):
        live = live_before(stmt, live, on_break, on_continue)
    return live
