"""Lists on a function's stack, in plain execution: Python's, with a bound and a type for their elements."""

from __future__ import annotations

from typing import Any

from secondsight.lang.arrays import checked
from secondsight.lang.errors import BadIndex, LeftRange, OutOfRecords
from secondsight.lang.types import ListType

__all__ = ["BoundedList"]


class BoundedList(list[Any]):
    """A list of at most `most` elements; `name`: what it is called in errors."""

    def __init__(self, kind: ListType, most: int, name: str, elements: list[Any]) -> None:
        super().__init__()
        self.kind, self.most, self.name = kind, most, name
        for element in elements:
            self.append(element)

    def append(self, element: Any) -> None:
        """Add an element. A full list is an error that names the bound."""
        element = checked(self.kind.element, element, self.name)
        if len(self) >= self.most:
            if isinstance(self.kind.size, str):
                raise OutOfRecords(self.kind.size, self.most)
            raise LeftRange(f"len({self.name})", len(self) + 1, 0, self.most)
        super().append(element)

    def _place(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise BadIndex(self.name, index, len(self))
        return index

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(self._place(index))

    def __setitem__(self, index: Any, element: Any) -> None:
        self._place(index)
        super().__setitem__(index, checked(self.kind.element, element, self.name))
