"""A bound that runs out is raised, and the search begins again: how much of everything a machine has decides no verdict.

What a user gives by hand stays as it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from secondsight.lang.errors import OutOfRecords
from secondsight.lang.program import Program
from secondsight.linux import BOUNDS
from secondsight.search import Result, Verdict

__all__ = ["Searched", "with_enough"]


@dataclass(frozen=True)
class Searched:
    """The program that had enough of everything, what its search found, and the bounds that were raised for it."""

    program: Program
    result: Result
    raised: Mapping[str, int]


def with_enough(
    build: Callable[[dict[str, int]], Program], search: Callable[[Program], Result], by_hand: Mapping[str, int]
) -> Searched:
    """Build a program and search it, with twice of whatever ran out, as often as it takes or as there can be more.

    `build` gets the bounds to have: those by hand, and those that were raised. The result's note says which were. Raises what
    `build` raises, `OutOfRecords` too where the setup needs more than there can be.
    """
    raised: dict[str, int] = {}
    before: Program | None = None
    while True:
        try:
            program = build(dict(by_hand) | raised)
        except OutOfRecords as error:
            if not _raise(error, raised, by_hand):
                raise
            continue
        if before is not None:
            program.code.is_like(before.code)
        result = search(program)
        ran_out = result.error if result.verdict is Verdict.NOT_FINISHED else None
        if not isinstance(ran_out, OutOfRecords) or not _raise(ran_out, raised, by_hand):
            if raised:
                said = [f"{name} ran out, and was raised to {number} (--bound decides by hand)" for name, number in raised.items()]
                result = replace(result, note="; ".join([*said, *([result.note] if result.note else [])]))
            return Searched(program, result, raised)
        before = program


def _raise(error: OutOfRecords, raised: dict[str, int], by_hand: Mapping[str, int]) -> bool:
    """Raise the bound that ran out, if it may be more."""
    known = BOUNDS.get(error.bound)
    if known is None or error.bound in by_hand or error.size >= known.most or error.size < raised.get(error.bound, 0):
        return False  # the last: the program has it from elsewhere
    raised[error.bound] = min(known.most, max(1, 2 * error.size))
    return True
