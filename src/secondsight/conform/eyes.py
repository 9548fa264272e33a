"""Reading a state of the model field by field, for a look that is compared with the C's."""

from __future__ import annotations

from collections.abc import Callable

from secondsight.lang import RwLock
from secondsight.lang.layout import Layout
from secondsight.lang.program import Program
from secondsight.lang.records import Record
from secondsight.lang.slots import Slot
from secondsight.lang.standins import unwrap
from secondsight.lang.types import ArrayType, IntType, RefType

__all__ = ["Eyes"]

Read = Callable[[bytes], int]


class Eyes:
    """Readers of a program's state; a reference is read as the offset of its record (`offset`), 0 for None."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.layout: Layout = program.layout

    def offset(self, record: Record) -> int:
        """Where a record of the machine lies: what references to it are read as."""
        return self.layout.addresses[id(unwrap(record))]

    def field(self, record: Record, name: str) -> Read:
        """A reader of one field."""
        record = unwrap(record)
        kind = self.layout.machine.fields(type(record))[name]
        assert isinstance(kind, (IntType, RefType))
        if self.layout.is_constant(type(record), name):
            read, at = self.layout.reader(type(record), name), self.offset(record)
            return lambda state: read(state, at)
        return _reader(self.layout.field(type(record), name), self.offset(record))

    def array(self, record: Record, name: str) -> list[Read]:
        """A reader of each element of an array of numbers or references."""
        record = unwrap(record)
        kind = self.layout.machine.fields(type(record))[name]
        assert isinstance(kind, ArrayType)
        at, first = self.offset(record) + self.layout.offset(type(record), name), self.layout.first(kind)
        return [_reader(first.element(i), at) for i in range(self.layout.machine.bound(kind.size))]

    def semaphore(self, lock: RwLock) -> Read:
        """How c/stubs.c counts who holds a semaphore: the readers, or -1 for a writer."""
        owner, readers = self.field(lock, "owner"), self.field(lock, "readers")
        return lambda state: -1 if owner(state) else readers(state).bit_count()

    def counter(self, thread: int) -> Read:
        """A reader of a thread's program counter: the number of the boundary that it is at, 0 when it has ended."""
        at, width = self.program.bases[thread], self.program.counter_width
        return lambda state: int.from_bytes(state[at : at + width], "big")

    def local(self, thread: int, function: str, name: str) -> Read:
        """A reader of a local of a function that a thread is in, at a boundary where it is still needed."""
        for where, frame in self.program.frames.items():
            for var, slot in frame.slots.items():
                if where.name == function and var.name == name:
                    return _reader(slot, self.program.bases[thread])
        raise KeyError(f"{function} keeps no {name} from one step to the next")


def _reader(slot: Slot, base: int) -> Read:
    """A reader of a number that lies in what begins at `base`."""
    at = base + slot.at
    if slot.is_whole and slot.width == 1 and slot.records is None and not slot.low:
        return lambda state: state[at]
    return lambda state: slot.value(state, base)
