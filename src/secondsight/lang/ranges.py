"""The smallest range that surely holds the result of an operation: a check is left out only where this proves it needless."""

from __future__ import annotations

import enum

from secondsight.lang.types import LARGEST_NUMBER, IntType

__all__ = ["MAX_SHIFT", "clipped", "of_operation"]

MAX_SHIFT = 64
"""A shift by more bits, or fewer than none, is an error when it is run."""


def of_operation(operator: str, a: IntType, b: IntType) -> IntType:
    """The range of `a operator b`; flags of one class stay flags."""
    if operator in ("&", "|", "^"):
        return _bits(operator, a, b)
    if operator == "%":
        return IntType(0, max(0, b.high - 1)) if b.low > 0 else IntType(min(b.low + 1, 0), max(b.high - 1, 0))
    if operator == "//":
        biggest = max(abs(a.low), abs(a.high))
        return IntType(-biggest if a.low < 0 or b.low < 0 else 0, biggest)
    ends = (b.low, b.high)
    if operator in ("<<", ">>"):
        ends = (min(MAX_SHIFT, max(0, b.low)), min(MAX_SHIFT, max(0, b.high)))
    results = [_apply(operator, x, y) for x in (a.low, a.high) for y in ends]
    return IntType(min(results), max(results))


def clipped(kind: IntType) -> IntType:
    """What of a range are numbers of the language."""
    if kind.low >= -LARGEST_NUMBER and kind.high <= LARGEST_NUMBER:
        return kind
    low, high = (min(max(end, -LARGEST_NUMBER), LARGEST_NUMBER) for end in (kind.low, kind.high))
    return IntType(low, high, kind.display, kind.enum)


def _bits(operator: str, a: IntType, b: IntType) -> IntType:
    flags = next((t.enum for t in (a, b) if t.enum is not None and issubclass(t.enum, enum.IntFlag)), None)
    display = "enum" if flags is not None else "int"
    if operator == "&" and (a.low >= 0 or b.low >= 0):
        return IntType(0, min(t.high for t in (a, b) if t.low >= 0), display, flags)
    bits = max(a.high, b.high, ~a.low, ~b.low, 0).bit_length()
    return IntType(0 if min(a.low, b.low) >= 0 else -(1 << bits), (1 << bits) - 1, display, flags)


def _apply(operator: str, x: int, y: int) -> int:
    match operator:
        case "+":
            return x + y
        case "-":
            return x - y
        case "*":
            return x * y
        case "<<":
            return x << y
    return x >> y
