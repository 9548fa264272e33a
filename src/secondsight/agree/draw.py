"""Where the generator's choices come from: a seed, or Hypothesis.

The generator asks for integers in a range and nothing else. From a seed (`Seeded`), choice after choice is the same on
every machine and every Python, so scenario i of a seed is always the same scenario. Under Hypothesis
(`strategies.scenarios`), the same choices are drawn from strategies, and what fails is shrunk.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

__all__ = ["Draw", "Seeded", "chance", "choice", "weighted"]

T = TypeVar("T")


class Draw(Protocol):
    """A source of choices."""

    def integer(self, low: int, high: int) -> int:
        """Any integer from `low` to `high`, both included."""
        ...


class Seeded:
    """Choices from a seed, which is any text. Only `Random.random` is used: the one method whose numbers Python promises to keep."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def integer(self, low: int, high: int) -> int:
        """Any integer from `low` to `high`, both included."""
        return low + int(self._random.random() * (high - low + 1))


def choice(draw: Draw, among: Sequence[T]) -> T:
    """One of `among`; the first is the simplest."""
    return among[draw.integer(0, len(among) - 1)]


def weighted(draw: Draw, among: Sequence[tuple[int, T]]) -> T:
    """One of `among`, each as often as its weight says."""
    left = draw.integer(0, sum(weight for weight, _ in among) - 1)
    for weight, value in among:
        left -= weight
        if left < 0:
            return value
    raise AssertionError("weights add up")


def chance(draw: Draw, percent: int) -> bool:
    """True in `percent` of 100 draws."""
    return draw.integer(0, 99) >= 100 - percent
