"""Walking the trees of a checked program: parts of expressions, statements of bodies, and what they do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from secondsight.lang import ir
from secondsight.lang.standins import Shared

__all__ = ["addr_parts", "assigned", "effects", "expressions", "parts", "reached", "statements", "touches", "walk"]


def parts(node: ir.Expr) -> Iterator[ir.Expr]:
    """The direct sub-expressions of an expression."""
    match node:
        case ir.Load() | ir.AddressOf():
            yield from addr_parts(node.addr)
        case ir.NonNull() | ir.Narrow() | ir.ContainerOf() | ir.Fits() | ir.Unary() | ir.ClassIs():
            yield node.value
        case ir.IndexOf(array=place) | ir.IsUsed(pool=place):
            yield from addr_parts(place)
            yield node.value
        case ir.Binary() | ir.Compare():
            yield node.left
            yield node.right
        case ir.Logic() | ir.Pack():
            yield from node.items
        case ir.Item():
            yield from (*node.items, node.index, node.count)
        case ir.Conditional():
            yield from (node.test, node.then, node.other)
        case ir.TableItem():
            yield node.index
        case ir.Quantifier():
            yield from (node.start, node.stop)
            yield from (value for _, value in node.bindings)
            if node.condition is not None:
                yield node.condition
            yield node.test
        case ir.ChooseWhere():
            yield from (node.start, node.stop)
            yield from (value for _, value in node.bindings)
            yield from (node.condition, node.result)
        case ir.Choose():
            yield node.count
        case ir.Alloc():
            yield from addr_parts(node.pool)
        case ir.Call():
            yield from node.arguments
        case _:
            return


def addr_parts(addr: ir.Addr) -> Iterator[ir.Expr]:
    """The expressions that a place is computed from."""
    if not isinstance(addr.root, Shared):
        yield addr.root
    for step in addr.path:
        if isinstance(step, ir.IndexStep):
            yield step.index


def walk(node: ir.Expr) -> Iterator[ir.Expr]:
    """An expression and everything below it."""
    yield node
    for part in parts(node):
        yield from walk(part)


def expressions(stmt: ir.Stmt) -> Iterator[ir.Expr]:
    """The expressions that a statement itself evaluates (not those of statements inside it)."""
    match stmt:
        case ir.SetVar() | ir.Eval() | ir.Unpack():
            yield stmt.value
        case ir.SetItem():
            yield from (stmt.value, stmt.index, stmt.count)
        case ir.Store():
            yield stmt.value
            yield from addr_parts(stmt.addr)
        case ir.Free():
            yield stmt.value
            yield from addr_parts(stmt.pool)
        case ir.If() | ir.While() | ir.Require() | ir.Wait():
            yield stmt.test
        case ir.Return():
            if stmt.value is not None:
                yield stmt.value
        case ir.YieldCall():
            yield from stmt.arguments
        case _:
            return


def statements(body: list[ir.Stmt]) -> Iterator[ir.Stmt]:
    """Every statement of a body, nested ones included."""
    for stmt in body:
        yield stmt
        match stmt:
            case ir.If():
                yield from statements(stmt.then)
                yield from statements(stmt.other)
            case ir.While():
                yield from statements(stmt.body)
                yield from statements(stmt.step)


def assigned(stmt: ir.Stmt) -> list[ir.Var]:
    """The locals that a statement itself assigns, or may assign."""
    match stmt:
        case ir.SetVar():
            return [stmt.var]
        case ir.Unpack():
            return stmt.targets
        case ir.SetItem():
            return stmt.items
        case ir.YieldCall(target=ir.Var() as target):
            return [target]
    return []


def touches(node: ir.Expr) -> bool:
    """Whether evaluating it reads or writes shared state (or chooses): then its statement is a step."""
    return any(
        isinstance(n, (ir.Load, ir.Choose, ir.ChooseWhere, ir.Alloc, ir.IsUsed))
        or (isinstance(n, ir.Call) and n.function.touches)
        for n in walk(node)
    )


def effects(node: ir.Expr) -> bool:
    """Whether evaluating it twice, or not at all, is not the same as once: it writes, chooses or waits."""
    return any(
        isinstance(n, (ir.Choose, ir.ChooseWhere, ir.Alloc)) or (isinstance(n, ir.Call) and n.function.effects)
        for n in walk(node)
    )


def reached(roots: Iterable[ir.Function]) -> Iterator[ir.Function]:
    """Every function that threads can come to that begin with one of some."""
    todo = list(roots)
    seen = set(todo)
    for function in todo:
        yield function
        for stmt in statements(function.body):
            called = [stmt.function] if isinstance(stmt, ir.YieldCall) else []
            called += [n.function for e in expressions(stmt) for n in walk(e) if isinstance(n, ir.Call)]
            for other in called:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
