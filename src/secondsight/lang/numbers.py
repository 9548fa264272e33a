"""Integers that are places of interchangeable records: where a program has them, and that it does nothing else with them.

`array.index(record)` makes a number of a record, `array[number]` a record again: `page_to_pfn()` and `pfn_to_page()`. A
renaming of the records changes such numbers as it changes references, so every one that lies in a live local must be known.
What a local, a parameter or a result may hold is found out over the whole program:
a
*place*, that is what `index()` gave, or a negative number (an errno in its stead). It may be assigned, passed, returned, used to
find a record, compared with another place, with a negative number, and with 0 by `<` and `>=`.

Within `if number < 0:` (until it is assigned again) a number is no place. Everything else that is done with one, and a
local that holds now a place and now another number, turns the reduction off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from secondsight.lang import ir, tree
from secondsight.lang.types import IntType, Type

__all__ = ["Kind", "Numbers", "Told"]


class Told(Exception):
    """The program can tell the records apart; why."""


class Kind(Enum):
    """What an integer may be."""

    NEGATIVE = "a negative number"
    ZERO = "0"
    PLAIN = "a number"
    FOUND = "a place, never negative"
    PLACE = "a place or a negative number"
    MIXED = "now a place, now another number"


_PLAIN = frozenset({Kind.PLAIN, Kind.NEGATIVE, Kind.ZERO})
_PLACES = frozenset({Kind.FOUND, Kind.PLACE})

_JOINED = {
    frozenset({Kind.NEGATIVE, Kind.ZERO}): Kind.PLAIN,
    frozenset({Kind.NEGATIVE, Kind.PLAIN}): Kind.PLAIN,
    frozenset({Kind.ZERO, Kind.PLAIN}): Kind.PLAIN,
    frozenset({Kind.NEGATIVE, Kind.FOUND}): Kind.PLACE,
    frozenset({Kind.NEGATIVE, Kind.PLACE}): Kind.PLACE,
    frozenset({Kind.FOUND, Kind.PLACE}): Kind.PLACE,
}


def _join(a: Kind | None, b: Kind | None) -> Kind | None:
    """What may be either; None: nothing is known yet."""
    if a is None or b is None or a is b:
        return a or b
    return _JOINED.get(frozenset({a, b}), Kind.MIXED)


Known = frozenset[ir.Var]
"""Locals that are surely negative at some place of a function."""


class Numbers:
    """The places among the integers of some functions. Raises `Told` where they are used for anything else."""

    def __init__(self, functions: Iterable[ir.Function], mine: Callable[[Type], bool], roots: Iterable[ir.Function]) -> None:
        self.mine = mine
        self.vars: dict[ir.Var, Kind] = {p: Kind.PLAIN for root in roots for p in root.params}
        self.results: dict[ir.Function, Kind] = {}
        self.parts: dict[tuple[ir.Function, int], Kind] = {}
        self.called: dict[ir.Var, ir.Function] = {}
        self.changed, self.checking = True, False
        every = list(functions)
        while self.changed:
            self.changed = False
            self._all(every)
        self.checking = True
        self._all(every)

    def kind(self, var: ir.Var) -> Kind | None:
        """What a local may hold; None: it is never assigned."""
        return self.vars.get(var)

    def _all(self, functions: list[ir.Function]) -> None:
        for function in functions:
            self.function = function
            self._body(function.body, frozenset())

    # Statements.

    def _body(self, body: list[ir.Stmt], known: Known) -> Known:
        for stmt in body:
            known = self._statement(stmt, known)
        return known

    def _statement(self, stmt: ir.Stmt, known: Known) -> Known:
        match stmt:
            case ir.SetVar():
                self._set(stmt.var, self.of(stmt.value, known))
                return known - {stmt.var}
            case ir.Unpack():
                for var, kind in zip(stmt.targets, self._parts(stmt.value, known), strict=True):
                    self._set(var, kind)
                return known - frozenset(stmt.targets)
            case ir.SetItem():
                self._plain(stmt.index, known)
                kind = self.of(stmt.value, known)
                for var in stmt.items:
                    self._set(var, kind)
                return known - frozenset(stmt.items)
            case ir.YieldCall():
                self._pass(stmt.function, stmt.arguments, known)
                if stmt.target is not None and isinstance(stmt.function.result, ir.Group):
                    self.called[stmt.target] = stmt.function
                elif stmt.target is not None:
                    self._set(stmt.target, self.results.get(stmt.function))
                    return known - {stmt.target}
            case ir.Return(value=value) if value is not None and isinstance(self.function.result, ir.Group):
                for i, kind in enumerate(self._parts(value, known)):
                    self._part(self.function, i, kind)
            case ir.Return():
                if stmt.value is not None:
                    kind = _join(self.results.get(self.function), self.of(stmt.value, known))
                    self._note(kind, self.function.name)
                    if kind is not None and self.results.get(self.function) is not kind:
                        self.results[self.function] = kind
                        self.changed = True
            case ir.If():
                self._plain(stmt.test, known)
                self._body(stmt.then, known | _negative(stmt.test))
                self._body(stmt.other, known)
                return known - _assigned([*stmt.then, *stmt.other])
            case ir.While():
                known -= _assigned([*stmt.body, *stmt.step])
                self._plain(stmt.test, known)
                self._body(stmt.body, known)
                self._body(stmt.step, known)
            case ir.Store():
                self._addr(stmt.addr, known)
                self._plain(stmt.value, known)
            case ir.Eval():
                self.of(stmt.value, known)
            case _:
                for node in tree.expressions(stmt):
                    self._plain(node, known)
        return known

    def _set(self, var: ir.Var, kind: Kind | None) -> None:
        kind = _join(self.vars.get(var), kind)
        self._note(kind, var.name)
        if kind is not None and self.vars.get(var) is not kind:
            self.vars[var] = kind
            self.changed = True

    def _parts(self, value: ir.Expr, known: Known) -> list[Kind | None]:
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
        return [self.parts.get((function, i)) for i in range(len(function.result.parts))]

    def _part(self, function: ir.Function, place: int, kind: Kind | None) -> None:
        kind = _join(self.parts.get((function, place)), kind)
        self._note(kind, function.name)
        if kind is not None and self.parts.get((function, place)) is not kind:
            self.parts[function, place] = kind
            self.changed = True

    def _note(self, kind: Kind | None, name: str) -> None:
        if kind is Kind.MIXED:
            raise Told(f"{name} is now the number of one, now another number")

    def _pass(self, function: ir.Function, arguments: list[ir.Expr], known: Known) -> None:
        for param, argument in zip(function.params, arguments, strict=True):
            self._set(param, self.of(argument, known))

    # Expressions.

    def _plain(self, node: ir.Expr, known: Known) -> None:
        """An expression whose value must not be a place."""
        self._must(self.of(node, known), _PLAIN, "the number of one is used as a number")

    def _must(self, kind: Kind | None, kinds: frozenset[Kind], why: str) -> None:
        if self.checking and kind is not None and kind not in kinds:
            raise Told(why)

    def _addr(self, addr: ir.Addr, known: Known) -> None:
        if isinstance(addr.root, ir.Expr):
            self._plain(addr.root, known)
        for step in addr.path:
            if isinstance(step, ir.IndexStep):
                kind = self.of(step.index, known)
                self._must(kind, _PLAIN | _PLACES if self.mine(step.array) else _PLAIN, "the number of one is used as a number")

    def of(self, node: ir.Expr, known: Known = frozenset()) -> Kind | None:
        """What the value of an expression may be; references and truth values are plain."""
        match node:
            case ir.Local():
                if node.var in known:
                    return Kind.NEGATIVE
                return self.vars.get(node.var)
            case ir.Constant():
                return _constant(node.value) if isinstance(node.type, IntType) else Kind.PLAIN
            case ir.IndexOf():
                self._addr(node.array, known)
                self._plain(node.value, known)
                return Kind.FOUND if self.mine(node.array.type) else Kind.PLAIN
            case ir.Load() | ir.AddressOf():
                self._addr(node.addr, known)
                return Kind.PLAIN
            case ir.Call():
                self._pass(node.function, node.arguments, known)
                return self.results.get(node.function, None if node.function.result is not None else Kind.PLAIN)
            case ir.Conditional():
                self._plain(node.test, known)
                return _join(self.of(node.then, known), self.of(node.other, known))
            case ir.Fits():
                return self.of(node.value, known)
            case ir.Item():
                self._plain(node.index, known)
                kinds: Kind | None = None
                for item in node.items:
                    kinds = _join(kinds, self.of(item, known))
                return kinds
            case ir.Compare():
                self._compare(node, known)
                return Kind.PLAIN
            case ir.Quantifier() | ir.ChooseWhere():
                return self._generator(node, known)
            case _:
                for part in tree.parts(node):
                    self._plain(part, known)
                return _range(node)

    def _generator(self, node: ir.Quantifier | ir.ChooseWhere, known: Known) -> Kind:
        for part in (node.start, node.stop):
            self._plain(part, known)
        self._set(node.var, Kind.PLAIN)
        for var, value in node.bindings:
            self._set(var, self.of(value, known))
        for item in (node.condition, node.test if isinstance(node, ir.Quantifier) else node.result):
            if item is not None:
                self._plain(item, known)
        return Kind.PLAIN

    def _compare(self, node: ir.Compare, known: Known) -> None:
        left, right = self.of(node.left, known), self.of(node.right, known)
        if left in _PLACES or right in _PLACES:
            op = node.op if left in _PLACES else _TURNED[node.op]
            other = right if left in _PLACES else left
            equal = op in ("==", "!=") and other in _PLACES
            sign = op in ("<", ">=") and other is Kind.ZERO
            if not (equal or sign or other is Kind.NEGATIVE or other is None):
                self._must(left if left in _PLACES else right, _PLAIN, "the number of one is compared with another number")


_TURNED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _constant(value: int) -> Kind:
    return Kind.NEGATIVE if value < 0 else Kind.ZERO if value == 0 else Kind.PLAIN


def _range(node: ir.Expr) -> Kind:
    """A plain number, surely negative or not."""
    kind = node.type
    return Kind.NEGATIVE if isinstance(kind, IntType) and kind.high < 0 else Kind.PLAIN


def _negative(test: ir.Expr) -> Known:
    """The locals that are negative where a test is true."""
    if isinstance(test, ir.Logic) and test.op == "and":
        return frozenset(v for item in test.items for v in _negative(item))
    if isinstance(test, ir.Compare) and isinstance(test.left, ir.Local) and isinstance(test.right, ir.Constant):
        value = test.right.value
        if isinstance(test.left.type, IntType) and ((test.op == "<" and value <= 0) or (test.op in ("<=", "==") and value < 0)):
            return frozenset({test.left.var})
    return frozenset()


def _assigned(body: list[ir.Stmt]) -> Known:
    """The locals that some statements assign."""
    found = set()
    for stmt in tree.statements(body):
        found.update(tree.assigned(stmt))
    return frozenset(found)
