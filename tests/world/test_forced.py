"""Forced runs on the model: schedules, what they leave behind, and the schedules of counterexamples."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from fake_vm import FakeVM
from forced_world import DRIVERS, random_scenario

from secondsight.agree.forced import plan_of
from secondsight.agree.generate import scenario_of
from secondsight.devices import mirror
from secondsight.lang.reference import Reference
from secondsight.scenario import Recorder, Scenario, ScenarioError, load_scenarios
from secondsight.search import Request, Violation, breadth_first
from secondsight.world import forced
from secondsight.world.forced import (
    CannotForce,
    Forced,
    NotFollowed,
    Schedule,
    ScheduledStep,
    free_schedule,
    load_schedule,
    random_schedule,
    run_forced,
    schedule_of,
    shows,
)
from secondsight.world.model import outcomes, program
from secondsight.world.settled import ForcedModel, TooManyInterleavings

SCENARIOS = Path(__file__).parent.parent.parent / "scenarios"


def device_scenario(*acts: str, read: bool = True) -> Scenario:
    """One page that holds `A`; a process that acts on it; a device that reads it."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        for act in acts:
            if act == "munmap":
                s.munmap(a)
            elif act == "mmap":
                s.mmap(pages=1, at=a)
            elif act == "write":
                s.write(a, "B")
            else:
                s.exit()

    @s.thread
    def device() -> None:
        gpu.read(a, into="read")

    with s.after():
        gpu.compare(a)
    return s.scenario("+".join(acts), "")


def steps(*lines: str) -> tuple[ScheduledStep, ...]:
    """`device range_faulted`: release it, and it settles there; more threads follow after commas."""
    found = []
    for line in lines:
        moves = dict(part.split() for part in line.split(", "))
        found.append(ScheduledStep(next(iter(moves)), moves))
    return tuple(found)


TO_THE_FAULT = ("device accessing", "device read_begun", "device range_faulted")
UNMAP = ("cpu invalidate_enter", "cpu invalidate_leave", "cpu ended")


def test_a_right_driver_that_is_overtaken_starts_over_once() -> None:
    again = ("device before_lock", "device locked", "device read_begun", "device ended")
    schedule = Schedule(device_scenario("munmap"), "Mirror", steps(*TO_THE_FAULT, *UNMAP, *again))
    (left,) = run_forced(schedule, mirror.Mirror)
    assert left == Forced((("read", "-EFAULT"),), (0, 0, 0, 0, 2, 1), ("none",), ("",) * 6)


def test_one_without_the_test_reads_what_was_there() -> None:
    on = ("device before_lock", "device locked", "device installed", "device unlocked", "device accessing", "device ended")
    schedule = Schedule(device_scenario("munmap"), "MirrorWithoutTest", steps(*TO_THE_FAULT, *UNMAP, *on))
    (left,) = run_forced(schedule, mirror.MirrorWithoutTest)
    assert dict(left.outcome) == {"read": "A", "final[0].device_compare": "differs"}
    assert left.probe == ("other",) and shows(left)


def test_who_waits_for_a_lock_is_blocked_and_goes_on_when_it_is_free() -> None:
    to_the_lock = (*TO_THE_FAULT, "device before_lock", "device locked", "cpu invalidate_enter", "cpu blocked")
    on = ("device tested", "device installed", "device unlocked, cpu invalidate_leave")
    schedule = Schedule(device_scenario("munmap"), "Mirror", steps(*to_the_lock, *on))
    assert run_forced(schedule)


def test_who_comes_to_read_waits_behind_a_writer_that_waits() -> None:
    """MADV_DONTNEED is held with the mmap lock for reading, munmap waits for it, and so the device's fault waits as well."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def forgets() -> None:
        s.madvise_dontneed(a)

    @s.thread
    def unmaps() -> None:
        s.munmap(a)

    @s.thread
    def device() -> None:
        gpu.read(a, into="read")

    behind = ("forgets invalidate_enter", "unmaps blocked", "device accessing", "device read_begun", "device blocked")
    schedule = Schedule(s.scenario("fair", ""), "Mirror", steps(*behind))
    assert run_forced(schedule) and isinstance(FakeVM().force(schedule), Forced)


def test_a_schedule_that_cannot_be_followed_says_at_which_step() -> None:
    scenario = device_scenario("munmap")
    with pytest.raises(NotFollowed, match=r"step 2 .*device settles at read_begun, not at installed"):
        run_forced(Schedule(scenario, "Mirror", steps("device accessing", "device installed")))
    with pytest.raises(NotFollowed, match=r"step 7 .*cpu is not held: it is ended"):
        run_forced(Schedule(scenario, "Mirror", steps(*TO_THE_FAULT, *UNMAP, "cpu ended")))


def test_when_the_process_exits_its_threads_are_not_held_and_the_device_is() -> None:
    schedule = Schedule(device_scenario("exit"), "Mirror", steps(*TO_THE_FAULT, "cpu ended", "device before_lock"))
    (left,) = run_forced(schedule)
    assert dict(left.outcome)["read"] == "-EFAULT"
    s = Recorder()
    a = s.mmap(pages=1)

    @s.thread
    def reader() -> None:
        s.write(a, "A")
        s.read(a, into="seen")

    @s.thread
    def ends() -> None:
        s.exit()

    recorded = s.scenario("exit", "")
    (left,) = run_forced(Schedule(recorded, None, steps("reader op:1", "ends ended, reader ended")))
    assert dict(left.outcome) == {"seen": "exited"}


@pytest.mark.parametrize("driver", [DRIVERS[1], *(pytest.param(driver, marks=pytest.mark.wide) for driver in DRIVERS[2:])])
def test_the_counterexample_of_a_wrong_driver_has_a_schedule_that_shows_it(driver: type[mirror.Mirror]) -> None:
    from secondsight.contract import driver_program, rules_for

    scenario = device_scenario("munmap", "mmap", "write")
    violation = breadth_first(Reference(driver_program(driver, scenario)), Request(livelock=True)).violation
    assert violation is not None
    probes = [probe for rule in rules_for(driver) for probe in rule.probes]
    schedule = schedule_of(scenario, driver, violation, probes)
    assert isinstance(schedule, Schedule)
    expected = run_forced(schedule, driver)
    assert len(expected) == 1 and all(shows(left) for left in expected)
    assert FakeVM().force(schedule, driver) in expected
    try:
        assert not run_forced(schedule, mirror.Mirror) & expected
    except NotFollowed:
        assert driver is not mirror.MirrorDereferencesLater  # which differs in nothing that a schedule sees


def test_what_cannot_be_forced_says_why() -> None:
    scenario, driver = device_scenario("munmap"), mirror.Mirror
    trace = breadth_first(Reference(program(scenario, driver))).violation
    assert trace is None
    from secondsight.search import Trace

    for rule in ("deadlock", "livelock", "lock-order", "as-if-cpu"):
        found = schedule_of(scenario, driver, Violation(rule, "", None, Trace((), ())), ())
        assert isinstance(found, CannotForce)
        assert ("nobody can be held" in found.why) == (rule == "as-if-cpu")


def test_forced_runs_end_in_outcomes_that_are_possible() -> None:
    for seed in range(4):
        chance = random.Random(seed)
        scenario = random_scenario(chance)
        if len(scenario.threads) > 2:
            continue
        schedule = random_schedule(scenario, mirror.Mirror, chance.randrange)
        if isinstance(schedule, Schedule):
            result, possible = outcomes(scenario, mirror.Mirror, request=Request(executor="reference"))
            assert {left.outcome for left in run_forced(schedule, mirror.Mirror)} <= possible, (seed, result)


@pytest.mark.parametrize("seed", [0, 4, *(pytest.param(seed, marks=pytest.mark.wide) for seed in (1, 2, 7))])
def test_plain_execution_leaves_behind_what_the_coarse_search_says(seed: int) -> None:
    chance = random.Random(seed)
    scenario, driver = random_scenario(chance), chance.choice(DRIVERS)
    schedule = random_schedule(scenario, driver, chance.randrange)
    if isinstance(schedule, CannotForce):
        pytest.skip(schedule.why)
    assert FakeVM(seed).force(schedule, driver) in run_forced(schedule, driver)


@pytest.mark.parametrize("number", [4, *(pytest.param(n, marks=pytest.mark.wide) for n in (9, 14, 19, 29, 34))])
def test_so_it_does_with_two_processes(number: int) -> None:
    chance, drawn = random.Random(number), scenario_of("forced", 5, number)
    assert len(drawn.processes) == 2
    driver = chance.choice(DRIVERS)
    schedule = random_schedule(drawn, driver, chance.randrange)
    assert isinstance(schedule, Schedule)
    assert FakeVM(number).force(schedule, driver) in run_forced(schedule, driver)


@pytest.mark.wide
@pytest.mark.parametrize("name", ["two_mirrors", "hole_punched_by_another", "two_devices_of_two_processes"])
def test_so_it_does_with_two_devices_and_where_one_of_two_exits(name: str) -> None:
    found = {one.name: one for file in ("two_devices", "two_processes") for one in load_scenarios(SCENARIOS / f"{file}.py")}
    for seed in range(3):
        schedule = random_schedule(found[name], mirror.MirrorWithoutTest, random.Random(seed).randrange)
        assert isinstance(schedule, Schedule)
        assert FakeVM(seed).force(schedule, mirror.MirrorWithoutTest) in run_forced(schedule, mirror.MirrorWithoutTest)


def test_one_program_serves_many_scenarios() -> None:
    first, second = device_scenario("munmap"), device_scenario("munmap", "mmap")
    a, b = ForcedModel(first), ForcedModel(second)
    assert a.program.code is b.program.code
    assert a.places_of(a.start().settled[0]) == {"cpu": "op:0", "device": "op:0"}
    ends = [ForcedModel(s).free(ForcedModel(s).start().settled[0]) for s in (first, second)]
    assert len(ends[0].settled) != len(ends[1].settled)


def test_more_states_are_looked_at_from_the_last_step_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = device_scenario("munmap", "mmap", "write")
    assert run_forced(free_schedule(scenario))
    monkeypatch.setattr(forced, "MOST_AT_THE_END", 3)
    with pytest.raises(NotFollowed, match="more than 3 states"):
        run_forced(free_schedule(scenario))
    with pytest.raises(TooManyInterleavings, match="more than 3 states"):
        model = ForcedModel(scenario)
        model.free(model.start().settled[0], 3)


@pytest.mark.wide
def test_a_drawn_scenario_with_many_interleavings_at_its_end_has_a_schedule() -> None:
    plan = plan_of(scenario_of("forced", 1, 730), 1, 730, "6.12")
    assert plan.schedule is not None, plan.problem


# Files.


def test_a_schedule_is_saved_and_loaded(tmp_path: Path) -> None:
    schedule = Schedule(device_scenario("munmap"), "Mirror", steps(*TO_THE_FAULT, *UNMAP))
    path = tmp_path / "schedule.json"
    path.write_text(schedule.to_json())
    again = load_schedule(path)
    assert (again.driver, again.steps, again.points) == (schedule.driver, schedule.steps, schedule.points)
    assert again.scenario.to_json() == schedule.scenario.to_json()
    assert run_forced(again) == run_forced(schedule)


BAD = {
    "not JSON": "{",
    "not a schedule": "[]",
    "form 7": {"schema": 7},
    "missing or wrong": {"steps": [{"then": {}}]},
    "not a scenario's JSON": {"scenario": {}},
    "no hold point 'nowhere'": {"points": ["nowhere"]},
    "no thread ['gpu']": {"steps": [{"release": ["gpu"], "then": {}}]},
    "no thread 'gpu'": {"steps": [{"release": "gpu", "then": {}}]},
    "cannot settle at 'op:9'": {"steps": [{"release": "cpu", "then": {"cpu": "op:9"}}]},
    "cannot settle at 'shmem_fault:enter'": {"steps": [{"release": "cpu", "then": {"cpu": "shmem_fault:enter"}}]},
    "not a class's name": {"driver": 5},
}


@pytest.mark.parametrize("wrong", BAD)
def test_a_bad_file_is_refused_with_the_reason(wrong: str, tmp_path: Path) -> None:
    data = BAD[wrong]
    if isinstance(data, dict):
        data = json.dumps(json.loads(Schedule(device_scenario("munmap"), "Mirror", ()).to_json()) | data)
    path = tmp_path / "bad.json"
    path.write_text(data)
    with pytest.raises(ScenarioError) as raised:
        load_schedule(path)
    assert wrong in str(raised.value) and str(path) in str(raised.value)


@pytest.mark.parametrize(("of_file", "release", "unmapped"), [(True, "6.12", 2), (True, "6.1", 10), (False, "6.12", 10), (False, "6.1", 10)])
def test_a_migration_that_fails_unmaps_the_page_as_often_as_on_a_kernel(of_file: bool, release: str, unmapped: int) -> None:
    s = Recorder()
    a = s.mmap(s.memfd_create(pages=1), pages=1) if of_file else s.mmap(pages=1)
    s.write(a, "A")
    s.device()
    s.pin(a)

    @s.thread
    def cpu() -> None:
        s.move_pages(a)

    schedule = random_schedule(s.scenario("fails to move a page", ""), None, lambda n: 0, release=release)
    assert isinstance(schedule, Schedule)
    assert sum(step.then.get("cpu") == "invalidate_enter" for step in schedule.steps) == unmapped
