"""Mutants of drivers whose forms are the rows of a table: those of 2021 for exclusive access, and the second subscription of the one with two passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from secondsight.cases import hmm_retry_2026, thread_2021_exclusive, two_pass_2026
from secondsight.cases import two_pass_story as story
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, of_scenario
from secondsight.cases.hmm_retry_2026 import RetryColumn
from secondsight.cases.table import CaseTable, Heading
from secondsight.cases.two_pass_2026 import PassColumn
from secondsight.contract import EVERY_ADVERSARY
from secondsight.contract.check import RULES
from secondsight.contract.harmless import by_name
from secondsight.devices.exclusive import Exclusive, Exclusive615, ExclusiveByOwner
from secondsight.devices.hmm_retry import RangeMirror
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
"""The columns, and what the table does not ask and mutants have to be asked."""


def gives_back(gpu: RangeMirror) -> None:
    """The device reads and writes the second page; then it is no user of the mm."""
    ret = gpu.write(1, 100)
    require(ret == 0, "access", "the device may not write")
    found = gpu.read(1)
    require(found == 100, "access", "the device does not find what it wrote")
    mm = gpu.notifier.mm
    assert mm is not None
    require(mm.users == 1, "balance", "the device is a user of the mm still")


RETRIES = {
    column.entry.name: column
    for column in (
        *hmm_retry_2026.COLUMNS,
        RetryColumn(Heading("gives back", "with nothing beside it the device writes, and is no user of the mm then"), gives_back),
        RetryColumn(Heading("second page", "the same where the second page alone is mirrored"), gives_back, start=1),
    )
}
"""The same of the drivers that begin again."""


def _soon(table: CaseTable) -> CaseTable:
    """The table where its cells' code is not made first: a mutant's is its own, and most cells have a thousand states or fewer."""
    return replace(table, executor=lambda _row, _column: "auto")


def _two_passes(kind: type, cells: _Cells, part: str = "") -> MutatedDesign:
    """The driver with two passes, or a part of it, with the choices of rows."""
    rows = {row.entry.name: row for row in two_pass_2026.ROWS}

    def cell(row: str, column: str) -> DesignCell:
        looks = _AS_IF_CPU if column == "one range" else None
        return DesignCell(_soon(two_pass_2026.TABLE), row, column, TwoPassGpu, partial(two_pass_2026.program_of, replace(rows[row], reaped=reaps) if PASSES[column].scarce else rows[row], PASSES[column]), looks)

    return MutatedDesign(kind, tuple(cell(row, column) for row, names in cells.items() for column in names), part)


def _retries(cells: _Cells) -> MutatedDesign:
    """The driver that begins again, with the choices of rows."""
    rows = {row.entry.name: row for row in hmm_retry_2026.ROWS}

    def cell(row: str, column: str) -> DesignCell:
        looks = _AS_IF_CPU if column == "DONTNEED" else None
        return DesignCell(_soon(hmm_retry_2026.TABLE), row, column, RangeMirror, partial(hmm_retry_2026.program_of, rows[row], RETRIES[column]), looks)

    return MutatedDesign(RangeMirror, tuple(cell(row, column) for row, names in cells.items() for column in names))


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
    "RangeMirror": _retries(
        {
            "driver's loop": ("gives back", "second page", "DONTNEED", "no failure"),
            "loop, 1 s": ("endless",),
            "fresh": ("userfaultfd", "killed in a wait", "no failure"),
            "same sequence": ("userfaultfd", "DONTNEED, uffd"),
            "fresh, rest of 1 s": ("endless", "userfaultfd"),
        }
    ),
}
"""By the name of the class."""

HARMLESS_IN_CHOICES: dict[str, dict[str, str]] = {
    "ExclusiveByOwner": by_name(
        {
            "`notifier.mm` is there before `open` is called, and stays; mmget_not_zero() looks by itself": (
                "make_exclusive: without the lock 1; make_exclusive: first out of the lock 1; make_exclusive: last out of the lock 1"
            ),
            "one step, in which nobody looks": "take_alone: swap 1",
            "the folio is dirty already, and locked: who found it to be written said so (FOLL_TOUCH), and what the entry said came to it when that was made exclusive": "take_alone: drop 2",
            "whoever tested before has the lock until the page is mapped, and it is cleared after that": "drop: first out of the lock 1",
            "the table is cleared before the callback returns, and from the new sequence number on nobody maps what was found before": "drop: last out of the lock 1",
            "both stand under the lock that whoever reads them takes: nobody sees one without the other": "drop: swap 1",
        }
    ),
    "Exclusive615": {},
    "TwoPassGpu": {},
    "Second": {},
    "RangeMirror": {},
}
"""By class and mutant: why it may survive."""
