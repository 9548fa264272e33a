"""Where numbers lie in a state: each in as many bits as its values need, several in one byte.

What has one value only has no place at all. A reference is the number of its record among those of its class, 0 for None. A
sequence number is stored in whole bytes. Nothing crosses a byte's border but what needs more than one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Space", "Slot", "masks"]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place, counted from where its record or its thread's region begins: `bits` of the byte at `at`, from bit `shift` on, or
    `width` whole bytes.

    `records`: what a reference's number stands for, by where the records lie; `short`: those of its class only.
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
        """The bit behind the last."""
        return 8 * (self.at + self.width) if self.is_whole else 8 * self.at + self.shift + self.bits

    @property
    def mask(self) -> int:
        """Its bits within its byte."""
        return ((1 << self.bits) - 1) << self.shift

    @property
    def per_byte(self) -> int:
        """How many of an array's elements lie in a byte."""
        return 1 if self.is_whole or not self.bits else 8 // self.bits

    def element(self, i: int) -> Slot:
        """The place of an array's element, if this is the first's."""
        per = self.per_byte
        at = self.at + (i // per if self.bits and not self.is_whole else i * self.width if self.bits else 0)
        return Slot(at, self.width, self.shift + i % per * self.bits, self.bits, self.low, self.records, self.short)

    # As Python and as C.

    def text(self, place: str, shift: str) -> str:
        """What is stored in the byte at `place` from bit `shift` on."""
        if self.is_whole:
            return f"s[{place}]"
        moved = f"s[{place}]" if shift == "0" else f"s[{place}] >> {shift}"
        return f"({moved})" if shift == str(8 - self.bits) else f"({moved} & {(1 << self.bits) - 1})"

    def changed(self, place: str, shift: str, number: str) -> str:
        """The whole byte at `place` with another number from bit `shift` on."""
        mask = (1 << self.bits) - 1
        if self.is_whole:
            return number
        if shift.isdigit():
            return f"(s[{place}] & {255 & ~(mask << int(shift))}) | ({number})" + (f" << {shift}" if shift != "0" else "")
        return f"(s[{place}] & ~({mask} << {shift})) | ({number}) << {shift}"

    # Reading and writing.

    def number(self, state: bytes | bytearray, base: int) -> int:
        """What is stored there."""
        return int.from_bytes(state[base + self.at : base + self.at + self.width], "big") >> self.shift & (1 << self.bits) - 1

    def value(self, state: bytes | bytearray, base: int) -> int:
        """The value there: an integer, or the offset of the record that a reference is to."""
        number = self.number(state, base)
        return number + self.low if self.records is None else self.records[number]

    def put(self, state: bytearray, base: int, number: int) -> None:
        """Store a number there."""
        if self.is_whole:
            state[base + self.at : base + self.at + self.width] = number.to_bytes(self.width, "big")
        elif self.bits:
            state[base + self.at] = state[base + self.at] & ~self.mask | number << self.shift


class Space:
    """The bits from `start` on, given out to the first that they have room for."""

    def __init__(self, start: int) -> None:
        self.end = start
        self._free: list[int] = []
        self._next = start

    def take(self, bits: int) -> tuple[int, int, int]:
        """A place for so many bits: the byte, how many bytes, the lowest bit in it."""
        if 0 < bits < 8:
            at = self._fitting(bits)
            self.end = max(self.end, at + bits)
            return at // 8, 1, at % 8
        width, first = -(-bits // 8), -(-self._next // 8)
        if width:
            self._leave(first * 8)
            self._next = self.end = (first + width) * 8
        return first, max(1, width), 0

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


def masks(slots: Iterable[Slot]) -> dict[int, int]:
    """For each byte that some locals lie in, which bits they take."""
    found: dict[int, int] = {}
    for slot in slots:
        if slot.bits:
            for at in range(slot.at, slot.at + slot.width):
                found[at] = found.get(at, 0) | (255 if slot.is_whole else slot.mask)
    return dict(sorted(found.items()))
