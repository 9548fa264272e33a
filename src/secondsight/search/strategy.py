"""Ways through a program's states. Only one that saw every state says *holds*."""

from __future__ import annotations

from dataclasses import dataclass

from secondsight.lang.errors import LangError

__all__ = ["BreadthFirst", "DepthFirst", "RandomWalks", "Strategy"]


DEEPEST, MOST_WALKS = 1_000_000_000, 2**63 - 1
"""What native code has numbers for: the greatest depth, and the most walks."""


@dataclass(frozen=True, slots=True)
class BreadthFirst:
    """Level by level: the first trace found is a shortest one."""


@dataclass(frozen=True, slots=True)
class DepthFirst:
    """One path to its end before the next, no deeper than `depth` steps; deeper states are cut off: *not finished*, `depth`.

    Needs less memory than breadth first for wide programs and finds deep errors sooner; its traces may be long.
    """

    depth: int = 10_000

    def __post_init__(self) -> None:
        _within("depth", self.depth, DEEPEST)


@dataclass(frozen=True, slots=True)
class RandomWalks:
    """`walks` random paths, none longer than `depth` steps; the same ones for the same `seed`.

    States are not remembered, so `Result.states` counts those of all paths, and the verdict is never *holds*.
    """

    walks: int = 1_000
    depth: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        _within("depth", self.depth, DEEPEST)
        _within("walks", self.walks, MOST_WALKS)


Strategy = BreadthFirst | DepthFirst | RandomWalks


def _within(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise LangError(f"{what}: {value} is not between 1 and {most:,}")
