"""Records that were freed, in plain execution: objects of a class that tells of every use.

A record keeps its identity when it is freed, for references to it may be left; it changes its class. What was freed may be
compared, passed on and asked for the place of what lies in it. To read or write a field, or an element of an array, is
`UseAfterFree`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from typing import Any

from secondsight.lang.errors import UseAfterFree
from secondsight.lang.types import RecordType

__all__ = ["freed_array", "freed_record", "whole"]


def whole(cls: type[Any]) -> Any:
    """The class that a record, or an array, has while it is not freed."""
    return cls.__dict__.get("_whole", cls)


@functools.cache
def freed_record(cls: Any, scalars: frozenset[str]) -> Any:
    """The class of freed records of a class, of which `scalars` are the fields that are no records or arrays themselves."""

    def use(self: Any, name: str) -> UseAfterFree:
        owner = next(c for c in cls.__mro__ if name in inspect.get_annotations(c))
        return UseAfterFree(f"{owner.__name__}.{name}", None, self, object.__getattribute__(self, "__dict__")["_freed_at"])

    def read(self: Any, name: str) -> Any:
        if name in scalars:
            raise use(self, name)
        return object.__getattribute__(self, name)

    def write(self: Any, name: str, value: Any) -> None:
        if name in scalars:
            raise use(self, name)
        cls.__setattr__(self, name, value)

    names = {
        "_whole": cls, "_fields": cls.fields(), "__getattribute__": read, "__setattr__": write, "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
    }  # fmt: skip
    return type(cls.__name__, (cls,), names)


@functools.cache
def freed_array(cls: Any) -> Any:
    """The class of freed arrays of a class."""

    def use(self: Any) -> UseAfterFree:
        return UseAfterFree(f"{self._path.rpartition('.')[2]}[...]", None, self, self._freed_at)

    def item(self: Any, index: int) -> Any:
        found = cls.__getitem__(self, index)
        if isinstance(self._type.element, RecordType):
            return found
        raise use(self)

    def put(self: Any, index: int, value: Any) -> None:
        cls._place(self, index)
        raise use(self)

    def items(self: Any) -> Iterator[Any]:
        return (item(self, i) for i in range(len(self)))

    def refuse(self: Any, *_: Any) -> None:
        raise use(self)

    names = {"_whole": cls, "__getitem__": item, "__setitem__": put, "__iter__": items, "__module__": cls.__module__}
    return type(cls.__name__, (cls,), names | ({"alloc": refuse, "free": refuse, "is_used": refuse} if hasattr(cls, "alloc") else {}))
