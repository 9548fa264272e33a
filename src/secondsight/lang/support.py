"""What the rendered Python of the reference executor calls: checks that raise the language's named errors, and choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from secondsight.lang.errors import (
    BadIndex,
    Blocked,
    FreedTwice,
    LeftRange,
    ModelError,
    NoneFollowed,
    OutOfRecords,
    Position,
    RuleBroken,
    TooLarge,
    UseAfterFree,
)
from secondsight.lang.types import LARGEST_NUMBER

__all__ = ["Blocked", "Choices", "functions"]

MAX_ROUNDS = 100_000
MAX_COUNT = 2**31 - 1
MAX_PIECES = 1000


class Choices:
    """The choices made within one step: a script that is followed, extended with first possibilities, and advanced."""

    def __init__(self) -> None:
        self.script: list[int] = []
        self.sizes: list[int] = []
        self.at = 0

    def take(self, count: int) -> int:
        """The next choice among `count`."""
        if self.at == len(self.script):
            self.script.append(0)
            self.sizes.append(count)
        self.at += 1
        return self.script[self.at - 1]

    def advance(self) -> bool:
        """Go to the next script; False (and empty) when all have been followed."""
        self.at = 0
        while self.script:
            if self.script[-1] + 1 < self.sizes[-1]:
                self.script[-1] += 1
                return True
            self.script.pop()
            self.sizes.pop()
        return False

    def reset(self) -> None:
        """Forget everything."""
        self.script.clear()
        self.sizes.clear()
        self.at = 0


def functions(sites: list[tuple[Position, str]], choices: Choices) -> dict[str, Callable[..., Any]]:
    """The helpers by the short names that the rendered text uses; `sites` says where in the source each call stands."""

    def rg(value: int, low: int, high: int, site: int) -> int:
        if low <= value <= high:
            return value
        raise LeftRange(sites[site][1], int(value), low, high, sites[site][0])

    def ix(index: int, count: int, site: int) -> int:
        if 0 <= index < count:
            return index
        raise BadIndex(sites[site][1], index, count, sites[site][0])

    def nn(reference: int, site: int) -> int:
        if reference:
            return reference
        raise NoneFollowed(sites[site][1], sites[site][0])

    def na(reference: int, allowed: set[int], site: int) -> int:
        if reference in allowed:
            return reference
        raise ModelError(f"{sites[site][1]} is a record of another class", sites[site][0])

    def co(reference: int, distances: tuple[tuple[frozenset[int], int], ...], site: int) -> int:
        for places, distance in distances:
            if reference in places:
                return reference - distance
        raise ModelError(f"{sites[site][1]} is a record of another class", sites[site][0])

    def nz(value: int, site: int) -> int:
        if value:
            return value
        raise ModelError("division by zero", sites[site][0])

    def sh(value: int, site: int) -> int:
        if 0 <= value <= 64:
            return value
        raise ModelError(f"a shift by {value} bits", sites[site][0])

    def wd(value: int, site: int) -> int:
        if -LARGEST_NUMBER <= value <= LARGEST_NUMBER:
            return value
        raise TooLarge(sites[site][1], sites[site][0])

    def io(base: int, reference: int, stride: int, count: int, site: int) -> int:
        place, rest = divmod(reference - base, stride)
        if rest or not 0 <= place < count:
            raise ModelError("index(): the record is not in this array", sites[site][0])
        return place

    def us(s: Any, base: int, reference: int, stride: int, count: int, site: int) -> bool:
        return bool(s[base + stride * count + io(base, reference, stride, count, site)] == 1)

    def uf(s: Any, freed_at: Any, place: int, site: int) -> int:
        at = freed_at[place]
        while at:
            if s[at] == 2:
                raise UseAfterFree(sites[site][1], sites[site][0])
            at = freed_at[at]
        return place

    def al(s: Any, base: int, stride: int, count: int, bound: str, site: int) -> int:
        used = base + stride * count
        place: int = next((at for at in range(used, used + count) if s[at] != 1), -1)
        if place < 0:
            raise OutOfRecords(bound, count, sites[site][0])
        s[place] = 1
        return base + (place - used) * stride

    def fr(s: Any, base: int, reference: int, stride: int, count: int, fresh: bytes, site: int) -> None:
        place = io(base, reference, stride, count, site)
        used = base + stride * count + place
        if s[used] == 2:
            raise FreedTwice(sites[site][0])
        if not s[used]:
            raise ModelError("a record of a pool is freed that was never allocated", sites[site][0])
        s[used] = 2
        s[reference : reference + stride] = fresh

    def ld(s: Any, at: int, width: int) -> int:
        return int.from_bytes(s[at : at + width], "big")

    def l2(s: Any, at: int) -> int:
        number: int = s[at] << 8 | s[at + 1]
        return number

    def st(s: Any, value: int, at: int, width: int) -> None:
        s[at : at + width] = value.to_bytes(width, "big")

    def ub(s: Any, freed_at: Any, bit: int, site: int) -> int:
        uf(s, freed_at, bit >> 3, site)
        return bit

    def gp(s: Any, bit: int, mask: int) -> int:
        number: int = s[bit >> 3] >> (bit & 7) & mask
        return number

    def ch(count: int, site: int) -> int:
        if count <= 0:
            raise ModelError("choose() has nothing to choose from", sites[site][0])
        if count > MAX_COUNT:
            raise ModelError(f"choose() among more than {MAX_COUNT}", sites[site][0])
        return choices.take(count)

    def cw(options: list[int], site: int) -> int:
        if not options:
            raise ModelError("choose() has nothing to choose from", sites[site][0])
        return options[choices.take(len(options))]

    def broken(rule: str, message: str, site: int) -> None:
        raise RuleBroken(rule, message, sites[site][0])

    def full(bound: str, size: int, site: int) -> None:
        raise OutOfRecords(bound, size, sites[site][0])

    def still(rounds: int, site: int) -> int:
        if rounds >= MAX_ROUNDS:
            raise ModelError(f"a loop without a step boundary went round {MAX_ROUNDS} times", sites[site][0])
        return rounds + 1

    step: Any = None
    pieces = 0

    def again(s: Any, site: int) -> None:
        nonlocal step, pieces
        if s is not step:  # each step has a state of its own
            step, pieces = s, 0
        if pieces >= MAX_PIECES:
            raise ModelError(f"a loop without a step boundary went round {MAX_PIECES} times", sites[site][0])
        pieces += 1

    def left_held(thread: int) -> None:
        raise RuleBroken("lock-held-at-exit", "the thread ends with a lock held")

    return {k: v for k, v in locals().items() if callable(v)}
