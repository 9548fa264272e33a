"""Ways through a program's states. Only one that saw every state says *holds*."""

from __future__ import annotations

from dataclasses import dataclass

from secondsight.lang.errors import LangError

__all__ = ["BreadthFirst", "DepthFirst", "Preemptions", "RandomWalks", "Strategy"]


DEEPEST, MOST_WALKS, MOST_PREEMPTIONS = 1_000_000_000, 2**63 - 1, 1_000_000
"""What native code has numbers for: the greatest depth, the most walks and preemptions."""


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


@dataclass(frozen=True, slots=True)
class Preemptions:
    """First all that happens without preemptions, then all with one, and so on, up to `most`.

    A preemption takes the processor from a thread that could take a step; leaving one that has ended or cannot is none. What was
    searched whole is `Result.preemptions`: no rule is broken with so many. That is not *holds*, though nearly all that is
    broken is broken with two. Only a search that has nothing left to preempt says *holds*. Livelocks are not looked for.
    """

    most: int = MOST_PREEMPTIONS

    def __post_init__(self) -> None:
        if not 0 <= self.most <= MOST_PREEMPTIONS:
            raise LangError(f"preemptions: {self.most} is not between 0 and {MOST_PREEMPTIONS:,}")


Strategy = BreadthFirst | DepthFirst | Preemptions | RandomWalks


def _within(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise LangError(f"{what}: {value} is not between 1 and {most:,}")
