"""Mutants of drivers whose forms are the rows of a table: those of 2021 for exclusive access, those of 2026 with two passes and with retries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from secondsight.cases import hmm_retry_2026, thread_2021_exclusive, two_pass_2026
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, of_scenario
from secondsight.contract.check import RULES
from secondsight.devices.exclusive import Exclusive, Exclusive615, ExclusiveByOwner
from secondsight.devices.hmm_retry import RangeMirror
from secondsight.devices.two_pass import Second, TwoPassGpu

__all__ = ["CHOICES", "HARMLESS_IN_CHOICES"]

_AS_IF_CPU = RULES["as-if-cpu"].probes[0]


_Cells = Mapping[str, Sequence[str]]
"""Of each row its columns, in the order in which they are asked."""


def _exclusive(row: str, base: type[ExclusiveByOwner], columns: Sequence[str]) -> Iterator[DesignCell]:
    """A driver for exclusive access in columns of its row. `Exclusive` comes to an end in each."""
    table = replace(thread_2021_exclusive.TABLE, goes_on=None) if base is Exclusive else thread_2021_exclusive.TABLE
    for column in columns:
        yield DesignCell(table, row, column, base, partial(of_scenario, scenario=thread_2021_exclusive.scenario_of(column)))


def _two_passes(kind: type, cells: _Cells, part: str = "") -> MutatedDesign:
    """The driver with two passes, or a part of it, with the choices of rows."""
    rows, columns = {row.entry.name: row for row in two_pass_2026.ROWS}, {column.entry.name: column for column in two_pass_2026.COLUMNS}

    def cell(row: str, column: str) -> DesignCell:
        looks = _AS_IF_CPU if column == "one range" else None
        return DesignCell(two_pass_2026.TABLE, row, column, TwoPassGpu, partial(two_pass_2026.program_of, rows[row], columns[column]), looks)

    return MutatedDesign(kind, tuple(cell(row, column) for row, names in cells.items() for column in names), part)


def _retries(cells: _Cells) -> MutatedDesign:
    """The driver that begins again, with the choices of rows."""
    rows, columns = {row.entry.name: row for row in hmm_retry_2026.ROWS}, {column.entry.name: column for column in hmm_retry_2026.COLUMNS}

    def cell(row: str, column: str) -> DesignCell:
        looks = _AS_IF_CPU if column == "DONTNEED" else None
        return DesignCell(hmm_retry_2026.TABLE, row, column, RangeMirror, partial(hmm_retry_2026.program_of, rows[row], columns[column]), looks)

    return MutatedDesign(RangeMirror, tuple(cell(row, column) for row, names in cells.items() for column in names))


CHOICES: dict[str, MutatedDesign] = {
    "ExclusiveByOwner": MutatedDesign(
        ExclusiveByOwner,
        (
            *_exclusive("kept", Exclusive, ("own marking", "munmap", "second mirror", "CPU store", "DONTNEED", "swap-out")),
            *_exclusive("merged", ExclusiveByOwner, ("own marking", "munmap", "CPU store", "DONTNEED")),
        ),
    ),
    "Exclusive615": MutatedDesign(Exclusive615, tuple(_exclusive("6.15", Exclusive615, ("own marking", "munmap")))),
    "TwoPassGpu": _two_passes(
        TwoPassGpu,
        {
            "own structure": ("one range", "no structure", "two subscriptions"),
            "begins all": ("a later one fails",),
            "one, marked": ("two subscriptions", "two ranges"),
            "one pass": ("one range",),
            "lock kept": ("one range",),
            "given back first": ("one range",),
            "fails late": ("one range",),
        },
    ),
    "Second": _two_passes(Second, {"own structure": ("two subscriptions",)}, "second"),
    "RangeMirror": _retries(
        {
            "driver's loop": ("DONTNEED", "no failure"),
            "loop, 1 s": ("endless",),
            "fresh": ("userfaultfd", "killed in a wait", "no failure"),
            "same sequence": ("userfaultfd", "DONTNEED, uffd"),
            "fresh, rest of 1 s": ("endless", "userfaultfd"),
        }
    ),
}
"""By the name of the class."""

HARMLESS_IN_CHOICES: dict[str, dict[str, str]] = {
    "ExclusiveByOwner": {},
    "Exclusive615": {},
    "TwoPassGpu": {},
    "Second": {},
    "RangeMirror": {},
}
"""By class and mutant: why it may survive."""
