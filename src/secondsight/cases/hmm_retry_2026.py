"""2026, helpers that fault in a range and begin again by themselves: is their answer true, does it come, can it be waited for?

hmm_range_fault() returns -EBUSY when the range was invalidated, and every driver has its own loop around it. In 2026 a helper was proposed that has the
loop within, reads the sequence number anew each time, and lets faults give the mmap lock up, for memory of a userfaultfd; it was posted in eight
versions. Rows are its forms, the drivers of today, and what is near to either with one thing changed (`devices/hmm_retry.py`). Columns are
properties, of two pages that are faulted in as one range.

Why the cells that surprise are as they are:

* rest only, *DONTNEED* is broken: what the walk found before it stopped was true under a number that is not the one which is tested.
  `munmap+mmap` holds, for munmap keeps the mmap lock out until both entries are gone, and then the walk has found nothing that it could keep.
* same sequence holds wherever the number of the beginning is the one that is tested: nothing that changes an entry which was there leaves it as it is.
  That the mmap lock was given up is no reason to begin again.
* 0 if unlocked holds without a userfaultfd, where no fault gives the lock up; with one, what is left of an earlier walk is taken for the answer.
* every loop without a limit is broken under *endless*: each time the page is taken away again before the lock is held. A limit is the only way out,
  and *no failure* is its price: an access fails that a CPU's would not. Neither is there a form that has both.
* `killed` and `killed in a wait` ask of who can be killed. In a worker of the kernel's no signal comes; there a form without a limit is as under *endless*.

A second is two tries here. Left out: the time that a walk takes; a range of which only some pages are asked for; huge pages; FAULT_FLAG_TRIED, so
that a fault may give the lock up each time; -EFAULT of one page of a range whose others are mapped (all forms give the same). None of it makes a row better than another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from secondsight.cases import hmm_retry_story as story
from secondsight.cases.table import CaseTable, Heading
from secondsight.contract import RULES
from secondsight.devices.hmm_retry import RangeMirror
from secondsight.devices.userfault_handler import serve
from secondsight.lang import Machine
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.fault import cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mm_types import VM_UFFD_MISSING
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.userfaultfd_ioctl import new_userfaultfd, userfaultfd_register
from secondsight.search import Verdict

__all__ = ["COLUMNS", "ROWS", "TABLE", "RetryColumn", "RetryRow", "program_of"]


@dataclass(frozen=True, slots=True)
class RetryRow:
    """A form: what it does, of `RetryChoices`."""

    entry: Heading
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RetryColumn:
    """A property: what the device does, what happens beside it, and whether the memory is a userfaultfd's.

    `stale`: the property is that the device finds what a CPU does; else that the device's thread comes to its end. `answered`: there is a handler.
    """

    entry: Heading
    device: Callable[[RangeMirror], None]
    beside: tuple[tuple[str, Callable[..., None], tuple[Any, ...]], ...] = ()
    daemons: tuple[tuple[str, Callable[..., None]], ...] = ()
    userfaultfd: bool = False
    answered: bool = True
    stale: bool = False


ROWS: tuple[RetryRow, ...] = (
    RetryRow(Heading("driver's loop", "hmm_range_fault(); on -EBUSY the driver reads the number and asks for all again (mshv in Linux 7.2)"), ()),
    RetryRow(Heading("loop, 1 s", "the same for a second, then the access fails (nouveau in Linux 7.2)"), ("limited", "driver_counts")),
    RetryRow(Heading("0 if unlocked", "a helper returns 0 and a flag when the mmap lock was given up (v1 to v4); the driver looks at the 0"), ("unlocks", "zero_if_unlocked", "hears")),
    RetryRow(Heading("same sequence", "a helper takes the lock again and goes on, with the number of the beginning (v5); on -EBUSY all again"), ("unlocks", "same_walk", "hears")),
    RetryRow(Heading("fresh", "a helper reads the number anew and asks for all again, without a limit; a signal ends it (v8 with a limit of 0)"), ("unlocks", "hears")),
    RetryRow(Heading("fresh, 1 s in all", "the same for a second, faults included (v7)"), ("unlocks", "hears", "limited")),
    RetryRow(Heading("fresh, 1 s", "the same for a second, which begins anew when a fault gave the lock up (v8)"), ("unlocks", "hears", "limited", "restarts")),
    RetryRow(
        Heading("fresh, rest of 1 s", "the same, and the driver gives the helper what is left of its own second when it has to call it again"),
        ("unlocks", "hears", "limited", "restarts", "driver_counts"),
    ),
    RetryRow(Heading("fresh, no signal", "as `fresh`, but no signal is looked for between two tries"), ("unlocks",)),
    RetryRow(Heading("rest only", "a helper reads the number anew and goes on where it was"), ("unlocks", "hears", "keeps_the_rest")),
    RetryRow(Heading("never fresh", "a helper asks for all again with the number of the beginning"), ("unlocks", "hears", "keeps_the_number")),
    RetryRow(Heading("read after", "as `fresh`, but the number that is tested is read when all was found"), ("unlocks", "hears", "reads_after")),
)

_FORGETS_FOR_EVER = (("taken", story.forgets_for_ever),)
_KILLED = ("killer", story.is_killed, ())

COLUMNS: tuple[RetryColumn, ...] = (
    RetryColumn(
        Heading("DONTNEED", "the device finds what a CPU does, while a page that was found is forgotten, and another one is faulted in"),
        story.uses_both, (("cpu", story.forgets, (1,)),), stale=True,
    ),
    RetryColumn(
        Heading("munmap+mmap", "the same, while both pages are unmapped and others mapped there"), story.uses_both, (("cpu", story.maps_again, ()),), stale=True
    ),
    RetryColumn(
        Heading("DONTNEED, uffd", "as `DONTNEED`, in memory of a userfaultfd, which fills what is missing"),
        story.uses_both, (("cpu", story.forgets, (1,)),), userfaultfd=True, stale=True,
    ),
    RetryColumn(Heading("userfaultfd", "a page of a userfaultfd is missing, and its handler fills it: the device gets it"), story.gets_the_page, userfaultfd=True),
    RetryColumn(Heading("no failure", "a page is taken away twice meanwhile: the access does not fail"), story.gets_the_page, (("cpu", story.forgets, (2,)),)),
    RetryColumn(
        Heading("endless", "a page is taken away again and again: the access comes to an end, with an error if need be"),
        story.tries_the_page, daemons=_FORGETS_FOR_EVER,
    ),
    RetryColumn(
        Heading("killed", "the same, and the process gets a fatal signal: the access comes to an end"), story.tries_the_page, (_KILLED,), _FORGETS_FOR_EVER
    ),
    RetryColumn(
        Heading("killed in a wait", "nobody fills what is missing, and the process gets a fatal signal: the access comes to an end"),
        story.tries_the_page, (_KILLED,), userfaultfd=True, answered=False,
    ),
)  # fmt: skip

RULES_OF_TRUTH = [probe for name in ("as-if-cpu", "isolation", "no-use-after-free") for probe in RULES[name].probes[:1]]
"""What a device uses is what a CPU would find; whether an access may fail is asked in a column of its own."""


def program_of(row: RetryRow, column: RetryColumn) -> Program:
    """A form and a property as a checked program."""
    machine = Machine(bounds=bounds(frames=6, pages=2, subscribers=1, userfaultfd=1, userfaults=3, vma_flags=1), pools={RangeMirror: 1})
    with machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, ord("a"))
        if column.userfaultfd:
            new_userfaultfd(mm, False, False)
            userfaultfd_register(mm, 0, 2, VM_UFFD_MISSING, 0, 2)
        gpu = machine.pool(RangeMirror).alloc()
        for choice in row.choices:
            setattr(gpu.choices, choice, True)
        gpu.notifier.mm = mm
        gpu.open(mm, 0, 2)
    threads = [Thread("device", column.device, (gpu,))]
    threads += [Thread(name, function, (mm, *more)) for name, function, more in column.beside]
    threads += [Thread(name, function, (mm,), daemon=True) for name, function in column.daemons]
    if column.userfaultfd and column.answered:
        threads.append(Thread("handler", serve, (mm, ord("p"), mm), daemon=True))
    return build(machine, threads, RULES_OF_TRUTH if column.stale else [], room=Room(4, (*story.THREADS, serve)))


def program(row: str, column: str) -> Program:
    """A cell's program, by the names of its row and column."""
    return program_of(next(r for r in ROWS if r.entry.name == row), next(c for c in COLUMNS if c.entry.name == column))


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

TABLE = CaseTable(
    name="2026-hmm-retry",
    title="2026, helpers that retry hmm_range_fault()",
    question="a helper faults in a range, and begins again by itself when it was invalidated: is its answer true, does it come, can it be waited for?",
    rows=tuple(row.entry for row in ROWS),
    columns=tuple(column.entry for column in COLUMNS),
    program=program,
    executor="native",
)
