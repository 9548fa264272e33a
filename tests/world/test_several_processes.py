"""Several processes on the model: each has its own memory, a file is one file, and what one has costs a scenario of one nothing."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from secondsight import Machine
from secondsight.agree.generate import scenario_of
from secondsight.agree.judge import only_outcome
from secondsight.contract import ADVERSARIES, rules_for
from secondsight.contract.coherence import isolation
from secondsight.devices.mirror import Mirror, MirrorCallbackWithoutLock, MirrorWithoutTest
from secondsight.devices.small import IgnoresFork
from secondsight.lang import Errno, require, rule
from secondsight.lang.errors import RuleBroken
from secondsight.lang.plain import replay
from secondsight.lang.program import Program
from secondsight.linux.device import device_access
from secondsight.linux.errno import EFAULT
from secondsight.linux.fork import mms
from secondsight.linux.mm_types import Driver, Folio, Range, Va
from secondsight.linux.mmap import vm_munmap
from secondsight.report import mail
from secondsight.scenario import Outcome, Recorder, Scenario, ScenarioError, load_scenarios, scenario, show_outcome
from secondsight.search import Verdict
from secondsight.search.auto import search
from secondsight.search.request import ExecutorName, Request
from secondsight.world.encoder import Encoder
from secondsight.world.forced import free_schedule, run_forced
from secondsight.world.model import outcomes, program

ROOT = Path(__file__).parent.parent.parent
by_name = {found.name: found for found in load_scenarios(ROOT / "scenarios" / "two_processes.py")}


class MirrorHearsOfMunmapOnly(Mirror):
    """A driver that thinks that memory goes only by its own process's munmap."""

    def invalidate(self, rng: Range, seq: int) -> bool:
        """A range that is as large as the address space, or one that is unmapped: what the other process does is neither."""
        return True


def watched(scenario: Scenario, driver: type[Mirror]) -> Program:
    return program(scenario, driver, [p for r in rules_for(driver) for p in r.probes], closes=True)


@pytest.mark.parametrize("driver", [MirrorWithoutTest, MirrorCallbackWithoutLock, MirrorHearsOfMunmapOnly])
def test_a_driver_that_does_not_hear_of_another_process_is_caught(driver: type[Mirror]) -> None:
    wrong = watched(by_name["hole_punched_by_another"], driver)
    result = search(wrong)
    assert result.violation is not None
    assert result.violation.rule == "as-if-cpu"
    assert replay(wrong, [(s.thread, s.choices) for s in result.violation.trace.steps])[-1].error is not None


@pytest.mark.parametrize("name", ["hole_punched_by_another", "two_devices_of_two_processes"])
def test_the_right_driver_holds(name: str) -> None:
    assert search(watched(by_name[name], Mirror)).verdict is Verdict.HOLDS


@pytest.mark.wide
def test_every_executor_says_the_same() -> None:
    for name in ("one_file_two_views", "one_exits"):
        reference, native = (outcomes(by_name[name], request=Request(executor=by)) for by in get_args(ExecutorName)[1:])
        assert reference[0].verdict is native[0].verdict is Verdict.HOLDS
        assert reference[1] == native[1]


def test_every_executor_says_the_same_of_a_child() -> None:
    """Who reads and writes in a child that a thread forks, beside its parent's end."""
    forks = {found.name: found for found in load_scenarios(ROOT / "scenarios" / "protection.py")}["forked_or_gone"]
    reference, native = (outcomes(forks, request=Request(executor=by)) for by in get_args(ExecutorName)[1:])
    assert reference[1] == native[1]
    assert len(reference[1]) == 2


def test_the_driver_of_2011_writes_on_into_what_a_child_shares() -> None:
    """Its trace in plain execution: the device's store comes between the fork and the parent's next store."""
    scenario = ADVERSARIES["fork"].scenarios[0]
    wrong = watched(scenario, IgnoresFork)
    result = search(wrong)
    assert result.violation is not None and result.violation.rule == "as-if-cpu"
    assert replay(wrong, [(s.thread, s.choices) for s in result.violation.trace.steps])[-1].error is not None
    alone = program(scenario, IgnoresFork, [isolation, child_keeps_its_own], closes=True)
    found = search(alone).violation
    assert found is not None and found.rule == "child-keeps-its-own"


@rule("child-keeps-its-own", on=device_access)
def child_keeps_its_own(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """A device never writes what a process has that is not its own."""
    for other in mms:
        require(not write or other is device.notifier.mm or other.ptes[va].frame is not frame, "child-keeps-its-own", "a child's page")


@pytest.mark.parametrize("number", [4, 9, 14, 19, 24, 29])
def test_plain_execution_and_search_give_the_same_outcome(number: int) -> None:
    drawn = scenario_of("sequential", 3, number)
    assert len(drawn.processes) == 2
    result, possible = outcomes(drawn, request=Request(executor="reference"))
    assert result.verdict is Verdict.HOLDS
    assert drawn.chooses or possible == {only_outcome(drawn)}


def test_an_address_space_is_as_large_as_the_largest() -> None:
    def pages(mine: int, its: int) -> int:
        s = Recorder()
        other = s.process()
        s.mmap(pages=mine)
        with other:
            s.mmap(pages=its)
        return Encoder(s.scenario("pages", "")).bounds(None, {})["pages"]

    assert pages(2, 3) == pages(3, 1) == 3
    assert pages(14, 14) == 14
    with pytest.raises(ScenarioError, match="takes 15 pages of address space"):
        pages(1, 15)


# Ends


def ends(*, its: bool = False, in_setup: bool = False, afterwards: bool = False, threads: bool = True) -> Outcome:
    """The outcome of a scenario in which somebody exits before the threads or after them."""
    s = Recorder()
    a = s.mmap(pages=1)
    other = s.process()
    with other:
        b = s.mmap(pages=1)
        if its and in_setup:
            s.exit()
    if in_setup and not its:
        s.exit()
    if threads:

        @s.thread
        def one() -> None:
            s.read(a, into="one")

        @other.thread
        def two() -> None:
            s.read(b, into="two")

    with s.after():
        if afterwards:
            s.exit()
        s.read(a, into="mine")
        with other:
            s.read(b, into="its")
    made = s.scenario("ends", "")
    result, (possible,) = outcomes(made)
    assert result.verdict is Verdict.HOLDS
    assert threads or possible == only_outcome(made)
    return possible


def test_a_process_ends_where_it_does_and_the_other_goes_on() -> None:
    assert show_outcome(ends(in_setup=True)) == "its=0, mine=exited, one=exited, two=0"
    assert show_outcome(ends(in_setup=True, its=True)) == "its=exited, mine=0, one=0, two=exited"
    assert show_outcome(ends(afterwards=True)) == "its=0, mine=exited, one=0, two=0"
    assert show_outcome(ends(in_setup=True, threads=False)) == "its=0, mine=exited"


def test_one_process_may_end_before_the_threads_or_after_them() -> None:
    """The model once took the first for a model's error, the second for a deadlock."""
    for early in (True, False):
        s = Recorder()
        a = s.mmap(pages=1)
        if early:
            s.exit()

        @s.thread
        def reader() -> None:
            s.read(a, into="seen")  # noqa: B023

        with s.after():
            s.exit()
            s.read(a, into="later")
        result, possible = outcomes(s.scenario("ends", ""))
        assert result.verdict is Verdict.HOLDS
        assert {show_outcome(o) for o in possible} == {f"later=exited, seen={'exited' if early else '0'}"}


# What is not used


def test_a_scenario_of_one_process_has_nothing_of_the_others() -> None:
    s = Recorder()
    a = s.mmap(pages=1)

    @s.thread
    def reader() -> None:
        s.read(a)

    one = program(s.scenario("one", ""))
    names = [declaration.name for declaration in one.layout.declarations if one.layout.size(declaration.kind)]
    assert "tables.results" in names
    assert not [name for name in names if "processes" in name]
    assert one.machine.bounds["mms"] == 1
    assert one.machine.bounds["other_processes"] == 0


# Rules


class GivesUp(Mirror):
    """A driver whose fault fails, after another process has unmapped what it has at the same address."""

    def fault(self, va: Va, write: bool) -> Errno:
        """It fails although nothing is wrong."""
        vm_munmap(mms[1], va, 1)
        return -EFAULT


def test_what_another_process_unmaps_excuses_no_failure() -> None:
    """The rule once took one process's page for another's at the same address, and such a driver for a right one."""
    s = Recorder()
    a, gpu, other = s.mmap(pages=1), s.device(), s.process()
    with other:
        s.mmap(pages=1)

    @s.thread
    def device() -> None:
        gpu.read(a)

    result = search(watched(s.scenario("gives_up", ""), GivesUp))
    assert result.violation is not None
    assert result.violation.message == "the device's access failed where a CPU's would not have failed at any moment of it"


def test_a_frame_that_another_process_maps_is_not_the_devices() -> None:
    """as-if-cpu says it first; isolation says that it is somebody's."""
    machine = Machine()
    mine, its = machine.process(), machine.process()
    file = mine.memfd_create(pages=1)
    a, b = mine.mmap(file), its.mmap(file)
    assert its.write(b, "b") == "ok"
    gpu = machine.device(MirrorHearsOfMunmapOnly, mine)
    assert gpu.read(a) == "b"
    mine.munmap(a)
    machine._plain.rules = [p for p in machine._plain.rules if getattr(p, "__rule__", "") == "isolation"]
    with pytest.raises(RuleBroken, match="mapped at another address by now"):
        gpu.read(a)


# Forced runs


def test_a_forced_run_looks_at_each_devices_own_process() -> None:
    s = Recorder()
    other = s.process()
    file = s.memfd_create(pages=1)
    a, first = s.mmap(file), s.device()
    with other:
        unused, b, second = s.mmap(pages=1), s.mmap(file), s.device()

    @s.thread
    def one() -> None:
        first.write(a, "A")

    @other.thread
    def two() -> None:
        second.read(b, into="seen")

    with s.after():
        with other:
            s.munmap(unused)
    left = run_forced(free_schedule(s.scenario("both", "")))
    assert {forced.probe for forced in left} == {("same+w", "none", "same")}
    assert {show_outcome(forced.outcome) for forced in left} == {"seen=0", "seen=A"}


# Told


def test_a_trace_says_whose_address_space_it_is() -> None:
    wrong = watched(by_name["hole_punched_by_another"], MirrorWithoutTest)
    told = mail("a device's", wrong, search(wrong))
    assert "mmu_notifier_invalidate_range_start(mm0, 0, CLEAR)" in told
    assert "zap_pte_range(mm0, 0, 1)" in told


@scenario
def a_fork_beside_a_mapping(s: Recorder) -> None:
    """The child has the mapping, or has not; what it maps itself lies elsewhere."""
    a = s.mmap(pages=1)
    child = None

    @s.thread
    def forks() -> None:
        nonlocal child
        child = s.fork()

    @s.thread
    def maps() -> None:
        s.mmap(pages=1)
        s.read(a)

    with s.after():
        assert child is not None
        with child:
            s.mmap(pages=1, into="mapped")


def test_a_child_maps_beside_what_its_parent_maps_in_another_thread() -> None:
    assert isinstance(a_fork_beside_a_mapping, Scenario)
    assert {dict(outcome)["mapped"] for outcome in outcomes(a_fork_beside_a_mapping)[1]} == {"ok"}
