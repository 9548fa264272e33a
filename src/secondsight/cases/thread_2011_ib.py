"""2011-12, mmu_notifier for IB: which invalidations may a driver put off while it holds a reference to the page?

A device whose flush takes up to tens of milliseconds cannot flush at each invalidation, and in 2011 the callbacks could not sleep. The
thread's plan: take a reference to the page in the callback, flush in a worker, drop the reference then. It asks what that means for
each cause of an invalidation, and whether a callback can learn the cause. Here each cause is a column and each plan a row. A device
reads and writes one page meanwhile; afterwards the CPU reads it.

Swap-out is asked of a page that was in swap before and has been read again: it is clean, its slot has its contents. So it matters whether
what the device writes is said (SetPageDirty). It is taken twice (kswapd), for a page that somebody holds survives the first time.

Direct I/O into the other half of the page is asked beside a fork, twice: as it is done today, with a pin, and as it was done in 2011, with
a reference (and until Linux 6.1 at least). What is asked of it besides is that the process finds what was read (rule `direct-read`).

Two rows are on the callbacks that there were in 2011 (`linux/mmu_notifier_2011.py`), the others on those of Linux 6.12; all else that they meet is 6.12's.

Truncation is asked as a punched hole: the file gives the page back in the same way.
"""

from __future__ import annotations

from collections.abc import Callable

from secondsight.cases.cost import CostColumn, CostTable, Design
from secondsight.cases.table import Answer, CaseTable, Finding, Heading, Question
from secondsight.contract import driver_program
from secondsight.contract.check import rules_for
from secondsight.devices import rdma_2011, rdma_odp
from secondsight.devices.device import Device
from secondsight.lang import Char, require, rule
from secondsight.lang.program import Program
from secondsight.linux.bio import directly_read
from secondsight.linux.highmem import second_half
from secondsight.linux.mm_types import Mm, Va
from secondsight.linux.pgtable import pte_present
from secondsight.scenario import File, Mapping, Recorder, Scenario
from secondsight.search import Verdict, Violation
from secondsight.world.forced import CannotForce
from secondsight.world.model import program

__all__ = ["DRIVERS", "TABLE", "scenario_of"]

_ROWS: dict[str, tuple[type[Device], str]] = {
    "at once": (rdma_odp.OdpAtOnce, "mark, and flush, in the callback, which may sleep (umem_odp.c, Linux 6.12)"),
    "later": (rdma_odp.OdpLater, "a reference in the callback; a worker flushes, sets the page dirty and drops the reference"),
    "batch of 2": (rdma_odp.OdpBatched, "the same; the worker waits for two pages"),
    "later, not dirty": (rdma_odp.OdpLaterUnmarked, "the same without SetPageDirty"),
    "later, dirty last": (rdma_odp.OdpLaterMarkedLast, "SetPageDirty after put_page"),
    "later, no ref": (rdma_odp.OdpLaterUnreferenced, "no reference is taken"),
    "by event": (rdma_odp.OdpLaterByEvent, "later where the event is CLEAR, else at once: what a callback is told today"),
    "by page lock": (rdma_odp.OdpLaterWherePageIsLocked, "later where the anonymous page is locked, as reclaim and migration have it; else at once"),
    "by a hint": (rdma_odp.OdpLaterWhereTold, "later where the call itself says reclaim or migration, else at once: what the thread asks for"),
    "2011: at once": (rdma_2011.OdpAtOnceIn2011, "as `at once`, on the callbacks of Linux 3.2: invalidate_page under the page-table lock, all of them under rcu_read_lock()"),
    "2011: later": (rdma_2011.OdpIn2011, "as `later`, on the same callbacks: the thread's driver as it was"),
}

DRIVERS = {name: driver for name, (driver, _) in _ROWS.items()}
"""The rows: each a driver."""

OnMapping = Callable[[Recorder, Mapping], None]


def _reclaim(s: Recorder, a: Mapping) -> None:
    s.reclaim(a)
    s.reclaim(a)


def _migrate(s: Recorder, a: Mapping) -> None:
    s.move_pages(a)
    s.write(a, "B")


def _munmap_mmap(s: Recorder, a: Mapping) -> None:
    s.munmap(a)
    s.mmap(pages=1, at=a)
    s.write(a, "B")


def _dontneed(s: Recorder, a: Mapping) -> None:
    s.madvise_dontneed(a)
    s.write(a, "B")


def _mprotect(s: Recorder, a: Mapping) -> None:
    s.mprotect(a, write=False)


def _fork(s: Recorder, a: Mapping) -> None:
    s.fork()
    s.write(a, "B")


def _exit(s: Recorder, a: Mapping) -> None:
    s.exit()


_ACTS: dict[str, tuple[str, OnMapping]] = {
    "swap-out": ("the kernel swaps the page out, twice (kswapd)", _reclaim),
    "migration": ("the page's contents move to another node, and the process writes it", _migrate),
    "munmap+mmap": ("the process unmaps the page, maps another at the same address and writes it", _munmap_mmap),
    "DONTNEED": ("the process forgets the page's contents by MADV_DONTNEED and writes it", _dontneed),
    "mprotect": ("the process makes the page read-only", _mprotect),
    "fork": ("the process forks, and writes the page, which is copied", _fork),
    "exit": ("the process exits", _exit),
}
HOLE = "hole"
DIRECT = "O_DIRECT"
BY_REFERENCE = "O_DIRECT, ref"
BOTH = "DONTNEED+swap"


def scenario_of(column: str) -> Scenario:
    """The scenario of a column: the device uses one page while it happens; then its access is compared with the CPU's."""
    s = Recorder()
    memfd: File | None = s.memfd_create(pages=1) if column == HOLE else None
    a = s.mmap(memfd, pages=1)
    s.write(a, "A")
    if column == "swap-out":
        s.madvise_pageout(a)
        s.read(a)
    nic = s.device()

    def cpu() -> None:
        if memfd is not None:
            s.fallocate_punch_hole(memfd, page=0)
            s.write(a, "B")
        elif column in (DIRECT, BY_REFERENCE):
            _fork(s, a)
        elif column == BOTH:
            s.madvise_dontneed(a)
        else:
            _ACTS[column][1](s, a)

    def kswapd() -> None:
        _reclaim(s, a) if column == "swap-out" else s.reclaim(a)

    if column in ("swap-out", BOTH):
        s.thread(kswapd)
    if column != "swap-out":
        s.thread(cpu)

    if column in (DIRECT, BY_REFERENCE):

        @s.thread
        def disk() -> None:
            s.direct_read(a, "O")

    @s.thread
    def device() -> None:
        if column != BOTH:
            nic.read(a, into="read")
        nic.write(a, "D", into="written")

    with s.after():
        nic.compare(a)
        if column in (DIRECT, BY_REFERENCE):
            nic.compare_half(a)
    return s.scenario(column, next(c.summary for c in COLUMNS if c.name == column))


ROWS = tuple(Heading(name, summary) for name, (_, summary) in _ROWS.items())
COLUMNS = (
    *(Heading(name, summary) for name, (summary, _) in _ACTS.items()),
    Heading(HOLE, "a hole is punched in the memfd that the page belongs to, and the process writes it"),
    Heading(
        DIRECT, "a direct read goes into the second half of the page, while the device uses the first, the process forks, and writes the first",
    ),
    Heading(BY_REFERENCE, "the same, where direct I/O takes a reference to the page and no pin, as in Linux 6.1 and before"),
    Heading(BOTH, "the process forgets the page's contents while the kernel swaps the page out"),
)


def _program(row: str, column: str) -> Program:
    driver = DRIVERS[row]
    if column not in (DIRECT, BY_REFERENCE):
        return driver_program(driver, scenario_of(column))
    probes = [*(probe for rule in rules_for(driver) for probe in rule.probes), arrives]
    return program(scenario_of(column), driver, probes, closes=True, release="6.1" if column == BY_REFERENCE else None)


@rule("direct-read", on=directly_read)
def arrives(mm: Mm, va: Va, value: Char) -> None:
    """What a direct read has read is where the process finds it, when the read returns.

    Nobody else writes that half of the page, or maps anything else there.
    """
    folio = pte_present(mm.ptes[va])
    require(folio is None or second_half(folio) == value, "direct-read", "the process does not find what was read: it is in another page")


def _on_kernel(row: str, column: str, violation: Violation) -> Question | CannotForce:
    """No cell can be asked of a kernel yet."""
    return _NONE


def _runs_on_kernel(row: str, column: str) -> CannotForce:
    """Nor run freely there: `at once` is right as the module's driver is, but a driver of its own."""
    return _NONE


_NONE = CannotForce("the real device has none of these drivers: none that flushes, at once or put off")


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN
CAUSES = tuple(c.name for c in COLUMNS if c.name != BY_REFERENCE)
LATER = tuple(row for row in _ROWS if row.startswith(("later", "batch")))

FINDINGS = (
    Finding(
        "A page that somebody holds stays in the swap cache: the next fault finds the same page, as if its entry had never been taken.",
        {("later", "swap-out"): HOLDS, ("later, no ref", "swap-out"): BROKEN},
        "Stands: a swap-out may be put off while the driver holds a reference, and only then.",
        "Falls.",
    ),
    Finding(
        "What the device has written is safe if the page is set dirty before the reference is dropped.",
        {("later", "swap-out"): HOLDS, ("later, not dirty", "swap-out"): BROKEN, ("later, dirty last", "swap-out"): BROKEN},
        "Stands, and the order matters: without it, or after put_page, reclaim drops the page without writing it, and what the device "
        "wrote is lost.",
        "Falls.",
    ),
    Finding(
        "Where the process maps another page at the address, a flush that is put off leaves the device with the old one; so causes must be "
        "told apart.",
        {("later", c): BROKEN for c in ("munmap+mmap", "DONTNEED", "mprotect", "fork", "exit", "hole")},
        "Stands, for everything that is not swap-out or migration: a reference keeps the page, not its place.",
        "Falls.",
    ),
    Finding(
        "A migration that has begun ignores the reference, and the device writes to a page that is freed.",
        {("later", "migration"): BROKEN},
        "Stands.",
        "Falls, if the reference is taken in the callback: that runs before the entry is blocked, and migration counts the references "
        "afterwards. A page that is held is not moved (-EAGAIN), so a migration may be put off, or rather is called off. Without the "
        "reference the fear is right.",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "The event, which a callback is told today, is the hint that the thread asks for.",
        {("by event", c): HOLDS for c in CAUSES},
        "Stands.",
        "Falls: swap-out and migration say CLEAR, as MADV_DONTNEED, a punched hole and a copy on write do, which must not wait.",
    ),
    Finding(
        "In a fork there is a race with O_DIRECT too: it can corrupt the process's own data, so threads must not use parts of one page.",
        {("at once", BY_REFERENCE): BROKEN, ("by a hint", BY_REFERENCE): BROKEN, ("at once", DIRECT): HOLDS},
        "Stands for direct I/O that takes a reference, as it did then and still does in Linux 6.1, whatever the driver does: who writes "
        "first after the fork gets a copy, and what is read arrives in the old page. It is over with pins: a fork copies a pinned page "
        "for the child at once (Linux 6.12).",
        "Falls.",
    ),
    Finding(
        "A driver can find the source out by itself: reclaim and migration have the page locked.",
        {("by page lock", c): HOLDS for c in CAUSES},
        "Stands.",
        "Falls: as long as nothing else goes on it guesses right; but while the page is being swapped out, MADV_DONTNEED finds it locked too.",
    ),
    Finding(
        "With a hint in the call itself, a driver could put off what is safe.",
        {("by a hint", c): HOLDS for c in CAUSES},
        "Stands: reclaim and migration may wait, with a reference, and SetPageDirty before it is dropped; all else is flushed at once. No "
        "kernel gives such a hint.",
        "Falls.",
    ),
    Finding(
        "The callback is not sleepable, so the flush cannot be in it.",
        {("2011: at once", c): BROKEN for c in CAUSES},
        "Stands, of the callbacks of the time: invalidate_page is called under the page-table lock, a spinlock, and the others under rcu_read_lock(), whatever the cause.",
        "Falls.",
    ),
    Finding(
        "So it takes the page's reference, and flushes in a worker.",
        {("2011: later", c): HOLDS for c in ("swap-out", "migration")},
        "Stands for swap-out and migration, on those callbacks too, and for the end of the process, of which `release` tells; for all else it is no better than `later` is today.",
        "Falls.",
    ),
    Finding(
        "Callbacks that may sleep, as they may today, make all of this unnecessary.",
        {("at once", c): HOLDS for c in CAUSES},
        "Stands: whatever the cause, a flush in the callback is right. (What it costs is another question.)",
        "Falls.",
    ),
)

_SAFE = {(row, column) for row in ("at once", "by a hint") for column in CAUSES}
_SAFE |= {(row, column) for row in ("later", "batch of 2") for column in ("swap-out", "migration")}
_SAFE |= {("later, not dirty", "migration")}  # migration copies the page, dirty or not; marked last, it is free by then
_SAFE |= {("by event", column) for column in ("swap-out", "migration", "munmap+mmap", "mprotect", "exit")}  # not fork: the copy says CLEAR
_SAFE |= {("2011: later", column) for column in ("swap-out", "migration", "exit")}
_SAFE |= {("by page lock", column) for column in CAUSES if column != BOTH}

COST = CostTable(
    {
        "at once": Design(lambda may_wait: True, together=False),
        "later": Design(lambda may_wait: False),
        "batch of 2": Design(lambda may_wait: False, batch=2),
        "by a hint": Design(lambda may_wait: not may_wait),
    },
    loads=(
        CostColumn(100, 5e-6), CostColumn(100, 5e-3), CostColumn(100, 20e-3), CostColumn(10_000, 5e-6), CostColumn(10_000, 5e-3),
    ),
    may_wait=0.8,
)  # fmt: skip
"""The thread says of its flush: usually a few microseconds, up to tens of milliseconds. `later` and `batch of 2` are not right for all causes:
they are here for what they would save."""

TABLE = CaseTable(
    cost=COST,
    name="2011-12-ib",
    title="2011-12: mmu_notifier for IB",
    question="Which invalidations may a driver put off while it holds a reference to the page, and can it tell them from the others?",
    rows=ROWS,
    columns=COLUMNS,
    program=_program,
    findings=FINDINGS,
    expected={(r.name, c.name): HOLDS if (r.name, c.name) in _SAFE else BROKEN for r in ROWS for c in COLUMNS},
    on_kernel=_on_kernel,
    runs_on_kernel=_runs_on_kernel,
)
