"""Sets of the places of an array, in plain execution: one bit a place, so that a set is a number to a state.

`Bits[Literal["pages"]]` is the type of a field, a local, an argument or a result. A set does not change: `|`, `&`, `-` make others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

__all__ = ["Bits"]

N = TypeVar("N")
MOST = 62
"""Places that a set has room for: it is one number."""


class Bits(int, Generic[N]):
    """A set of places, numbered from 0: `Bits()`, `Bits([a, b])`, `Bits(range(start, end))`; with sets of numbers in braces too."""

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters: Any) -> Any:
            return GenericAlias(cls, Literal[parameters] if isinstance(parameters, str) else parameters)  # a text would be a name to look up

    def __new__(cls, places: Iterable[int] = ()) -> Bits[N]:
        """The set of some places. A place below 0 or beyond the most is an error."""
        number = 0
        for place in places:
            number |= 1 << Bits._place(place)
        return cls._of(number)

    @classmethod
    def _of(cls, number: int) -> Bits[N]:
        return int.__new__(cls, number)

    @staticmethod
    def _place(place: int) -> int:
        from secondsight.lang.errors import LeftRange

        if not 0 <= place < MOST:
            raise LeftRange("a place in a set", int(place), 0, MOST - 1)
        return place

    def __contains__(self, place: int) -> bool:
        return place >= 0 and int(self) >> place & 1 != 0

    def __iter__(self) -> Iterator[int]:
        return (place for place in range(int(self).bit_length()) if int(self) >> place & 1)

    def __len__(self) -> int:
        return int(self).bit_count()

    def __or__(self, other: Iterable[int]) -> Bits[N]:  # type: ignore[override]
        return Bits._of(int(self) | int(_bits(other)))

    def __and__(self, other: Iterable[int]) -> Bits[N]:  # type: ignore[override]
        return Bits._of(int(self) & int(_bits(other)))

    def __xor__(self, other: Iterable[int]) -> Bits[N]:  # type: ignore[override]
        return Bits._of(int(self) ^ int(_bits(other)))

    def __sub__(self, other: Iterable[int]) -> Bits[N]:  # type: ignore[override]
        return Bits._of(int(self) & ~int(_bits(other)))

    def __ror__(self, other: Iterable[int]) -> Bits[N]:  # type: ignore[override]
        return _bits(other) | self

    def __rand__(self, other: Iterable[int]) -> Bits[N]:  # type: ignore[override]
        return _bits(other) & self

    def __rsub__(self, other: Iterable[int]) -> Bits[N]:  # type: ignore[override]
        return _bits(other) - self

    def __eq__(self, other: object) -> bool:
        return int(self) == int(_bits(other)) if isinstance(other, (Bits, set, frozenset)) else NotImplemented

    def __hash__(self) -> int:
        return hash(int(self))

    def __repr__(self) -> str:
        return "{" + ", ".join(map(str, self)) + "}"


def _bits(places: Any) -> Bits[Any]:
    return places if isinstance(places, Bits) else Bits(places)
