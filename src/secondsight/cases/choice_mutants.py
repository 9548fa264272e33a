"""Mutants of drivers whose forms are the rows of a table: those of 2021 for exclusive access, and the second subscription of the one with two passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from secondsight.cases import thread_2021_exclusive, two_pass_2026
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, of_scenario
from secondsight.contract.harmless import by_name
from secondsight.devices.exclusive import Exclusive, Exclusive615, ExclusiveByOwner
from secondsight.devices.two_pass import Second, TwoPassGpu
from secondsight.scenario import Recorder, Scenario

__all__ = ["CHOICES", "HARMLESS_IN_CHOICES"]


def _exclusive(row: str, base: type[ExclusiveByOwner], columns: Sequence[str]) -> Iterator[DesignCell]:
    """A driver for exclusive access in columns of its row. `Exclusive` comes to an end in each."""
    table = replace(thread_2021_exclusive.TABLE, goes_on=None) if base is Exclusive else thread_2021_exclusive.TABLE
    for column in columns:
        yield DesignCell(table, row, column, base, partial(of_scenario, scenario=thread_2021_exclusive.scenario_of(column)))


def _exits() -> Scenario:
    """What the table does not ask, and mutants have to be asked: the process ends while the device takes its page for itself."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.exit()

    @s.thread
    def device() -> None:
        gpu.exclusive(a, "D", into="first")

    return s.scenario("exits", "the process ends while the device takes its page for itself")


def _second() -> Iterator[DesignCell]:
    """The second subscription of a driver with two passes: where both its pages are forgotten at once."""
    row = next(one for one in two_pass_2026.ROWS if one.entry.name == "own structure")
    column = next(one for one in two_pass_2026.COLUMNS if one.split)
    yield DesignCell(two_pass_2026.TABLE, row.entry.name, column.entry.name, TwoPassGpu, partial(two_pass_2026.program_of, row, column))


CHOICES: dict[str, MutatedDesign] = {
    "ExclusiveByOwner": MutatedDesign(
        ExclusiveByOwner,
        (
            *_exclusive("kept", Exclusive, ("own marking", "munmap", "second mirror", "CPU store", "DONTNEED", "swap-out")),
            DesignCell(thread_2021_exclusive.TABLE, "kept", "exits", Exclusive, partial(of_scenario, scenario=_exits())),
            *_exclusive("merged", ExclusiveByOwner, ("own marking", "munmap", "CPU store", "DONTNEED")),
        ),
    ),
    "Exclusive615": MutatedDesign(Exclusive615, tuple(_exclusive("6.15", Exclusive615, ("own marking", "munmap")))),
    "Second": MutatedDesign(Second, tuple(_second()), "second"),
}
"""By the name of the class."""

HARMLESS_IN_CHOICES: dict[str, dict[str, str]] = {
    "ExclusiveByOwner": by_name(
        {
            "`notifier.mm` is there before `open` is called, and stays; mmget_not_zero() looks by itself": (
                "make_exclusive: without the lock 1; make_exclusive: first out of the lock 1; make_exclusive: last out of the lock 1"
            ),
            "one step, in which nobody looks": "take_alone: swap 1",
        }
    ),
    "Exclusive615": {},
    "Second": {},
}
"""By class and mutant: why it may survive."""
