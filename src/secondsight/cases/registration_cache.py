"""How a registration cache in user space may hear that memory has gone: by hooks, or by userfaultfd.

A library keeps what it has registered by address. The process gives the memory back, maps other memory there, and uses the device on it:
the device has to find what the CPU finds. Each column is a way to give memory back. The process's own accesses come one after another; what
it does to memory that it has a device work on meanwhile is not asked. What is judged is that the device finds, after all that, what the
CPU finds, that nobody waits for ever, and that in the end nothing is pinned.
"""

from __future__ import annotations

from collections.abc import Callable

from secondsight.cases.table import CaseTable, Finding, Heading
from secondsight.contract.balance import all_is_given_back
from secondsight.contract.coherence import same_at_rest
from secondsight.devices import registration_cache as cache
from secondsight.lang.program import Program
from secondsight.scenario import DeviceHandle, Mapping, Recorder, Scenario
from secondsight.search import Verdict
from secondsight.world.model import program

__all__ = ["DRIVERS", "TABLE", "scenario_of"]

_ROWS = {
    "keeps": (cache.KeepsEverything, "it hears of nothing"),
    "hook": (cache.ForgetsByHook, "a hook of the allocator's, called before memory is given back"),
    "event": (cache.ForgetsByEventsTooLate, "userfaultfd: a thread reads the message, then takes the cache's lock and forgets"),
    "event, lock first": (cache.ForgetsByEvents, "userfaultfd: the thread takes the lock, reads the message, and forgets"),
}
DRIVERS = {name: driver for name, (driver, _) in _ROWS.items()}
"""The rows: each a library's form."""


def _hooked(s: Recorder, a: Mapping, nic: DeviceHandle) -> None:
    nic.forget(a)
    _unmapped(s, a, nic)


def _unmapped(s: Recorder, a: Mapping, nic: DeviceHandle) -> None:
    s.munmap(a)
    s.mmap(pages=1, at=a)


def _mapped_over(s: Recorder, a: Mapping, nic: DeviceHandle) -> None:
    s.mmap(pages=1, at=a)


def _forgotten(s: Recorder, a: Mapping, nic: DeviceHandle) -> None:
    s.madvise_dontneed(a)


_ACTS: dict[str, tuple[str, Callable[[Recorder, Mapping, DeviceHandle], None]]] = {
    "free()": ("the allocator gives the memory back, by munmap; its hook is called", _hooked),
    "munmap": ("somebody else calls munmap, and no hook", _unmapped),
    "MAP_FIXED": ("other memory is mapped over it", _mapped_over),
    "DONTNEED": ("the memory's contents are forgotten by MADV_DONTNEED", _forgotten),
}
BESIDE = {"munmap beside": "munmap", "DONTNEED beside": "DONTNEED"}


def scenario_of(column: str) -> Scenario:
    """The scenario of a column."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "A")
    nic = s.device()
    nic.read(a)

    @s.thread
    def cpu() -> None:
        _ACTS[BESIDE.get(column, column)][1](s, a, nic)
        s.write(a, "B")
        nic.compare(a)

    if column in BESIDE:

        @s.thread
        def other() -> None:
            nic.read(a)

    return s.scenario(column, next(c.summary for c in COLUMNS if c.name == column))


ROWS = tuple(Heading(name, summary) for name, (_, summary) in _ROWS.items())
COLUMNS = (
    *(Heading(name, summary) for name, (summary, _) in _ACTS.items()),
    *(Heading(name, f"{like}, while another thread has the device read the page") for name, like in BESIDE.items()),
)


def _program(row: str, column: str) -> Program:
    return program(scenario_of(column), DRIVERS[row], [same_at_rest, all_is_given_back], closes=True)


HOLDS, BROKEN = Verdict.HOLDS, Verdict.BROKEN
_SAFE = {("hook", "free()")} | {("event, lock first", column) for column in (*_ACTS, "munmap beside")}

FINDINGS = (
    Finding(
        "A hook in the allocator is enough.",
        {("hook", c): HOLDS for c in ("free()", "munmap", "MAP_FIXED", "DONTNEED")},
        "Stands.",
        "Falls: a system call that does not go through it leaves the old page registered.",
    ),
    Finding(
        "munmap does not return before the library has been told, so its event is in time.",
        {("event", "munmap"): HOLDS},
        "Stands.",
        "Falls: it returns when the message has been read. Between that and the forgetting the process maps other memory there and looks it up. "
        "Under the cache's lock, taken before the message is read, it is in time.",
    ),
    Finding(
        "What is true of munmap's event is true of MADV_DONTNEED's.",
        {("event, lock first", "munmap beside"): HOLDS, ("event, lock first", "DONTNEED beside"): HOLDS},
        "Stands.",
        "Falls where another thread uses the memory meanwhile: the message comes before the pages go, so the old page is registered once more, and stays.",
    ),
)

TABLE = CaseTable(
    name="registration-cache",
    title="A registration cache in user space",
    question="How may a library that keeps registrations by address hear that memory has gone?",
    rows=ROWS,
    columns=COLUMNS,
    program=_program,
    findings=FINDINGS,
    expected={(r.name, c.name): HOLDS if (r.name, c.name) in _SAFE else BROKEN for r in ROWS for c in COLUMNS},
)
