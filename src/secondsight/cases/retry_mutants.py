"""Mutants of the drivers of 2026 that fault in a range and begin again: one class, whose forms are rows, in the cells that hold and in some of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from secondsight.cases import hmm_retry_2026
from secondsight.cases import hmm_retry_story as story
from secondsight.cases.design_mutants import DesignCell, MutatedDesign, of_scenario, soon
from secondsight.cases.hmm_retry_2026 import RetryColumn
from secondsight.cases.table import Heading
from secondsight.contract import EVERY_ADVERSARY
from secondsight.contract.check import RULES
from secondsight.contract.harmless import by_name
from secondsight.devices.hmm_retry import LIMIT, RangeMirror
from secondsight.lang import U8, Errno, atomic, require
from secondsight.linux.errno import EAGAIN
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.mm_types import Mm

__all__ = ["HARMLESS_IN_RETRIES", "RETRIES"]


class CountsItsTries(RangeMirror):
    """Asks for the range while its time is not up, in one access, of which every try is looked at.

    `tries`: those of the time that there is. `begun`: how many there were when the helper was called. `waited`: a fault has waited, and the driver's time is up.
    """

    tries: U8
    begun: U8
    waited: bool

    def ask(self, mm: Mm) -> Errno:
        """One try more."""
        with atomic:
            require(self.tries < LIMIT, "time", "asks once more, and the time is up")
            self.tries += 1
        ret = RangeMirror.ask(self, mm)
        with atomic:
            if ret == -EAGAIN:
                self.waited = True
                self.tries = self.begun if self.choices.restarts else LIMIT
            elif ret == 0:
                self.tries = LIMIT if self.waited else self.tries
                self.begun = self.tries
        return ret


def gives_back(gpu: RangeMirror) -> None:
    """The device writes and reads the second page; then it is no user of the mm."""
    ret = gpu.write(1, 100)
    require(ret == 0, "access", "the device may not write")
    found = gpu.read(1)
    require(found == 100, "access", "the device does not find what it wrote")
    mm = gpu.notifier.mm
    assert mm is not None
    require(mm.users == 1, "balance", "the device is a user of the mm still")


def has_time_again(gpu: RangeMirror) -> None:
    """An access before has used up all of its time, and this one has its own."""
    gpu.spent = LIMIT
    gpu.helper_spent = LIMIT
    story.gets_the_page(gpu)


def faults_once(gpu: CountsItsTries) -> None:
    """The device faults once, and fails when its time is up."""
    ret = gpu.fault(1, False)
    require(ret == 0 or gpu.tries == LIMIT, "time", "the device's access fails, and the time is not up")


def takes_away(mm: Mm) -> None:
    """The first page is taken away twice."""
    madvise_dontneed(mm, 0, 1)
    madvise_dontneed(mm, 0, 1)


_TWICE = (("cpu", takes_away, ()),)

ASKED = {
    column.entry.name: column
    for column in (
        *hmm_retry_2026.COLUMNS,
        RetryColumn(Heading("gives back", "with nothing beside it the device writes, finds what it wrote, and is no user of the mm then"), gives_back),
        RetryColumn(Heading("second page", "the same where the second page alone is mirrored"), gives_back, start=1),
        RetryColumn(Heading("time again", "an access before has used up its time, and this one does not fail"), has_time_again),
        RetryColumn(Heading("in time", "a page is taken away twice: when the time is up, and not before, the access fails"), faults_once, _TWICE),
        RetryColumn(Heading("in time, uffd", "the same in memory of a userfaultfd"), faults_once, _TWICE, userfaultfd=True),
        RetryColumn(Heading("waited", "the same where nothing is taken away, and the time is up with one wait for a handler"), faults_once, userfaultfd=True),
    )
}
"""By name: the table's columns, and what it does not ask and mutants have to be asked."""

_COUNTED = ("in time", "in time, uffd", "waited")
_AS_IF_CPU = RULES["as-if-cpu"].probes[0]
_TABLE = soon(hmm_retry_2026.TABLE)
_ENDS = replace(_TABLE, goes_on=None)
"""The table where every column is one in which the device's thread comes to its end."""


def _cell(row: str, column: str) -> DesignCell:
    """A form in a column."""
    (form,) = [one for one in hmm_retry_2026.ROWS if one.entry.name == row]
    base = CountsItsTries if column in _COUNTED else RangeMirror
    looks: Callable[..., object] | None = _AS_IF_CPU if column == "DONTNEED" else None
    return DesignCell(_TABLE if ASKED[column].stale else _ENDS, row, column, base, partial(hmm_retry_2026.program_of, form, ASKED[column]), looks)


def _cells(rows: Mapping[str, Sequence[str]]) -> Iterator[DesignCell]:
    return (_cell(row, column) for row, columns in rows.items() for column in columns)


def _against(name: str) -> DesignCell:
    """The drivers' loop in a scenario of the contract's adversaries."""
    (scenario,) = [one for one in EVERY_ADVERSARY[name.partition(":")[0]].scenarios if one.name == name]
    return DesignCell(_ENDS, "driver's loop", name, RangeMirror, partial(of_scenario, scenario=scenario))


_SMALL: Mapping[str, Sequence[str]] = {
    "driver's loop": ("gives back", "second page"),
    "fresh": ("gives back", "userfaultfd", "killed in a wait"),
    "same sequence": ("userfaultfd", "killed in a wait"),
    "fresh, 1 s in all": ("waited",),
    "fresh, rest of 1 s": ("time again", "userfaultfd", "endless", "in time, uffd"),
    "loop, 1 s": ("time again", "endless", "in time"),
}
"""Of each row its columns, in the order in which they are asked."""

_LARGER: Mapping[str, Sequence[str]] = {"driver's loop": ("DONTNEED", "no failure"), "fresh": ("killed", "DONTNEED, uffd"), "same sequence": ("DONTNEED, uffd",)}
"""The same of those that take longer: they are asked last."""

RETRIES: dict[str, MutatedDesign] = {
    "RangeMirror": MutatedDesign(
        RangeMirror,
        (*_cells(_SMALL), *map(_against, ("oom-reaper: writes", "swap: writes at once")), *_cells(_LARGER)),
    ),
}
"""By the name of the class."""

HARMLESS_IN_RETRIES: dict[str, dict[str, str]] = {
    "RangeMirror": by_name(
        {
            "nobody asks anything of the device before `open` has returned": "open: swap 1, 2",
            "who opens it is a thread of the process, and so its user": "open: swap 3",
            "neither needs the other, and nobody looks in between": "fault: swap 1; collect: swap 1, 2; range_fault_locked: swap 1",
            "it looks again at what it has found, under the same number, and to fault in what is there changes nothing": "range_fault_locked: drop 2",
            "both stand under the lock that whoever reads them takes: nobody sees one without the other": "invalidate: swap 1",
            "the table is cleared before the callback returns, and from the new sequence number on nobody installs what was collected before": "invalidate: swap 2",
            "`rest only` and `never fresh` alone have a use for it, which are wrong as they are: without it they are `fresh`": "collect: drop 4",
            "`read after` alone comes there, which is wrong as it is: without it it is `fresh`": "collect: drop 6",
        }
    ),
}
"""By class and mutant: why it may survive."""
