"""Who judges the mutants of drivers that the contract's adversaries break by design, or that they take too long for: the cells of their table that hold.

A driver there follows an interface that is gone, puts off what a mirror must not, or is part of the process: the adversaries of its promise
are not for it. A mutant of one is noticed where a cell does not hold any more. A class that other rows derive from is judged through
those of them that hold where it does not. `PrivateRangeGpu`, which takes several pages in one call, is asked what is about its memory, the small scenarios first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from secondsight.cases import registration_cache, thread_2011_ib, thread_2019_hmm
from secondsight.cases.table import CaseTable
from secondsight.contract.adversaries import EVERY_ADVERSARY
from secondsight.contract.check import RULES, Rule, rules_for
from secondsight.contract.coherence import same_at_rest
from secondsight.contract.driver_mutants import Judge
from secondsight.devices.device import Device
from secondsight.devices.private_range import PrivateRangeGpu
from secondsight.devices.registration_cache import UnsubscribesByEntry
from secondsight.devices.userfault_handler import FillsPages
from secondsight.scenario import Recorder, Scenario
from secondsight.search import Verdict

__all__ = ["JUDGES", "beside_a_change", "freed_anew"]

AT_REST: tuple[Rule, ...] = (replace(RULES["as-if-cpu"], probes=(same_at_rest,)), RULES["balance"])
"""What is asked of a registration cache: what the device finds when all is quiet, and that everything is given back."""


def _holding(table: CaseTable, row: str, without: Sequence[str] = ()) -> list[str]:
    """The columns in which a row holds."""
    return [c.name for c in table.columns if table.expected[row, c.name] is Verdict.HOLDS and c.name not in without]


def _2019(row: str) -> Judge:
    table, driver = thread_2019_hmm.TABLE, thread_2019_hmm.DRIVERS[row]
    return Judge(driver, tuple(rules_for(driver)), tuple((table.name, thread_2019_hmm.scenario_of(c)) for c in _holding(table, row)))


def _2011(row: str) -> Judge:
    """Without the columns that have a rule of their own."""
    table, driver = thread_2011_ib.TABLE, thread_2011_ib.DRIVERS[row]
    columns = _holding(table, row, (thread_2011_ib.DIRECT, thread_2011_ib.BY_REFERENCE))
    return Judge(driver, tuple(rules_for(driver)), tuple((table.name, thread_2011_ib.scenario_of(c)) for c in columns))


def _cache(row: str) -> Judge:
    table, driver = registration_cache.TABLE, registration_cache.DRIVERS[row]
    return Judge(driver, AT_REST, tuple((table.name, registration_cache.scenario_of(c)) for c in _holding(table, row)))


def beside_a_change() -> Scenario:
    """A handler's page is touched while what it is in is forgotten."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.device()

    @s.thread
    def touches() -> None:
        s.read(a)

    @s.thread
    def forgets() -> None:
        s.madvise_dontneed(a)

    return s.scenario("beside_a_change", "a page is touched while its contents are forgotten: it cannot be filled meanwhile")


def _beside_a_fork() -> Scenario:
    s = Recorder()
    a = s.mmap(pages=1)
    s.device()
    child = s.fork()

    @s.thread
    def touches() -> None:
        s.write(a, "B")

    @child.thread
    def son() -> None:
        s.read(a)

    return s.scenario("beside_a_fork", "a page is touched that a child has not got yet")


def _closed() -> Scenario:
    s = Recorder()
    a = s.mmap(pages=1)
    handler = s.device()

    @s.thread
    def touches() -> None:
        s.read(a)

    @s.thread
    def closes() -> None:
        handler.close()

    return s.scenario("closed", "a page is touched while the handler goes")


def freed_anew(values: str, by_two: bool = False) -> Scenario:
    """Memory is freed and allocated anew at the same address, once for each value; the device uses it each time. `by_two`: another thread has the library forget it meanwhile."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "A")
    nic = s.device()
    nic.read(a)

    @s.thread
    def cpu() -> None:
        for value in values:
            nic.forget(a)
            s.munmap(a)
            s.mmap(pages=1, at=a)
            s.write(a, value)
            nic.compare(a)

    if by_two:

        @s.thread
        def other() -> None:
            nic.forget(a)

    return s.scenario("freed anew", "memory is freed and allocated at the same address")


def two_come_while_it_is_closed() -> Scenario:
    """What the adversaries ask beside so much else that a changed driver is not done with it: nothing comes into the memory of a device that is closed."""
    s = Recorder()
    pages = s.mmap(pages=2)
    s.write(pages, "A", pages=2)
    gpu = s.device()

    @s.thread
    def mover() -> None:
        gpu.migrate(pages, pages=2, into="moved")

    @s.thread
    def closer() -> None:
        gpu.close()

    return s.scenario("two come while it is closed", "two pages come into the device's memory while it is closed")


_OF_ITS_MEMORY = (
    "device-memory: it is there already",
    "device-memory: more than its memory has",
    "device-memory: the memory was used before",
    "device-memory: the process unmaps it",
    "device-memory-goes: the device is closed, a CPU reads",
    "device-memory: the process exits",
    "device-memory-goes: the process unmaps it",
    "device-memory: a CPU writes",
    "device-memory: an engine writes meanwhile",
    "device-memory: two pages come, an engine writes the second",
    "device-memory-goes: another page comes, a CPU reads",
    "device-memory-shared: another device takes it",
)


def _of_its_memory() -> Judge:
    """The adversaries of a device's memory, for one that takes several pages in one call."""
    known = {scenario.name: (name, scenario) for name, adversary in EVERY_ADVERSARY.items() for scenario in adversary.scenarios}
    closed = two_come_while_it_is_closed()
    return Judge(PrivateRangeGpu, tuple(rules_for(PrivateRangeGpu)), (*(known[name] for name in _OF_ITS_MEMORY[:5]), (closed.name, closed), *(known[name] for name in _OF_ITS_MEMORY[5:])))


JUDGES: dict[type[Device], tuple[Judge, ...]] = {
    thread_2011_ib.DRIVERS["later"]: (_2011("later"), _2011("by a hint")),
    thread_2019_hmm.DRIVERS["2019 loop"]: (_2019("2019 loop"), _2019("2019 mmap_sem held")),
    thread_2019_hmm.DRIVERS["2019 mmap_sem held"]: (_2019("2019 mmap_sem held"),),
    registration_cache.DRIVERS["hook"]: (_cache("hook"),),
    registration_cache.DRIVERS["event, lock first"]: (_cache("event, lock first"),),
    registration_cache.DRIVERS["keeps"]: (_cache("hook"), _cache("event, lock first")),
    PrivateRangeGpu: (_of_its_memory(),),
    UnsubscribesByEntry: (Judge(UnsubscribesByEntry, AT_REST, tuple(("late unsubscription", one) for one in (freed_anew("BC"), freed_anew("B", by_two=True)))),),
    FillsPages: (Judge(FillsPages, (), tuple(("handler", one) for one in (beside_a_change(), _beside_a_fork(), _closed()))),),
}
"""Of each driver its judges."""
