"""2026, notifiers with two passes: who finishes when a later start fails, and may one structure serve two ranges?

An interval notifier may have `invalidate_start` and `invalidate_finish` (Linux 7.2): the kernel starts all that a range hits, then finishes those that gave
back a structure, so that all devices flush at the same time. A callback runs in parallel with itself, and some ranges may not block: then any start
may refuse, and the range is not invalidated. Rows are drivers' ways with the structure and the lock, and ways of the kernel's where a start is refused
(`devices/two_pass.py`); columns are properties. A device goes by its TLB until it has flushed.

Why the cells that surprise are as they are:

* one, marked holds: who finds the structure in use waits within, as a driver with one pass does. It loses the second pass, and nothing else.
* one, left to it is broken even where nothing runs in parallel (*two subscriptions*): whoever has the structure waits for its own pages.
* given back first is broken under *two ranges* alone: the structure is taken again before it was looked at, and the wait is for the other's page.
* lock kept holds under *two ranges*: the other call waits for the lock. With *two subscriptions* one thread takes it twice.
* number last is broken although the table is cleared first: who began before goes by the old number, and installs between the passes what is about to go.
* table last is broken although the flush is waited for: the TLB is filled again from the table.
* begins all holds under *a later one fails*: Linux 7.2 finishes those that began also where it then gives up. Under *reaper* it is broken: the second
  pass has to wait, and there it may not. Nothing tells: it has no way to refuse, and the kernel does not forbid it to sleep.
* fails late: Linux 7.2 looks at the structure of a start only if that has not refused. So who refuses must have given back what he took.
* bracket first holds under *a later one fails*, for nothing of the range changes; who stores the number in the first pass does not need the bracket.

Left out, to the drivers' advantage (may hide a bug): the end of the process (mn_itree_release() finishes all as well); a subscription that is removed
between the passes. Left out, to nobody's: several devices; how long a flush takes, which is what two passes are for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secondsight.cases import two_pass_story as story
from secondsight.cases.table import Answer, CaseTable, Finding, FreeRun, Heading, Kernels
from secondsight.contract import RULES
from secondsight.devices.two_pass import Refuser, TwoPassGpu
from secondsight.lang import Machine
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.fault import cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import mem_init
from secondsight.scenario import Recorder, Scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Verdict, Violation

__all__ = ["COLUMNS", "ROWS", "TABLE", "PassColumn", "PassRow", "program_of"]


@dataclass(frozen=True, slots=True)
class PassRow:
    """A form: what its driver does, of `PassChoices`, and the reaper with what the kernel does when a start fails."""

    entry: Heading
    choices: tuple[str, ...]
    reaped: Callable[..., None] = story.is_reaped


@dataclass(frozen=True, slots=True)
class PassColumn:
    """A property: what the device does, and which ranges are forgotten beside it.

    `split`: the driver has two subscriptions. `refuser`: there is another driver, that refuses what may not block. `reaped`: there is the reaper.
    `flushes`: the device does what it is told to. `scarce`: there is no structure to be had.
    """

    entry: Heading
    device: Callable[[TwoPassGpu], None] | None
    ranges: tuple[tuple[int, int], ...] = ()
    split: bool = False
    refuser: bool = False
    reaped: bool = False
    flushes: bool = True
    scarce: bool = False


ROWS: tuple[PassRow, ...] = (
    PassRow(Heading("one pass", "the first pass waits for the device (all drivers until Linux 7.1)"), ("one_pass",)),
    PassRow(Heading("own structure", "each call takes a structure of its own, or waits; what may not block is refused at once"), ("refuses",)),
    PassRow(Heading("one, marked", "one structure and a flag: who finds it set waits within; refuses (xe in Linux 7.2)"), ("one", "marks", "refuses")),
    PassRow(Heading("one, unmarked", "one structure for all calls, without a flag"), ("one", "refuses")),
    PassRow(Heading("one, left to it", "one structure and a flag: who finds it set leaves the wait to whoever has it"), ("one", "marks", "leaves", "refuses")),
    PassRow(Heading("given back first", "the structure is given back before the wait"), ("one", "marks", "unmarks_first", "refuses")),
    PassRow(Heading("lock kept", "the driver's lock is held from the first pass to the second"), ("keeps_lock", "refuses")),
    PassRow(Heading("number last", "the sequence number is stored in the second pass"), ("number_last", "refuses")),
    PassRow(Heading("table last", "the first pass begins the flush, the second clears the table"), ("table_last", "refuses")),
    PassRow(Heading("begins all", "as `own structure`, but what may not block is begun too"), ()),
    PassRow(Heading("fails late", "what may not block is refused when it was begun"), ("fails_late",)),
    PassRow(Heading("nobody finishes", "as `begins all`, where the kernel finishes nobody if a later one fails"), (), story.finishes_nobody),
    PassRow(Heading("bracket first", "as `begins all`, where the kernel closes the bracket before it finishes those"), (), story.finishes_too_late),
)

COLUMNS: tuple[PassColumn, ...] = (
    PassColumn(Heading("one range", "the device finds what a CPU does, while a page is forgotten"), story.uses_one, ((0, 1),)),
    PassColumn(Heading("two ranges", "the same, while two threads forget a page each: one subscription is called twice at a time"), story.uses_both, ((0, 1), (1, 1))),
    PassColumn(Heading("two subscriptions", "the same, while both pages are forgotten at once, and each has a subscription of its own"), story.uses_both, ((0, 2),), split=True),
    PassColumn(Heading("no structure", "as `one range`, where there is no structure to be had"), story.uses_one, ((0, 1),), scarce=True),
    PassColumn(
        Heading("a later one fails", "a driver that is called later refuses: all who began are finished, and nothing is left in use"),
        story.uses_one, refuser=True, reaped=True,
    ),
    PassColumn(Heading("reaper", "the OOM reaper comes to its end though the device does not answer"), None, reaped=True, flushes=False),
)  # fmt: skip

RULES_OF_TRUTH = [probe for name in ("as-if-cpu", "isolation", "no-use-after-free") for probe in RULES[name].probes[:1]]


def program_of(row: PassRow, column: PassColumn, kind: type[TwoPassGpu] = TwoPassGpu) -> Program:
    """A form and a property as a checked program. `kind`: the driver, or one that is derived from it."""
    machine = Machine(bounds=bounds(frames=6, pages=2, subscribers=3, finishes=2, non_blocks=1), pools={kind: 1, Refuser: 1})
    with machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        do_mmap(mm, 0, 2, None, 0, True)
        for va in range(2):
            cpu_write(mm, va, ord("a"))
        gpu = machine.pool(kind).alloc()
        gpu.notifier.mm = mm
        gpu.second.mm = mm
        gpu.split = column.split
        for choice in row.choices:
            setattr(gpu.choices, choice, True)
        ret = gpu.open(mm, 0, 2)
        assert ret == 0 and mm.users == 1, "it is open, and is no user of the mm"
        for one in gpu.passes:
            one.in_use = column.scarce
        other = machine.pool(Refuser).alloc()
        other.notifier.mm = mm
        if column.refuser:
            other.open(mm, 0, 2)
    threads: list[Thread] = []
    if column.device is not None:
        threads.append(Thread("device", column.device, (gpu,)))
    threads += [Thread(f"cpu{n + 1}" if len(column.ranges) > 1 else "cpu", story.forgets, (mm, *one)) for n, one in enumerate(column.ranges)]
    if column.reaped:
        threads.append(Thread("reaper", row.reaped, (mm, gpu)))
    if column.flushes:
        threads.append(Thread("engine", story.flushes, (gpu,), daemon=True))
    return build(machine, threads, RULES_OF_TRUTH, room=Room(4, story.THREADS))


def program(row: str, column: str) -> Program:
    """A cell's program, by the names of its row and column."""
    return program_of(next(r for r in ROWS if r.entry.name == row), next(c for c in COLUMNS if c.entry.name == column))



def on_kernel(row: str, column: str, violation: Violation) -> CannotForce:
    """Why no broken cell is asked of a real kernel."""
    return CannotForce(_ONE_PASS)


_ONE_PASS = "the module's driver has one pass, and is right: the row is not run on a kernel"


def _forgotten_beside(name: str, ranges: int) -> Scenario:
    s = Recorder()
    a = s.mmap(pages=2)
    s.write(a, "a")
    gpu = s.device()
    for number in range(ranges):

        def cpu(at: int = number) -> None:
            s.madvise_dontneed(a + at, pages=1)
            if ranges == 1:
                s.write(a, "b", pages=1)

        cpu.__name__ = f"cpu{number + 1}"
        s.thread(cpu)

    @s.thread
    def device() -> None:
        gpu.read(a, into="read")
        gpu.read(a, into="again")

    return s.scenario(name, "The device reads pages that are forgotten meanwhile, each by a thread.")


_RUN = {"one range": 1, "two ranges": 2}


def runs_on_kernel(row: str, column: str) -> FreeRun | CannotForce:
    """A cell that holds: of the row that the module's driver is."""
    if row != "one pass":
        return CannotForce(_ONE_PASS)
    if column not in _RUN:
        why = "the agent has no OOM reaper to call" if column in ("a later one fails", "reaper") else "the module's driver has one subscription, and needs no structure"
        return CannotForce(why)
    return FreeRun(_forgotten_beside(column.replace(" ", "_"), _RUN[column]), kernels=Kernels(abilities=("device",)))


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

EXPECTED = {
    "one pass": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS),
    "own structure": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS),
    "one, marked": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, HOLDS),
    "one, unmarked": (HOLDS, BROKEN, BROKEN, HOLDS, HOLDS, HOLDS),
    "one, left to it": (HOLDS, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS),
    "given back first": (HOLDS, BROKEN, HOLDS, HOLDS, HOLDS, HOLDS),
    "lock kept": (HOLDS, HOLDS, BROKEN, HOLDS, HOLDS, HOLDS),
    "number last": (BROKEN, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS),
    "table last": (BROKEN, BROKEN, BROKEN, BROKEN, HOLDS, HOLDS),
    "begins all": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, BROKEN),
    "fails late": (HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, BROKEN),
    "nobody finishes": (HOLDS, HOLDS, HOLDS, HOLDS, BROKEN, BROKEN),
    "bracket first": (HOLDS, HOLDS, HOLDS, HOLDS, HOLDS, BROKEN),
}
"""Reasoned, in the order of `COLUMNS`; the head of this file says why."""

TRUTH = "one range", "two ranges", "two subscriptions", "no structure"

FINDINGS = (
    Finding(
        "each invocation needs a structure of its own, for a callback runs in parallel with itself",
        {("own structure", "two ranges"): HOLDS, ("one, unmarked", "two ranges"): BROKEN, ("one, marked", "two ranges"): BROKEN},
        "stands",
        "falls in part: one structure will do, with a flag under the driver's lock, if who finds it set waits within. Without a flag it is in two lists at a "
        "time; and even one range takes it twice, where it hits two subscriptions that share it",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "where no structure can be had, the first pass has to do all of the work",
        {("own structure", "no structure"): HOLDS, ("one, left to it", "no structure"): BROKEN, ("one, left to it", "two ranges"): BROKEN},
        "stands: a wait that is left to whoever has the structure is for the wrong pages",
        "falls",
    ),
    Finding(
        "when a later start fails, those that have begun are finished by the kernel, before it closes the bracket",
        {("begins all", "a later one fails"): HOLDS, ("nobody finishes", "a later one fails"): BROKEN, ("bracket first", "a later one fails"): BROKEN},
        "stands, and both are needed",
        "falls in part: they must be finished, else their structures stay in use. That the bracket is open meanwhile is not needed by who stores the number "
        "in the first pass",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "a start that refuses needs no second pass",
        {("fails late", "a later one fails"): HOLDS},
        "stands",
        "falls in part: it gets none, whatever it gave back, so it must not have taken a structure that has to be given back",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "that a range may not block concerns the first pass alone, since the second cannot fail",
        {("begins all", "reaper"): HOLDS},
        "stands",
        "falls: the second pass waits, and so does the OOM reaper, for a device that may never answer. Whoever has to wait in the second pass must refuse in the first",
    ),
    Finding(
        "a driver's lock can be held from one pass to the other, so that nothing comes in between",
        {("lock kept", column): HOLDS for column in TRUTH},
        "stands",
        "falls: one range may hit two subscriptions under that lock, and then the second start takes it again",
    ),
    Finding(
        "the sequence number may be stored in either pass, if the table is cleared in the first",
        {("number last", "one range"): HOLDS},
        "stands",
        "falls: who began to fault before goes by the old number, and installs between the passes a page that is about to go",
    ),
    Finding(
        "the table may be cleared in either pass, if the number is stored in the first",
        {("table last", "one range"): HOLDS},
        "stands",
        "falls, where the flush begins in the first: the TLB is filled again from the table",
    ),
)

TABLE = CaseTable(
    name="2026-two-passes",
    title="2026, notifiers with two passes",
    question="who finishes when a later start fails, and may one structure serve two ranges?",
    rows=tuple(row.entry for row in ROWS),
    columns=tuple(column.entry for column in COLUMNS),
    program=program,
    findings=FINDINGS,
    expected={(row, column.entry.name): verdict for row, verdicts in EXPECTED.items() for column, verdict in zip(COLUMNS, verdicts, strict=True)},
    executor=lambda _row, _column: "native",
    on_kernel=on_kernel,
    runs_on_kernel=runs_on_kernel,
)
