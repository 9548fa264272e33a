"""Mutants of drivers whose forms are the rows of a table: those of 2021 for exclusive access, and the one of 2026 with two passes, with its second subscription."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from secondsight.cases import thread_2021_exclusive, two_pass_2026
from secondsight.cases import two_pass_story as story
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, of_scenario, soon
from secondsight.cases.table import Heading
from secondsight.cases.two_pass_2026 import PassColumn
from secondsight.contract import EVERY_ADVERSARY
from secondsight.contract.check import RULES
from secondsight.contract.harmless import by_name
from secondsight.devices.exclusive import Exclusive, Exclusive615, ExclusiveByOwner
from secondsight.devices.two_pass import Second, TwoPassGpu
from secondsight.lang import require
from secondsight.linux.mm_types import Mm
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.scenario import Recorder, Scenario

__all__ = ["CHOICES", "HARMLESS_IN_CHOICES"]


def _exclusive(row: str, base: type[ExclusiveByOwner], columns: Sequence[str]) -> Iterator[DesignCell]:
    """A driver for exclusive access in columns of its row. `Exclusive` comes to an end in each."""
    table = replace(thread_2021_exclusive.TABLE, goes_on=None) if base is Exclusive else thread_2021_exclusive.TABLE
    for column in columns:
        yield DesignCell(table, row, column, base, partial(of_scenario, scenario=thread_2021_exclusive.scenario_of(column)))


def _shared(*names: str) -> Iterator[DesignCell]:
    """The driver that goes on before adversaries in which its device shares the page with CPUs, and takes it for itself at no time."""
    for name in names:
        (scenario,) = [one for one in EVERY_ADVERSARY[name.partition(":")[0]].scenarios if one.name == name]
        yield DesignCell(thread_2021_exclusive.TABLE, "kept", name, Exclusive, partial(of_scenario, scenario=scenario))


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


_AS_IF_CPU = RULES["as-if-cpu"].probes[0]
_Cells = Mapping[str, Sequence[str]]
"""Of each row its columns, in the order in which they are asked."""


def writes(gpu: TwoPassGpu) -> None:
    """The device writes the first page, and finds there what it wrote."""
    ret = gpu.write(0, 100)
    require(ret == 0, "access", "the device may not write")
    found = gpu.read(0)
    require(found == 100, "access", "the device does not find what it wrote")


def reaps(mm: Mm, gpu: TwoPassGpu) -> None:
    """The OOM reaper takes what it is allowed to take; `gpu` is asked nothing."""
    oom_reap_task_mm(mm)


PASSES = {
    column.entry.name: column
    for column in (
        *two_pass_2026.COLUMNS,
        PassColumn(Heading("writes", "with nothing beside it the device writes, and finds what it wrote"), writes),
        PassColumn(Heading("none for two", "as `two subscriptions`, where there is no structure to be had"), story.uses_both, ((0, 2),), split=True, scarce=True),
        PassColumn(
            Heading("reaped, no structure", "the OOM reaper comes where there is no structure, and another thread forgets the page: who does not wait has not done all"),
            story.uses_one, ((0, 1),), reaped=True, scarce=True,
        ),
        PassColumn(Heading("one page twice", "two threads forget one page: what is flushed for one of them may be in the TLB again"), story.uses_one, ((0, 1), (0, 1))),
    )
}
"""By name: its columns, and what the table does not ask and mutants have to be asked."""


def _two_passes(kind: type, cells: _Cells, part: str = "") -> MutatedDesign:
    """The driver with two passes, or a part of it, with the choices of rows."""
    rows = {row.entry.name: row for row in two_pass_2026.ROWS}

    def cell(row: str, column: str) -> DesignCell:
        asked = PASSES[column]
        form = replace(rows[row], reaped=reaps) if asked.scarce else rows[row]  # what is not to be had is not given back
        return DesignCell(soon(two_pass_2026.TABLE), row, column, TwoPassGpu, partial(two_pass_2026.program_of, form, asked), _AS_IF_CPU if column == "one range" else None)

    return MutatedDesign(kind, tuple(cell(row, column) for row, names in cells.items() for column in names), part)


CHOICES: dict[str, MutatedDesign] = {
    "ExclusiveByOwner": MutatedDesign(
        ExclusiveByOwner,
        (
            *_exclusive("kept", Exclusive, ("own marking", "munmap", "second mirror")),
            *_shared("swap: writes at once", "oom-reaper: writes"),
            *_exclusive("kept", Exclusive, ("CPU store", "DONTNEED", "swap-out")),
            DesignCell(thread_2021_exclusive.TABLE, "kept", "exits", Exclusive, partial(of_scenario, scenario=_exits())),
            *_exclusive("merged", ExclusiveByOwner, ("own marking", "munmap", "CPU store", "DONTNEED")),
        ),
    ),
    "Exclusive615": MutatedDesign(Exclusive615, tuple(_exclusive("6.15", Exclusive615, ("own marking", "munmap")))),
    "TwoPassGpu": _two_passes(
        TwoPassGpu,
        {
            "own structure": ("one range", "writes", "no structure", "reaper", "none for two", "two subscriptions", "one page twice"),
            "begins all": ("a later one fails", "reaped, no structure"),
            "one, marked": ("two subscriptions", "two ranges"),
            "one pass": ("one range",),
            "lock kept": ("one range",),
            "given back first": ("one range",),
            "fails late": ("one range",),
        },
    ),
    "Second": _two_passes(Second, {"own structure": ("two subscriptions",)}, "second"),
}
"""By the name of the class."""

_ONE_STEP = "one step, in which nobody looks"

HARMLESS_IN_CHOICES: dict[str, dict[str, str]] = {
    "ExclusiveByOwner": by_name(
        {
            "`notifier.mm` is there before `open` is called, and stays; mmget_not_zero() looks by itself": (
                "make_exclusive: without the lock 1; make_exclusive: first out of the lock 1; make_exclusive: last out of the lock 1"
            ),
            _ONE_STEP: "take_alone: swap 1",
            "the folio is dirty already, and locked: who found it to be written said so (FOLL_TOUCH), and what the entry said came to it when that was made exclusive": "take_alone: drop 2",
            "whoever tested before has the lock until the page is mapped, and it is cleared after that": "drop: first out of the lock 1",
            "the table is cleared before the callback returns, and from the new sequence number on nobody maps what was found before": "drop: last out of the lock 1",
            "both stand under the lock that whoever reads them takes: nobody sees one without the other": "drop: swap 1",
        }
    ),
    "Exclusive615": {},
    "TwoPassGpu": by_name(
        {
            _ONE_STEP: "access: swap 1; work: swap 1, 2; begin: swap 1, 2",
            "what the TLB does not have as one that may be written is looked for in the table again": "access: drop 5",
            "the device alone takes away what is to be flushed: what it has waited for is there still": "work: first out of the lock 1",
            "a flush that nobody has asked for: what goes from the TLB is looked for in the table again": "work: drop 1",
            "without a page nobody looks at it, and with the next page it is written anew": "work: drop 3",
            "`fails late` is wrong as it is: without what it does it is `begins all`, which is right": "start: drop 6",
            "to wait in the first pass and to wait in the second are both right: the forms change places": "begin: negate 2",
            "who finds a structure in use takes another one or waits within: both are right": "begin: negate 4",
            "`number last` alone has a use for it, which is wrong as it is": "begin: drop 5; finish: drop 9",
            "`table last` alone has a use for it, which is wrong as it is": "finish: drop 12",
            "the driver's lock is held, under which structures are taken and given back": (
                "finish: without the lock 1, 2; finish: first out of the lock 1, 2"
            ),
            "the lock is held until the wait is over: nobody takes the structure before; the form that gives it up is wrong as it is": "finish: negate 3",
            "`given back first` alone comes there, which is wrong as it is: where it holds one call is made at a time, and it waits in any order": "finish: swap 1, 2",
            "`given back first` alone comes there, which is wrong as it is: who finds the structure in use waits within": "finish: drop 8",
            "the table is clear already, and nobody maps these pages until the bracket is closed": "finish: negate 4",
            "the number is stored already, and is the same until the bracket is closed": "finish: negate 5",
            "the structure is in use until it is given back, under the lock: whether that is held during the wait is all the same": "finish: negate 2",
        }
    ),
    "Second": {},
}
"""By class and mutant: why it may survive."""
