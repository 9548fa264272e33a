"""The front end's loops and `with` blocks: what is kept while they run, and how they are left."""

from __future__ import annotations

import ast
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from secondsight.lang import ir, tree
from secondsight.lang.assigned import surely_runs
from secondsight.lang.calls import CallLowering
from secondsight.lang.errors import Position
from secondsight.lang.facts import facts_of, names_inside
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.lowering import ZERO, Items, Lowering, Lvalue, describe
from secondsight.lang.syntax import nodes
from secondsight.lang.types import BOOL, ArrayType, IntType, RecordType, RefType
from secondsight.lang.verbs import atomic

__all__ = ["BlockLowering", "ends"]


class BlockLowering(CallLowering):
    """Lowers loops and with-blocks of one function."""

    def __init__(self, *arguments: Any) -> None:
        Lowering.__init__(self, *arguments)
        self.out: list[ir.Stmt] = []
        self.exits: list[Callable[[], None]] = []
        self.loops: list[int] = []
        self.own: set[str] = set()

    def block(self, nodes: list[ast.stmt], out: list[ir.Stmt]) -> None:
        """Lower statements into `out`."""
        saved, self.out = self.out, out
        for node in nodes:
            self.statement(node)
        self.out = saved

    @abstractmethod
    def statement(self, node: ast.stmt) -> None:
        """Lower one source statement."""

    @abstractmethod
    def finish(self, where: Position, made: list[ir.Stmt], always: bool = False) -> None:
        """Append statements made from one source statement, after its step boundary and the call it makes."""

    def kept(self, value: ir.Expr, name: str, where: Position, setup: list[ir.Stmt]) -> ir.Local:
        """A hidden local that holds a value while a block runs."""
        self.hidden += 1
        var = ir.Var(f"{name}{self.hidden}", value.type)
        setup.append(ir.SetVar(var, value, where))
        return ir.Local(var)

    # Loops.

    def while_loop(self, node: ast.While, where: Position) -> None:
        """`while test:` tests before every round; a test that touches shared state is a step of its own."""
        if node.orelse:
            raise self.refuse(node, "while ... else", "a flag and an if")
        loop = ir.While(ir.Constant(1, BOOL), [], [], where)
        before = self.naming(node.test)
        test = self.truth(node.test)
        self.loops.append(len(self.exits))
        if before or self.pending is not None or (tree.touches(test) and not self.depth):
            saved, self.out = self.out, loop.body
            self.finish(where, [*before, ir.If(ir.Unary("not", test, BOOL), [ir.Break()], [])])
            self.out = saved
        else:
            loop.test = test
        self.out.append(loop)
        self.block(node.body, loop.body)
        self.loops.pop()

    def naming(self, test: ast.expr) -> list[ir.Stmt]:
        """`(x := value)` where a test begins with it: the statements that do it, before the test."""
        at: ast.expr = test
        while isinstance(at, (ast.Compare, ast.BinOp, ast.UnaryOp, ast.BoolOp)):
            at = at.left if isinstance(at, (ast.Compare, ast.BinOp)) else at.operand if isinstance(at, ast.UnaryOp) else at.values[0]
        if not isinstance(at, ast.NamedExpr):
            return []
        self.named.add(at)
        value = self.expr(at.value)
        var = self.local_for(at.target, value)
        return [ir.SetVar(var, self.fit(value, var.type, at), self.where(at))]

    def for_loop(self, node: ast.For, where: Position) -> None:
        """`for i in range(...)` and `for record in array`: what is looped over is evaluated once."""
        target, over, numbered, backwards = node.target, node.iter, None, False
        if isinstance(target, ast.Tuple) and len(target.elts) == 2 and self.is_call_of(over, enumerate):
            numbered, target = target.elts
            over = over.args[0]  # type: ignore[attr-defined]
        if self.is_call_of(over, reversed):
            over, backwards = over.args[0], True  # type: ignore[attr-defined]
        if node.orelse or not isinstance(target, ast.Name) or not (numbered is None or isinstance(numbered, ast.Name)):
            raise self.refuse(node, "for ... else, or several loop variables", "one variable, and a flag; or for i, x in enumerate(array)")
        if numbered is not None and (backwards or self.is_call_of(over, range)):
            raise self.refuse(over, "enumerate of something else than an array or a list", "for i in range(len(a)): a[i]")
        name = target.id
        if name in self.bundles or name in self.lists:
            raise self.refuse(target, f"{name} is a Value or a list elsewhere", "another name")
        setup: list[ir.Stmt] = []
        place: ir.Addr | None = None
        among: ir.Expr | None = None
        listed: Items | None = None
        if isinstance(over, ast.Call) and self.static(over.func) == (True, range):
            start, stop, stride = self.range_of(over)
            if backwards:
                start, stop, stride = self.turned(over, start, stop, stride)
        elif (places := self.in_set(over)) is not None:
            assert isinstance(places.type, IntType)
            count = places.type.high.bit_length()
            start, stop, stride = ZERO, ir.Constant(count, IntType(count, count)), 1
            among = self.kept(places, f"{name}.among", where, setup)
        elif isinstance(lowered := self.lower(over), Items):
            listed, most = lowered, len(lowered.items)
            start, stop, stride = ZERO, ir.Constant(most, IntType(most, most)), 1
        else:
            place = self.looped_array(over, where, setup)
            assert isinstance(place.type, ArrayType)
            count = self.frontend.machine.bound(place.type.size)
            start, stop, stride = ZERO, ir.Constant(count, IntType(count, count)), 1
            if backwards:
                start, stop, stride = self.turned(over, start, stop, stride)
        if backwards and (listed is not None or among is not None):
            raise self.refuse(over, "reversed() of a list or a set", "reversed(array), reversed(range(...))")
        counter_type, inside = counter_types(start, stop, stride)
        own = self.is_own(name, node)
        self.hidden += 1
        counter = ir.Var(name if own and place is None and listed is None else f"{name}.place{self.hidden}", counter_type)
        limit = stop if isinstance(stop, ir.Constant) else self.kept(stop, f"{name}.stop", where, setup)
        setup.append(ir.SetVar(counter, start, where))
        loop = ir.While(ir.Compare("<" if stride > 0 else ">", ir.Local(counter), limit), [], [], where)
        if listed is not None:
            loop.test = ir.Compare("<", ir.Local(counter), listed.length)
        further = ir.Binary("+", ir.Local(counter), ir.Constant(stride, IntType(stride, stride)), counter_type, where)
        loop.step.append(ir.SetVar(counter, further, where))
        if among is not None:
            missing = ir.Unary("not", self.contains(over, among, ir.Local(counter, inside)), BOOL)
            loop.body.append(ir.If(missing, [ir.Continue()], []))
        saved = self.vars.pop(name, None) if own else None
        if own:
            self.own.add(name)
        if own and place is None and listed is None:
            self.vars[name] = counter
            self.known[name] = inside
        else:
            value: ir.Expr = ir.Local(counter, inside)
            if listed is not None:
                kind = listed.kind.element
                assert isinstance(kind, (IntType, RefType))
                value = ir.Item(listed.items, value, listed.length, listed.name, where, kind)
            if place is not None:
                array = place.type
                assert isinstance(array, ArrayType) and isinstance(array.element, RecordType)
                step = ir.IndexStep(value, array, describe(over), where)
                value = ir.AddressOf(place.then(step, array.element, where), RefType(array.element.record, False))
            if own:
                var = self.vars[name] = ir.Var(name, value.type)
            else:
                var = self.local_for(target, value)
            loop.body.append(ir.SetVar(var, self.fit(value, var.type, node), where))
            if surely_runs(node, self.constant):  # it has a value after the loop
                setup.append(ir.SetVar(var, self.fit(start, var.type, node), where))
        if numbered is not None:
            at = ir.Local(counter, inside)
            number = self.local_for(numbered, at)
            loop.body.append(ir.SetVar(number, self.fit(at, number.type, node), where))
        self.finish(where, setup)
        self.out.append(loop)
        self.loops.append(len(self.exits))
        self.block(node.body, loop.body)
        self.loops.pop()
        if own:
            del self.vars[name]
            self.known.pop(name, None)
            if saved is not None:
                self.vars[name] = saved

    def is_call_of(self, node: ast.expr, builtin: Any) -> bool:
        """Whether an expression is a call of a builtin with one argument."""
        return isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords and self.static(node.func) == (True, builtin)

    def turned(self, node: ast.expr, start: ir.Expr, stop: ir.Expr, stride: int) -> tuple[ir.Expr, ir.Expr, int]:
        """Start, stop and stride of the same numbers, the last first."""
        if stride not in (1, -1):
            raise self.refuse(node, "reversed() of a range with a stride", "range(start, stop, -1)")
        ends: list[ir.Expr] = []
        for end in (stop, start):
            if isinstance(end, ir.Constant):
                ends.append(ir.Constant(end.value - stride, IntType(end.value - stride, end.value - stride)))
            else:
                ends.append(self.bounded(node, "-", end, ir.Constant(stride, IntType(stride, stride))))
        return ends[0], ends[1], -stride

    def constant(self, node: ast.AST) -> int | None:
        """The number that an expression is known to be when the model is loaded."""
        known, value = self.static(node)
        return int(value) if known and isinstance(value, int) else None

    def looped_array(self, node: ast.expr, where: Position, setup: list[ir.Stmt]) -> ir.Addr:
        """The place of the array that a loop runs over; the way to it is taken once, before the first round."""
        lowered = self.lower_value(node)
        if not (
            isinstance(lowered, Lvalue)
            and isinstance(lowered.addr.type, ArrayType)
            and isinstance(lowered.addr.type.element, RecordType)
        ):
            raise self.refuse(
                node, "a loop over something else than range(...) or an array of records", "for i in range(len(a)): a[i]"
            )
        addr = lowered.addr
        way = [p for p in tree.addr_parts(addr) if not isinstance(p, ir.Constant)]
        if not way or (not addr.path[:-1] and isinstance(addr.root, ir.Local) and self.stays(addr.root.var)):
            return addr
        *before, last = addr.path
        assert isinstance(last, ir.FieldStep)
        record = RefType(last.record, False)
        owner: ir.Expr = ir.AddressOf(ir.Addr(addr.root, tuple(before), RecordType(last.record), addr.where), record)
        if not before and isinstance(addr.root, ir.Expr):
            owner = addr.root
        return ir.Addr(self.kept(owner, "over", where, setup), (last,), addr.type, addr.where)

    def stays(self, var: ir.Var) -> bool:
        """Whether a local is a parameter that is never assigned."""
        return var in self.function.params and var.name not in self.stored

    def is_own(self, name: str, loop: ast.For) -> bool:
        """Whether a loop variable is this loop's own: nothing but its body reads it, nothing else sets it.

        Other loops with a variable of that name have one of their own.
        """
        if any(v.name == name for v in self.function.params):
            return False
        facts, mine = facts_of(self.tree), names_inside(loop)
        others: set[ast.AST] = set()
        own = targets_of(loop, name)
        for other in facts.loops:
            theirs = targets_of(other, name)
            if other is not loop and theirs:
                if theirs & mine or own & names_inside(other):
                    return False
                others |= names_inside(other) | theirs
        scoped: set[ast.AST] = set()
        for generator in facts.generators:
            if any(isinstance(g.target, ast.Name) and g.target.id == name for g in generator.generators):
                scoped |= names_inside(generator) - names_inside(generator.generators[0].iter)
        for node in facts.names[name]:
            if node in own or node in scoped:
                continue
            if not (isinstance(node.ctx, ast.Load) if node in mine else node in others):
                return False
        return True

    # With.

    def with_block(self, node: ast.With, where: Position) -> None:
        """`with atomic:`, `with lock:`, `with lock.reading():`, `with pool.on_stack() as record:`."""
        if self.on_stack(node, where):
            return
        if len(node.items) != 1:
            raise self.refuse(node, "with several things", "one with inside another")
        if node.items[0].optional_vars is not None:
            raise self.refuse(node, "with ... as, of something else than a record on the stack", "with lock: and no name; what a driver keeps is in its fields, not in a file")
        what = node.items[0].context_expr
        known, value = self.static(what)
        if known and value is atomic:
            self.atomic_block(node, where)
            return
        take, release, target = "lock", "unlock", what
        if isinstance(what, ast.Call) and isinstance(what.func, ast.Attribute) and what.func.attr in ("reading", "writing"):
            self.counted(what, 0, 0, "with rw.reading():")
            take, release = ("read_lock", "read_unlock") if what.func.attr == "reading" else ("write_lock", "write_unlock")
            target = what.func.value
        lock = self.expr(target)
        if not (isinstance(lock.type, RefType) and issubclass(lock.type.record, Lock if take == "lock" else RwLock)):
            raise self.refuse(
                what,
                f"with something else than atomic or a lock ({describe(what)})",
                "with self.lock:, with rw.reading():, with atomic:",
            )
        if not hasattr(lock.type.record, take):
            raise self.refuse(what, f"a {lock.type.record.__name__} cannot be taken", "a Mutex or a SpinLock")
        setup: list[ir.Stmt] = []
        sure = self.fit(lock, RefType(lock.type.record, False), what)
        held: ir.Expr = sure if self.lock_stays(sure, node) else self.kept(sure, "held", where, setup)
        self.finish(where, [*setup, *self.method_effect(held, take, where)], always=True)

        def leave() -> None:
            if not self.depth:
                self.out.append(ir.Boundary(where, "leave"))
            self.out += self.method_effect(held, release, where)

        self.exits.append(leave)
        self.block(node.body, self.out)
        self.exits.pop()
        if not ends(self.out):
            leave()

    def on_stack(self, node: ast.With, where: Position) -> bool:
        """`with pool.on_stack() as record:`, if that is what it is: the record is freed on every way out."""
        what, name = node.items[0].context_expr, node.items[0].optional_vars
        if not (isinstance(what, ast.Call) and isinstance(what.func, ast.Attribute) and what.func.attr == "on_stack"):
            return False
        found = self.pool_of(what.func.value)
        if found is None:
            return False
        self.counted(what, 0, 0, "with pool.on_stack() as record:")
        if not isinstance(name, ast.Name):
            raise self.refuse(node, "a record on the stack without a name", "with pool.on_stack() as record:")
        again = next((n for part in node.body for n in nodes(part) if isinstance(n, ast.Name) and n.id == name.id and isinstance(n.ctx, ast.Store)), None)
        if again is not None:
            raise self.refuse(again, f"{name.id} gets another value within its block", "another name")
        method = ast.copy_location(ast.Attribute(what.func.value, "alloc", ast.Load()), what)
        begins = ast.copy_location(ast.Assign([name], ast.copy_location(ast.Call(method, [], []), what)), node)
        self.statement(begins)
        element = found.type.element  # type: ignore[union-attr]
        assert isinstance(element, RecordType)
        read = ast.copy_location(ast.Name(name.id, ast.Load()), name)

        def leave() -> None:
            if not self.depth:
                self.out.append(ir.Boundary(where, "leave"))
            self.out.append(ir.Free(found, self.fit(self.expr(read), RefType(element.record, False), read), where))

        self.exits.append(leave)
        self.block(node.body, self.out)
        self.exits.pop()
        if not ends(self.out):
            leave()
        return True

    def lock_stays(self, lock: ir.Expr, node: ast.With) -> bool:
        """Whether evaluating the way to a lock again, when it is released, surely gives the same lock."""
        if tree.touches(lock) or not isinstance(lock, (ir.AddressOf, ir.Local)):
            return False
        stored = {n.id for part in node.body for n in nodes(part) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        return not any(isinstance(n, ir.Local) and n.var.name in stored for n in tree.walk(lock))

    def atomic_block(self, node: ast.With, where: Position) -> None:
        """`with atomic:`: one step, with what comes after it in a step of its own."""
        if not self.depth:
            self.out.append(ir.Boundary(where))

        def leave() -> None:
            self.depth -= 1

        self.depth += 1
        self.exits.append(leave)
        self.block(node.body, self.out)
        self.exits.pop()
        self.depth -= 1

    def leave(self, down_to: int) -> None:
        """Leave the with-blocks entered since, innermost first."""
        kept, depth = self.exits, self.depth
        for i in range(len(kept) - 1, down_to - 1, -1):
            self.exits = kept[:i]
            kept[i]()
        self.exits, self.depth = kept, depth


def targets_of(loop: ast.For, name: str) -> set[ast.AST]:
    """Where a loop gives a variable of that name its value."""
    return {n for n in nodes(loop.target) if isinstance(n, ast.Name) and n.id == name}


def counter_types(start: ir.Expr, stop: ir.Expr, stride: int) -> tuple[IntType, IntType]:
    """The ranges of a loop's counter: with the value that ends the loop, and within its body."""
    a, b = start.type, stop.type
    assert isinstance(a, IntType) and isinstance(b, IntType)
    if stride > 0:
        inside = IntType(a.low, max(a.low, b.high - 1))
        return IntType(a.low, max(a.high, inside.high + stride)), inside
    inside = IntType(min(a.high, b.low + 1), a.high)
    return IntType(min(a.low, inside.low + stride), a.high), inside


def ends(body: list[ir.Stmt]) -> bool:
    """Whether control never leaves the end of a body."""
    if not body:
        return False
    last = body[-1]
    match last:
        case ir.Return() | ir.Break() | ir.Continue():
            return True
        case ir.If():
            return ends(last.then) and ends(last.other)
        case ir.While():
            forever = isinstance(last.test, ir.Constant) and last.test.value == 1
            return forever and not has_break(last.body)
    return False


def has_break(body: list[ir.Stmt]) -> bool:
    """Whether a `break` of this loop (not of one inside) occurs."""
    for stmt in body:
        if isinstance(stmt, ir.Break):
            return True
        if isinstance(stmt, ir.If) and (has_break(stmt.then) or has_break(stmt.other)):
            return True
    return False
