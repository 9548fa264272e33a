"""Walking the trees of a checked program: parts of expressions, statements of bodies, and what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from secondsight.lang import ir
from secondsight.lang.standins import Shared

__all__ = ["addr_parts", "assigned", "effects", "expressions", "parts", "reached", "statements", "touches", "walk"]


def addr_parts(addr: ir.Addr) -> tuple[ir.Expr, ...]:
    """The expressions that a place is computed from."""
    if not addr.path:
        return () if isinstance(addr.root, Shared) else (addr.root,)
    indices = [step.index for step in addr.path if isinstance(step, ir.IndexStep)]
    return tuple(indices) if isinstance(addr.root, Shared) else (addr.root, *indices)


_Parts = Callable[[Any], "Sequence[ir.Expr]"]


def _value(node: Any) -> Sequence[ir.Expr]:
    return (node.value,)


def _sides(node: Any) -> Sequence[ir.Expr]:
    return (node.left, node.right)


def _items(node: Any) -> Sequence[ir.Expr]:
    items: Sequence[ir.Expr] = node.items
    return items


def _quantified(node: ir.Quantifier) -> Sequence[ir.Expr]:
    condition = () if node.condition is None else (node.condition,)
    return (node.start, node.stop, *(value for _, value in node.bindings), *condition, node.test)


_PARTS: dict[type[ir.Expr], _Parts] = {
    ir.Load: lambda e: addr_parts(e.addr),
    ir.AddressOf: lambda e: addr_parts(e.addr),
    ir.NonNull: _value,
    ir.Narrow: _value,
    ir.ContainerOf: _value,
    ir.Fits: _value,
    ir.Unary: _value,
    ir.ClassIs: _value,
    ir.IndexOf: lambda e: (*addr_parts(e.array), e.value),
    ir.IsUsed: lambda e: (*addr_parts(e.pool), e.value),
    ir.Binary: _sides,
    ir.Compare: _sides,
    ir.Logic: _items,
    ir.Pack: _items,
    ir.Item: lambda e: (*e.items, e.index, e.count),
    ir.Conditional: lambda e: (e.test, e.then, e.other),
    ir.TableItem: lambda e: (e.index,),
    ir.Quantifier: _quantified,
    ir.ChooseWhere: lambda e: (e.start, e.stop, *(value for _, value in e.bindings), e.condition, e.result),
    ir.Choose: lambda e: (e.count,),
    ir.Alloc: lambda e: addr_parts(e.pool),
    ir.Call: lambda e: e.arguments,
    ir.Constant: lambda e: (),
    ir.Local: lambda e: (),
    ir.TableSize: lambda e: (),
    ir.Current: lambda e: (),
}
"""By class, every class: a chain of tests would take most of the time of lowering."""


EXPRESSIONS = frozenset(_PARTS)
"""The classes of expressions."""


def parts(node: ir.Expr) -> Sequence[ir.Expr]:
    """The direct sub-expressions of an expression."""
    return _PARTS[type(node)](node)


def walk(node: ir.Expr) -> list[ir.Expr]:
    """An expression and everything below it, an expression before its parts."""
    below: list[ir.Expr] = []
    todo = [node]
    while todo:
        one = todo.pop()
        below.append(one)
        todo += reversed(_PARTS[type(one)](one))
    return below


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
    todo = [node]
    while todo:
        one = todo.pop()
        kind = type(one)
        if kind in _TOUCHING or (isinstance(one, ir.Call) and one.function.touches):
            return True
        todo += _PARTS[kind](one)
    return False


_TOUCHING = frozenset((ir.Load, ir.Choose, ir.ChooseWhere, ir.Alloc, ir.IsUsed))


def effects(node: ir.Expr) -> bool:
    """Whether evaluating it twice, or not at all, is not the same as once: it writes, chooses or waits."""
    todo = [node]
    while todo:
        one = todo.pop()
        kind = type(one)
        if kind in _DECIDING or (isinstance(one, ir.Call) and one.function.effects):
            return True
        todo += _PARTS[kind](one)
    return False


_DECIDING = frozenset((ir.Choose, ir.ChooseWhere, ir.Alloc))


def mutates(node: ir.Expr) -> bool:
    """Whether evaluating it may change the state."""
    todo = [node]
    while todo:
        one = todo.pop()
        kind = type(one)
        if kind is ir.Alloc or (isinstance(one, ir.Call) and one.function.mutates):
            return True
        todo += _PARTS[kind](one)
    return False


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
