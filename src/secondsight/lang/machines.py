"""The machine: one whole state as plain Python objects, and the declarations of what every machine has.

`shared`, `shared_array` and `pool` declare, at module level, state that every machine has: the names they return stand for
the current machine's (`with machine:`). `bound` gives an array's size a name, `const` declares a read-only table.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, TypeVar, cast, overload

from secondsight.lang.arrays import Array, Pool, as_enum, fresh
from secondsight.lang.errors import BadIndex, LangError
from secondsight.lang.records import Record
from secondsight.lang.runtime import runtime
from secondsight.lang.standins import Shared, SharedArray, SharedRecord
from secondsight.lang.types import BOOL, ArrayType, IntType, RecordType, RefType, SizedInt, Type, resolve, sized

__all__ = ["SWITCHES", "Bound", "Const", "Machine", "bound", "const", "pool", "shared", "shared_array"]

T = TypeVar("T")


def _caller_name(what: str) -> str:
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
    return cast(T, SharedRecord(_declare(RecordType(cls), _caller_name(cls.__name__.lower()))))


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
    return cast("Array[Any, Any]", SharedArray(declaration))


def pool(cls: type[T], bound: int | str) -> Pool[T, Any]:
    """A pool (see `Pool`) that every machine has; `bound` as in `shared_array`."""
    declaration = _declare(
        ArrayType(_element(cls), bound, pool=True), str(bound) if isinstance(bound, str) else _caller_name("pool")
    )
    return cast("Pool[T, Any]", SharedArray(declaration))


class Const(Sequence[int]):
    """A read-only table of integers, given when a machine is built (`data={name: [...]}`)."""

    def __init__(self, name: str, kind: IntType | SizedInt) -> None:
        self.name, self.kind = name, kind

    def __getitem__(self, index: Any) -> Any:
        row = runtime.machine.table(self)
        if not 0 <= index < len(row):
            raise BadIndex(self.name, index, len(row))
        return as_enum(self.kind, row[index]) if isinstance(self.kind, IntType) else row[index]

    def __len__(self) -> int:
        return len(runtime.machine.table(self))


def const(name: str, kind: Any = int) -> Const:
    """Declare a read-only table; `kind` is its elements' integer type or enum."""
    element = resolve(kind)
    if not isinstance(element, (IntType, SizedInt)):
        raise LangError(f"const({name!r}): elements are integers or enums")
    return Const(name, element)


SWITCHES = Const("rules", BOOL)
"""Which rules a program watches, where it shares its code with others that watch others: in the order of the code's rules."""


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
        self._templates: dict[type[Record], tuple[dict[str, Any], list[tuple[str, Type]]]] = {}
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

    def template(self, cls: type[Record]) -> tuple[dict[str, Any], list[tuple[str, Type]]]:
        """A new record's fields, those that are no numbers still None; and these."""
        known = self._templates.get(cls)
        if known is None:
            kinds = self.fields(cls).items()
            values = {name: fresh(kind, self, name, cls.default(name)) if isinstance(kind, IntType) else None for name, kind in kinds}
            known = self._templates[cls] = values, [(name, kind) for name, kind in kinds if not isinstance(kind, (IntType, RefType))]
        return known

    def state(self, declaration: Shared) -> Any:
        """This machine's record or array of a declaration."""
        found = self._states.get(declaration)
        if found is None:
            found = self._states[declaration] = fresh(declaration.kind, self, declaration.name, 0)
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
