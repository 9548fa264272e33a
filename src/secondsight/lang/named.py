"""What a class's own state has: the records, and the names of bounds, of its module and of its fields."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from secondsight.lang.modules import is_ours
from secondsight.lang.records import Record
from secondsight.lang.standins import SharedArray, SharedRecord
from secondsight.lang.types import ArrayType, ListType, RecordType, SizedInt

__all__ = ["bounds_named_by", "records_of"]


def bounds_named_by(cls: type[Record]) -> list[str]:
    """The names of all bounds of arrays that a user's record class has, or that its modules and what they import declare."""
    return _state_of(cls)[0]


def records_of(cls: type[Record]) -> list[type[Record]]:
    """`cls`, and the classes of all records that lie in it, or that its modules and what they import declare."""
    return _state_of(cls)[1]


def _state_of(cls: type[Record]) -> tuple[list[str], list[type[Record]]]:
    names: dict[str, None] = {}
    seen: dict[type[Record], None] = {}

    def visit(kind: Any) -> None:
        size = kind.size if isinstance(kind, (ArrayType, ListType, SizedInt)) else None
        if isinstance(size, str):
            names[size] = None
        if isinstance(kind, (ArrayType, ListType)):
            visit(kind.element)
        elif isinstance(kind, RecordType) and kind.record not in seen:
            seen[kind.record] = None
            for inner in kind.record.fields().values():
                visit(inner)

    visit(RecordType(cls))
    for value in _values({c.__module__ for c in cls.__mro__ if not is_ours(c.__module__)}):
        if isinstance(value, (SharedArray, SharedRecord)):
            visit(object.__getattribute__(value, "_shared").kind)
    return list(names), list(seen)


def _values(modules: set[str]) -> Iterator[Any]:
    """What users' modules have under their names, and the users' modules among that."""
    known = [sys.modules[name] for name in sorted(modules) if name in sys.modules]
    for module in known:
        for value in list(vars(module).values()):
            if isinstance(value, ModuleType):
                is_theirs = not is_ours(value.__name__) and hasattr(value, "__file__")
                if is_theirs and value not in known and any(isinstance(v, (SharedArray, SharedRecord)) for v in list(vars(value).values())):
                    known.append(value)
            else:
                yield value
