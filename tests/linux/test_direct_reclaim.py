"""Allocations while memory is short: who may sleep reclaims a page first, with the locks held that it holds; who may not fails."""

from __future__ import annotations

import pytest

from secondsight.contract import check, rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.devices.small import AllocatesBeforeItsLock, AllocatesUnderItsLock, AllocatesWithoutIo, FaultsUnderItsLock
from secondsight.lang import Char, Machine, Mutex, Record, SpinLock, atomic, require, shared
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import bounds
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dma_resv import DmaResv, dma_resv_lock, dma_resv_reserve_fences, dma_resv_unlock
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc, proc_caches_init
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Driver, Mm, Range, Seq
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import mem_init
from secondsight.linux.page_alloc_slowpath import (
    GFP_ATOMIC,
    GFP_HIGHUSER_MOVABLE,
    GFP_KERNEL,
    GFP_NOFS,
    GFP_NOIO,
    GFP_NOWAIT,
    Gfp,
    direct_reclaim,
    kmalloc,
    memalloc_noreclaim_restore,
    memalloc_noreclaim_save,
    might_alloc,
)
from secondsight.linux.vmscan_direct import perform_reclaim
from secondsight.scenario import Recorder, Scenario, ScenarioError, scenario
from secondsight.search import Request, Result, Verdict, breadth_first
from secondsight.testing import outcomes
from secondsight.world.model import program


class Allocator(Record):
    """What an allocation found: how often memory, how often none."""

    spin: SpinLock
    lock: Mutex
    found: Char
    failed: Char


allocator = shared(Allocator)


class Watcher(Driver):
    """A subscriber that takes the reservation lock when it is told."""

    resv: DmaResv
    told: bool

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        """The page is about to go."""
        dma_resv_lock(self.resv)
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.told = True
        dma_resv_unlock(self.resv)
        return True


def short_of(
    pages: int, private: bool = True, written: bool = True, subscriber: type[Watcher] = Watcher, **more: int
) -> tuple[Machine, Mm, Watcher]:
    """A machine that is so many pages short, with one page mapped, and a subscriber to it."""
    sizes = bounds(frames=6, pages=1, files=1, file_pages=1, anon_vmas=1, swap_slots=2, direct_reclaim=int(pages > 0), **more)
    machine = Machine(sizes, {subscriber: 1})
    with machine:
        mem_init()
        proc_caches_init()
        mm = mm_alloc()
        do_mmap(mm, 0, 1, None if private else memfd_create(1, 0), 0, True)
        if written:
            cpu_write(mm, 0, ord("A"))
        watcher = machine.pool(subscriber).alloc()
        mn.mmu_interval_notifier_insert(watcher.notifier, mm, 0, 1)
        if pages > 0:
            direct_reclaim[0].short = pages
    return machine, mm, watcher


def searched(machine: Machine, *threads: Thread) -> Result:
    """The search of these threads beside the one that reclaims."""
    beside = [Thread("direct reclaim", perform_reclaim, daemon=True)] if machine.bound("direct_reclaim") else []
    return breadth_first(Reference(build(machine, [*threads, *beside])), Request(livelock=True))


def asks(flags: Gfp, times: int) -> None:
    """Allocates so often."""
    for _ in range(times):
        there = kmalloc(flags)
        with atomic:
            if there:
                allocator.found += 1
            else:
                allocator.failed += 1


def fails_at_most(flags: Gfp, times: int, most: int) -> None:
    """The same, and looks how often there was none."""
    asks(flags, times)
    require(allocator.failed <= most, "too-often")


@pytest.mark.parametrize("flags", [GFP_KERNEL, GFP_NOFS, GFP_NOIO, GFP_HIGHUSER_MOVABLE])
def test_who_may_sleep_gets_memory_in_the_end(flags: Gfp) -> None:
    machine, _, _ = short_of(2)
    result = searched(machine, Thread("main", fails_at_most, (flags, 3, 0)))
    assert result.verdict is Verdict.HOLDS, (result.violation, result.error)


@pytest.mark.parametrize("flags", [GFP_NOWAIT, GFP_ATOMIC])
def test_who_may_not_sleep_fails_as_often_as_memory_is_short_and_no_more(flags: Gfp) -> None:
    machine, _, _ = short_of(2)
    assert searched(machine, Thread("main", fails_at_most, (flags, 3, 2))).verdict is Verdict.HOLDS
    violation = searched(machine, Thread("main", fails_at_most, (flags, 3, 1))).violation
    assert violation is not None
    assert violation.rule == "too-often"


def test_where_memory_is_not_short_there_is_always_some() -> None:
    machine, _, _ = short_of(0)
    result = searched(machine, Thread("main", fails_at_most, (GFP_NOWAIT, 3, 0)))
    assert result.verdict is Verdict.HOLDS
    assert "direct_reclaim" not in {name for name, size in machine.bounds.items() if size > 0}


def under_a_spinlock(flags: Gfp) -> None:
    """Allocates with a spinlock held."""
    with allocator.spin:
        kmalloc(flags)


def annotated(flags: Gfp) -> None:
    """Only says that it might."""
    with allocator.spin:
        might_alloc(flags)


@pytest.mark.parametrize("short", [0, 1])
@pytest.mark.parametrize("how", [under_a_spinlock, annotated])
@pytest.mark.parametrize(("flags", "rule"), [(GFP_KERNEL, "sleep-in-atomic"), (GFP_NOIO, "sleep-in-atomic"), (GFP_NOWAIT, ""), (GFP_ATOMIC, "")])
def test_under_a_spinlock_nobody_allocates_who_may_sleep(short: int, how: object, flags: Gfp, rule: str) -> None:
    """Whether memory is short or not: might_sleep() warns all the same."""
    assert callable(how)
    machine, _, _ = short_of(short)
    violation = searched(machine, Thread("main", how, (flags,))).violation
    assert (violation.rule if violation is not None else "") == rule


def in_two_scopes() -> None:
    """memalloc_noreclaim_save() within itself: what the inner one gives back leaves the outer one as it was."""
    outer = memalloc_noreclaim_save()
    inner = memalloc_noreclaim_save()
    memalloc_noreclaim_restore(inner)
    with allocator.lock:
        kmalloc(GFP_KERNEL)
    memalloc_noreclaim_restore(outer)
    require(not memalloc_noreclaim_save(), "still-within")


class TakesTheAllocatorsLock(Watcher):
    """A subscriber whose callback takes the lock under which `in_two_scopes` allocates."""

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        with allocator.lock:
            mn.mmu_interval_set_seq(self.notifier, seq)
        return True


def in_no_scope() -> None:
    """The same without."""
    with allocator.lock:
        kmalloc(GFP_KERNEL)


@pytest.mark.parametrize(("how", "rule"), [(in_two_scopes, ""), (in_no_scope, "deadlock")])
def test_in_a_noreclaim_scope_nothing_is_reclaimed(how: object, rule: str) -> None:
    assert callable(how)
    machine, _, _ = short_of(1, subscriber=TakesTheAllocatorsLock)
    violation = searched(machine, Thread("main", how)).violation
    assert (violation.rule if violation is not None else "") == rule


def reserves(watcher: Watcher) -> None:
    """Room for a fence, as every job needs it."""
    dma_resv_lock(watcher.resv)
    dma_resv_reserve_fences(watcher.resv, 1)
    dma_resv_unlock(watcher.resv)


def reserves_twice(watcher: Watcher) -> None:
    """The second time there is room."""
    dma_resv_lock(watcher.resv)
    dma_resv_reserve_fences(watcher.resv, 2)
    direct_reclaim[0].short = 1
    dma_resv_reserve_fences(watcher.resv, 2)
    dma_resv_unlock(watcher.resv)


def test_room_for_fences_is_allocated_under_the_reservation_lock() -> None:
    """dma_resv_lockdep() says so: a callback may not take that lock."""
    machine, _, watcher = short_of(1, resv_fences=4, dma_fences=1)
    violation = searched(machine, Thread("main", reserves, (watcher,))).violation
    assert violation is not None
    assert violation.rule == "deadlock"


def test_where_there_is_room_nothing_is_allocated() -> None:
    machine, _, watcher = short_of(1, resv_fences=4, dma_fences=1)
    with machine:
        direct_reclaim[0].short = 0
    result = searched(machine, Thread("main", reserves_twice, (watcher,)))
    assert result.verdict is Verdict.HOLDS, (result.violation, result.error)


def allocates_and_looks(mm: Mm, watcher: Watcher, spared: bool) -> None:
    """Allocates; the subscriber was told, or not; the page has its contents in any case. `spared`: it may not have been told."""
    kmalloc(GFP_KERNEL if not spared else GFP_NOIO)
    with atomic:
        told = watcher.told
    require(not told or not spared, "taken")
    value = cpu_read(mm, 0)
    require(value == 65, "lost")
    require(not told, "told")


@pytest.mark.parametrize("private", [True, False])
def test_a_page_is_taken_its_subscribers_are_told_and_it_comes_back(private: bool) -> None:
    machine, mm, watcher = short_of(1, private)
    violation = searched(machine, Thread("main", allocates_and_looks, (mm, watcher, False))).violation
    assert violation is not None
    assert violation.rule == "told"


def test_without_io_a_dirty_private_page_is_left_alone_and_a_files_page_is_not() -> None:
    machine, mm, watcher = short_of(1)
    assert searched(machine, Thread("main", allocates_and_looks, (mm, watcher, True))).verdict is Verdict.HOLDS
    machine, mm, watcher = short_of(1, private=False)
    violation = searched(machine, Thread("main", allocates_and_looks, (mm, watcher, True))).violation
    assert violation is not None
    assert violation.rule == "taken"


def test_where_nothing_is_mapped_nothing_is_taken() -> None:
    machine, _, watcher = short_of(1, written=False)
    result = searched(machine, Thread("main", reserves, (watcher,)))
    assert result.verdict is Verdict.HOLDS


def test_a_fault_allocates_and_reclaims_another_page() -> None:
    """As hmm_range_fault() does: with its callback's lock held, a driver deadlocks there."""
    found = {c.scenario: c.result for c in check(FaultsUnderItsLock, ["direct-reclaim"])}
    violation = found["direct-reclaim: beside MADV_DONTNEED"].violation
    assert violation is not None
    assert violation.rule == "deadlock"


# Drivers.


def test_the_deadlock_is_told_by_a_trace_that_replays() -> None:
    """The engine holds the lock and waits for its allocation; reclaim waits for the lock in the driver's callback."""
    checked = next(iter(check(AllocatesUnderItsLock, ["direct-reclaim"])))
    violation = checked.result.violation
    assert violation is not None
    assert violation.rule == "deadlock"
    made = checked.rebuild()
    steps = violation.trace.replay(made)
    assert len(steps) == len(violation.trace)
    last = violation.trace.states[-1]
    assert all(s.state is None for i in range(len(made.threads)) for s in Reference(made).thread_successors(last, i))
    assert [t.name for t in made.threads if t.daemon] == ["direct reclaim"]
    assert {made.threads[s.thread].name for s in violation.trace.steps} == {"device", "direct reclaim"}


def test_without_io_only_pages_that_need_none_are_taken() -> None:
    """GFP_NOIO does not keep a driver out of its callback: a clean page in the swap cache is unmapped, and any of a memfd. Dirty private ones are not."""
    rules = {c.scenario: c.result.violation.rule if c.result.violation else "" for c in check(AllocatesWithoutIo, ["direct-reclaim"])}
    assert rules == {
        "direct-reclaim: reads": "deadlock",
        "direct-reclaim: writes": "deadlock",
        "direct-reclaim: beside MADV_DONTNEED": "",
        "direct-reclaim: a memfd's pages": "deadlock",
        "direct-reclaim: two engines": "",
    }


class SleepsForMemory(Mirror):
    """Allocates in its callback, where it may not sleep too."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        """Allocates, whoever asks."""
        kmalloc(GFP_KERNEL)
        return Mirror.invalidate(self, rng, seq)


class AsksForMemory(Mirror):
    """The same without sleeping."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        """Allocates, and does not sleep for it."""
        kmalloc(GFP_NOWAIT)
        return Mirror.invalidate(self, rng, seq)


@pytest.mark.parametrize(("driver", "rules"), [(SleepsForMemory, {"sleep-in-atomic"}), (AsksForMemory, set[str]())])
def test_in_a_callback_that_is_not_blockable_nobody_sleeps_for_memory(driver: type[Device], rules: set[str]) -> None:
    """Without a word about memory in the scenario."""
    found = {c.result.violation.rule for c in check(driver, ["oom-reaper"]) if c.result.violation is not None}
    assert found == rules


# Scenarios.


@scenario
def stays_what_it_is(s: Recorder) -> None:
    """A private page and a memfd's, one of which is taken; the CPU finds what was there."""
    file = s.memfd_create(pages=1)
    private = s.mmap(pages=1)
    shared_page = s.mmap(file)
    new = s.mmap(pages=1)
    s.write(private, "A")
    s.write(shared_page, "B")
    s.memory_pressure(pages=2)

    @s.thread
    def cpu() -> None:
        s.write(new, "C")
        s.read(private, into="private")
        s.read(shared_page, into="shared")

    @s.thread
    def other() -> None:
        s.write(shared_page, "D")


def test_no_page_loses_what_it_holds() -> None:
    assert outcomes(stays_what_it_is) == {"private=A, shared=B", "private=A, shared=D"}


def made_of(record: Scenario, driver: type[Device]) -> Program:
    """The program of a scenario and a driver."""
    return program(record, driver, rules=[p for r in rules_for(driver) for p in r.probes], closes=True, results=False)


@scenario
def pressed(s: Recorder) -> None:
    """Memory is short, and a device uses a page."""
    page = s.mmap(pages=1)
    s.write(page, "A")
    gpu = s.device()
    s.memory_pressure()

    @s.thread
    def device() -> None:
        gpu.read(page, into="first")


@scenario
def not_pressed(s: Recorder) -> None:
    """The same, where something else needs what reclaim needs."""
    page = s.mmap(pages=1)
    s.write(page, "A")
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.read(page, into="first")


def test_what_is_not_short_costs_nothing() -> None:
    """A driver that allocates has one step more for each allocation, might_sleep(), and its state is no larger; there is no other thread."""
    plain, allocating = (made_of(not_pressed, d) for d in (Mirror, AllocatesBeforeItsLock))
    assert [t.name for t in allocating.threads] == [t.name for t in plain.threads]
    assert allocating.layout.shared_size == plain.layout.shared_size
    assert "direct reclaim" in [t.name for t in made_of(pressed, Mirror).threads]


def test_memory_pressure_is_of_the_setup() -> None:
    with pytest.raises(ScenarioError, match="memory_pressure"):

        @scenario
        def too_late(s: Recorder) -> None:
            page = s.mmap(pages=1)

            @s.thread
            def cpu() -> None:
                s.memory_pressure()
                s.write(page, "A")


def test_the_right_driver_holds_where_nothing_is_short_too() -> None:
    for one in (pressed, not_pressed):
        result = check_scenario(AllocatesBeforeItsLock, "direct-reclaim", one, rules_for(AllocatesBeforeItsLock)).result
        assert result.verdict is Verdict.HOLDS, (result.violation, result.error)
