"""Holds inside unmodified kernel functions, one run each that no other hold could order: model and kernel under the same schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from secondsight.agree import forced
from secondsight.agree.confirm import Confirmed, confirm
from secondsight.agree.generate import scenario_of
from secondsight.agree.sides import Booted
from secondsight.cases import Question
from secondsight.cli import confirming
from secondsight.contract import driver_program, load_drivers, rules_for
from secondsight.devices.mirror import Mirror
from secondsight.kernels import VM, Kernel, KernelError
from secondsight.lang.reference import Reference
from secondsight.scenario import Recorder
from secondsight.scenario.holds import HOLDS, INSIDE, USUAL
from secondsight.search import Request, breadth_first
from secondsight.world.forced import CannotForce, Forced, Schedule, ScheduledStep, run_forced
from secondsight.world.forced import schedule_of as counterexample
from secondsight.world.settled import ForcedModel, Node

Record = Callable[[Recorder], None]


@dataclass(frozen=True)
class Case:
    """`releases`: the threads to release, one after another. `key`: the step (from 0) after which everybody stands as nothing but
    this hold can make them, `then`; `left`: what the run leaves behind."""

    record: Record
    releases: str
    key: int
    then: dict[str, str]
    left: dict[str, str]


def forgotten(s: Recorder) -> None:
    """MADV_DONTNEED has cleared the entries and not ended: the CPU reads what is there now, the device waits."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(a)

    @s.thread
    def reader() -> None:
        s.read(a, into="cpu")

    @s.thread
    def device() -> None:
        gpu.read(a, into="device")


def mapped_over(s: Recorder) -> None:
    """mmap(MAP_FIXED) has ended its invalidation and still has the mmap lock: the device begins, and its fault waits."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.mmap(pages=1, at=a)

    @s.thread
    def device() -> None:
        gpu.read(a, into="device")


def unmapped(s: Recorder) -> None:
    """The device has the mmap lock and has looked at nothing yet: munmap waits, and the device finds the page."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(a)

    @s.thread
    def device() -> None:
        gpu.read(a, into="device")


def punched(s: Recorder) -> None:
    """The device has found the page and still has the mmap lock: munmap waits, a punched hole does not."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(a)

    @s.thread
    def puncher() -> None:
        s.fallocate_punch_hole(fd, page=0)

    @s.thread
    def device() -> None:
        gpu.read(a, into="device")


def filled(s: Recorder) -> None:
    """A read is on its way to a page that the file does not have yet: another thread fills it, and munmap waits."""
    fd = s.memfd_create(pages=1)
    a = s.mmap(fd)
    b = s.mmap(fd)
    s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(a)

    @s.thread
    def writer() -> None:
        s.write(b, "B")

    @s.thread
    def reader() -> None:
        s.read(a, into="reader")


INSTALLS = "device " * 7  # from range_faulted to the end of the access
CASES = {
    "__mmu_notifier_invalidate_range_end:enter": Case(
        forgotten, "cpu cpu cpu reader device device cpu " + INSTALLS, 5, {"device": "blocked"}, {"cpu": "\0", "device": "\0"}
    ),
    "__mmu_notifier_invalidate_range_end:exit": Case(
        mapped_over, "cpu cpu cpu device device device cpu " + INSTALLS, 5, {"device": "blocked"}, {"device": "\0"}
    ),
    "hmm_range_fault:enter": Case(
        unmapped, "device device device cpu device " + INSTALLS + "cpu cpu", 3, {"cpu": "blocked"}, {"device": "A"}
    ),
    "hmm_range_fault:exit": Case(
        punched, "device device device cpu puncher puncher puncher device device device device", 6, {"puncher": "ended"}, {"device": "-EFAULT"}
    ),
    "shmem_fault:enter": Case(
        filled, "reader writer writer cpu reader cpu cpu", 3, {"cpu": "blocked"}, {"reader": "B"}
    ),
}  # fmt: skip


def schedule_of(point: str, points: tuple[str, ...]) -> Schedule:
    """A case's schedule: the model says where everybody settles, in one way only."""
    case = CASES[point]
    s = Recorder()
    case.record(s)
    scenario = s.scenario(case.record.__name__, case.record.__doc__ or "")
    model = ForcedModel(scenario, points=points)
    nodes = model.start().settled
    steps = []
    for thread in case.releases.split():
        before = model.places_of(nodes[0])
        nodes = tuple(dict.fromkeys(after for node in nodes for after in model.release(node, thread).settled))
        places = model.places_of(nodes[0])
        assert all(model.places_of(node) == places for node in nodes)
        steps.append(ScheduledStep(thread, {name: at for name, at in places.items() if name == thread or at != before[name]}))
    return Schedule(scenario, Mirror.__name__, tuple(steps), points)


def test_every_hold_inside_the_kernel_has_a_case() -> None:
    assert tuple(CASES) == ("__mmu_notifier_invalidate_range_end:enter", "__mmu_notifier_invalidate_range_end:exit", *(
        point for point in INSIDE if not point.startswith("__mmu_notifier")
    ))  # fmt: skip


def runs_that_settle_so(schedule: Schedule, points: tuple[str, ...]) -> set[Forced]:
    """What every run with threads held at `points` leaves behind in which threads settle as in the schedule, as far as `points`
    shows it, whoever is released for it."""
    model = ForcedModel(schedule.scenario, points=points)
    nodes = set(model.start().settled)
    for step in schedule.steps:
        if then := {name: place for name, place in step.then.items() if place in points or place not in INSIDE}:
            ways = [(n, thread, after) for n in nodes for thread in model.held(n) for after in model.release(n, thread).settled]
            nodes = {after for node, thread, after in ways if moved(model, node, thread, after) == then}
    return {model.left(end) for node in nodes for end in (model.free(node).settled if not model.ended(node) else [node])}


def moved(model: ForcedModel, before: Node, thread: str, after: Node) -> dict[str, str]:
    places = model.places_of(before)
    return {name: place for name, place in model.places_of(after).items() if name == thread or place != places[name]}


@pytest.mark.parametrize("point", CASES)
def test_no_usual_hold_orders_what_a_hold_inside_the_kernel_does(point: str) -> None:
    """With the usual holds alone no run settles so and leaves the same behind; with this one there is one."""
    case, schedule = CASES[point], schedule_of(point, (*USUAL, point))
    assert dict(schedule.steps[case.key].then) == case.then
    expected = run_forced(schedule)
    assert runs_that_settle_so(schedule, schedule.points) == expected
    assert not runs_that_settle_so(schedule, USUAL) & expected


@pytest.mark.parametrize("point", CASES)
def test_model_and_kernel_agree_where_a_hold_inside_the_kernel_decides(point: str, module_vm: VM) -> None:
    schedule = schedule_of(point, (*USUAL, point))
    found = confirm(module_vm, schedule)
    function = point.partition(":")[0]
    assert (found.verdict, found.why) == (Confirmed.CONFIRMED, f"same places, same values, same rounds; held inside {function}()")
    assert found.seen is not None and dict(found.seen.outcome) == CASES[point].left


@pytest.mark.parametrize("point", CASES)
def test_a_wrong_prediction_is_refuted_where_a_hold_inside_the_kernel_decides(
    point: str, module_vm: VM, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, schedule = CASES[point], schedule_of(point, (*USUAL, point))
    expected = run_forced(schedule)
    thread = next(iter(case.then))
    elsewhere = "read_begun" if case.then[thread] != "read_begun" else "blocked"
    steps = [replace(s, then={**s.then, thread: elsewhere}) if i == case.key else s for i, s in enumerate(schedule.steps)]
    monkeypatch.setattr("secondsight.agree.confirm.run_forced", lambda *_: expected)
    found = confirm(module_vm, replace(schedule, steps=tuple(steps)))
    assert found.verdict is Confirmed.REFUTED
    assert f"after step {case.key + 1} of {len(steps)}" in found.why and f"the model says held at {elsewhere}" in found.why
    wrong = frozenset(replace(one, outcome=tuple((name, "x") for name, _ in one.outcome)) for one in expected)
    monkeypatch.setattr("secondsight.agree.confirm.run_forced", lambda *_: wrong)
    found = confirm(module_vm, schedule)
    assert found.verdict is Confirmed.REFUTED and "the model says x" in found.why


def test_a_counterexample_that_needs_a_hold_inside_the_kernel_is_confirmed_with_one(module_vm: VM) -> None:
    """The driver takes the mmap lock by itself: between its look at the page table and its own table there is no usual hold."""
    (driver,) = load_drivers(Path(__file__).parent / "own_lock.py")
    s = Recorder()
    forgotten(s)
    scenario = s.scenario("forgotten", "")
    violation = breadth_first(Reference(driver_program(driver, scenario)), Request(livelock=True)).violation
    assert violation is not None
    probes = [probe for rule in rules_for(Mirror) for probe in rule.probes]
    assert isinstance(counterexample(scenario, driver, violation, probes, points=USUAL), CannotForce)
    schedule = counterexample(scenario, driver, violation, probes)
    assert isinstance(schedule, Schedule)
    assert [point for point in schedule.points if point in INSIDE] == ["hmm_range_fault:enter", "hmm_range_fault:exit"]
    found = confirm(module_vm, schedule, driver)
    assert (found.verdict, found.form) == (Confirmed.CONFIRMED, "no-test"), found.why
    assert "the device's table had a page that the CPU's did not; held inside hmm_range_fault()" in found.why


@pytest.mark.wide
def test_random_schedules_with_every_hold_agree(module_vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right and wrong drivers; `make test` is no campaign, so few."""
    draw = forced.random_schedule
    monkeypatch.setattr(forced, "random_schedule", lambda *given, **named: draw(*given, points=tuple(HOLDS), **named))
    met = Counter[str]()
    booted = Booted(module_vm.kernel, vm=module_vm, devices=True)
    for index in range(25):
        scenario = booted.fitted(scenario_of("forced", 7, index))
        plan = forced.plan_of(scenario, 7, index, module_vm.release)
        if plan.schedule is not None:
            steps = [(step.release, step.then) for step in plan.schedule.steps]
            told = forced.judge_forced(plan, module_vm.force(scenario, steps, plan.driver, plan.schedule.points))
            assert told in ("", *forced.NOT_COMPARED), f"{told}\n{plan}"
            met.update(place for _, then in steps for place in then.values())
    assert all(met[point] for point in INSIDE)


class WithoutHooks:
    """A kernel into whose functions no hold point can be put."""

    WHY = "kernel 6.12: no hold points at shmem_fault(): Operation not supported"

    def force(self, *_: object) -> Forced:
        raise KernelError(self.WHY, "leave them out")


def test_a_guest_that_an_answer_has_cost_is_booted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Booted(WithoutHooks):
        is_up = True

        def force(self, *_: object) -> Forced:
            self.is_up = False
            return super().force()

    booted = []
    monkeypatch.setattr(confirming, "boot", lambda kernel, **_: booted.append(Booted()) or booted[-1])
    ask = confirming.Asking(Kernel("linux-6.12", None, "6.12"), confirming.Running())
    question = Question(schedule_of("shmem_fault:enter", (*USUAL, "shmem_fault:enter")))
    assert [ask("cell", question).why for _ in range(2)] == [WithoutHooks.WHY] * 2
    assert len(booted) == 2


def test_a_kernel_without_such_holds_cannot_force_it() -> None:
    found = confirm(WithoutHooks(), schedule_of("shmem_fault:enter", (*USUAL, "shmem_fault:enter")))
    assert (found.verdict, found.why) == (Confirmed.CANNOT, WithoutHooks.WHY)
