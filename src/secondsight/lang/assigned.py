"""Names that may have no value yet: in CPython reading one raises `UnboundLocalError`, so the front end refuses it.

A name must be assigned on every path that leads to a use of it. A loop may run no round at all, unless it is
`while True` or a `for` over a range that is surely not empty.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable

from secondsight.lang.facts import facts_of
from secondsight.lang.syntax import nodes

__all__ = ["first_unassigned", "surely_runs"]

LocalNames = frozenset[str]


def surely_runs(loop: ast.For, constant: Callable[[ast.AST], int | None]) -> bool:
    """Whether a loop over a range has at least one round; `constant` tells the numbers known when the model is loaded."""
    call = loop.iter
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "range"):
        return False
    numbers = [constant(a) for a in call.args]
    if not numbers or any(n is None for n in numbers) or (len(numbers) == 3 and numbers[2] == 0):
        return False
    return bool(range(*(n for n in numbers if n is not None)))


def first_unassigned(tree: ast.FunctionDef, constant: Callable[[ast.AST], int | None]) -> ast.Name | None:
    """The first use of a local that may have no value, or None."""
    known = _known(tree)
    for asked, unassigned in known:
        if all(constant(node) == answer for node, answer in asked):
            return unassigned
    asked = []

    def noted(node: ast.AST) -> int | None:
        asked.append((node, constant(node)))
        return asked[-1][1]

    known.append((asked, _Paths(tree, noted).found))
    return known[-1][1]


@functools.cache
def _known(tree: ast.FunctionDef) -> list[tuple[list[tuple[ast.AST, int | None]], ast.Name | None]]:
    """What was worked out about a function, with the constants that were asked for meanwhile: nothing else of a machine decides it."""
    return []


class _Paths:
    """Walks the statements with the names that surely have a value; None where control does not come."""

    def __init__(self, tree: ast.FunctionDef, constant: Callable[[ast.AST], int | None]) -> None:
        self.constant = constant
        self.found: ast.Name | None = None
        self.locals = set(facts_of(tree).stored)
        self.breaks: list[list[LocalNames]] = []
        parameters = frozenset(a.arg for a in tree.args.args)
        self.locals -= parameters
        self.block(tree.body, parameters)

    def uses(self, node: ast.AST | None, known: LocalNames) -> None:
        """Look at the names that an expression reads."""
        if node is None or self.found is not None:
            return
        read = _read(node)
        if read is not None and not (read & self.locals) - known:
            return
        if isinstance(node, (ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.DictComp)):
            inner = known | {t.id for g in node.generators for t in nodes(g.target) if isinstance(t, ast.Name)}
            for part in ast.iter_child_nodes(node):
                self.uses(part, inner)
        elif isinstance(node, ast.NamedExpr):
            self.uses(node.value, known)
        elif isinstance(node, (ast.Compare, ast.BinOp, ast.BoolOp)):
            for part in ast.iter_child_nodes(node):
                self.uses(part, known)
                known |= _named(part)
        elif isinstance(node, ast.Name):
            self._one(node, known)
        else:
            for part in ast.iter_child_nodes(node):
                self.uses(part, known)

    def _one(self, name: ast.Name, known: LocalNames) -> None:
        if isinstance(name.ctx, ast.Load) and name.id in self.locals and name.id not in known and self.found is None:
            self.found = name

    def block(self, body: list[ast.stmt], known: LocalNames | None) -> LocalNames | None:
        """The names known after a list of statements."""
        for node in body:
            if known is None or self.found is not None:
                return known
            known = self.statement(node, known)
        return known

    def statement(self, node: ast.stmt, known: LocalNames) -> LocalNames | None:
        """The names known after one statement."""
        match node:
            case ast.Assign():
                self.uses(node.value, known)
                for target in node.targets:
                    self.uses(target, known)
                return known | {n.id for t in node.targets for n in nodes(t) if isinstance(n, ast.Name) and _stores(n)}
            case ast.AnnAssign(target=ast.Name() as name):
                self.uses(node.value, known)
                return known | {name.id} if node.value is not None else known
            case ast.AugAssign():
                self.uses(node.value, known)
                if isinstance(node.target, ast.Name):
                    self._one(ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target), known)
                else:
                    self.uses(node.target, known)
                return known
            case ast.If():
                self.uses(node.test, known)
                known |= _named(node.test)
                return _both(self.block(node.body, known), self.block(node.orelse, known))
            case ast.While():
                self.uses(node.test, known)
                known |= _named(node.test)
                self.breaks.append([])
                self.block(node.body, known)
                ways = self.breaks.pop()
                forever = self.constant(node.test)
                return _all(ways if forever else [known, *ways])
            case ast.For():
                self.uses(node.iter, known)
                self.breaks.append([])
                inside = known | {n.id for n in nodes(node.target) if isinstance(n, ast.Name)}
                self.block(node.body, inside)
                ways = self.breaks.pop()
                return _all([inside if surely_runs(node, self.constant) else known, *ways])
            case ast.With():
                for item in node.items:
                    self.uses(item.context_expr, known)
                    if isinstance(item.optional_vars, ast.Name):
                        known = known | {item.optional_vars.id}
                return self.block(node.body, known)
            case ast.Return():
                self.uses(node.value, known)
                return None
            case ast.Break():
                if self.breaks:
                    self.breaks[-1].append(known)
                return None
            case ast.Continue():
                return None
        self.uses(node, known)
        return known


@functools.cache
def _read(node: ast.AST) -> LocalNames | None:
    """The names that an expression reads, if it gives none a value itself."""
    names = set()
    for inner in nodes(node):
        if isinstance(inner, (ast.NamedExpr, ast.comprehension)):
            return None
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            names.add(inner.id)
    return frozenset(names)


@functools.cache
def _named(node: ast.AST) -> LocalNames:
    """The names that `:=` gives a value in an expression."""
    return frozenset(n.target.id for n in nodes(node) if isinstance(n, ast.NamedExpr))


def _stores(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _both(a: LocalNames | None, b: LocalNames | None) -> LocalNames | None:
    return b if a is None else a if b is None else a & b


def _all(ways: list[LocalNames]) -> LocalNames | None:
    known: LocalNames | None = None
    for way in ways:
        known = _both(known, way)
    return known
