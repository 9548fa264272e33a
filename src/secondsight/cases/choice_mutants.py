"""Mutants of drivers whose forms are the rows of a table: the one of 2021 on Linux 6.15, and the second subscription of the one of 2026 with two passes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from secondsight.cases import thread_2021_exclusive, two_pass_2026
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, of_scenario
from secondsight.devices.exclusive import Exclusive615
from secondsight.devices.two_pass import Second, TwoPassGpu

__all__ = ["CHOICES", "HARMLESS_IN_CHOICES"]


def _alone() -> Iterator[DesignCell]:
    """The driver on the form of Linux 6.15, where it comes to an end."""
    for column in ("own marking", "munmap"):
        yield DesignCell(thread_2021_exclusive.TABLE, "6.15", column, Exclusive615, partial(of_scenario, scenario=thread_2021_exclusive.scenario_of(column)))


def _second() -> Iterator[DesignCell]:
    """The second subscription of a driver with two passes: where both its pages are forgotten at once."""
    row = next(one for one in two_pass_2026.ROWS if one.entry.name == "own structure")
    column = next(one for one in two_pass_2026.COLUMNS if one.split)
    yield DesignCell(two_pass_2026.TABLE, row.entry.name, column.entry.name, TwoPassGpu, partial(two_pass_2026.program_of, row, column))


CHOICES: dict[str, MutatedDesign] = {
    "Exclusive615": MutatedDesign(Exclusive615, tuple(_alone())),
    "Second": MutatedDesign(Second, tuple(_second()), "second"),
}
"""By the name of the class."""

HARMLESS_IN_CHOICES: dict[str, dict[str, str]] = {
    "Exclusive615": {},
    "Second": {},
}
"""By class and mutant: why it may survive."""
