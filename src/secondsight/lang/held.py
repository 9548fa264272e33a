"""What numbers a local can hold: the range that its place in a state has room for.

A local's type says which numbers it may be given: others are an error. What it is given is often less: a result is 0 or one of three errors
where its type has all errors. So a local holds what the expressions do that are assigned to it; a parameter, what the arguments of all calls
do, if it has step boundaries; a function's result, what it returns. Arithmetic has the range that its operands' types give it. No range is looked for where a
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


def held_ranges(functions: Iterable[ir.Function], roots: Iterable[ir.Function], wanted: Iterable[ir.Var]) -> dict[ir.Var, IntType]:
    """Of some locals those that hold less than their types have, each with what it holds. `functions`: all that have step boundaries; threads
    begin with `roots`."""
    return _Ranges(functions, roots).narrower(wanted)


class _Ranges:
    def __init__(self, functions: Iterable[ir.Function], roots: Iterable[ir.Function]) -> None:
        self.given: dict[_Holder, list[tuple[ir.Expr, bool]]] = {}
        self.open: set[_Holder] = {param for root in roots for param in root.params}
        self.known: dict[_Holder, _Range] = {}
        self.readers: dict[_Holder, set[_Holder]] = {}
        self.reader: _Holder
        self.asked: list[_Holder] = []
        self.seen: set[ir.Function] = set()
        for function in functions:
            self._look(function)

    def narrower(self, wanted: Iterable[ir.Var]) -> dict[ir.Var, IntType]:
        """See `held_ranges`."""
        kinds = {var: var.type for var in wanted}
        for var, kind in kinds.items():
            if isinstance(kind, IntType) and kind.high > kind.low and not is_sequence(kind):
                self._of(var, var)
        while self.asked:
            self._again(self.asked.pop())
        found = {}
        for var, kind in kinds.items():
            if var in self.known and isinstance(kind, IntType) and not is_sequence(kind):
                (low, high), zero = self.known[var], kind.zero  # what is renamed may be none
                low, high = min(low, zero), max(high, zero)
                if (low, high) != (kind.low, kind.high):
                    found[var] = IntType(low, high, kind.display, kind.enum)
        return found

    def _again(self, holder: _Holder) -> None:
        """Look at all that is given to one, and again at those that read it if that is more than was known."""
        kind, known = _type(holder), self.known.get(holder)
        self.reader, held = holder, known
        for value, ours in self.given[holder]:
            one = _clipped(self._range(value, ours), kind)
            held = held if one is None else one if held is None else (min(held[0], one[0]), max(held[1], one[1]))
        if held is not None and held != known:
            self.known[holder] = held
            self.asked += self.readers[holder]

    # What is given to what.

    def _look(self, function: ir.Function) -> None:
        """Note what a function gives to its locals, its result and those that it calls, if they have step boundaries."""
        self.seen.add(function)
        if isinstance(function.result, IntType) and function.result.low <= 0 <= function.result.high:
            self._give(function, ir.Constant(0, function.result), False)  # where it ends without a `return`
        ours = not function.is_users
        for stmt in tree.statements(function.body):
            match stmt:
                case ir.SetVar():
                    self._give(stmt.var, stmt.value, ours)
                case ir.SetItem():
                    for item in stmt.items:
                        self._give(item, stmt.value, ours)
                case ir.Unpack(value=ir.Pack() as pack):
                    for target, value in zip(stmt.targets, pack.items, strict=False):
                        self._give(target, value, ours)
                    self.open.update(stmt.targets[len(pack.items) :])
                case ir.Unpack():
                    self.open.update(stmt.targets)
                case ir.YieldCall():
                    if not ours and not stmt.function.is_users:
                        self.open.update(stmt.function.params)
                    for param, value in zip(stmt.function.params, stmt.arguments, strict=True):
                        self._give(param, value, ours)
                    if stmt.target is not None:
                        self._give(stmt.target, ir.Call(stmt.function, stmt.arguments, stmt.function.result), ours)
                case ir.Return(value=value) if value is not None:
                    self._give(function, value, ours)

    def _give(self, holder: _Holder, value: ir.Expr, ours: bool) -> None:
        self.given.setdefault(holder, []).append((value, ours))

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
                return _clipped(self._of(node.var, self.reader), kind)
            case ir.Call():
                return (kind.low, kind.high) if ours and node.function.is_users else _clipped(self._of(node.function, self.reader), kind)
            case ir.Conditional():
                ways = [way for way in (self._range(node.then, ours), self._range(node.other, ours)) if way is not None]
                return (min(low for low, _ in ways), max(high for _, high in ways)) if ways else None
        return kind.low, kind.high

    def _of(self, holder: _Holder, reader: _Holder) -> _Range | None:
        """What one holds as far as is known, for another: which is looked at again when that is more."""
        kind = _type(holder)
        if isinstance(holder, ir.Function) and holder not in self.seen:  # it has no step boundaries
            self._look(holder)
        if not isinstance(kind, IntType) or holder in self.open or holder not in self.given:
            return (kind.low, kind.high) if isinstance(kind, IntType) else None
        if holder not in self.readers:
            self.readers[holder] = set()
            self.asked.append(holder)
        if reader is not holder:
            self.readers[holder].add(reader)
        return self.known.get(holder)


def _clipped(held: _Range | None, kind: object) -> _Range | None:
    """What of a range is in a type's: the rest is an error."""
    if held is None or not isinstance(kind, IntType) or held[0] > kind.high or held[1] < kind.low:
        return None
    return max(held[0], kind.low), min(held[1], kind.high)


def _type(holder: _Holder) -> object:
    return holder.type if isinstance(holder, ir.Var) else holder.result
