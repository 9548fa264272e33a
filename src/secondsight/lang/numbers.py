"""Integers that are places of interchangeable records: where a program has them, and that it does nothing else with them.

`array.index(record)` makes a number of a record, `array[number]` a record again: `page_to_pfn()` and `pfn_to_page()`. A
renaming of the records changes such numbers as it changes references, so every one that lies in a live local must be known.
What a local, a parameter or a result may hold is found out over the whole program (`lang.spread`):
a
*place*, that is what `index()` gave, or a negative number (an errno in its stead). It may be assigned, passed, returned, used to
find a record, compared with another place, with a negative number, and with 0 by `<` and `>=`.

Within `if number < 0:` (until it is assigned again) a number is no place. Everything else that is done with one, and a
local that holds now a place and now another number, turns the reduction off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum

from secondsight.lang import ir
from secondsight.lang.spread import KnownVars, Spread, TellsApart
from secondsight.lang.types import IntType, Type

__all__ = ["Kind", "Numbers", "TellsApart"]


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


class Numbers(Spread[Kind]):
    """The places among the integers of some functions. Raises `TellsApart` where they are used for anything else."""

    def __init__(self, functions: Iterable[ir.Function], mine: Callable[[Type], bool], roots: Iterable[ir.Function]) -> None:
        self.mine = mine
        super().__init__(functions, roots, Kind.PLAIN)

    def join(self, a: Kind, b: Kind) -> Kind:
        """What may be either."""
        return _JOINED.get(frozenset({a, b}), Kind.MIXED)

    def note(self, kind: Kind | None, name: str) -> None:
        """Refuse what holds now a place, now another number."""
        if kind is Kind.MIXED:
            raise TellsApart(f"{name} is now the number of one, now another number")

    def must_be_plain(self, kind: Kind | None) -> None:
        """Refuse a place."""
        self._must(kind, _PLAIN, "the number of one is used as a number")

    def _must(self, kind: Kind | None, kinds: frozenset[Kind], why: str) -> None:
        if self.checking and kind is not None and kind not in kinds:
            raise TellsApart(why)

    def index(self, step: ir.IndexStep, known: KnownVars) -> None:
        """A place finds a record of the array."""
        kinds = _PLAIN | _PLACES if self.mine(step.array) else _PLAIN
        self._must(self.of(step.index, known), kinds, "the number of one is used as a number")

    def local(self, node: ir.Local, known: KnownVars) -> Kind | None:
        """A local's value: negative where that is known."""
        return Kind.NEGATIVE if node.var in known else self.vars.get(node.var)

    def constant(self, node: ir.Constant) -> Kind:
        """A constant: its sign."""
        if not isinstance(node.type, IntType):
            return Kind.PLAIN
        return Kind.NEGATIVE if node.value < 0 else Kind.ZERO if node.value == 0 else Kind.PLAIN

    def index_of(self, node: ir.IndexOf) -> Kind:
        """The place of one of the records, or of another."""
        return Kind.FOUND if self.mine(node.array.type) else Kind.PLAIN

    def computed(self, node: ir.Expr, known: KnownVars) -> Kind:
        """A plain number, surely negative or not."""
        super().computed(node, known)
        kind = node.type
        return Kind.NEGATIVE if isinstance(kind, IntType) and kind.high < 0 else Kind.PLAIN

    def learned(self, test: ir.Expr) -> KnownVars:
        """The locals that are negative where a test is true."""
        if isinstance(test, ir.Logic) and test.op == "and":
            return frozenset(v for item in test.items for v in self.learned(item))
        if isinstance(test, ir.Compare) and isinstance(test.left, ir.Local) and isinstance(test.right, ir.Constant):
            value = test.right.value
            if isinstance(test.left.type, IntType) and ((test.op == "<" and value <= 0) or (test.op in ("<=", "==") and value < 0)):
                return frozenset({test.left.var})
        return frozenset()

    def compare(self, node: ir.Compare, known: KnownVars) -> None:
        """A place is compared with another, with a negative number, or with 0 for its sign."""
        left, right = self.of(node.left, known), self.of(node.right, known)
        if left in _PLACES or right in _PLACES:
            op = node.op if left in _PLACES else _TURNED[node.op]
            other = right if left in _PLACES else left
            equal = op in ("==", "!=") and other in _PLACES
            sign = op in ("<", ">=") and other is Kind.ZERO
            if not (equal or sign or other is Kind.NEGATIVE or other is None):
                self._must(left if left in _PLACES else right, _PLAIN, "the number of one is compared with another number")


_TURNED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
