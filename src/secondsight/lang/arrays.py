"""Arrays and pools as plain Python objects, and what may be stored in a place: the values of a type, checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from secondsight.lang.bits import Bits
from secondsight.lang.errors import BadIndex, FreedTwice, LeftRange, ModelError, NoneFollowed, OutOfRecords, Position
from secondsight.lang.freed import freed_array, whole
from secondsight.lang.runtime import runtime
from secondsight.lang.standins import unwrap
from secondsight.lang.types import ArrayType, IntType, RecordType, RefType, Type

if TYPE_CHECKING:
    from secondsight.lang.machines import Machine

__all__ = ["Array", "Pool", "as_enum", "as_stored", "checked", "fresh"]

T = TypeVar("T")
N = TypeVar("N")


def fresh(kind: Type, machine: Machine, path: str, default: int) -> Any:
    """A new thing of a type, zeroed; an integer is `default`."""
    if isinstance(kind, IntType):
        return as_stored(kind, default) if kind.display == "bits" else default if kind.enum is None else as_enum(kind, default)
    if isinstance(kind, RefType):
        return None
    if isinstance(kind, RecordType):
        return kind.record._make(machine, path)
    if isinstance(kind, ArrayType):
        return (Pool if kind.pool else Array)._make(machine, kind, path)
    raise ModelError(f"{path}: a {kind} cannot be stored")


def as_enum(kind: IntType, value: int) -> int:
    """A number as its enum's member, if it is one."""
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
    return int(value) if kind.enum is None else as_enum(kind, int(value))


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


class Array(Generic[T, N]):
    """A bounded array of records, references or integers: `Array[Frame, 8]`, or of a named bound, `Array[Frame, Literal["frames"]]`; `Array[Frame, "frames"]` is the same."""

    if not TYPE_CHECKING:

        def __class_getitem__(cls, parameters: Any) -> Any:
            element, *size = parameters if isinstance(parameters, tuple) else (parameters,)
            return GenericAlias(cls, (element, *(Literal[bound] if isinstance(bound, str) else bound for bound in size)))  # a text would be a name to look up

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
        if isinstance(kind.element, (IntType, RefType)):
            self._items = [fresh(kind.element, machine, path, default)] * size
        else:
            self._items = [fresh(kind.element, machine, f"{path}[{i}]", default) for i in range(size)]
        return self

    def _reset(self) -> None:
        for i, item in enumerate(self._items):
            if isinstance(self._type.element, RecordType):
                item._reset()
            else:
                element = self._type.element
                self._items[i] = as_stored(element, element.zero) if isinstance(element, IntType) else None

    def _mark_freed(self, freed_at: Position | None) -> None:
        cls = whole(type(self))
        self.__dict__["_freed_at"] = freed_at
        self.__class__ = cls if freed_at is None else freed_array(cls)
        if isinstance(self._type.element, RecordType):
            for item in self._items:
                item._mark_freed(freed_at)

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
            self._items[i]._mark_freed(freed_at)
        elif self._freed.pop(i, None) is not None:
            self._items[i]._mark_freed(None)

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
        caller = sys._getframe(1)
        self._free(i, Position(caller.f_code.co_filename, caller.f_lineno))

    def _free(self, i: int, where: Position) -> None:
        self._used[i] = False
        self._items[i]._reset()
        self._mark(i, where)
        runtime.freed(self._items[i], where)

    def on_stack(self) -> OnStack[T]:
        """`with pool.on_stack() as record:`: a record as on a function's stack, allocated here and freed on every way out of the block.

        The pool's size is how many threads may be in such a block at a time.
        """
        return OnStack(self)

    def is_used(self, record: T) -> bool:
        """Whether the record is allocated now."""
        return bool(self._used[self.index(record)])


class OnStack(Generic[T]):
    """The block of `pool.on_stack()`."""

    def __init__(self, pool: Pool[T, Any]) -> None:
        self._pool, self._where = pool, Position()

    def __enter__(self) -> T:
        caller = sys._getframe(1)
        self._where, self._record = Position(caller.f_code.co_filename, caller.f_lineno), self._pool.alloc()
        return self._record

    def __exit__(self, *why: Any) -> None:
        """Free it, in a step of its own, unless an error ends the run."""
        if why[0] is None:
            runtime.step(0, 0)
            i = self._pool.index(self._record)
            if i in self._pool._freed:
                raise FreedTwice(None, self._record, self._pool._freed[i])
            self._pool._free(i, self._where)
