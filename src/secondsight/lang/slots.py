"""Where the locals of a function lie in a thread's region: each in as many bits as its values need.

What has one value only has no place at all. A reference is the number of its record among those of its class, 0 for None; but
one that `lang.canonical` renames is stored as in the shared state, in whole bytes. Nothing crosses a byte's border but what
needs more than one. What survives a call lies before what does not, so that the called function's frame may begin behind the
former.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from secondsight.lang import ir
from secondsight.lang.cfg import CallTo, Flow
from secondsight.lang.layout import Layout
from secondsight.lang.types import IntType, RefType

__all__ = ["Room", "Slot", "masks", "place"]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a local lies in its thread's region: `bits` of the byte at `at`, from bit `shift` on, or `width` whole bytes.

    `records`: what a reference's number stands for, None first; `short`: they are those of its class only.
    """

    at: int
    width: int
    shift: int
    bits: int
    low: int = 0
    records: Sequence[int] | None = None
    short: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it takes whole bytes."""
        return self.bits == 8 * self.width

    @property
    def only(self) -> int | None:
        """The one value that it can have, if there is only one."""
        return None if self.bits else self.low if self.records is None else self.records[0]

    @property
    def end(self) -> int:
        """The bit behind the last, counted from the start of the region."""
        return 8 * (self.at + self.width) if self.is_whole else 8 * self.at + self.shift + self.bits

    @property
    def mask(self) -> int:
        """Its bits within its byte."""
        return ((1 << self.bits) - 1) << self.shift

    @property
    def text(self) -> str:
        """What is stored in a part of a byte, as Python and as C."""
        moved = f"s[B + {self.at}] >> {self.shift}" if self.shift else f"s[B + {self.at}]"
        return f"({moved})" if self.shift + self.bits == 8 else f"({moved} & {(1 << self.bits) - 1})"

    def changed(self, number: str) -> str:
        """The whole byte with another number in this part of it, as Python and as C."""
        moved = f"({number}) << {self.shift}" if self.shift else f"({number})"
        return f"(s[B + {self.at}] & {255 & ~self.mask}) | {moved}"

    def number(self, state: bytes, base: int) -> int:
        """What is stored there."""
        return int.from_bytes(state[base + self.at : base + self.at + self.width], "big") >> self.shift & (1 << self.bits) - 1

    def value(self, state: bytes, base: int) -> int:
        """The value there: an integer, or the offset of the record that a reference is to."""
        number = self.number(state, base)
        return number + self.low if self.records is None else self.records[number]


class Room:
    """The bits of a region from `start` on, given out to the first that they have room for."""

    def __init__(self, start: int) -> None:
        self.start = self.end = start
        self._free: list[int] = []
        self._next = start

    def take(self, bits: int) -> tuple[int, int, int]:
        """A place for so many bits: the byte, how many bytes, the lowest bit in it."""
        width = max(1, -(-bits // 8))
        if not bits:
            return self.start // 8, 1, 0
        if width > 1 or bits == 8:
            first = -(-self._next // 8)
            self._leave(first * 8)
            self._next = (first + width) * 8
            bits = 8 * width
            self.end = max(self.end, self._next)
            return first, width, 0
        at = self._fitting(bits)
        self.end = max(self.end, at + bits)
        return at // 8, 1, at % 8

    def _leave(self, until: int) -> None:
        """Let the bits before `until` be for what is small."""
        self._free += range(self._next, until)
        self._next = until

    def _fitting(self, bits: int) -> int:
        """The first bit of so many in one byte."""
        free = set(self._free)
        for at in self._free:
            if at % 8 + bits <= 8 and all(at + k in free for k in range(bits)):
                self._free = [b for b in self._free if not at <= b < at + bits]
                return at
        if self._next % 8 + bits > 8:
            self._leave(-(-self._next // 8) * 8)
        at = self._next
        self._next += bits
        return at


def place(flow: Flow, variables: Iterable[ir.Var], layout: Layout, room: Room) -> dict[ir.Var, Slot]:
    """A place for each of a function's locals."""
    surviving: Counter[ir.Var] = Counter()
    for block in flow.blocks:
        if isinstance(block.end, CallTo):
            surviving.update(flow.live_across(block.end))
    return {v: _place(v, layout, room) for v in sorted(variables, key=lambda v: -surviving[v])}


def _place(var: ir.Var, layout: Layout, room: Room) -> Slot:
    """A place for a local."""
    kind = var.type
    if isinstance(kind, IntType):
        bits = (kind.high - kind.low).bit_length()
        at, width, shift = room.take(bits)
        return Slot(at, width, shift, bits if bits < 8 else 8 * width, kind.low)
    assert isinstance(kind, RefType)
    records = ([0] if kind.nullable or var.is_item else []) + sorted(layout.instances_below(kind.record))
    bits = max(0, len(records) - 1).bit_length()
    if bits < 8 and not _is_renamed(layout, kind):
        at, width, shift = room.take(bits)
        return Slot(at, width, shift, bits, records=tuple(records or [0]), short=True)
    at, width, shift = room.take(8 * layout.ref_width)
    return Slot(at, width, shift, 8 * width, records=layout.to_offset)


def _is_renamed(layout: Layout, kind: RefType) -> bool:
    """Whether a reference can be to a record that is interchangeable with others."""
    return any(
        getattr(k, "interchangeable", False) and (issubclass(k, kind.record) or issubclass(kind.record, k)) for _, k in layout.records
    )


def masks(slots: Iterable[Slot]) -> dict[int, int]:
    """For each byte that some locals lie in, which bits they take."""
    found: dict[int, int] = {}
    for slot in slots:
        if slot.bits:
            for at in range(slot.at, slot.at + slot.width):
                found[at] = found.get(at, 0) | (255 if slot.is_whole else slot.mask)
    return dict(sorted(found.items()))
