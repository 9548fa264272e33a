"""Ways through a program's states. Only one that saw every state says *holds*."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BreadthFirst", "DepthFirst", "RandomWalks", "Strategy"]


@dataclass(frozen=True, slots=True)
class BreadthFirst:
    """Level by level: the first trace found is a shortest one."""


@dataclass(frozen=True, slots=True)
class DepthFirst:
    """One path to its end before the next, no deeper than `depth` steps; deeper states are cut off: *not finished*, `depth`.

    Needs less memory than breadth first for wide programs and finds deep errors sooner; its traces may be long.
    """

    depth: int = 10_000


@dataclass(frozen=True, slots=True)
class RandomWalks:
    """`walks` random paths, none longer than `depth` steps; the same ones for the same `seed`.

    States are not remembered, so `Result.states` counts those of all paths, and the verdict is never *holds*.
    """

    walks: int = 1_000
    depth: int = 10_000
    seed: int = 0


Strategy = BreadthFirst | DepthFirst | RandomWalks
