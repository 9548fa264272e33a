"""2019-08, hmm and dev_pagemap: may a driver that mirrors memory forget about page references and teardown?

The thread proposed that HMM stop looking up the `dev_pagemap` of device memory, because drivers obey mmu notifiers anyway.
The argument was a loop (populate only if `range.valid` under the lock that the callback takes too), and the claim that a
race is always seen and ends in an error, exactly as for a CPU access. Here is the loop and what one might change in it, on
the interface of the day and on today's, against what happens to the memory, teardown of device memory in every order
included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

from secondsight.cases.table import Answer, CaseTable, Finding, FreeRun, Heading, Kernels, Question, forced
from secondsight.contract import driver_program
from secondsight.devices import mirror, mirror_2019
from secondsight.devices.device import Device
from secondsight.lang.program import Program
from secondsight.scenario import Mapping, Recorder, Scenario
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Verdict, Violation

__all__ = ["DRIVERS", "TABLE", "scenario_of"]

DRIVERS: dict[str, type[Device]] = {
    "2019 loop": mirror_2019.Mirror2019,
    "2019 mmap_sem held": mirror_2019.Mirror2019MmapSem,
    "2019 no test": mirror_2019.Mirror2019WithoutTest,
    "2019 test before lock": mirror_2019.Mirror2019TestsBeforeLock,
    "2019 callback unlocked": mirror_2019.Mirror2019CallbackWithoutLock,
    "2019 late deref": mirror_2019.Mirror2019DereferencesLater,
    "today loop": mirror.Mirror,
    "today no test": mirror.MirrorWithoutTest,
    "today test before lock": mirror.MirrorTestsBeforeLock,
    "today callback unlocked": mirror.MirrorCallbackWithoutLock,
    "today late deref": mirror.MirrorDereferencesLater,
}
"""The rows: each a driver."""

_WHAT = {
    "loop": "take the device lock, test, populate or retry",
    "mmap_sem held": "the loop with the mmap lock held until the table is populated, as 5.3 documents it",
    "no test": "the loop without the test",
    "test before lock": "the test comes before the lock is taken",
    "callback unlocked": "the invalidate callback does not take the lock",
    "late deref": "the loop, then the page is dereferenced with nothing held",
}
_INTERFACE = {"2019": "hmm_range_register and range.valid (Linux 5.3)", "today": "mmu_interval_notifier (Linux 6.12)"}

_STEPS = {"D": "disable", "I": "invalidate", "R": "drain"}


def _munmap(s: Recorder, a: Mapping) -> None:
    s.munmap(a)


def _munmap_mmap(s: Recorder, a: Mapping) -> None:
    s.munmap(a)
    s.mmap(pages=1, at=a)
    s.write(a, "B")


def _dontneed(s: Recorder, a: Mapping) -> None:
    s.madvise_dontneed(a)
    s.write(a, "B")


def _exit(s: Recorder, a: Mapping) -> None:
    s.exit()


_ACTS: dict[str, tuple[str, Callable[[Recorder, Mapping], None]]] = {
    "munmap": ("the process unmaps the page", _munmap),
    "munmap+mmap": ("the process unmaps the page, maps another at the same address and writes it", _munmap_mmap),
    "DONTNEED": ("the process forgets the page's contents by MADV_DONTNEED and writes it", _dontneed),
    "exit": ("the process exits", _exit),
}
_ORDERS = {f"DAX {a}{b}{c}": (a, b, c) for a, b, c in permutations("DIR")}


RIGHT_ORDER = "DAX DIR"
"""The one that Linux has: what user space asks for, by the driver's `unbind`, is all three steps in this order."""


def scenario_of(column: str) -> Scenario:
    """The scenario of a column: the device reads and writes one page while it happens, and once more afterwards."""
    s = Recorder()
    dax = s.dax(pages=1) if column in _ORDERS else None
    a = s.mmap(dax, pages=1)
    s.write(a, "A")
    gpu = s.device()

    def cpu() -> None:
        _ACTS[column][1](s, a)

    def teardown() -> None:
        assert dax is not None
        if column == RIGHT_ORDER:
            s.dax_remove(dax)
        else:
            for step in _ORDERS[column]:
                {"D": s.dax_disable, "I": s.dax_invalidate, "R": s.dax_drain}[step](dax)

    def device() -> None:
        gpu.read(a, into="read")
        gpu.write(a, "D", into="written")

    s.thread(teardown if dax is not None else cpu)
    s.thread(device)
    with s.after():
        gpu.compare(a)
    return s.scenario(column, next(c.summary for c in COLUMNS if c.name == column))


ROWS = tuple(
    Heading(name, f"{_WHAT[name.partition(' ')[2]]}; {_INTERFACE[name.partition(' ')[0]]}")
    for name in DRIVERS
)  # fmt: skip
COLUMNS = (
    *(Heading(name, summary) for name, (summary, _) in _ACTS.items()),
    *(
        Heading(
            name,
            "teardown of device memory: "
            + ", ".join(_STEPS[x] for x in order)
            + ("" if order == ("D", "I", "R") else " (wrong)"),
        )
        for name, order in _ORDERS.items()
    ),
)


def _program(row: str, column: str) -> Program:
    return driver_program(DRIVERS[row], scenario_of(column))


_WRONG_ORDERS = tuple(name for name in _ORDERS if name != RIGHT_ORDER)
_NOT_ASKED_FOR = "user space can ask for one order of the teardown: a device that is unbound is disabled, invalidated, drained"
_KERNELS = (Kernels(abilities=("device",)), Kernels(abilities=("device", "device dax")))


def _on_kernel(row: str, column: str, violation: Violation) -> Question | CannotForce:
    """A broken cell of today's interface: its shortest schedule, on the real device."""
    if row.startswith("2019"):
        return CannotForce("the row is written against the interface of Linux 5.3, which this kernel does not have")
    if column in _WRONG_ORDERS:
        return CannotForce(_NOT_ASKED_FOR)
    question = forced(scenario_of(column), DRIVERS[row], violation)
    return replace(question, kernels=_KERNELS[column == RIGHT_ORDER]) if isinstance(question, Question) else question


def _runs_on_kernel(row: str, column: str) -> FreeRun | CannotForce:
    """A cell that holds: the right driver is the module's too."""
    if row != "today loop":
        return CannotForce("the row is written against the interface of Linux 5.3, which this kernel does not have")
    if column in _WRONG_ORDERS:
        return CannotForce(_NOT_ASKED_FOR)
    return FreeRun(scenario_of(column), kernels=_KERNELS[column == RIGHT_ORDER])


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN
RIGHT = ("munmap", "munmap+mmap", "DONTNEED", "exit", "DAX DIR")
FINDINGS = (
    Finding(
        "If we race, we see the racing notifier call and retry, which triggers a regular fault, which returns an error (on the "
        "interface the thread speaks of).",
        {("2019 loop", c): HOLDS for c in RIGHT},
        "Stands, on the interface of 2019.",
        "Falls, on the interface of 2019: range.valid is a state, not a count. An invalidation that starts and ends between "
        "hmm_range_fault() and the lock leaves it valid, and the driver installs a page that is gone. (Only exit is safe: a "
        "registered range keeps the mm alive.)",
    ),
    Finding(
        "The same claim on today's interval notifiers, whose sequence number remembers that something happened.",
        {("today loop", c): HOLDS for c in RIGHT},
        "Stands, on today's interface: every race is seen, and afterwards the device's access ends as the CPU's does.",
        "Falls, on today's interface.",
    ),
    Finding(
        "Holding the mmap lock until the table is populated mends the loop of 2019.",
        {("2019 mmap_sem held", c): HOLDS for c in RIGHT},
        "Stands.",
        "Falls: it keeps munmap out, but not what changes entries with the mmap lock held for reading or not at all: "
        "MADV_DONTNEED, a write that replaces the zero page, the teardown of device memory.",
    ),
    Finding(
        "A driver that obeys the notifiers needs no reference to the dev_pagemap.",
        {("today loop", "DAX DIR"): HOLDS, **{("today loop", c): BROKEN for c in _WRONG_ORDERS}},
        "Stands, for exactly one order of the teardown: disable, invalidate, drain. Every other order breaks the right driver "
        "too: it hangs (drain before disable) or takes memory away that is still mapped.",
        "Falls.",
        if_it_stands=Answer.REFINED,
    ),
    Finding(
        "It is enough not to dereference the struct page after dropping everything.",
        {("today late deref", "munmap"): BROKEN, ("today loop", "munmap"): HOLDS},
        "Stands, and it is needed: one look at the page with nothing held is a use after free.",
        "Falls.",
    ),
)

_SAFE = {("today loop", c) for c in RIGHT}
# munmap holds the mmap lock for writing at first, so the documented loop sees it. With a new mapping the process may read
# (the zero page) and then write: the write replaces the page under the mmap lock for reading only.
_SAFE |= {("2019 mmap_sem held", "munmap")}
# A registered range keeps the mm alive: exit tears nothing down while anybody is between hmm_range_fault() and the table.
_SAFE |= {(row, "exit") for row in DRIVERS if row.startswith("2019") and row != "2019 late deref"}

TABLE = CaseTable(
    name="2019-08-hmm",
    title="2019-08: hmm and dev_pagemap",
    question="May a driver that mirrors memory rely on its notifier callback alone?",
    rows=ROWS,
    columns=COLUMNS,
    program=_program,
    findings=FINDINGS,
    expected={(r.name, c.name): HOLDS if (r.name, c.name) in _SAFE else BROKEN for r in ROWS for c in COLUMNS},
    on_kernel=_on_kernel,
    runs_on_kernel=_runs_on_kernel,
)
