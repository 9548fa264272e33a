"""The language's types: what an annotation means, its range, and how its values are shown.

`U8`, `Char` and friends are `Annotated[int, Bounds(...)]`, so to mypy and to CPython they are plain integers; the front
end and the records read the bounds. `resolve` turns any annotation of the language into one of the descriptors below.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from types import GenericAlias, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypeVar, Union

from secondsight.lang.bits import MOST, Bits
from secondsight.lang.errors import LangError

if TYPE_CHECKING:
    from secondsight.lang.records import Record, Value

__all__ = [
    "I16",
    "LARGEST_NUMBER",
    "U8",
    "U16",
    "ArrayType",
    "Bounds",
    "Char",
    "End",
    "Errno",
    "Index",
    "IntType",
    "List",
    "ListType",
    "Most",
    "RecordType",
    "Ref",
    "RefType",
    "SequenceNumber",
    "SizedInt",
    "TupleType",
    "Type",
    "ValueType",
    "error_name",
    "is_sequence",
    "resolve",
    "sized",
]

T = TypeVar("T")
Size = Literal["index", "end", "bits"]


def error_name(number: int) -> str:
    """The kernel's name of an error. Of two names that the C library has for one number it is the kernel's."""
    import errno

    return "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode.get(number, str(number))


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of an integer, both ends included, and how to show it: `int`, `char`, `errno`, `pfn`,
    or `result` (a negative errno, a small number, or from 32 on a character). `sequence`: see `SequenceNumber`."""

    low: int
    high: int
    display: str = "int"


U8 = Annotated[int, Bounds(0, 255)]
U16 = Annotated[int, Bounds(0, 65535)]
I16 = Annotated[int, Bounds(-32768, 32767)]
Char = Annotated[int, Bounds(0, 127, "char")]
"""The content of a page: one character's code; 0 is a zeroed page."""
Errno = Annotated[int, Bounds(-128, 127, "errno")]
"""0 or a small result, or a negative errno."""

SequenceNumber = Annotated[int, Bounds(0, 255, "sequence")]
"""A sequence number: a counter that only goes on, or a copy of one. 0: none. See `lang.sequences`."""

Ref = Optional[T]  # noqa: UP045 - a generic alias: Ref[Mm] is Mm | None to mypy


@dataclass(frozen=True, slots=True)
class IntType:
    """A bounded integer; booleans and enums too."""

    low: int
    high: int
    display: str = "int"
    enum: type[enum.IntEnum] | type[enum.IntFlag] | None = None

    @property
    def width(self) -> int:
        """Bytes it takes in a state."""
        span, width = self.high - self.low, 1
        while span >= 1 << (8 * width):
            width += 1
        return width

    @property
    def zero(self) -> int:
        """The value a fresh field has: 0, or the bound nearest to it."""
        return min(max(0, self.low), self.high)

    def __str__(self) -> str:
        return self.enum.__name__ if self.enum else f"{self.display} {self.low}..{self.high}"

    def show(self, value: int) -> str:
        """The value in the words of the field: `'a'`, `-EBUSY`, `P2`, `UNMAP`."""
        if self.display == "bool":
            return "true" if value else "false"
        if self.display == "bits":
            return "{" + ", ".join(str(i) for i in range(value.bit_length()) if value >> i & 1) + "}"
        if self.display == "char":
            return repr(chr(value)) if value else "0"
        if self.display in ("errno", "pfn", "result") and value < 0:
            return f"-{error_name(-value)}"
        if self.display == "result" and value >= 32:
            return repr(chr(value))
        if self.display == "pfn":
            return f"P{value}"
        if self.enum is not None:
            try:
                return self.enum(value).name or str(value)
            except ValueError:
                return str(value)
        return str(value)


@dataclass(frozen=True, slots=True)
class SizedInt:
    """An integer whose range follows from the size of an array, so that each machine has its own: see `sized`.

    `index`: a place in it; `end`: a place or the one behind the last; `bits`: a set of places.
    """

    what: Size
    size: int | str

    def __str__(self) -> str:
        return f"{ {'index': 'Index', 'end': 'End', 'bits': 'Bits'}[self.what]}[{self.size}]"

    @property
    def display(self) -> str:
        """How its values are shown."""
        return "bits" if self.what == "bits" else "int"

    def show(self, value: int) -> str:
        """The value in the words of the field."""
        return IntType(0, 0, self.display).show(value)


class _Sized:
    """`Index["pages"]` in an annotation, `Index("pages")` within `Annotated[int, ...]`."""

    def __init__(self, what: Size) -> None:
        self.what = what

    def __call__(self, size: int | str) -> SizedInt:
        return SizedInt(self.what, size)

    def __getitem__(self, size: Any) -> Any:
        return Annotated[int, SizedInt(self.what, size_of(size))]


Index = _Sized("index")
"""A place in an array of a size or of a named bound."""
End = _Sized("end")
"""A place in an array, or the one behind its last: what a range ends with, and how many there are."""


@dataclass(frozen=True, slots=True)
class RefType:
    """A reference to a record, or None where `nullable`."""

    record: type[Record]
    nullable: bool = True

    def __str__(self) -> str:
        return f"Ref[{self.record.__name__}]" if self.nullable else self.record.__name__


@dataclass(frozen=True, slots=True)
class RecordType:
    """A record embedded by value."""

    record: type[Record]

    def __str__(self) -> str:
        return self.record.__name__


@dataclass(frozen=True, slots=True)
class ArrayType:
    """A bounded array; `size` is a number or the name of a bound; `pool` arrays can allocate."""

    element: Type
    size: int | str
    pool: bool = False

    def __str__(self) -> str:
        return f"Array[{self.element}, {self.size}]"


@dataclass(frozen=True, slots=True)
class ListType:
    """A list on a function's stack: at most as many scalars as an array of that size has elements."""

    element: IntType | SizedInt | RefType
    size: int | str

    def __str__(self) -> str:
        return f"List[{self.element}, {self.size}]"


@dataclass(frozen=True, slots=True)
class TupleType:
    """Several scalars at once: the result of a function."""

    parts: tuple[IntType | SizedInt | RefType, ...]

    def __str__(self) -> str:
        return f"tuple[{', '.join(map(str, self.parts))}]"


@dataclass(frozen=True, slots=True)
class Most:
    """`Annotated[list[Frame], Most("pages")]`: a list of at most as many as the bound says. `List[Frame, "pages"]` is the same."""

    size: int | str


class _ListOf:
    """`List[Frame, "pages"]` in an annotation."""

    def __getitem__(self, parameters: Any) -> Any:
        element, size = parameters
        return Annotated[GenericAlias(list, (element,)), Most(size_of(size))]


List = _ListOf()
"""A list on a function's stack, of at most as many elements as a number or a named bound says."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """An immutable bundle of scalars (`lang.Value`)."""

    value: type[Value]
    fields: tuple[tuple[str, IntType | SizedInt | RefType], ...] = field(compare=False)

    def __str__(self) -> str:
        return self.value.__name__


Type = IntType | SizedInt | RefType | RecordType | ArrayType | ListType | TupleType | ValueType

LARGEST_NUMBER = (1 << 62) - 1
"""No number of a program lies further from 0: whatever runs it has room for it, and for the difference of two."""


def is_sequence(kind: Type) -> bool:
    """Whether a type is that of a sequence number."""
    return isinstance(kind, IntType) and kind.display == "sequence"


BOOL = IntType(0, 1, "bool")
PLAIN_INT = IntType(-32768, 32767)


def _element(annotation: Any) -> str:
    """What the elements of a list are annotated as, in a word."""
    (element,) = typing.get_args(annotation) or (None,)
    return "bool" if element is bool else "U8" if element in (None, int) else getattr(element, "__name__", str(element))


def resolve(annotation: Any, *, embedded: bool = False) -> Type | None:
    """The type an (evaluated) annotation stands for; None for `None`, the return type of a procedure.

    `embedded`: in a record a bare record class is embedded by value; in a signature it is a reference that is not None.
    Raises `LangError` for an annotation outside the language.
    """
    from secondsight.lang.arrays import Array, Pool
    from secondsight.lang.records import Record, Value

    if annotation is None or annotation is NoneType:
        return None
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        base, *extras = typing.get_args(annotation)
        for extra in extras:
            if isinstance(extra, SizedInt):
                return extra
            if isinstance(extra, Most):
                return _list_type(base, extra.size)
            if isinstance(extra, Bounds):
                if not -LARGEST_NUMBER <= extra.low <= extra.high <= LARGEST_NUMBER:
                    raise LangError(f"{extra}: a range from a low to a high bound is wanted, of numbers of 63 bits at most")
                return IntType(extra.low, extra.high, extra.display)
        return resolve(base, embedded=embedded)
    if origin in (Union, UnionType):
        members = [a for a in typing.get_args(annotation) if a is not NoneType]
        if len(members) == 1 and isinstance(members[0], type) and issubclass(members[0], Record):
            return RefType(members[0], nullable=True)
    if origin in (Array, Pool):
        element, size = (*typing.get_args(annotation), None)[:2]
        size = size_of(size)
        if not isinstance(size, (int, str)):
            raise LangError(f"{annotation}: an array needs a size: Array[{element}, 8] or a bound's name, Literal['pages']")
        inner = resolve(element, embedded=True)
        if inner is None or isinstance(inner, (ValueType, ArrayType)):
            raise LangError(f"{annotation}: elements are integers, enums, references or records")
        return ArrayType(inner, size, pool=origin is Pool)
    if origin is tuple:
        parts = [resolve(part) for part in typing.get_args(annotation) if part is not ...]
        if len(parts) != len(typing.get_args(annotation)) or not parts or not all(isinstance(p, (IntType, SizedInt, RefType)) for p in parts):
            raise LangError(f"{annotation}: a tuple has one type for each part, and the parts are integers, enums or references")
        return TupleType(tuple(p for p in parts if isinstance(p, (IntType, SizedInt, RefType))))
    if origin is list or annotation is list:
        if embedded:
            raise LangError(f"{_written(annotation)} is not a type of a field; an array is: Array[{_element(annotation)}, 8], with from secondsight.lang import Array")
        raise LangError(f"{annotation}: a list needs a bound: List[Frame, 'pages'], or Annotated[list[Frame], Most('pages')]")
    if origin is Bits:
        return SizedInt("bits", size_of(typing.get_args(annotation)[0]))
    if annotation is bool:
        return BOOL
    if annotation is int:
        return PLAIN_INT
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum) and any(abs(m.value) > LARGEST_NUMBER for m in annotation if isinstance(m, int)):
            raise LangError(f"{annotation.__name__} has a member of more than 63 bits")
        if issubclass(annotation, enum.IntFlag):
            return IntType(0, max(1, sum(m.value for m in annotation)), "enum", annotation)
        if issubclass(annotation, enum.IntEnum):
            values = [m.value for m in annotation]
            return IntType(min(values), max(values), "enum", annotation)
        if issubclass(annotation, Value):
            return ValueType(annotation, tuple(annotation.value_fields().items()))
        if issubclass(annotation, Record):
            return RecordType(annotation) if embedded else RefType(annotation, nullable=False)
    raise LangError(
        f"{_written(annotation)} is not a type of the language; it has bool, bounded integers (U8, Annotated[int, Bounds(lo, hi)]), "
        "Index, End and Bits of a bound, IntEnum and IntFlag classes, records, Ref[Record], Array[T, size] and Value classes"
    )


def _written(annotation: Any) -> str:
    """An annotation as its author wrote it."""
    return annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else repr(annotation)


def _list_type(base: Any, size: int | str) -> ListType:
    element = resolve(typing.get_args(base)[0]) if typing.get_origin(base) is list else None
    if not isinstance(element, (IntType, SizedInt, RefType)):
        raise LangError(f"{base}: a list has integers, enums or references: List[Frame, 'pages']")
    return ListType(element, size)


def size_of(size: Any) -> Any:
    """A size as it is written in an annotation: a number, the name of a bound, or a `Literal` of either."""
    return typing.get_args(size)[0] if typing.get_origin(size) is Literal else size


def sized(kind: Type | None, bound: Callable[[int | str], int]) -> Any:
    """A type with the ranges of one machine, which says by `bound` how large its arrays are. Raises `LangError`."""
    match kind:
        case SizedInt(what=what, size=size):
            count = bound(size)
            if what == "bits" and count > MOST:
                raise LangError(f"{kind}: {size} is {count}, and a set has room for {MOST} places: lower the bound")
            high = {"index": max(0, count - 1), "end": count, "bits": (1 << count) - 1}[what]
            return IntType(0, high, kind.display)
        case ArrayType(element=SizedInt() as element):
            return ArrayType(sized(element, bound), kind.size, kind.pool)
        case ListType(element=element, size=size):
            return ListType(sized(element, bound), size)
        case TupleType(parts=parts):
            return TupleType(tuple(sized(part, bound) for part in parts))
        case ValueType():
            return ValueType(kind.value, tuple((name, sized(inner, bound)) for name, inner in kind.fields))
    return kind
