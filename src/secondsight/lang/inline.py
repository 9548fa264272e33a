"""Putting small functions in the place of their calls.

Only functions without step boundaries and control flow (locks, one-line helpers): the checked program stays the same,
step for step, and a renderer has fewer calls to make.
"""

from __future__ import annotations

import dataclasses
import functools

from secondsight.lang import ir, tree
from secondsight.lang.standins import Shared
from secondsight.lang.types import IntType

__all__ = ["expression", "statements", "substitute"]


def expression(function: ir.Function, arguments: list[ir.Expr]) -> ir.Expr | None:
    """The expression that a function of one `return` stands for, or None if it is not so simple."""
    if function.yields or len(function.body) != 1:
        return None
    only = function.body[0]
    if not isinstance(only, ir.Return) or only.value is None or not _keeps_range(function, only.value):
        return None
    if function.touches and not tree.touches(only.value):
        return None  # an @atomic function is a step, whatever it does
    table = _table(function, arguments, [only])
    return None if table is None else substitute(only.value, table)


def statements(function: ir.Function, arguments: list[ir.Expr]) -> list[ir.Stmt] | None:
    """The statements that a straight-line procedure stands for, or None if it is not so simple."""
    if function.yields or not function.body:
        return None
    body = function.body
    if not (isinstance(body[-1], ir.Return) and body[-1].value is None):
        return None
    straight = body[:-1]
    if not straight or not all(isinstance(s, (ir.Require, ir.Wait, ir.Store)) for s in straight):
        return None
    table = _table(function, arguments, straight)
    if table is None:
        return None
    made: list[ir.Stmt] = []
    for stmt in straight:
        match stmt:
            case ir.Require():
                made.append(ir.Require(substitute(stmt.test, table), stmt.rule, stmt.message, stmt.where))
            case ir.Wait():
                made.append(ir.Wait(substitute(stmt.test, table), stmt.sleeps, stmt.lock, stmt.where))
            case ir.Store():
                made.append(ir.Store(_place(stmt.addr, table), substitute(stmt.value, table), stmt.where))
    return made


def _keeps_range(function: ir.Function, value: ir.Expr) -> bool:
    """Whether the value surely lies in the range of the result: then no check is lost."""
    wanted, got = function.result, value.type
    if isinstance(wanted, IntType) and isinstance(got, IntType):
        return wanted.low <= got.low and got.high <= wanted.high
    return True


def _simple(node: ir.Expr) -> bool:
    """Cheap, and the same whenever it is evaluated within the step."""
    if isinstance(node, (ir.Constant, ir.Local, ir.Current)):
        return True
    return isinstance(node, ir.AddressOf) and all(_simple(p) for p in tree.addr_parts(node.addr))


def _table(function: ir.Function, arguments: list[ir.Expr], body: list[ir.Stmt]) -> dict[ir.Var, ir.Expr] | None:
    """What each parameter stands for; None if putting it in place could change anything."""
    table: dict[ir.Var, ir.Expr] = {}
    for var, value in zip(function.params, arguments, strict=True):
        uses = sum(1 for s in body for e in tree.expressions(s) for n in tree.walk(e) if isinstance(n, ir.Local) and n.var is var)
        if not _simple(value) or uses > 8 or (isinstance(var.type, IntType) and not _inside(value, var.type)):
            return None
        indexed = isinstance(value, ir.AddressOf) and any(isinstance(s, ir.IndexStep) for s in value.addr.path)
        if indexed and not any(_surely_reads(e, var) for e in tree.expressions(body[0])):
            return None  # an index outside must be found at the call
        table[var] = value
    return table


def _surely_reads(node: ir.Expr, var: ir.Var) -> bool:
    """Whether evaluating an expression surely evaluates a local."""
    if isinstance(node, ir.Local):
        return node.var is var
    if isinstance(node, ir.Logic):
        return _surely_reads(node.items[0], var)
    if isinstance(node, ir.Conditional):
        return _surely_reads(node.test, var)
    if isinstance(node, (ir.Quantifier, ir.ChooseWhere)):
        return False
    return any(_surely_reads(p, var) for p in tree.parts(node))


def _inside(value: ir.Expr, kind: IntType) -> bool:
    return isinstance(value.type, IntType) and kind.low <= value.type.low and value.type.high <= kind.high


def _place(addr: ir.Addr, table: dict[ir.Var, ir.Expr]) -> ir.Addr:
    root, path = addr.root, addr.path
    if not isinstance(root, Shared):
        root = substitute(root, table)
        if isinstance(root, ir.AddressOf):
            path = (*root.addr.path, *path)
            root = root.addr.root
    new = tuple(
        ir.IndexStep(substitute(s.index, table), s.array, s.name, s.where) if isinstance(s, ir.IndexStep) else s for s in path
    )
    return ir.Addr(root, new, addr.type, addr.where)


def _copied(node: ir.Expr) -> ir.Expr:
    cls: type = type(node)
    made: ir.Expr = object.__new__(cls)
    for name in _fields(cls):
        setattr(made, name, getattr(node, name))
    return made


@functools.cache
def _fields(cls: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def substitute(node: ir.Expr, table: dict[ir.Var, ir.Expr]) -> ir.Expr:
    """A copy of an expression with locals replaced."""
    if isinstance(node, ir.Local):
        return table.get(node.var, node)
    made = _copied(node)
    for name in ("value", "left", "right", "test", "then", "other", "index", "start", "stop", "condition", "result", "count"):
        part = getattr(made, name, None)
        if part is not None and not isinstance(part, (int, str)):
            setattr(made, name, substitute(part, table))
    for name in ("items", "arguments"):
        parts = getattr(made, name, None)
        if parts is not None:
            setattr(made, name, [substitute(p, table) for p in parts])
    for name in ("addr", "array", "pool"):
        addr = getattr(made, name, None)
        if isinstance(addr, ir.Addr):
            setattr(made, name, _place(addr, table))
    if isinstance(made, (ir.Quantifier, ir.ChooseWhere)):
        made.bindings = [(v, substitute(e, table)) for v, e in made.bindings]
    return made
