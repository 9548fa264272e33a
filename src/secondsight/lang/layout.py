"""Where everything lies in the flat state vector.

A state is bytes: one unused byte (offset 0 is what None is), the shared state, then one region for each thread. A record
begins with a byte of its own; its numbers lie in as many bits as they need (`lang.slots`). An integer of range low..high is
stored as value - low, most significant byte first; a reference as the number of its record among those of its class, or, where
there are too many of these for seven bits, as the offset of its record, or, where that would need two bytes and there are few enough
records, the number of the record among all (`to_offset`, `to_number`). `Layout` also converts a plain `Machine` to a vector and shows
a vector's parts.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from secondsight.lang.arrays import Array
from secondsight.lang.errors import LangError
from secondsight.lang.freed import whole
from secondsight.lang.machines import Machine
from secondsight.lang.records import Record, records_in
from secondsight.lang.slots import Slot, Space
from secondsight.lang.standins import Shared
from secondsight.lang.types import ArrayType, IntType, RecordType, RefType, Type, is_sequence

__all__ = ["FieldName", "Layout", "field_of", "set_apart"]

FieldName = tuple[str, str]
"""A field: the class that declares it, with its module, and its name."""


def field_of(record: type[Record], name: str) -> FieldName:
    """A field of a record, the same for all classes that have it from one."""
    cls: Any = record
    return _field_of(cls, name)


@functools.cache
def _field_of(record: Any, name: str) -> FieldName:
    owner = next(c for c in reversed(record.__mro__) if name in inspect.get_annotations(c))
    return f"{owner.__module__}.{owner.__qualname__}", name


def set_apart(machine: Machine, declarations: Iterable[Shared]) -> set[FieldName]:
    """The fields of records that can be renamed which are not everywhere as in a new one, in some of a machine's state."""
    fields: set[FieldName] = set()
    for declaration in declarations:
        if not _has_renamed(declaration.kind):
            continue
        for record in records_in(machine.state(declaration)):
            cls = whole(type(record))
            if _can_be_renamed(cls):
                for name, kind in machine.fields(cls).items():
                    default = cls.default(name) if isinstance(kind, IntType) else None
                    if isinstance(kind, (IntType, RefType)) and record.__dict__[name] != default:
                        fields.add(field_of(cls, name))
    return fields


def _can_be_renamed(record: type[Record]) -> bool:
    return bool(getattr(record, "interchangeable", False))


@functools.lru_cache(maxsize=1024)
def _has_renamed(kind: Type) -> bool:
    """Whether records that can be renamed lie in it."""
    if isinstance(kind, RecordType):
        return _can_be_renamed(kind.record) or any(map(_has_renamed, kind.record.fields().values()))
    return isinstance(kind, ArrayType) and _has_renamed(kind.element)


@dataclasses.dataclass(frozen=True, slots=True)
class _Way:
    """A record's fields: the numbers that are part of the state, what lies below it and where, and those that are constant."""

    numbers: list[tuple[str, Slot]]
    below: Sequence[tuple[str, Type, int]]
    constant: list[str]


class Layout:
    """Offsets and sizes of a machine's shared state.

    `written`: the fields that threads may write, by the class that declares them; None: all. A field that is a number and that
    no thread writes is no part of the state: its values are constants of the machine (`row`). What can be renamed must not be
    told apart by them: neither a reference to it nor a sequence number is ever one, and a field of it only while it has its default everywhere (`suits`).
    """

    def __init__(self, machine: Machine, written: frozenset[FieldName] | None = None) -> None:
        self.machine, self.written = machine, written
        self._parts: dict[type[Record], dict[str, Type]] = {}
        self._ways: dict[type[Record], _Way] = {}
        self.declarations = [*machine.pools.values()]
        self.declarations += sorted(
            (d for d in machine._states if d not in self.declarations), key=lambda d: Shared.declared.index(d)
        )
        for declaration in self.declarations:
            machine.state(declaration)
        self.ref_width = 1
        self._count()
        if written is not None:
            self.written = written | set_apart(machine, self.declarations)
        self._place()
        self.numbered = self.shared_size > 256
        starts = self._starts() if self.numbered else []
        if len(starts) > 255:
            self.ref_width, self.numbered = 2, False
            self._place()
        if self.shared_size > 65535:
            raise LangError(f"the machine's state takes {self.shared_size} bytes; the limit is 65535: lower its bounds")
        self.to_offset: Sequence[int] = (0, *starts) if self.numbered else range(self.shared_size)
        self.to_number: Sequence[int | None] = range(self.shared_size)
        if self.numbered:
            numbers = {offset: number for number, offset in enumerate(self.to_offset)}
            self.to_number = tuple(numbers.get(offset) for offset in range(self.shared_size))
        self.records = list(self._records())
        self._short: dict[tuple[type[Record], bool], tuple[int, ...]] = {}
        self._fields_at: dict[tuple[type[Record], str], Slot] = {}
        self._firsts: dict[Type, Slot] = {}
        self.known = frozenset(self.declarations)
        self.constants = {
            field_of(record, name): None
            for _, record in self.records for name in self.machine.fields(record) if self.is_constant(record, name)
        }  # fmt: skip
        self._number_all()

    def of(self, machine: Machine) -> Layout:
        """The same layout for another machine of the same bounds, pools and declarations."""
        made = copy.copy(self)
        made.machine = machine
        made._number_all()
        return made

    def _count(self) -> None:
        """Note how many records of each class there are."""
        self._counts: dict[type[Record], int] = {}

        def visit(kind: Type, times: int) -> None:
            if isinstance(kind, RecordType):
                self._counts[kind.record] = self._counts.get(kind.record, 0) + times
                for inner in self.machine.fields(kind.record).values():
                    visit(inner, times)
            elif isinstance(kind, ArrayType) and self.machine.bound(kind.size):
                visit(kind.element, times * self.machine.bound(kind.size))

        for declaration in self.declarations:
            visit(declaration.kind, 1)
        self._there = {field_of(record, name) for record in self._counts for name in self.machine.fields(record)}
        self.renamed = [record for record in self._counts if _can_be_renamed(record)]

    def suits(self, machine: Machine) -> bool:
        """Whether what is constant here may be so in another machine."""
        return self.written is None or set_apart(machine, self.declarations) <= self.written

    def _place(self) -> None:
        """Give everything its place, with references of the present width."""
        self._ways.clear()
        self._sizes: dict[type[Record], int] = {}
        self._offsets: dict[type[Record], dict[str, tuple[int, int, int]]] = {}
        self.base: dict[Shared, int] = {}
        self.shared_size = 1
        for declaration in self.declarations:
            self.base[declaration] = self.shared_size
            self.shared_size += self.size(declaration.kind)

    def _starts(self) -> list[int]:
        """The offsets of all records."""
        return sorted({at for at, _ in self._records()})

    def _records(self) -> Iterator[tuple[int, type[Record]]]:
        """Every record's offset and class."""

        def visit(kind: Type, at: int) -> Iterator[tuple[int, type[Record]]]:
            if isinstance(kind, RecordType):
                yield at, kind.record
                for name, inner in self.parts(kind.record).items():
                    yield from visit(inner, at + self.offset(kind.record, name))
            elif isinstance(kind, ArrayType):
                stride = self.size(kind.element)
                for i in range(self.machine.bound(kind.size)):
                    yield from visit(kind.element, at + i * stride)

        for declaration in self.declarations:
            yield from visit(declaration.kind, self.base[declaration])

    # Constants.

    def is_constant(self, record: type[Record], name: str) -> bool:
        """Whether a field is no part of the state."""
        kind = self.machine.fields(record)[name]
        if self.written is None or not isinstance(kind, (IntType, RefType)):
            return False
        if self._is_renamed(kind) if isinstance(kind, RefType) else is_sequence(kind):
            return False
        field = field_of(record, name)
        return field in self._there and field not in self.written

    def _is_renamed(self, kind: RefType) -> bool:
        return any(issubclass(r, kind.record) or issubclass(kind.record, r) for r in self.renamed)

    def parts(self, record: type[Record]) -> dict[str, Type]:
        """The fields that are part of the state."""
        if record not in self._parts:
            kinds = self.machine.fields(record)
            self._parts[record] = {name: kind for name, kind in kinds.items() if not self.is_constant(record, name)}
        return self._parts[record]

    def row(self, field: FieldName) -> list[int]:
        """The values of a constant field, by where the record lies that has it."""
        return self._rows[field]

    def reader(self, record: type[Record], name: str) -> Callable[[bytes, int], int]:
        """A function that reads a field in a state, of the record that lies at an offset."""
        if self.is_constant(record, name):
            row = self._rows[field_of(record, name)]
            return lambda state, at: row[at]
        return self.field(record, name).value

    # Sizes.

    def bits(self, kind: IntType | RefType, least: int = 1, is_item: bool = False) -> int:
        """How many bits a number needs; from 8 on they are whole bytes.

        A local that has one value only needs none; what lies in a record needs a place, for it may not be there. `is_item`: see `ir.Var`.
        """
        if isinstance(kind, IntType):
            bits = max(least, (kind.high - kind.low).bit_length())
            return bits if bits < 8 and not is_sequence(kind) else 8 * kind.width
        count = sum(n for record, n in self._counts.items() if issubclass(record, kind.record))
        bits = max(least, max(0, count + (kind.nullable or is_item) - 1).bit_length())
        return bits if bits < 8 else 8 * self.ref_width

    def slot(self, kind: IntType | RefType, place: tuple[int, int, int], least: int = 1, is_item: bool = False) -> Slot:
        """The slot of a number that has been given a place. `least`, `is_item`: as for `bits`."""
        bits = self.bits(kind, least, is_item)
        if isinstance(kind, IntType):
            return Slot(*place, bits, kind.low)
        if bits >= 8:
            return Slot(*place, bits, records=self.to_offset)
        key = kind.record, kind.nullable or is_item
        if key not in self._short:
            self._short[key] = (*([0] if key[1] else []), *sorted(self.instances_below(kind.record))) or (0,)
        return Slot(*place, bits, records=self._short[key], short=True)

    def field(self, record: type[Record], name: str) -> Slot:
        """Where a field lies in its record that is a number."""
        known = self._fields_at.get((record, name))
        if known is None:
            kind = self.machine.fields(record)[name]
            assert isinstance(kind, (IntType, RefType))
            self.offset(record, name)
            known = self._fields_at[record, name] = self.slot(kind, self._offsets[record][name])
        return known

    def first(self, kind: ArrayType) -> Slot:
        """Where the first element of an array of numbers lies in it."""
        known = self._firsts.get(kind.element)
        if known is None:
            assert isinstance(kind.element, (IntType, RefType))
            bits = self._element_bits(kind.element)
            known = dataclasses.replace(self.slot(kind.element, (0, max(1, bits // 8), 0)), bits=bits)
            self._firsts[kind.element] = known
        return known

    def _element_bits(self, kind: IntType | RefType) -> int:
        """How many bits an element of an array takes: none crosses a byte's border, nor the next one's start."""
        bits = self.bits(kind)
        return next(n for n in (1, 2, 4, 8) if bits <= n) if bits < 8 else bits

    def size(self, kind: Type) -> int:
        """Bytes of anything that begins with a byte of its own; a pool has a byte for each record after the records: 1 is used, 2 was freed."""
        if isinstance(kind, (IntType, RefType)):
            return max(1, self.bits(kind) // 8)
        if isinstance(kind, RecordType):
            return self.record_size(kind.record)
        if isinstance(kind, ArrayType):
            count = self.machine.bound(kind.size)
            if isinstance(kind.element, (IntType, RefType)):
                return -(-count * self._element_bits(kind.element) // 8)
            return count * (self.size(kind.element) + (1 if kind.pool else 0))
        raise LangError(f"{kind} cannot be stored")

    def record_size(self, record: type[Record]) -> int:
        """Bytes of a record."""
        self.offset(record, None)
        return self._sizes[record]

    def offset(self, record: type[Record], name: str | None) -> int:
        """The byte of its record that a field begins in."""
        if record not in self._sizes:
            room, offsets = Space(8 * int(self._is_ambiguous(record))), {}
            for field, kind in self.parts(record).items():
                offsets[field] = room.take(self.bits(kind) if isinstance(kind, (IntType, RefType)) else 8 * self.size(kind))
            self._offsets[record], self._sizes[record] = offsets, max(1, -(-room.end // 8))
        return 0 if name is None else self._offsets[record][name][0]

    def _is_ambiguous(self, record: type[Record]) -> bool:
        """Whether the record and one embedded in it would lie at one offset although one reference can mean either."""
        mine = [c for c in record.__mro__ if c not in (Record, object)]

        def clashes(inner: type[Record]) -> bool:
            return any(c in inner.__mro__ for c in mine) or first_clashes(inner)

        def first_clashes(of: type[Record]) -> bool:
            for kind in self.parts(of).values():
                if isinstance(kind, RecordType):
                    return clashes(kind.record)
                if isinstance(kind, (IntType, RefType)):
                    return False
                if isinstance(kind, ArrayType) and isinstance(kind.element, RecordType) and clashes(kind.element.record):
                    return True
            return False

        return first_clashes(record)

    def used_base(self, base: int, kind: ArrayType) -> int:
        """Where a pool's used bytes start."""
        return base + self.machine.bound(kind.size) * self.size(kind.element)

    def places(self) -> Iterator[tuple[int, int]]:
        """Every number of the shared state: its byte, and its lowest bit there. A pool's bytes of used records are numbers too."""

        def visit(kind: Type, at: int) -> Iterator[tuple[int, int]]:
            if isinstance(kind, RecordType):
                for name, inner in self.parts(kind.record).items():
                    if isinstance(inner, (IntType, RefType)):
                        slot = self.field(kind.record, name)
                        yield from ((at + slot.at + k, slot.shift) for k in range(slot.width))
                    else:
                        yield from visit(inner, at + self.offset(kind.record, name))
            elif isinstance(kind, ArrayType):
                count = self.machine.bound(kind.size)
                for i in range(count):
                    if isinstance(kind.element, (IntType, RefType)):
                        slot = self.first(kind).element(i)
                        yield from ((at + slot.at + k, slot.shift) for k in range(slot.width))
                    else:
                        yield from visit(kind.element, at + i * self.size(kind.element))
                if kind.pool:
                    yield from ((self.used_base(at, kind) + i, 0) for i in range(count))

        for declaration in self.declarations:
            yield from visit(declaration.kind, self.base[declaration])

    # A plain machine as a vector.

    def _number_all(self) -> None:
        """Note where the records of the machine lie, and what their constant fields are."""
        self.addresses: dict[int, int] = {}
        self._holders: list[tuple[Record, type[Record], int]] = []
        self._rows = {field: [0] * self.shared_size for field in self.constants}
        for declaration in self.declarations:
            self._number(self.machine.state(declaration), declaration.kind, self.base[declaration])
        self._held = [
            (thing, name, self._rows[field_of(record, name)], at)
            for thing, record, at in self._holders for name in self._way(record).constant
        ]  # fmt: skip
        for thing, name, row, at in self._held:
            row[at] = self._as_number(thing.__dict__[name])

    def _as_number(self, value: Any) -> int:
        return self._address(value) if value is None or isinstance(value, Record) else int(value)

    def written_after_all(self) -> list[str]:
        """The constants that are not any more what they were in the machine, by name: there can be none."""
        return [f"{thing!r}.{name}" for thing, name, row, at in self._held if self._as_number(thing.__dict__[name]) != row[at]]

    def _address(self, thing: Any) -> int:
        place = 0 if thing is None else self.addresses.get(id(thing))
        if place is None:
            raise LangError(f"{thing!r} is not part of this machine's state")
        return place

    def _way(self, record: type[Record]) -> _Way:
        """How one goes through a record's fields."""
        way = self._ways.get(record)
        if way is None:
            parts = self.parts(record).items()
            numbers = [(name, self.field(record, name)) for name, kind in parts if isinstance(kind, (IntType, RefType))]
            below = [(name, kind, self.offset(record, name)) for name, kind in parts if not isinstance(kind, (IntType, RefType))]
            constant = [name for name in self.machine.fields(record) if self.is_constant(record, name)]
            way = self._ways[record] = _Way(numbers, below, constant)
        return way

    def _number(self, thing: Any, kind: Type, at: int) -> None:
        if isinstance(thing, Record) and isinstance(kind, RecordType):
            self.addresses[id(thing)] = at
            if self.constants:
                self._holders.append((thing, kind.record, at))
            for name, inner, offset in self._way(kind.record).below:
                self._number(thing.__dict__[name], inner, at + offset)
        elif isinstance(thing, Array) and isinstance(kind, ArrayType) and isinstance(kind.element, RecordType):
            stride = self.size(kind.element)
            for i, item in enumerate(thing._items):
                self._number(item, kind.element, at + i * stride)

    def encode(self, begin: bool = False) -> bytes:
        """The shared state of the machine that this layout was made for, as it is now.

        `begin`: as a program begins with it. What was freed while it was set up counts as never allocated.
        """
        out = bytearray(self.shared_size)
        for declaration in self.declarations:
            self._encode(self.machine.state(declaration), declaration.kind, self.base[declaration], out, begin)
        return bytes(out)

    def _encode(self, thing: Any, kind: Type, at: int, out: bytearray, begin: bool) -> None:
        if isinstance(kind, RecordType):
            way, there = self._way(kind.record), thing.__dict__
            for name, slot in way.numbers:
                self._put(there[name], slot, at, out)
            for name, inner, offset in way.below:
                self._encode(there[name], inner, at + offset, out, begin)
        elif isinstance(kind, ArrayType) and isinstance(kind.element, (IntType, RefType)):
            first = self.first(kind)
            for i, item in enumerate(thing._items):
                self._put(item, first.element(i), at, out)
        elif isinstance(kind, ArrayType):
            stride = self.size(kind.element)
            for i, item in enumerate(thing._items):
                self._encode(item, kind.element, at + i * stride, out, begin)
            if kind.pool:
                used = self.used_base(at, kind)
                out[used : used + len(thing._items)] = bytes(s & 1 for s in thing._states()) if begin else thing._states()

    def _put(self, thing: Any, slot: Slot, at: int, out: bytearray) -> None:
        if slot.records is None:
            slot.put(out, at, int(thing) - slot.low)
            return
        place = self._address(thing)
        number = slot.records.index(place) if slot.short else self.to_number[place]
        assert number is not None
        slot.put(out, at, number)

    def decode(self, state: bytes) -> None:
        """Make the machine that this layout was made for be as a state says."""
        objects: dict[int, list[Any]] = {}
        for declaration in self.declarations:
            self._objects(self.machine.state(declaration), declaration.kind, objects)
        for thing, record, at in self._holders:
            for name, kind in self.machine.fields(record).items():
                if isinstance(kind, (IntType, RefType)) and self.is_constant(record, name):
                    setattr(thing, name, self._thing(kind, self._rows[field_of(record, name)][at], objects))
        for declaration in self.declarations:
            self._decode(self.machine.state(declaration), declaration.kind, self.base[declaration], state, objects)

    def _objects(self, thing: Any, kind: Type, objects: dict[int, list[Any]]) -> None:
        if isinstance(thing, Record) and isinstance(kind, RecordType):
            objects.setdefault(self.addresses[id(thing)], []).append(thing)
            for name, inner in self.parts(kind.record).items():
                self._objects(thing.__dict__[name], inner, objects)
        elif isinstance(thing, Array) and isinstance(kind, ArrayType) and isinstance(kind.element, RecordType):
            for item in thing._items:
                self._objects(item, kind.element, objects)

    @staticmethod
    def _thing(kind: IntType | RefType, value: int, objects: dict[int, list[Any]]) -> Any:
        if isinstance(kind, IntType):
            return bool(value) if kind.display == "bool" else value
        return next(o for o in objects[value] if isinstance(o, kind.record)) if value else None

    def _decode(self, thing: Any, kind: Type, at: int, state: bytes, objects: dict[int, list[Any]]) -> None:
        if isinstance(kind, RecordType):
            for name, inner in self.parts(kind.record).items():
                if isinstance(inner, (IntType, RefType)):
                    setattr(thing, name, self._thing(inner, self.field(kind.record, name).value(state, at), objects))
                else:
                    self._decode(thing.__dict__[name], inner, at + self.offset(kind.record, name), state, objects)
        elif isinstance(kind, ArrayType) and isinstance(kind.element, (IntType, RefType)):
            first = self.first(kind)
            for i in range(len(thing._items)):
                thing[i] = self._thing(kind.element, first.element(i).value(state, at), objects)
        elif isinstance(kind, ArrayType):
            stride = self.size(kind.element)
            if kind.pool:
                thing._put(bytes(len(thing._items)))  # nobody may write to what was freed
            for i, item in enumerate(thing._items):
                self._decode(item, kind.element, at + i * stride, state, objects)
            if kind.pool:
                used = self.used_base(at, kind)
                thing._put(state[used : used + len(thing._items)])

    def fresh(self, record: type[Record]) -> bytes:
        """A zeroed record (its defaults) as bytes."""
        out = bytearray(self.record_size(record))
        self._fresh(RecordType(record), 0, out)
        return bytes(out)

    def _fresh(self, kind: Type, at: int, out: bytearray) -> None:
        if isinstance(kind, RecordType):
            for name, inner in self.parts(kind.record).items():
                if isinstance(inner, IntType):
                    self.field(kind.record, name).put(out, at, kind.record.default(name) - inner.low)
                elif not isinstance(inner, RefType):
                    self._fresh(inner, at + self.offset(kind.record, name), out)
        elif isinstance(kind, ArrayType):
            for i in range(self.machine.bound(kind.size)):
                if isinstance(kind.element, IntType):
                    self.first(kind).element(i).put(out, at, kind.element.zero - kind.element.low)
                elif not isinstance(kind.element, RefType):
                    self._fresh(kind.element, at + i * self.size(kind.element), out)

    # Reading a vector.

    def fields(self, state: bytes) -> Iterator[tuple[str, int | None, str]]:
        """Every scalar of the shared state: its path, its value (None of a None reference), how it is shown."""
        for declaration in self.declarations:
            yield from self._fields(state, declaration.kind, self.base[declaration], declaration.name)

    def _fields(self, state: bytes, kind: Type, at: int, path: str) -> Iterator[tuple[str, int | None, str]]:
        if isinstance(kind, RecordType):
            for name, inner in self.machine.fields(kind.record).items():
                if isinstance(inner, (IntType, RefType)):
                    yield self._shown(inner, self.reader(kind.record, name)(state, at), f"{path}.{name}")
                else:
                    yield from self._fields(state, inner, at + self.offset(kind.record, name), f"{path}.{name}")
        elif isinstance(kind, ArrayType) and isinstance(kind.element, (IntType, RefType)):
            for i in range(self.machine.bound(kind.size)):
                yield self._shown(kind.element, self.first(kind).element(i).value(state, at), f"{path}[{i}]")
        elif isinstance(kind, ArrayType):
            stride = self.size(kind.element)
            for i in range(self.machine.bound(kind.size)):
                yield from self._fields(state, kind.element, at + i * stride, f"{path}[{i}]")
            if kind.pool:
                used = self.used_base(at, kind)
                for i in range(self.machine.bound(kind.size)):
                    yield f"{path}[{i}] used", state[used + i], ("false", "true", "freed")[state[used + i]]

    def _shown(self, kind: IntType | RefType, value: int, path: str) -> tuple[str, int | None, str]:
        return (path, value, kind.show(value)) if isinstance(kind, IntType) else (path, value or None, self.name_of(value))

    def name_of(self, reference: int, record: type[Record] | None = None) -> str:
        """The path of the record that lies at an offset; an embedded first field shares its record's offset, so `record` says which is meant."""
        if reference == 0:
            return "None"
        for declaration in self.declarations:
            found = self._find(declaration.kind, self.base[declaration], declaration.name, reference, record)
            if found is not None:
                return found
        return f"?{reference}"

    def _find(self, kind: Type, at: int, path: str, wanted: int, record: type[Record] | None) -> str | None:
        if not at <= wanted <= at + self.size(kind):  # a record that ends there may be empty
            return None
        if isinstance(kind, RecordType):
            if at == wanted and record in (None, kind.record):
                return path
            for name, inner in self.parts(kind.record).items():
                found = self._find(inner, at + self.offset(kind.record, name), f"{path}.{name}", wanted, record)
                if found is not None:
                    return found
        elif isinstance(kind, ArrayType) and isinstance(kind.element, RecordType):
            stride = self.size(kind.element)
            last = min(self.machine.bound(kind.size), (wanted - at) // stride + 1)
            for i in range(max(0, last - 2), last):
                found = self._find(kind.element, at + i * stride, f"{path}[{i}]", wanted, record)
                if found is not None:
                    return found
        return None

    def instances(self, record: type[Record]) -> list[int]:
        """The offsets of all records of exactly this class."""
        return [at for at, kind in self.records if kind is record]

    def containers(self, record: type[Record], field: str) -> dict[int, int]:
        """For each record that is field `field` of a record of this class or a subclass, where that one lies."""
        return {at + self.offset(kind, field): at for at, kind in self.records if issubclass(kind, record)}

    def instances_below(self, record: type[Record]) -> list[int]:
        """The offsets of all records of this class and its subclasses."""
        return [at for at, kind in self.records if issubclass(kind, record)]

