"""Which place of the kernel's C a step boundary of the model stands for.

The C side can be left where a stub stops it (`c/stubs.c`, or a conformer's own): a `Stop` is the kind of stub and the kernel
function that called it. The model's side of it is a step boundary, named by its function and the text of the source that begins there, so that a
change of the model that moves a boundary is noticed.
"""

from __future__ import annotations

import functools
import linecache
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from secondsight.conform.errors import ConformError
from secondsight.lang.program import Program

__all__ = ["Crossing", "Stop", "stops_of"]


@dataclass(frozen=True)
class Stop:
    """A place of the C: the kind of stub that stops there, and the function that calls it; "": whichever."""

    kind: str
    function: str = ""

    def __str__(self) -> str:
        return f"{self.kind} in {self.function}" if self.function else self.kind


@dataclass(frozen=True)
class Crossing:
    """A step boundary of the model, and the place of the C where the thread is then.

    `function` and `text`: the model's function, and what the source there begins with, lines joined. `stop`: where the C is; None: the
    step has no counterpart, and the C is at one of `ahead` already. `ahead`: where else it may be, when what the model's
    next step does is nothing.
    """

    function: str
    text: str
    stop: Stop | None
    ahead: tuple[Stop, ...] = ()

    @property
    def stops(self) -> tuple[Stop | None, ...]:
        """All of them; the first is where the C usually is."""
        return (self.stop, *self.ahead)


def stops_of(program: Program, boundaries: Sequence[Crossing], file: str) -> dict[int, Crossing]:
    """The boundary of each program counter of a program. Raises ConformError for one that the table does not have.

    Counters of other files than the model of `file` need no entry as long as nobody stands there: a lookup fails then.
    """
    found: dict[int, Crossing] = {}
    missing = []
    for number, place in enumerate(program.code.places, 1):
        text = _text(place.where.file, place.where.line)
        for boundary in boundaries:
            if place.function == boundary.function and text.startswith(boundary.text):
                found[number] = boundary
                break
        else:
            missing.append(f"{place.function}: {text[:60]} ({place.where})")
    if missing:
        raise ConformError(
            f"{file}: the model has step boundaries that no place of the C is given for:\n  " + "\n  ".join(missing),
            "add each to the target's `boundaries`",
        )
    return found


STANDS_FOR: Final[dict[str, str]] = {}
"""Files that stand for others, line for line, while a mutant is tried: the table of places speaks of the others' text."""


@functools.cache
def _text(file: str, line: int) -> str:
    """The source from a line on, a few lines joined."""
    file = STANDS_FOR.get(file, file)
    return " ".join(linecache.getline(file, line + i).strip() for i in range(4))
