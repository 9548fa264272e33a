"""2021-05, device exclusive access: which notifier call tells what, and which may a driver pass over?

A device whose read-modify-write is not atomic with a CPU's store takes the page for itself (make_device_exclusive_range()): the
CPU's entry goes, and a CPU's access gives the page back. Both are told to subscribers, and so to the driver that asks. The
thread argued how a driver tells its own marking from others' (an event of its own, and an owner), and whether giving back
should be CLEAR, as posted, or EXCLUSIVE with no owner, as merged.

Rows are a driver and the form of the kernel that it runs on; columns are what happens beside it. The columns *own marking* and *sub-page* ask whether the
driver comes to an end. In the others one that goes round for ever breaks nothing by it.

Between two devices that take a page for themselves the owner is of no use: the second one's fault gives the page back first, and
the first one hears that (`shared owner`). Where the other device mirrors the page the owner is needed.

A huge page is split first (FOLL_SPLIT_PMD), and its folio stays one. Until Linux 6.14 the call refuses every page of such a folio but the first (PageTail()),
so who asks for another one again and again asks for ever (*sub-page*; nouveau gives up with -EINVAL). Since Linux 6.15 it is given. A huge page has two pages here: the one
in its middle is the second.

A fork gives a page back that is the device's, in the parent, and copies it then; under one call for the whole mapping, with the event PROTECTION_PAGE, which no driver here
passes over. While the page is locked, the fork fails instead (-ENOMEM), and the child's operations are not run.
"""

from __future__ import annotations

from collections.abc import Callable

from secondsight.cases.table import Answer, CaseTable, Finding, FreeRun, Heading, Kernels
from secondsight.contract import driver_program
from secondsight.devices import exclusive
from secondsight.devices.device import Device
from secondsight.lang.program import Program
from secondsight.scenario import DeviceHandle, Mapping, Recorder, Scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Verdict, Violation

__all__ = ["DRIVERS", "TABLE", "scenario_of"]

DRIVERS: dict[str, tuple[type[Device], str]] = {
    "no filter": (exclusive.ExclusiveUnfiltered, "every call drops the page, the driver's own marking too (Linux 6.12)"),
    "event CLEAR": (exclusive.ExclusiveByEventAndClear, "every EXCLUSIVE is passed over, whoever asked; a page goes back with CLEAR"),
    "event EXCLUSIVE": (exclusive.ExclusiveByEvent, "every EXCLUSIVE is passed over; a page goes back with EXCLUSIVE, of no owner"),
    "shared owner": (exclusive.ExclusiveSharesOwner, "EXCLUSIVE of the driver's owner is passed over, and two devices have one owner"),
    "posted": (exclusive.ExclusiveRestoredByClear, "EXCLUSIVE of the device's own owner is passed over; a page goes back with CLEAR"),
    "merged": (exclusive.ExclusiveByOwner, "the same driver; a page goes back with EXCLUSIVE, of no owner (Linux 5.14 to 6.14)"),
    "6.15": (exclusive.Exclusive615, "the same driver on make_device_exclusive() as it is since Linux 6.15, where a page goes back with CLEAR"),
    "no sequence": (exclusive.ExclusiveWithoutSequence, "the folio lock alone, no sequence and no filter, as lib/test_hmm.c has it (Linux 6.12)"),
    "retries locked": (exclusive.ExclusiveRetriesLocked, "as merged, but it begins again with the page locked, as nouveau did until 2025"),
    "kept": (exclusive.Exclusive, "as merged; a subscription of its own for the marking, and the page is locked until the access is made"),
}
"""The rows: each a driver, and what it is."""

Act = Callable[[Recorder, Mapping], None]


def _store(s: Recorder, a: Mapping) -> None:
    s.write(a, "B")
    s.read(a, into="seen")


def _munmap(s: Recorder, a: Mapping) -> None:
    s.munmap(a)


def _dontneed(s: Recorder, a: Mapping) -> None:
    s.madvise_dontneed(a)
    s.write(a, "B")


def _swap_out(s: Recorder, a: Mapping) -> None:
    s.madvise_pageout(a)
    s.write(a, "B")


_ACTS: dict[str, Act] = {
    "CPU store": _store,
    "munmap": _munmap,
    "DONTNEED": _dontneed,
    "swap-out": _swap_out,
}


def scenario_of(column: str) -> Scenario:
    """The scenario of a column."""
    s = Recorder()
    if column in _OF_A_HUGE_PAGE:
        return _of_a_huge_page(s, column)
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()
    if column == "fork":
        return _of_a_fork(s, a, gpu)
    other = s.device() if column in ("other device", "second mirror") else None

    def device() -> None:
        gpu.exclusive(a, "D", into="first")
        if column == "CPU store":
            gpu.exclusive(a, "E", into="second")

    def beside() -> None:
        if column == "other device":
            assert other is not None
            other.exclusive(a, "E", into="its")
        elif column == "second mirror":
            assert other is not None
            other.write(a, "M", into="written")
            other.read(a, into="its")
        else:
            _ACTS[column](s, a)

    if column != "own marking":
        beside.__name__ = "device2" if other is not None else "cpu"
        s.thread(beside)
    s.thread(device)
    if column not in ("own marking", "munmap"):
        with s.after():
            gpu.compare(a)
    return s.scenario(column, next(c.summary for c in COLUMNS if c.name == column))


def _of_a_fork(s: Recorder, page: Mapping, gpu: DeviceHandle) -> Scenario:
    """The column about a fork: the child loads what it has of the page."""
    children = []

    @s.thread
    def parent() -> None:
        children.append(s.fork())
        s.write(page, "B")

    @children[0].thread
    def child() -> None:
        s.read(page, into="its")

    @s.thread
    def device() -> None:
        gpu.exclusive(page, "D", into="first")

    with s.after():
        gpu.compare(page)
    return s.scenario("fork", next(c.summary for c in COLUMNS if c.name == "fork"))


_OF_A_HUGE_PAGE = ("huge page", "sub-page", "sub-page store")


def _of_a_huge_page(s: Recorder, column: str) -> Scenario:
    """The columns about a huge page, of which the device takes the first page or the second."""
    whole = s.mmap(pages=2)
    s.madvise_hugepage(whole)
    s.write(whole, "A")
    page = whole if column == "huge page" else whole + 1
    if column == "sub-page":
        s.mprotect(whole + 1, pages=1, write=False)  # from here on each page has an entry of its own
        s.mprotect(whole + 1, pages=1, write=True)
        s.write(page, "B", pages=1)
    gpu = s.device()

    if column != "sub-page":

        @s.thread
        def cpu() -> None:
            s.write(whole, "B")

    @s.thread
    def device() -> None:
        gpu.exclusive(page, "D", into="first")

    with s.after():
        gpu.compare(page)
    return s.scenario(column, next(c.summary for c in COLUMNS if c.name == column))


ROWS = tuple(Heading(name, what) for name, (_, what) in DRIVERS.items())
COLUMNS = (
    Heading("own marking", "with nothing beside it the device gets its page: its own marking does not make the driver retry for ever"),
    Heading("CPU store", "a CPU stores and loads: no store gets lost between the device's load and its store, and none finds the page still the device's"),
    Heading("other device", "another device takes the page for itself: the first one hears of it"),
    Heading("second mirror", "another device mirrors the page, stores and loads: it drops its copy when the page is marked"),
    Heading("munmap", "the process unmaps the page"),
    Heading("DONTNEED", "the process forgets the page's contents by MADV_DONTNEED and stores"),
    Heading("swap-out", "the page is swapped out by MADV_PAGEOUT, and stored to"),
    Heading("fork", "the process forks and stores; the child loads what it has of the page"),
    Heading("huge page", "the page is the first of a huge page, both pages of which a CPU stores to"),
    Heading("sub-page", "with nothing beside it the device gets a page in the middle of a huge page that is mapped page by page: it is not refused for ever"),
    Heading("sub-page store", "as `huge page`, of a page in its middle; of the form that gives one"),
)


def _program(row: str, column: str) -> Program | None:
    if not _is_asked(row, column):
        return None
    return driver_program(DRIVERS[row][0], scenario_of(column))


def _is_asked(row: str, column: str) -> bool:
    """Who never gets a page in the middle of a huge page has none that a CPU could store to."""
    return column != "sub-page store" or row == "6.15"


def _on_kernel(row: str, column: str, violation: Violation) -> CannotForce:
    """Why no cell can be forced on a kernel: the module has one driver for atomics, which is right."""
    if violation.rule == "livelock":
        return CannotForce("a schedule that goes round for ever has no end at which it could be compared")
    return CannotForce("the real device has one driver for atomics, which is right: none of the rows")


def _runs_on_kernel(row: str, column: str) -> FreeRun | CannotForce:
    """A cell that holds: of the row `kept`, which the module's driver is."""
    if row != "kept":
        return CannotForce("the real device has one driver for atomics, which is none of the other rows")
    return FreeRun(scenario_of(column), kernels=Kernels(abilities=("device", "exclusive")))


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN

FINDINGS = (
    Finding(
        "Without a way of filtering any invalidation will result in a retry; to avoid infinite retries the driver ignores those that it "
        "causes itself.",
        {("no filter", "own marking"): BROKEN, ("posted", "own marking"): HOLDS, ("merged", "own marking"): HOLDS},
        "Stands: without a filter the driver never gets its page, although nobody else is there.",
        "Falls.",
    ),
    Finding(
        "A device getting the notification no longer has exclusive access if it already did.",
        {(row, "other device"): HOLDS for row in ("no filter", "posted", "merged", "6.15")},
        "Stands, in every form: before another device has the page, the first one has dropped it.",
        "Falls.",
    ),
    Finding(
        "The driver has to look at the event and the owner, not at the event alone.",
        {
            ("event EXCLUSIVE", "CPU store"): BROKEN,
            ("event EXCLUSIVE", "second mirror"): BROKEN,
            ("event CLEAR", "second mirror"): BROKEN,
            ("merged", "CPU store"): HOLDS,
            ("merged", "second mirror"): HOLDS,
        },
        "Stands: a driver that passes over every EXCLUSIVE keeps a copy of a page that another device has for itself; and, as merged, "
        "goes on with a page that a CPU has got back.",
        "Falls.",
    ),
    Finding(
        "Huge pages are split before a page is marked, so that the marking is of pages.",
        {("merged", "huge page"): HOLDS, ("posted", "huge page"): HOLDS, ("merged", "sub-page"): HOLDS, ("posted", "sub-page"): HOLDS},
        "Stands.",
        "Falls in part: what is split is the entry, and the folio stays one. Its first page comes out as a small one does; another one is refused each time until "
        "Linux 6.14, and a driver that asks again does so for ever. The reworked form of 6.15 gives it.",
        if_it_falls=Answer.REFINED,
    ),
    Finding(
        "The owner tells this device's marking from another device's.",
        {("shared owner", "other device"): HOLDS, ("shared owner", "second mirror"): BROKEN},
        "Refined: between two devices that mark a page nothing rests on it, for the second one's fault gives the page back first, and that "
        "call has no owner. It is needed where the other device mirrors the page.",
        "Falls.",
        if_it_stands=Answer.REFINED,
    ),
    Finding(
        "EXCLUSIVE for both marking and giving back, with no owner for giving back: the driver need not change.",
        {
            (row, column): HOLDS
            for row in ("posted", "merged")
            for column in ("own marking", "CPU store", "other device", "second mirror", "munmap", "DONTNEED", "swap-out", "fork")
        },
        "Stands: the driver as posted comes out the same on both.",
        "Falls.",
    ),
    Finding(
        "The driver forms a critical section by mmu_interval_read_begin() and mmu_interval_read_retry(), so that the entry stays valid "
        "until the device is programmed.",
        {
            ("no sequence", "munmap"): BROKEN,
            ("no sequence", "DONTNEED"): BROKEN,
            ("no sequence", "fork"): BROKEN,
            ("merged", "munmap"): HOLDS,
            ("merged", "DONTNEED"): HOLDS,
            ("merged", "fork"): HOLDS,
        },
        "Stands, and it is needed: the folio lock alone, as in lib/test_hmm.c, keeps neither munmap nor MADV_DONTNEED out, nor a fork that has called subscribers "
        "already and comes to the page when it is unlocked.",
        "Falls.",
    ),
)

_BROKEN = {
    "own marking": ("no filter",),
    "CPU store": ("event EXCLUSIVE",),
    "other device": ("event EXCLUSIVE", "retries locked"),
    "second mirror": ("event CLEAR", "event EXCLUSIVE", "shared owner"),
    "munmap": ("no sequence", "retries locked"),
    "DONTNEED": ("event EXCLUSIVE", "no sequence", "retries locked"),
    "swap-out": ("event EXCLUSIVE", "retries locked"),
    "fork": ("event EXCLUSIVE", "no sequence", "retries locked"),
    "huge page": ("event EXCLUSIVE", "retries locked"),
    "sub-page": tuple(name for name in DRIVERS if name != "6.15"),
    "sub-page store": (),
}  # fmt: skip

TABLE = CaseTable(
    name="2021-05-exclusive",
    title="2021-05: device exclusive access",
    question="How does a driver tell its own marking of a page from what it must hear of?",
    rows=ROWS,
    columns=COLUMNS,
    program=_program,
    findings=FINDINGS,
    expected={
        (r.name, c.name): BROKEN if r.name in _BROKEN[c.name] else HOLDS for r in ROWS for c in COLUMNS if _is_asked(r.name, c.name)
    },
    goes_on=frozenset(("own marking", "sub-page")),
    on_kernel=_on_kernel,
    runs_on_kernel=_runs_on_kernel,
)
