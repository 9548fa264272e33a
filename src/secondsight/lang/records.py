"""Records and values as plain Python objects.

A `Record` subclass declares fields by annotation. Instances exist only inside a `Machine`; setting a field checks its
range. The search never touches these objects: it runs on flat vectors (`lang.layout`); they serve hand-driven use, the
setting up of a scenario, and the replay of traces.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast, dataclass_transform

from secondsight.lang.arrays import Array, as_stored, checked, fresh
from secondsight.lang.errors import LangError, ModelError, Position
from secondsight.lang.freed import freed_record, whole
from secondsight.lang.runtime import runtime
from secondsight.lang.types import (
    ArrayType,
    IntType,
    ListType,
    RecordType,
    RefType,
    SizedInt,
    TupleType,
    Type,
    ValueType,
    resolve,
)

if TYPE_CHECKING:
    from secondsight.lang.machines import Machine

__all__ = ["Record", "Value", "container", "records_in"]

T = TypeVar("T")


class Record:
    """A fixed-size record. Subclass it and annotate the fields; a default must be a constant."""

    _fields: ClassVar[dict[str, Type] | None] = None

    @classmethod
    def fields(cls) -> dict[str, Type]:
        """Field names and types, base class first. Raises `LangError` for types outside the language, with every field that has one."""
        if "_fields" not in cls.__dict__ or cls._fields is None:
            found: dict[str, Type] = {}
            wrong: list[str] = []
            try:
                hints = typing.get_type_hints(cls, include_extras=True)
            except NameError as error:
                raise LangError("\n\n".join(_undefined(cls)) or f"{_place(cls)}: annotation not found: {error}") from None
            names = [n for c in reversed(cls.__mro__) for n in inspect.get_annotations(c)]
            for name in dict.fromkeys(names):
                hint = hints[name]
                if name.startswith("__") or typing.get_origin(hint) is ClassVar or hint is ClassVar:
                    continue
                try:
                    kind = resolve(hint, embedded=True)
                except LangError as error:
                    wrong.append(f"{_place(cls, name)}: {error}")
                    continue
                if kind is None:
                    wrong.append(f"{_place(cls, name)}: a field cannot be None")
                elif isinstance(kind, (ListType, TupleType, ValueType)):
                    wrong.append(f"{_place(cls, name)}: a field cannot be {kind}: give it the parts, or Array[T, 8]")
                else:
                    found[name] = kind
            if wrong:
                raise LangError("\n\n".join(wrong))
            cls._fields = found
        return cls._fields

    @classmethod
    def default(cls, name: str) -> int:
        """The value field `name` (an integer) starts with."""
        kind = cls.fields()[name]
        given = getattr(cls, name, None)
        if isinstance(kind, SizedInt):
            return int(given or 0)
        assert isinstance(kind, IntType)
        return kind.zero if given is None else int(given)

    @classmethod
    def _make(cls: type[T], machine: Machine, path: str) -> T:
        self = object.__new__(cls)
        slots = self.__dict__
        slots["_path"], slots["_machine"] = path, machine
        scalars, others = machine.template(cast(type[Record], cls))
        slots.update(scalars)
        for name, kind in others:
            slots[name] = fresh(kind, machine, f"{path}.{name}", 0)
            if isinstance(kind, RecordType):
                slots[name].__dict__["_container"] = self, name
        return self

    def _reset(self) -> None:
        for name, kind in self._kinds().items():
            if isinstance(kind, RecordType):
                cast(Record, self.__dict__[name])._reset()
            elif isinstance(kind, ArrayType):
                cast("Array[Any, Any]", self.__dict__[name])._reset()
            else:
                self.__dict__[name] = as_stored(kind, self.default(name)) if isinstance(kind, IntType) else None

    def _mark_freed(self, freed_at: Position | None) -> None:
        """Let the record and all that lies in it tell of every use that it was freed, or no longer (None)."""
        cls = whole(type(self))
        self.__dict__["_freed_at"] = freed_at
        scalars = frozenset(name for name, kind in cls.fields().items() if isinstance(kind, (IntType, SizedInt, RefType)))
        object.__setattr__(self, "__class__", cls if freed_at is None else freed_record(cls, scalars))
        for name, kind in cls.fields().items():
            if isinstance(kind, (RecordType, ArrayType)):
                self.__dict__[name]._mark_freed(freed_at)

    def _kinds(self) -> dict[str, Type]:
        """Field names and types, with the ranges of its machine."""
        machine: Machine = self.__dict__["_machine"]
        return machine.fields(type(self))

    def __setattr__(self, name: str, value: Any) -> None:
        kind = self._kinds().get(name)
        if kind is None:
            raise ModelError(f"{type(self).__name__} has no field {name}")
        self.__dict__[name] = checked(kind, value, f"{type(self).__name__}.{name}")

    def __repr__(self) -> str:
        return f"<{self.__dict__.get('_path', type(self).__name__)}>"


def _undefined(cls: type) -> list[str]:
    """The fields whose annotations have a name that is not there, each once."""
    wrong: dict[str, str] = {}
    for owner in reversed(cls.__mro__):
        for name, annotation in inspect.get_annotations(owner).items():
            try:
                if isinstance(annotation, str):
                    eval(annotation, vars(sys.modules[owner.__module__]), dict(vars(owner)))
            except NameError as error:
                wrong.setdefault(error.name or name, f"{_place(owner, name)}: {error.name} is not defined; import it, or define it at module level")
            except Exception:
                continue  # it is another's fault than the one that is told
    return list(wrong.values())


def _place(cls: type, name: str = "") -> str:
    """A class, or a field of it, for an error: with the file and the line where that is known."""
    called = f"{cls.__name__}.{name}" if name else cls.__name__
    owner = next((c for c in cls.__mro__ if name in inspect.get_annotations(c)), cls)
    try:
        lines, first = inspect.getsourcelines(owner)
        at = next((i for i, line in enumerate(lines) if name and line.split(":")[0].strip() == name), 0)
        return f"{inspect.getsourcefile(owner)}:{first + at}: {called}"
    except (OSError, TypeError):
        return f"{cls.__module__}.{called}"


def container(record: Record) -> tuple[Record | None, str]:
    """The record of which a record is a field, and the field's name; None: it is no field of a record."""
    outer: tuple[Record | None, str] = record.__dict__.get("_container", (None, ""))
    return outer


@dataclass_transform(frozen_default=True)
class Value:
    """An immutable bundle of scalars, for locals and arguments only. Subclass it and annotate the fields."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True)(cls)

    @classmethod
    def value_fields(cls) -> dict[str, IntType | SizedInt | RefType]:
        """Names and types of the fields."""
        if "_value_fields" in cls.__dict__:
            known: dict[str, IntType | SizedInt | RefType] = cls.__dict__["_value_fields"]
            return known
        fields: dict[str, IntType | SizedInt | RefType] = {}
        for name, hint in typing.get_type_hints(cls, include_extras=True).items():
            kind = resolve(hint)
            if not isinstance(kind, (IntType, SizedInt, RefType)):
                raise LangError(f"{cls.__name__}.{name}: a Value holds integers, enums and references only")
            fields[name] = kind
        type.__setattr__(cls, "_value_fields", fields)
        return fields

    def __post_init__(self) -> None:
        for name, field_kind in self.value_fields().items():
            kind = runtime.machine.sized(field_kind) if isinstance(field_kind, SizedInt) else field_kind
            object.__setattr__(self, name, checked(kind, getattr(self, name), f"{type(self).__name__}.{name}"))


def records_in(thing: Any) -> Iterator[Record]:
    """A record or array's records, embedded ones included."""
    if isinstance(thing, Record):
        yield thing
        for name, kind in type(thing).fields().items():
            if isinstance(kind, (RecordType, ArrayType)):
                yield from records_in(thing.__dict__[name])
    elif isinstance(thing, Array) and isinstance(thing._type.element, RecordType):
        for item in thing._items:
            yield from records_in(item)
