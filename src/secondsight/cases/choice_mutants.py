"""Mutants of drivers whose forms are the rows of a table: those of 2021 for exclusive access, those of 2026 with two passes and with retries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from secondsight.cases import hmm_retry_2026, thread_2021_exclusive, two_pass_2026
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, holding, of_scenario
from secondsight.contract.check import RULES
from secondsight.devices.exclusive import Exclusive, Exclusive615, ExclusiveByOwner
from secondsight.devices.hmm_retry import RangeMirror
from secondsight.devices.two_pass import Second, TwoPassGpu

__all__ = ["CHOICES", "HARMLESS_IN_CHOICES"]

_AS_IF_CPU = RULES["as-if-cpu"].probes[0]


def _exclusive(row: str, base: type[ExclusiveByOwner], columns: Sequence[str]) -> list[DesignCell]:
    """A driver for exclusive access in columns of its row."""
    table = thread_2021_exclusive.TABLE
    assert set(columns) <= set(holding(table, row))
    return [DesignCell(table, row, column, base, partial(of_scenario, scenario=thread_2021_exclusive.scenario_of(column))) for column in columns]


def _two_passes(kind: type, *rows: str, columns: Sequence[str] = (), part: str = "") -> MutatedDesign:
    """The driver, or a part of it, with the choices of these rows. `columns`: these alone."""
    table, cells = two_pass_2026.TABLE, []
    for row in two_pass_2026.ROWS:
        for column in two_pass_2026.COLUMNS:
            name = column.entry.name
            if row.entry.name in rows and name in holding(table, row.entry.name) and name in (columns or (name,)):
                looks = _AS_IF_CPU if name == "one range" else None
                cells.append(DesignCell(table, row.entry.name, name, TwoPassGpu, partial(two_pass_2026.program_of, row, column), looks))
    return MutatedDesign(kind, tuple(cells), part)


def _retries(*rows: str) -> MutatedDesign:
    """The driver, with the choices of these rows."""
    table, cells = hmm_retry_2026.TABLE, []
    for row in hmm_retry_2026.ROWS:
        for column in hmm_retry_2026.COLUMNS:
            name = column.entry.name
            if row.entry.name in rows and name in holding(table, row.entry.name):
                looks = _AS_IF_CPU if name == "DONTNEED" else None
                cells.append(DesignCell(table, row.entry.name, name, RangeMirror, partial(hmm_retry_2026.program_of, row, column), looks))
    return MutatedDesign(RangeMirror, tuple(cells))


_ALONE = ("own marking", "munmap")
"""The columns in which a driver of 2021 comes to an end."""
_MET = ("CPU store", "DONTNEED", "swap-out", "second mirror", "other device", "fork")

CHOICES: dict[str, MutatedDesign] = {
    "ExclusiveByOwner": MutatedDesign(
        ExclusiveByOwner,
        (*_exclusive("merged", ExclusiveByOwner, _ALONE), *_exclusive("kept", Exclusive, (*_ALONE, *_MET)), *_exclusive("merged", ExclusiveByOwner, _MET)),
    ),
    "Exclusive615": MutatedDesign(Exclusive615, tuple(_exclusive("6.15", Exclusive615, _ALONE))),
    "TwoPassGpu": _two_passes(TwoPassGpu, "one pass", "own structure", "one, marked", "lock kept", "begins all", "fails late"),
    "Second": _two_passes(Second, "own structure", columns=("two subscriptions",), part="second"),
    "RangeMirror": _retries("driver's loop", "loop, 1 s", "same sequence", "fresh", "fresh, rest of 1 s"),
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
