"""What numbers a local can hold: the range that its place in a state has room for.

A local's type says which numbers it may be given: others are an error. What it is given is often less: a result is 0 or one of three errors
where its type has all errors. So a local holds what the expressions do that are assigned to it; a parameter, what the arguments of all calls
do; a function's result, what it returns. Arithmetic has the range that its operands' types give it. No range is looked for where a
thread begins, nor for what comes from a user's function into one of ours: an edit of the one would move the other's locals.
"""

from __future__ import annotations

from collections.abc import Iterable

from secondsight.lang import ir, tree
from secondsight.lang.types import IntType, is_sequence

__all__ = ["held_ranges"]

_Range = tuple[int, int]
_Holder = ir.Var | ir.Function
"""A local, or a function for what it returns."""


def held_ranges(functions: Iterable[ir.Function], roots: Iterable[ir.Function]) -> dict[ir.Var, IntType]:
    """The locals that hold less than their types have, each with what it holds. `functions`: all that there are; threads begin with `roots`."""
    return _Ranges(functions, roots).narrower()


class _Ranges:
    def __init__(self, functions: Iterable[ir.Function], roots: Iterable[ir.Function]) -> None:
        self.given: list[tuple[_Holder, ir.Expr, bool]] = []
        self.open: set[_Holder] = {param for root in roots for param in root.params}
        for function in functions:
            if isinstance(function.result, IntType) and function.result.low <= 0 <= function.result.high:
                self.given.append((function, ir.Constant(0, function.result), False))  # where it ends without a `return`
            for stmt in tree.statements(function.body):
                self._statement(function, stmt)
                for node in (n for e in tree.expressions(stmt) for n in tree.walk(e)):
                    self._expression(function, node)
        self.known: dict[_Holder, _Range] = {}
        self.holders = {holder for holder, _, _ in self.given} - self.open
        changed = True
        while changed:
            changed = False
            for holder, value, from_users in self.given:
                held = None if holder in self.open else self._clipped(self._range(value, from_users), _type(holder))
                if held is not None and self.known.get(holder) != (new := _joined(self.known.get(holder), held)):
                    self.known[holder], changed = new, True

    def narrower(self) -> dict[ir.Var, IntType]:
        """See `held_ranges`."""
        found = {}
        for holder, (low, high) in self.known.items():
            kind = _type(holder)
            if isinstance(holder, ir.Var) and isinstance(kind, IntType) and not is_sequence(kind):
                zero = kind.zero  # what is renamed may be none
                low, high = min(low, zero), max(high, zero)
                if (low, high) != (kind.low, kind.high):
                    found[holder] = IntType(low, high, kind.display, kind.enum)
        return found

    # What is given to what.

    def _statement(self, function: ir.Function, stmt: ir.Stmt) -> None:
        ours = not function.is_users
        match stmt:
            case ir.SetVar():
                self.given.append((stmt.var, stmt.value, ours))
            case ir.SetItem():
                self.given += [(item, stmt.value, ours) for item in stmt.items]
            case ir.Unpack(value=ir.Pack() as pack):
                self.given += [(target, value, ours) for target, value in zip(stmt.targets, pack.items, strict=False)]
                self.open.update(stmt.targets[len(pack.items) :])
            case ir.Unpack():
                self.open.update(stmt.targets)
            case ir.YieldCall():
                self._call(function, stmt.function, stmt.arguments)
                if stmt.target is not None:
                    self.given.append((stmt.target, ir.Call(stmt.function, stmt.arguments, stmt.function.result), ours))
            case ir.Return(value=value) if value is not None:
                self.given.append((function, value, ours))

    def _expression(self, function: ir.Function, node: ir.Expr) -> None:
        match node:
            case ir.Call():
                self._call(function, node.function, node.arguments)
            case ir.Quantifier() | ir.ChooseWhere():
                self.open.update((node.var, *(var for var, _ in node.bindings)))

    def _call(self, caller: ir.Function, called: ir.Function, arguments: list[ir.Expr]) -> None:
        if caller.is_users and not called.is_users:
            self.open.update(called.params)
        else:
            self.given += [(param, value, not caller.is_users) for param, value in zip(called.params, arguments, strict=True)]

    # What that is.

    def _range(self, node: ir.Expr, ours: bool) -> _Range | None:
        """The range of an expression, as far as it is known; None: it is no number, or nothing yet. `ours`: one of our functions has it."""
        kind = node.type
        if not isinstance(kind, IntType):
            return None
        match node:
            case ir.Constant():
                return node.value, node.value
            case ir.Local():
                return self._clipped(self._of(node.var), kind)
            case ir.Call():
                return (kind.low, kind.high) if ours and node.function.is_users else self._clipped(self._of(node.function), kind)
            case ir.Conditional():
                ways = [way for way in (self._range(node.then, ours), self._range(node.other, ours)) if way is not None]
                return (min(low for low, _ in ways), max(high for _, high in ways)) if ways else None
        return kind.low, kind.high

    def _of(self, holder: _Holder) -> _Range | None:
        kind = _type(holder)
        if holder in self.holders:
            return self.known.get(holder)
        return (kind.low, kind.high) if isinstance(kind, IntType) else None

    @staticmethod
    def _clipped(held: _Range | None, kind: object) -> _Range | None:
        """What of a range is in a type's: the rest is an error."""
        if held is None or not isinstance(kind, IntType) or held[0] > kind.high or held[1] < kind.low:
            return None
        return max(held[0], kind.low), min(held[1], kind.high)


def _type(holder: _Holder) -> object:
    return holder.type if isinstance(holder, ir.Var) else holder.result


def _joined(one: _Range | None, other: _Range) -> _Range:
    return other if one is None else (min(one[0], other[0]), max(one[1], other[1]))
