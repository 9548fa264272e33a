"""2026, helpers that fault in a range and begin again by themselves: is their answer true, does it come, can it be waited for?

hmm_range_fault() returns -EBUSY when the range was invalidated, and every driver has its own loop around it. In 2026 a helper was proposed that has the
loop within, reads the sequence number anew each time, and lets faults give the mmap lock up, for memory of a userfaultfd; it was posted in eight
versions. Rows are its forms, the drivers of today, and what is near to either with one thing changed (`devices/hmm_retry.py`). Columns are
properties, of two pages that are faulted in as one range.

Why the cells that surprise are as they are:

* rest only is broken: what the walk found before it stopped was true under another number than the one that is tested. That goes for `munmap+mmap`
  too, where the mmap lock keeps munmap out: a store that replaces the zero page needs no such lock.
* same sequence holds: the number of the beginning is the one that is tested, and nothing takes an entry away without moving it. That the mmap lock was
  given up is no reason to begin again; that the number has moved is.
* 0 if unlocked holds without a userfaultfd, where no fault gives the lock up; with one, what is left of an earlier walk is taken for the answer.
* Every loop without a limit is broken under *endless*: the page is taken away each time before the driver has its lock. A limit is the only way out,
  and *no failure* is its price. So no form has both.
* fresh, 1 s is broken under *endless* although it has a limit: the driver's own test fails after the helper has succeeded, and the next call begins a new second.
* never fresh has no wrong answer, for it has none: in the columns about truth who goes round for ever breaks nothing.
* The drivers of today hold under *killed in a wait*, and have no wrong answer in *DONTNEED, uffd*, for they cannot wait: their access fails at
  once where a handler has to be waited for (*userfaultfd*).

Who is killed is the process in whose name is asked. In a worker of the kernel's no signal comes, and a form without a limit is there as under *endless*.
`killed` asks of changes that go on, such as the kernel's own (reclaim, migration): those of the process end with it.

Left out: the time that a walk takes; a range of which only some pages are asked for; huge pages; FAULT_FLAG_TRIED, so
that a fault may give the lock up each time; -EFAULT of one page of a range whose others are mapped (all forms give the same). None of it makes a row better than another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from secondsight.cases import hmm_retry_story as story
from secondsight.cases.table import Answer, CaseTable, Finding, FreeRun, Heading, Kernels
from secondsight.contract import RULES
from secondsight.devices.hmm_retry import RangeMirror
from secondsight.devices.userfault_handler import serve
from secondsight.lang import Machine
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.fault import cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mm_flags import VM_UFFD_MISSING
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.userfaultfd_ioctl import new_userfaultfd, userfaultfd_register
from secondsight.scenario import Recorder, Scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Verdict, Violation

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
    `start`: where the memory begins, and with it what is mirrored.
    """

    entry: Heading
    device: Callable[..., None]
    beside: tuple[tuple[str, Callable[..., None], tuple[Any, ...]], ...] = ()
    daemons: tuple[tuple[str, Callable[..., None]], ...] = ()
    userfaultfd: bool = False
    answered: bool = True
    stale: bool = False
    start: int = 0


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


def program_of(row: RetryRow, column: RetryColumn, kind: type[RangeMirror] = RangeMirror) -> Program:
    """A form and a property as a checked program. `kind`: the driver, or one that is derived from it."""
    machine = Machine(bounds=bounds(frames=6, pages=2, subscribers=1, userfaultfd=1, userfaults=3, vma_flags=1), pools={kind: 1})
    with machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        do_mmap(mm, column.start, 2 - column.start, None, 0, True)
        cpu_write(mm, column.start, ord("a"))
        if column.userfaultfd:
            new_userfaultfd(mm, False, False)
            userfaultfd_register(mm, 0, 2, VM_UFFD_MISSING, 0, 2)
        gpu = machine.pool(kind).alloc()
        for choice in row.choices:
            setattr(gpu.choices, choice, True)
        gpu.notifier.mm = mm
        ret = gpu.open(mm, column.start, 2 - column.start)
        assert ret == 0 and mm.users == 1, "it is open, and is no user of the mm"
    threads = [Thread("device", column.device, (gpu,))]
    threads += [Thread(name, function, (mm, *more)) for name, function, more in column.beside]
    threads += [Thread(name, function, (mm,), daemon=True) for name, function in column.daemons]
    if column.userfaultfd and column.answered:
        threads.append(Thread("handler", serve, (mm, ord("p"), mm), daemon=True))
    return build(machine, threads, RULES_OF_TRUTH if column.stale else [], room=Room(4, (*story.THREADS, serve)))


def program(row: str, column: str) -> Program:
    """A cell's program, by the names of its row and column."""
    return program_of(next(r for r in ROWS if r.entry.name == row), next(c for c in COLUMNS if c.entry.name == column))


_ONE_PAGE = "the module's driver asks for one page at a time, and what is asked here is of a range"


def _of_a_userfaultfd() -> Scenario:
    """What the driver of Linux 6.12 to 7.2 gets where a userfaultfd has to be waited for."""
    s = Recorder()
    a = s.mmap(pages=1)
    u = s.userfaultfd()
    s.uffd_register(u, a)
    s.uffd_serve(u, "p")
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.read(a, into="device")

    with s.after():
        s.read(a, into="cpu")
    return s.scenario("of_a_userfaultfd", "The device reads a page of a userfaultfd that is missing; its handler fills what a CPU asks for.")


def _fails(outcome: Mapping[str, str]) -> bool:
    return outcome["device"] == "-EFAULT" and outcome["cpu"] == "p"


def on_kernel(row: str, column: str, violation: Violation) -> FreeRun | CannotForce:
    """The one broken cell that a kernel shows in every run: it needs no schedule."""
    if row in ("driver's loop", "loop, 1 s") and column == "userfaultfd":
        return FreeRun(_of_a_userfaultfd(), _fails, Kernels(abilities=("device",)))
    return runs_on_kernel(row, column)


def runs_on_kernel(row: str, column: str) -> CannotForce:
    """Why the other cells are not asked."""
    if row not in ("driver's loop", "loop, 1 s"):
        return CannotForce("the helper is in no kernel that can be booted here")
    return CannotForce("what goes on for ever has no end at which it could be compared" if column in ("endless", "killed") else _ONE_PAGE)


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

EXPECTED = {
    "driver's loop": (HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, BROKEN, BROKEN, HOLDS),
    "loop, 1 s": (HOLDS, HOLDS, HOLDS, BROKEN, BROKEN, HOLDS, HOLDS, HOLDS),
    "0 if unlocked": (HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS),
    "same sequence": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS),
    "fresh": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS),
    "fresh, 1 s in all": (HOLDS, HOLDS, HOLDS, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS),
    "fresh, 1 s": (HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, BROKEN, HOLDS, HOLDS),
    "fresh, rest of 1 s": (HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, HOLDS),
    "fresh, no signal": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, BROKEN, BROKEN),
    "rest only": (BROKEN, BROKEN, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS),
    "never fresh": (HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, BROKEN, HOLDS, HOLDS),
    "read after": (BROKEN, BROKEN, BROKEN, HOLDS, HOLDS, BROKEN, HOLDS, HOLDS),
}
"""Reasoned, in the order of `COLUMNS`; the head of this file says why."""

TRUTH = tuple(column.entry.name for column in COLUMNS if column.stale)

FINDINGS = (
    Finding(
        "when the range is invalidated the helper can read the number anew and walk again by itself; the caller only tests it under his lock afterwards",
        {("fresh", column): HOLDS for column in (*TRUTH, "userfaultfd", "no failure")},
        "stands, if it walks all of the range again, and the number that is tested is the one that it read before that walk",
        "falls",
    ),
    Finding(
        "what was found before the invalidation need not be looked for again: its number has been read anew",
        {("rest only", column): HOLDS for column in TRUTH},
        "stands",
        "falls: an earlier page that was taken away is installed, and its invalidation is over; the fresh number does not know of it",
    ),
    Finding(
        "when a fault has given the mmap lock up, all must begin again with a fresh number",
        {("same sequence", column): HOLDS for column in (*TRUTH, "userfaultfd", "no failure")},
        "falls in part: under the number of the beginning the walk may go on where it was, for whatever takes an entry away moves that number. It must "
        "begin again only if it has moved",
        "stands",
        if_it_stands=Answer.REFINED,
        if_it_falls=Answer.CONFIRMED,
    ),
    Finding(
        "0 with a flag beside it can say that the lock was given up, as get_user_pages_remote() says it",
        {("0 if unlocked", "DONTNEED, uffd"): HOLDS},
        "stands",
        "falls, for who looks at the 0 alone: what an earlier walk left in the array is installed, under a number that is fresh",
    ),
    Finding(
        "a fatal signal ends it",
        {("fresh", "killed"): HOLDS, ("fresh", "killed in a wait"): HOLDS, ("fresh, no signal", "killed in a wait"): BROKEN, ("driver's loop", "killed"): BROKEN},
        "stands, where it is looked for before each try: that the wait can be killed is not enough, for then it tries and is turned away for ever. "
        "It is more than a driver's own loop has that looks for none",
        "falls",
    ),
    Finding(
        "hmm_range_fault() should need no time limit, as get_user_pages() has none",
        {("fresh", "endless"): HOLDS},
        "stands",
        "falls in part: without one nothing ends against a page that is taken away again and again. With one (`fresh, rest of 1 s`) it ends, and an access may fail "
        "that a CPU's would not: no form has both",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "a time limit of the helper's keeps bounded what was bounded before",
        {("fresh, 1 s", "endless"): HOLDS},
        "stands",
        "falls, if it is given anew with each call: the driver's test may fail after each success. It is bounded if the driver gives what is left "
        "of its own time (`fresh, rest of 1 s`), as a driver's own loop does (`loop, 1 s`)",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "with a limit for all, memory of a userfaultfd is bound to run into it: the limit should begin anew after each fault that was handled",
        {("fresh, 1 s in all", "userfaultfd"): BROKEN, ("fresh, 1 s", "userfaultfd"): HOLDS, ("fresh, rest of 1 s", "userfaultfd"): HOLDS},
        "stands",
        "falls",
    ),
)

TABLE = CaseTable(
    name="2026-hmm-retry",
    title="2026, helpers that retry hmm_range_fault()",
    question="a helper faults in a range, and begins again by itself when it was invalidated: is its answer true, does it come, can it be waited for?",
    rows=tuple(row.entry for row in ROWS),
    columns=tuple(column.entry for column in COLUMNS),
    program=program,
    findings=FINDINGS,
    expected={(row, column.entry.name): verdict for row, verdicts in EXPECTED.items() for column, verdict in zip(COLUMNS, verdicts, strict=True)},
    goes_on=frozenset(column.entry.name for column in COLUMNS if not column.stale),
    executor=lambda _row, _column: "native",
    on_kernel=on_kernel,
    runs_on_kernel=runs_on_kernel,
)
