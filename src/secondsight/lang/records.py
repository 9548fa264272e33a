"""State as plain Python objects: records, arrays, pools, and the machine that owns them.

A `Record` subclass declares fields by annotation. Instances exist only inside a `Machine`; setting a field checks its
range. `shared`, `shared_array` and `pool` declare, at module level, state that every machine has: the names they return
stand for the current machine's state (`with machine:`). The search never touches these objects: it runs on flat
vectors (`lang.layout`); they serve hand-driven use, the setting up of a scenario, and the replay of traces.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import GenericAlias, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast, dataclass_transform, overload

from secondsight.lang.bits import Bits
from secondsight.lang.errors import BadIndex, FreedTwice, LangError, LeftRange, ModelError, NoneFollowed, OutOfRecords, Position
from secondsight.lang.freed import freed_array, freed_record, whole
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
    sized,
)

__all__ = [
    "Array", "Bound", "Const", "Machine", "Pool", "Record", "Shared", "Value", "bound", "const", "pool", "shared", "shared_array",
]  # fmt: skip

T = TypeVar("T")
N = TypeVar("N")


class Record:
    """A fixed-size record. Subclass it and annotate the fields; a default must be a constant."""

    _fields: ClassVar[dict[str, Type] | None] = None

    @classmethod
    def fields(cls) -> dict[str, Type]:
        """Field names and types, base class first. Raises `LangError` for a type outside the language."""
        if "_fields" not in cls.__dict__ or cls._fields is None:
            found: dict[str, Type] = {}
            try:
                hints = typing.get_type_hints(cls, include_extras=True)
            except NameError as error:
                raise LangError(f"{_place(cls)}: annotation not found: {error}") from None
            names = [n for c in reversed(cls.__mro__) for n in inspect.get_annotations(c)]
            for name in dict.fromkeys(names):
                hint = hints[name]
                if name.startswith("__") or typing.get_origin(hint) is ClassVar or hint is ClassVar:
                    continue
                try:
                    kind = resolve(hint, embedded=True)
                except LangError as error:
                    raise LangError(f"{_place(cls, name)}: {error}") from None
                if kind is None:
                    raise LangError(f"{_place(cls, name)}: a field cannot be None")
                if isinstance(kind, (ListType, TupleType, ValueType)):
                    raise LangError(f"{_place(cls, name)}: a field cannot be {kind}: give it the parts, or Array[T, 8]")
                found[name] = kind
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
        for name, kind in machine.fields(cast(type[Record], cls)).items():
            slots[name] = _fresh(kind, machine, f"{path}.{name}", cls.default(name) if isinstance(kind, IntType) else 0)  # type: ignore[attr-defined]
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


def _fresh(kind: Type, machine: Machine, path: str, default: int) -> Any:
    if isinstance(kind, IntType):
        return as_stored(kind, default) if kind.display == "bits" else default if kind.enum is None else _as_enum(kind, default)
    if isinstance(kind, RefType):
        return None
    if isinstance(kind, RecordType):
        return kind.record._make(machine, path)
    if isinstance(kind, ArrayType):
        return (Pool if kind.pool else Array)._make(machine, kind, path)
    raise ModelError(f"{path}: a {kind} cannot be stored")


def _as_enum(kind: IntType, value: int) -> int:
    if kind.enum is not None:
        try:
            return kind.enum(value)
        except ValueError:
            return value
    return value


def as_stored(kind: IntType, value: int) -> int:
    """A number in the form of its type: a truth value, an enum's member, a plain integer."""
    if kind.display == "bool":
        return bool(value)
    if kind.display == "bits":
        return Bits._of(int(value))
    return int(value) if kind.enum is None else _as_enum(kind, int(value))


def checked(kind: Type, value: Any, name: str) -> Any:
    """`value` as it may be stored in a place of type `kind`; raises the language's named errors."""
    if isinstance(kind, IntType):
        if kind.display == "bits":
            value = Bits(value) if isinstance(value, (set, frozenset)) else value
        if not isinstance(value, int):
            raise ModelError(f"{name} is {kind}; {value!r} is not an integer")
        if not kind.low <= value <= kind.high:
            raise LeftRange(name, int(value), kind.low, kind.high)
        return as_stored(kind, value)
    if isinstance(kind, RefType):
        value = unwrap(value)
        if value is not None and not isinstance(value, kind.record):
            raise ModelError(f"{name} is {kind}; {value!r} is not one")
        return value
    raise ModelError(f"{name} is {kind}: it cannot be assigned as a whole; assign its parts")


def container(record: Record) -> tuple[Record | None, str]:
    """The record of which a record is a field, and the field's name; None: it is no field of a record."""
    outer: tuple[Record | None, str] = record.__dict__.get("_container", (None, ""))
    return outer


def unwrap(value: Any) -> Any:
    """The record behind a name declared with `shared`."""
    return object.__getattribute__(value, "_target")() if isinstance(value, _SharedRecord) else value


class Array(Generic[T, N]):
    """A bounded array of records, references or integers: `Array[Frame, 8]`, or of a named bound, `Array[Frame, Literal["frames"]]`."""

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters: Any) -> Any:
            return GenericAlias(cls, parameters)

    _items: list[Any]
    _type: ArrayType
    _path: str
    _bound: int | str

    @classmethod
    def _make(cls, machine: Machine, kind: ArrayType, path: str) -> Any:
        self = object.__new__(cls)
        self._path = path
        size = machine.bound(kind.size)
        kind = self._type = machine.sized(kind)
        default = kind.element.zero if isinstance(kind.element, IntType) else 0
        self._items = [_fresh(kind.element, machine, f"{path}[{i}]", default) for i in range(size)]
        return self

    def _reset(self) -> None:
        for i, item in enumerate(self._items):
            if isinstance(self._type.element, RecordType):
                item._reset()
            else:
                element = self._type.element
                self._items[i] = as_stored(element, element.zero) if isinstance(element, IntType) else None

    def _place(self, index: int) -> int:
        if not 0 <= index < len(self._items):
            raise BadIndex(self._path, index, len(self._items))
        return index

    def __getitem__(self, index: int) -> T:
        return cast(T, self._items[self._place(index)])

    def __setitem__(self, index: int, value: T) -> None:
        self._items[self._place(index)] = checked(self._type.element, value, f"{self._path}[{index}]")

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def index(self, record: T) -> int:
        """The place of a record in this array. A record of another array is an error."""
        record = unwrap(record)
        if record is None:
            raise NoneFollowed(f"the argument of {self._path}.index()")
        for i, item in enumerate(self._items):
            if item is record:
                return i
        raise ModelError(f"{record!r} is not in {self._path}")

    def __repr__(self) -> str:
        return f"<{self._path}: {len(self._items)}>"


class Pool(Array[T, N]):
    """An array whose records are allocated and freed: lowest place first."""

    _used: list[bool]
    _freed: dict[int, Position]
    """The records that were freed and not allocated since, and where."""

    @classmethod
    def _make(cls, machine: Machine, kind: ArrayType, path: str) -> Any:
        self = super()._make(machine, kind, path)
        self._used, self._freed = [False] * len(self._items), {}
        return self

    def _reset(self) -> None:
        super()._reset()
        self._put([0] * len(self._used))

    def _put(self, states: Sequence[int]) -> None:
        """Make each record be as a state's byte says: 0 was never allocated, 1 is allocated, 2 was freed."""
        for i, state in enumerate(states):
            self._used[i] = state == 1
            self._mark(i, Position() if state == 2 else None)

    def _mark(self, i: int, freed_at: Position | None) -> None:
        """Note where a record was freed, or that it was not."""
        if freed_at is not None:
            self._freed[i] = freed_at
            mark_freed(self._items[i], freed_at)
        elif self._freed.pop(i, None) is not None:
            mark_freed(self._items[i], None)

    def _states(self) -> bytes:
        """What a state says of each record; see `_put`."""
        return bytes(1 if used else 2 if i in self._freed else 0 for i, used in enumerate(self._used))

    def alloc(self) -> T:
        """The first free record, zeroed. None free: `OutOfRecords`, which names the bound to raise."""
        for i, used in enumerate(self._used):
            if not used:
                self._used[i] = True
                self._mark(i, None)
                return cast(T, self._items[i])
        raise OutOfRecords(str(self._type.size), len(self._items))

    def free(self, record: T) -> None:
        """Give a record back; it is zeroed. From now on nobody may read or write it. Freeing it again breaks a rule."""
        i = self.index(record)
        if i in self._freed:
            raise FreedTwice(None, record, self._freed[i])
        if not self._used[i]:
            raise ModelError(f"{record!r} is freed, and was never allocated")
        self._used[i] = False
        cast(Record, self._items[i])._reset()
        caller = sys._getframe(1)
        self._mark(i, Position(caller.f_code.co_filename, caller.f_lineno))
        runtime.freed(record, self._freed[i])

    def is_used(self, record: T) -> bool:
        """Whether the record is allocated now."""
        return bool(self._used[self.index(record)])


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


def mark_freed(thing: Any, freed_at: Position | None) -> None:
    """Let a record and all that lies in it tell of every use that it was freed, or no longer (None)."""
    if isinstance(thing, Record):
        cls = whole(type(thing))
        thing.__dict__["_freed_at"] = freed_at
        scalars = frozenset(name for name, kind in cls.fields().items() if isinstance(kind, (IntType, SizedInt, RefType)))
        object.__setattr__(thing, "__class__", cls if freed_at is None else freed_record(cls, scalars))
        for name, kind in cls.fields().items():
            if isinstance(kind, (RecordType, ArrayType)):
                mark_freed(thing.__dict__[name], freed_at)
    elif isinstance(thing, Array):
        cls = whole(type(thing))
        thing.__dict__["_freed_at"] = freed_at
        thing.__class__ = cls if freed_at is None else freed_array(cls)
        if isinstance(thing._type.element, RecordType):
            for item in thing._items:
                mark_freed(item, freed_at)


# State declared at module level.


@dataclass(frozen=True, eq=False)
class Shared:
    """A declaration of state that every machine has; `kind` is its type, `name` its place in errors and traces."""

    kind: RecordType | ArrayType
    name: str

    declared: ClassVar[list[Shared]] = []


class _SharedRecord:
    """Stands for the current machine's record of a declaration."""

    def __init__(self, declaration: Shared) -> None:
        object.__setattr__(self, "_shared", declaration)

    def _target(self) -> Any:
        return runtime.machine.state(object.__getattribute__(self, "_shared"))

    def __getattribute__(self, name: str) -> Any:
        if name in ("_shared", "_target", "__class__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "_target")(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_target")(), name, value)

    def __eq__(self, other: object) -> bool:
        return object.__getattribute__(self, "_target")() is unwrap(other)

    def __hash__(self) -> int:
        return hash(object.__getattribute__(self, "_target")())

    def __enter__(self) -> Any:
        return object.__getattribute__(self, "_target")().__enter__()

    def __exit__(self, *args: Any) -> Any:
        return object.__getattribute__(self, "_target")().__exit__(*args)


class _SharedArray:
    """Stands for the current machine's array of a declaration."""

    def __init__(self, declaration: Shared) -> None:
        self._shared = declaration

    @property
    def _target(self) -> Any:
        return runtime.machine.state(self._shared)

    def __getitem__(self, index: int) -> Any:
        return self._target[index]

    def __setitem__(self, index: int, value: Any) -> None:
        self._target[index] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._target)

    def __len__(self) -> int:
        return len(self._target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


def _caller_name(what: str) -> str:
    import sys

    frame = sys._getframe(2)
    return f"{frame.f_globals.get('__name__', '?').rpartition('.')[2]}.{what}"


def _declare(kind: RecordType | ArrayType, name: str) -> Shared:
    declaration = Shared(kind, name)
    Shared.declared.append(declaration)
    return declaration


@dataclass(frozen=True)
class Bound:
    """A bound by its name: what a machine has at least, at most, and, when it is driven by hand, usually."""

    name: str
    least: int
    most: int
    usual: int

    declared: ClassVar[dict[str, Bound]] = {}


def bound(name: str, least: int = 0, most: int = 15, usual: int | None = None) -> str:
    """Declare a bound beside the first array that it sizes: `frames = shared_array(Frame, bound("frames", least=4, most=16))`."""
    known = Bound(name, least, most, least if usual is None else usual)
    if Bound.declared.setdefault(name, known) != known:
        raise LangError(f"the bound {name} is declared twice, with other numbers")
    return name


def shared(cls: type[T]) -> T:
    """One record that every machine has. The name it is bound to stands for the current machine's."""
    if not issubclass(cls, Record):
        raise LangError(f"shared({cls!r}): not a Record class")
    return cast(T, _SharedRecord(_declare(RecordType(cls), _caller_name(cls.__name__.lower()))))


def _element(cls: Any) -> Type:
    kind = resolve(cls, embedded=True)
    if kind is None or isinstance(kind, (ArrayType, SizedInt)):
        raise LangError(f"{cls!r} cannot be an array's element here; an array of places is a field of a record")
    return kind


@overload
def shared_array(cls: type[T], bound: int | str) -> Array[T, Any]: ...
@overload
def shared_array(cls: Any, bound: int | str) -> Array[Any, Any]: ...
def shared_array(cls: Any, bound: int | str) -> Array[Any, Any]:
    """An array that every machine has; `bound` is its size or the name of one (`Machine(bounds={name: size})`)."""
    declaration = _declare(
        ArrayType(_element(cls), bound), _caller_name(str(bound)) if isinstance(bound, str) else _caller_name("array")
    )
    return cast("Array[Any, Any]", _SharedArray(declaration))


def pool(cls: type[T], bound: int | str) -> Pool[T, Any]:
    """A pool (see `Pool`) that every machine has; `bound` as in `shared_array`."""
    declaration = _declare(
        ArrayType(_element(cls), bound, pool=True), str(bound) if isinstance(bound, str) else _caller_name("pool")
    )
    return cast("Pool[T, Any]", _SharedArray(declaration))


class Const(Sequence[int]):
    """A read-only table of integers, given when a machine is built (`data={name: [...]}`)."""

    def __init__(self, name: str, kind: IntType | SizedInt) -> None:
        self.name, self.kind = name, kind

    def __getitem__(self, index: Any) -> Any:
        row = runtime.machine.table(self)
        if not 0 <= index < len(row):
            raise BadIndex(self.name, index, len(row))
        return _as_enum(self.kind, row[index]) if isinstance(self.kind, IntType) else row[index]

    def __len__(self) -> int:
        return len(runtime.machine.table(self))


def const(name: str, kind: Any = int) -> Const:
    """Declare a read-only table; `kind` is its elements' integer type or enum."""
    element = resolve(kind)
    if not isinstance(element, (IntType, SizedInt)):
        raise LangError(f"const({name!r}): elements are integers or enums")
    return Const(name, element)


@functools.lru_cache(maxsize=1024)
def _pool_declaration(kind: RecordType, count: int) -> Shared:
    """The pool of a class that declares none of its own: the same one for every machine, which may share a layout."""
    return Shared(ArrayType(kind, count, pool=True), kind.record.__name__)


class Machine:
    """One whole state as plain objects.

    `bounds` gives the sizes of the arrays by name, `pools` how many records of a class that declares no pool of its own
    (a driver), `data` the contents of `const` tables. Within `with machine:` module-level state is this machine's.

    `only`: of a table the only numbers that may be in it. What tests the table for others, or calls functions by it, is then
    no part of the program.
    """

    def __init__(
        self,
        bounds: Mapping[str, int] | None = None,
        pools: Mapping[type[Record], int] | None = None,
        data: Mapping[str, Sequence[int]] | None = None,
        only: Mapping[str, Iterable[int]] | None = None,
    ) -> None:
        self.only = {name: tuple(sorted(set(numbers))) for name, numbers in (only or {}).items()}
        self.bounds = dict(bounds or {})
        self.data = {name: tuple(int(v) for v in row) for name, row in (data or {}).items()}
        self.pools = {cls: _pool_declaration(RecordType(cls), count) for cls, count in (pools or {}).items()}
        self._states: dict[Shared, Any] = {}
        self._fields: dict[type[Record], dict[str, Type]] = {}
        self.rules: list[Any] = []

    def bound(self, size: int | str) -> int:
        """The number behind a size. Raises `LangError` when a named bound was not given."""
        if isinstance(size, int):
            return size
        if size not in self.bounds:
            raise LangError(f"the bound {size!r} was not given: pass {size}= (given: {', '.join(sorted(self.bounds)) or 'none'})")
        return self.bounds[size]

    def sized(self, kind: Type | None) -> Any:
        """A type with the ranges that this machine's bounds give it."""
        return sized(kind, self.bound)

    def fields(self, cls: type[Record]) -> dict[str, Type]:
        """The names and types of a record's fields, with the ranges that this machine's bounds give them."""
        if cls not in self._fields:
            self._fields[cls] = {name: self.sized(kind) for name, kind in cls.fields().items()}
        return self._fields[cls]

    def state(self, declaration: Shared) -> Any:
        """This machine's record or array of a declaration."""
        found = self._states.get(declaration)
        if found is None:
            found = self._states[declaration] = _fresh(declaration.kind, self, declaration.name, 0)
        return found

    def pool(self, cls: type[T]) -> Pool[T, Any]:
        """The pool of a class named in `pools`."""
        declared = self.pools.get(cast(type[Record], cls))
        if declared is None:
            raise LangError(f"{cls.__name__} has no pool in this machine: pass pools={{{cls.__name__}: 1}}")
        return cast("Pool[T, Any]", self.state(declared))

    def table(self, table: Const) -> tuple[int, ...]:
        """The contents of a `const` table."""
        if table.name not in self.data:
            raise LangError(f"the table {table.name!r} was not given: pass data={{{table.name!r}: [...]}}")
        return self.data[table.name]

    def __enter__(self) -> Machine:
        runtime.machines.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        runtime.machines.pop()
