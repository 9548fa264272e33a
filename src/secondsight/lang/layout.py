"""Where everything lies in the flat state vector.

A state is bytes: one unused byte (offset 0 is what a None reference holds), the shared state, then one region for each
thread. An integer of range low..high is stored as value - low in as many bytes as it needs, most significant first; a
reference is the offset of its record, or, where that would need two bytes and there are few enough records, the record's
number (`to_offset`, `to_number`). `Layout` also converts a plain `Machine` to a vector and shows a vector's parts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from secondsight.lang.arrays import Array
from secondsight.lang.errors import LangError
from secondsight.lang.machines import Machine
from secondsight.lang.records import Record
from secondsight.lang.standins import Shared
from secondsight.lang.types import ArrayType, IntType, RecordType, RefType, Type

__all__ = ["Layout"]


class Layout:
    """Offsets and sizes of a machine's shared state."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.declarations = [*machine.pools.values()]
        self.declarations += sorted(
            (d for d in machine._states if d not in self.declarations), key=lambda d: Shared.declared.index(d)
        )
        for declaration in self.declarations:
            machine.state(declaration)
        self.ref_width = 1
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
        self.known = frozenset(self.declarations)
        self.addresses: dict[int, int] = {}
        self._number_all()

    def of(self, machine: Machine) -> Layout:
        """The same layout for another machine of the same bounds, pools and declarations."""
        made = copy.copy(self)
        made.machine, made.addresses = machine, {}
        made._number_all()
        return made

    def _place(self) -> None:
        """Give everything its place, with references of the present width."""
        self._sizes: dict[type[Record], int] = {}
        self._offsets: dict[type[Record], dict[str, int]] = {}
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
                for name, inner in self.machine.fields(kind.record).items():
                    yield from visit(inner, at + self.offset(kind.record, name))
            elif isinstance(kind, ArrayType):
                stride = self.size(kind.element)
                for i in range(self.machine.bound(kind.size)):
                    yield from visit(kind.element, at + i * stride)

        for declaration in self.declarations:
            yield from visit(declaration.kind, self.base[declaration])

    # Sizes.

    def width(self, kind: IntType | RefType) -> int:
        """Bytes of a scalar."""
        return kind.width if isinstance(kind, IntType) else self.ref_width

    def size(self, kind: Type) -> int:
        """Bytes of anything stored; a pool has a byte for each record after the records: 1 is used, 2 was freed."""
        if isinstance(kind, (IntType, RefType)):
            return self.width(kind)
        if isinstance(kind, RecordType):
            return self.record_size(kind.record)
        if isinstance(kind, ArrayType):
            count = self.machine.bound(kind.size)
            return count * (self.size(kind.element) + (1 if kind.pool else 0))
        raise LangError(f"{kind} cannot be stored")

    def record_size(self, record: type[Record]) -> int:
        """Bytes of a record."""
        self.offset(record, None)
        return self._sizes[record]

    def offset(self, record: type[Record], name: str | None) -> int:
        """The offset of a field in its record."""
        if record not in self._sizes:
            at, offsets = int(_ambiguous(record)), {}
            for field, kind in self.machine.fields(record).items():
                offsets[field] = at
                at += self.size(kind)
            self._offsets[record], self._sizes[record] = offsets, max(1, at)
        return 0 if name is None else self._offsets[record][name]

    def used_base(self, base: int, kind: ArrayType) -> int:
        """Where a pool's used bytes start."""
        return base + self.machine.bound(kind.size) * self.size(kind.element)

    # A plain machine as a vector.

    def _number_all(self) -> None:
        """Note where the records of the machine lie."""
        for declaration in self.declarations:
            self._number(self.machine.state(declaration), declaration.kind, self.base[declaration])

    def _number(self, thing: Any, kind: Type, at: int) -> None:
        if isinstance(thing, Record) and isinstance(kind, RecordType):
            self.addresses[id(thing)] = at
            for name, inner in self.machine.fields(kind.record).items():
                self._number(thing.__dict__[name], inner, at + self.offset(kind.record, name))
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
        if isinstance(kind, IntType):
            out[at : at + kind.width] = (int(thing) - kind.low).to_bytes(kind.width, "big")
        elif isinstance(kind, RefType):
            number = 0 if thing is None else self.addresses.get(id(thing))
            if number is None:
                raise LangError(f"{thing!r} is not part of this machine's state")
            stored = self.to_number[number]
            assert stored is not None
            out[at : at + self.ref_width] = stored.to_bytes(self.ref_width, "big")
        elif isinstance(kind, RecordType):
            for name, inner in self.machine.fields(kind.record).items():
                self._encode(thing.__dict__[name], inner, at + self.offset(kind.record, name), out, begin)
        elif isinstance(kind, ArrayType):
            stride = self.size(kind.element)
            for i, item in enumerate(thing._items):
                self._encode(item, kind.element, at + i * stride, out, begin)
            if kind.pool:
                used = self.used_base(at, kind)
                out[used : used + len(thing._items)] = bytes(s & 1 for s in thing._states()) if begin else thing._states()

    def decode(self, state: bytes) -> None:
        """Make the machine that this layout was made for be as a state says."""
        objects: dict[int, list[Any]] = {}
        for declaration in self.declarations:
            self._objects(self.machine.state(declaration), declaration.kind, objects)
        for declaration in self.declarations:
            self._decode(self.machine.state(declaration), declaration.kind, self.base[declaration], state, objects)

    def _objects(self, thing: Any, kind: Type, objects: dict[int, list[Any]]) -> None:
        if isinstance(thing, Record) and isinstance(kind, RecordType):
            objects.setdefault(self.addresses[id(thing)], []).append(thing)
            for name, inner in self.machine.fields(kind.record).items():
                self._objects(thing.__dict__[name], inner, objects)
        elif isinstance(thing, Array) and isinstance(kind, ArrayType) and isinstance(kind.element, RecordType):
            for item in thing._items:
                self._objects(item, kind.element, objects)

    def _scalar(self, kind: IntType | RefType, at: int, state: bytes, objects: dict[int, list[Any]]) -> Any:
        if isinstance(kind, IntType):
            value = int.from_bytes(state[at : at + kind.width], "big") + kind.low
            return bool(value) if kind.display == "bool" else value
        offset = self.reference(state, at)
        return next(o for o in objects[offset] if isinstance(o, kind.record)) if offset else None

    def reference(self, state: bytes, at: int) -> int:
        """The offset of the record that the reference at `at` refers to; 0: None."""
        return self.to_offset[int.from_bytes(state[at : at + self.ref_width], "big")]

    def _decode(self, thing: Any, kind: Type, at: int, state: bytes, objects: dict[int, list[Any]]) -> None:
        if isinstance(kind, RecordType):
            for name, inner in self.machine.fields(kind.record).items():
                place = at + self.offset(kind.record, name)
                if isinstance(inner, (IntType, RefType)):
                    setattr(thing, name, self._scalar(inner, place, state, objects))
                else:
                    self._decode(thing.__dict__[name], inner, place, state, objects)
        elif isinstance(kind, ArrayType):
            stride = self.size(kind.element)
            if kind.pool:
                thing._put(bytes(len(thing._items)))  # nobody may write to what was freed
            for i, item in enumerate(thing._items):
                if isinstance(kind.element, (IntType, RefType)):
                    thing[i] = self._scalar(kind.element, at + i * stride, state, objects)
                else:
                    self._decode(item, kind.element, at + i * stride, state, objects)
            if kind.pool:
                used = self.used_base(at, kind)
                thing._put(state[used : used + len(thing._items)])

    def fresh(self, record: type[Record]) -> bytes:
        """A zeroed record (its defaults) as bytes."""
        out = bytearray(self.record_size(record))
        self._fresh(RecordType(record), 0, 0, out)
        return bytes(out)

    def _fresh(self, kind: Type, at: int, default: int, out: bytearray) -> None:
        if isinstance(kind, IntType):
            out[at : at + kind.width] = (default - kind.low).to_bytes(kind.width, "big")
        elif isinstance(kind, RecordType):
            for name, inner in self.machine.fields(kind.record).items():
                value = kind.record.default(name) if isinstance(inner, IntType) else 0
                self._fresh(inner, at + self.offset(kind.record, name), value, out)
        elif isinstance(kind, ArrayType):
            stride = self.size(kind.element)
            for i in range(self.machine.bound(kind.size)):
                self._fresh(kind.element, at + i * stride, kind.element.zero if isinstance(kind.element, IntType) else 0, out)

    # Reading a vector.

    def fields(self, state: bytes) -> Iterator[tuple[str, int | None, str]]:
        """Every scalar of the shared state: its path, its value (None of a None reference), how it is shown."""
        for declaration in self.declarations:
            yield from self._fields(state, declaration.kind, self.base[declaration], declaration.name)

    def _fields(self, state: bytes, kind: Type, at: int, path: str) -> Iterator[tuple[str, int | None, str]]:
        if isinstance(kind, IntType):
            value = int.from_bytes(state[at : at + kind.width], "big") + kind.low
            yield path, value, kind.show(value)
        elif isinstance(kind, RefType):
            offset = self.reference(state, at)
            yield path, offset or None, self.name_of(offset)
        elif isinstance(kind, RecordType):
            for name, inner in self.machine.fields(kind.record).items():
                yield from self._fields(state, inner, at + self.offset(kind.record, name), f"{path}.{name}")
        elif isinstance(kind, ArrayType):
            stride = self.size(kind.element)
            for i in range(self.machine.bound(kind.size)):
                yield from self._fields(state, kind.element, at + i * stride, f"{path}[{i}]")
            if kind.pool:
                used = self.used_base(at, kind)
                for i in range(self.machine.bound(kind.size)):
                    yield f"{path}[{i}] used", state[used + i], ("false", "true", "freed")[state[used + i]]

    def name_of(self, reference: int) -> str:
        """The path of the record that lies at an offset; an embedded first field shares its record's offset."""
        if reference == 0:
            return "None"
        for declaration in self.declarations:
            found = self._find(declaration.kind, self.base[declaration], declaration.name, reference)
            if found is not None:
                return found
        return f"?{reference}"

    def _find(self, kind: Type, at: int, path: str, wanted: int) -> str | None:
        if isinstance(kind, RecordType):
            if at == wanted:
                return path
            for name, inner in self.machine.fields(kind.record).items():
                found = self._find(inner, at + self.offset(kind.record, name), f"{path}.{name}", wanted)
                if found is not None:
                    return found
        elif isinstance(kind, ArrayType) and isinstance(kind.element, RecordType):
            stride = self.size(kind.element)
            for i in range(self.machine.bound(kind.size)):
                found = self._find(kind.element, at + i * stride, f"{path}[{i}]", wanted)
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


def _ambiguous(record: type[Record]) -> bool:
    """Whether the record and one embedded in it would lie at one offset although one reference can mean either."""
    mine = [c for c in record.__mro__ if c not in (Record, object)]

    def clashes(inner: type[Record]) -> bool:
        return any(c in inner.__mro__ for c in mine) or first_clashes(inner)

    def first_clashes(of: type[Record]) -> bool:
        for kind in of.fields().values():
            if isinstance(kind, RecordType):
                return clashes(kind.record)
            if not isinstance(kind, ArrayType):
                return False
            if isinstance(kind.element, RecordType) and clashes(kind.element.record):
                return True
        return False

    return first_clashes(record)
