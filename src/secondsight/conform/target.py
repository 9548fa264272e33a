"""What a file of the kernel's needs so that it can be run beside the model: a `Target`, and the table of them.

A target is one C file in `c/` (subscribers, callers, a look at the state) and one Python file (the same world in the
language, which boundary stands for which place, the same look). What is common to all is not here: `side` runs the C, `walk`
drives both, `build` compiles.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from secondsight.conform.place import Crossing, Stop
from secondsight.lang.program import Program

__all__ = ["Configuration", "StateDifference", "TargetOperation", "Scene", "Target", "by_name"]


@dataclass(frozen=True)
class TargetOperation:
    """One call that a thread makes: the number that both sides know it by, its name, and its arguments."""

    code: int
    name: str
    arguments: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True)
class Configuration:
    """A world and what its threads do in it: `setup` are numbers that the target's own two sides understand."""

    setup: tuple[int, ...]
    threads: tuple[tuple[TargetOperation, ...], ...]

    def __str__(self) -> str:
        threads = "\n".join(f"  thread {i}: {', '.join(map(str, thread))}" for i, thread in enumerate(self.threads))
        return f"  setup: {' '.join(map(str, self.setup))}\n{threads}"


@dataclass
class Scene:
    """A configuration on the model: the program, and its look at a state."""

    program: Program
    look: Callable[[bytes], str]
    poke: Callable[[bytes], list[str]] | None = None
    """What the C is told before each step of what the model's other files own, as it is after the step: `poke` commands without
    that word. So a step either changes that or lets the C look at it."""
    given: Callable[[bytes, bytes, int], int] | None = None
    """What the C's thread is given for a step, and a stub that stands for another file's function returns once the model's has:
    of the states before and after, and the thread."""


class Target(ABC):
    """One file of the kernel's beside its model."""

    file: ClassVar[str]
    """The kernel's file, such as mm/mmu_notifier.c."""
    model: ClassVar[str]
    """The file of `linux/` that stands beside it."""
    parts: ClassVar[tuple[str, ...]] = ()
    """Other files of `linux/` that stand beside a part of it, or beside what it is linked to."""
    c: ClassVar[str]
    """The conformer's own C file in `c/`."""
    functions: ClassVar[tuple[str, ...]]
    """The functions of the file that are compared; the document lists them."""
    model_functions: ClassVar[tuple[str, ...]] = ()
    """The functions of the model that stand beside them, where their names are others."""
    boundaries: ClassVar[Sequence[Crossing]]
    merged: ClassVar[Mapping[Stop, str]]
    """Places that the C may be left at and the model may not, with the reason why nothing is lost by that."""
    rules: ClassVar[Mapping[str, tuple[str, ...]]]
    """Rules of the model, and what the C does where they break: `warning`, `BUG_ON`, `undefined` (the C is not asked), or the
    kind of a place where it waits before it looks a second time. `RULE at FUNCTION: TEXT` is the rule at one boundary."""
    differences: ClassVar[Sequence[StateDifference]] = ()
    equivalent: ClassVar[Mapping[str, str]] = {}
    """Mutants of the C that cannot be told from it, by `Mutant.name`, with the reason."""
    equivalent_model: ClassVar[Mapping[str, str]] = {}
    """The same of the model."""
    linked: ClassVar[tuple[str, ...]] = ()
    """Other files of the kernel's that are linked to it as they are."""
    releases: ClassVar[tuple[str, ...]] = ("6.1", "6.12", "7.2")
    heap: ClassVar[int] = 256
    """KiB of memory that the C side may allocate in one world."""

    def definitions(self, release: str) -> tuple[str, ...]:
        """What the C side is compiled with: names for -D."""
        return ()

    @abstractmethod
    def draw(self, source: random.Random, release: str) -> Configuration:
        """A configuration for a random walk."""

    @abstractmethod
    def bounded(self, release: str) -> Iterator[Configuration]:
        """The configurations of which every transition is compared. In them nobody does what leaves the C undefined."""

    def smaller(self, configuration: Configuration) -> Iterator[Configuration]:
        """Configurations with a little less: here, one operation; a thread without any goes."""
        for i, thread in enumerate(configuration.threads):
            for j in range(len(thread)):
                threads = [*configuration.threads]
                threads[i] = thread[:j] + thread[j + 1 :]
                if any(threads):
                    yield replace(configuration, threads=tuple(t for t in threads if t))

    @abstractmethod
    def scene(self, configuration: Configuration) -> Scene:
        """The configuration on the model."""


@dataclass(frozen=True)
class StateDifference:
    """A difference that is meant: what, why, and which way it errs (`may hide`, `may raise a false alarm`, `neither`)."""

    what: str
    reason: str
    direction: str


def by_name(reasons: Mapping[str, str]) -> dict[str, str]:
    """The reason of each mutant, out of names by reason such as `f: drop 1, 2; g: swap 3`."""
    return {name: reason for reason, names in reasons.items() for name in _each_name(names)}


def _each_name(names: str) -> Iterator[str]:
    for group in names.split("; "):
        kind, _, numbers = group.rpartition(": ")
        rule, _, first = numbers.partition(",")[0].rpartition(" ")
        yield from (f"{kind}: {rule} {number.strip()}" for number in (first, *numbers.split(",")[1:]))
