"""What kinds of integers each local of a program may hold, found out over all its functions at once.

What is assigned, passed, returned and packed together is followed until nothing new is learned; then all is looked at once more,
and what may not be done with a value of some kind is refused (`TellsApart`). A kind is whatever a subclass says: it joins two, and
knows what loads, constants, arithmetic and comparisons give. References and truth values are `plain`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Generic, TypeVar

from secondsight.lang import ir, tree

__all__ = ["KnownVars", "Spread", "TellsApart"]


class TellsApart(Exception):
    """The program can tell what was to be renamed; why."""


K = TypeVar("K")

KnownVars = frozenset[ir.Var]
"""Locals of which something is surely known at some place of a function; see `Spread.learned`."""


class Spread(ABC, Generic[K]):
    """The kinds of the locals of some functions. Raises `TellsApart`."""

    def __init__(self, functions: Iterable[ir.Function], roots: Iterable[ir.Function], plain: K) -> None:
        self.plain = plain
        self.vars: dict[ir.Var, K] = {p: self.argument(root, p) for root in roots for p in root.params}
        self.results: dict[ir.Function, K] = {}
        self.parts: dict[tuple[ir.Function, int], K] = {}
        self.called: dict[ir.Var, ir.Function] = {}
        self.changed, self.checking = True, False
        every = list(functions)
        while self.changed:
            self.changed = False
            self._all(every)
        self.checking = True
        self._all(every)

    def kind(self, var: ir.Var) -> K | None:
        """What a local may hold; None: it is never assigned."""
        return self.vars.get(var)

    # What a subclass says.

    @abstractmethod
    def join(self, a: K, b: K) -> K:
        """What may be either."""

    @abstractmethod
    def note(self, kind: K | None, name: str) -> None:
        """A local, a result or a part may be of this kind: refuse what cannot be followed."""

    @abstractmethod
    def must_be_plain(self, kind: K | None) -> None:
        """A value is used as a number: refuse it unless it is one. Called when all kinds are known."""

    def argument(self, root: ir.Function, param: ir.Var) -> K:
        """What a thread's constant argument is."""
        return self.plain

    def constant(self, node: ir.Constant) -> K:
        """A constant."""
        return self.plain

    def local(self, node: ir.Local, known: KnownVars) -> K | None:
        """A local's value."""
        return self.vars.get(node.var)

    def load(self, node: ir.Load, known: KnownVars) -> K | None:
        """What is loaded."""
        return self.plain

    def index_of(self, node: ir.IndexOf) -> K:
        """The place of a record in an array."""
        return self.plain

    def called_as(self, function: ir.Function) -> K | None:
        """The result of a call."""
        return self.results.get(function, None if function.result is not None else self.plain)

    def part_of(self, function: ir.Function, number: int) -> K | None:
        """A part of the result of a function that returns a group."""
        return self.parts.get((function, number))

    def index(self, step: ir.IndexStep, known: KnownVars) -> None:
        """An element of an array is found by a number."""
        self.number(step.index, known)

    def computed(self, node: ir.Expr, known: KnownVars) -> K:
        """Everything else: of plain parts a plain value."""
        for part in tree.parts(node):
            self.number(part, known)
        return self.plain

    def compare(self, node: ir.Compare, known: KnownVars) -> None:
        """A comparison."""
        self.number(node.left, known)
        self.number(node.right, known)

    def store(self, stmt: ir.Store, known: KnownVars) -> None:
        """An assignment to a place."""
        self.number(stmt.value, known)

    def learned(self, test: ir.Expr) -> KnownVars:
        """The locals of which something is known where a test is true."""
        return frozenset()

    # Statements.

    def _all(self, functions: list[ir.Function]) -> None:
        for function in functions:
            self.function = function
            self._body(function.body, frozenset())

    def _body(self, body: list[ir.Stmt], known: KnownVars) -> KnownVars:
        for stmt in body:
            known = self._statement(stmt, known)
        return known

    def _statement(self, stmt: ir.Stmt, known: KnownVars) -> KnownVars:
        match stmt:
            case ir.SetVar():
                self._set(stmt.var, self.of(stmt.value, known))
                return known - {stmt.var}
            case ir.Unpack():
                for var, kind in zip(stmt.targets, self._parts(stmt.value, known), strict=True):
                    self._set(var, kind)
                return known - frozenset(stmt.targets)
            case ir.SetItem():
                self.number(stmt.index, known)
                self.number(stmt.count, known)
                kind = self.of(stmt.value, known)
                for var in stmt.items:
                    self._set(var, kind)
                return known - frozenset(stmt.items)
            case ir.YieldCall():
                self._pass(stmt.function, stmt.arguments, known)
                if stmt.target is not None and isinstance(stmt.function.result, ir.Group):
                    self.called[stmt.target] = stmt.function
                elif stmt.target is not None:
                    self._set(stmt.target, self.called_as(stmt.function))
                    return known - {stmt.target}
            case ir.Return(value=value) if value is not None and isinstance(self.function.result, ir.Group):
                for i, kind in enumerate(self._parts(value, known)):
                    self._part(self.function, i, kind)
            case ir.Return():
                if stmt.value is not None:
                    kind = self._either(self.results.get(self.function), self.of(stmt.value, known))
                    self.note(kind, self.function.name)
                    if kind is not None and self.results.get(self.function) != kind:
                        self.results[self.function] = kind
                        self.changed = True
            case ir.If():
                self.number(stmt.test, known)
                self._body(stmt.then, known | self.learned(stmt.test))
                self._body(stmt.other, known)
                return known - _assigned([*stmt.then, *stmt.other])
            case ir.While():
                known -= _assigned([*stmt.body, *stmt.step])
                self.number(stmt.test, known)
                inside = known | self.learned(stmt.test)
                self._body(stmt.body, inside)
                self._body(stmt.step, inside - _assigned(stmt.body))
            case ir.Store():
                self.addr(stmt.addr, known)
                self.store(stmt, known)
            case ir.Eval():
                self.of(stmt.value, known)
            case _:
                for node in tree.expressions(stmt):
                    self.number(node, known)
        return known

    def _either(self, a: K | None, b: K | None) -> K | None:
        """What may be either; None: nothing is known yet."""
        if a is None or b is None or a == b:
            return b if a is None else a
        return self.join(a, b)

    def _set(self, var: ir.Var, kind: K | None) -> None:
        kind = self._either(self.vars.get(var), kind)
        self.note(kind, var.name)
        if kind is not None and self.vars.get(var) != kind:
            self.vars[var] = kind
            self.changed = True

    def _parts(self, value: ir.Expr, known: KnownVars) -> list[K | None]:
        """What each part of a group may be."""
        if isinstance(value, ir.Pack):
            return [self.of(item, known) for item in value.items]
        if isinstance(value, ir.Call):
            self._pass(value.function, value.arguments, known)
            function = value.function
        else:
            assert isinstance(value, ir.Local)
            function = self.called[value.var]
        assert isinstance(function.result, ir.Group)
        return [self.part_of(function, i) for i in range(len(function.result.parts))]

    def _part(self, function: ir.Function, place: int, kind: K | None) -> None:
        kind = self._either(self.parts.get((function, place)), kind)
        self.note(kind, function.name)
        if kind is not None and self.parts.get((function, place)) != kind:
            self.parts[function, place] = kind
            self.changed = True

    def _pass(self, function: ir.Function, arguments: list[ir.Expr], known: KnownVars) -> None:
        for param, argument in zip(function.params, arguments, strict=True):
            self._set(param, self.of(argument, known))

    # Expressions.

    def number(self, node: ir.Expr, known: KnownVars) -> None:
        """An expression whose value must be plain."""
        kind = self.of(node, known)
        if self.checking:
            self.must_be_plain(kind)

    def addr(self, addr: ir.Addr, known: KnownVars) -> None:
        """A place: how it is computed."""
        if isinstance(addr.root, ir.Expr):
            self.number(addr.root, known)
        for step in addr.path:
            if isinstance(step, ir.IndexStep):
                self.index(step, known)

    def of(self, node: ir.Expr, known: KnownVars = frozenset()) -> K | None:
        """What the value of an expression may be."""
        match node:
            case ir.Local():
                return self.local(node, known)
            case ir.Constant():
                return self.constant(node)
            case ir.IndexOf():
                self.addr(node.array, known)
                self.number(node.value, known)
                return self.index_of(node)
            case ir.Load():
                self.addr(node.addr, known)
                return self.load(node, known)
            case ir.AddressOf():
                self.addr(node.addr, known)
                return self.plain
            case ir.Call():
                self._pass(node.function, node.arguments, known)
                return self.called_as(node.function)
            case ir.Conditional():
                self.number(node.test, known)
                return self._either(self.of(node.then, known), self.of(node.other, known))
            case ir.Fits():
                return self.of(node.value, known)
            case ir.Item():
                self.number(node.index, known)
                self.number(node.count, known)
                kinds: K | None = None
                for item in node.items:
                    kinds = self._either(kinds, self.of(item, known))
                return kinds
            case ir.Compare():
                self.compare(node, known)
                return self.plain
            case ir.Quantifier() | ir.ChooseWhere():
                return self._generator(node, known)
            case _:
                return self.computed(node, known)

    def _generator(self, node: ir.Quantifier | ir.ChooseWhere, known: KnownVars) -> K:
        for part in (node.start, node.stop):
            self.number(part, known)
        self._set(node.var, self.plain)
        for var, value in node.bindings:
            self._set(var, self.of(value, known))
        for item in (node.condition, node.test if isinstance(node, ir.Quantifier) else node.result):
            if item is not None:
                self.number(item, known)
        return self.plain


def _assigned(body: list[ir.Stmt]) -> KnownVars:
    """The locals that some statements assign."""
    found = set()
    for stmt in tree.statements(body):
        found.update(tree.assigned(stmt))
    return frozenset(found)
