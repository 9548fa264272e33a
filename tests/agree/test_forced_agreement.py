"""Forced scenarios: the same plan for the same seed, and every way in which a kernel's run can differ is seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast

import pytest

from secondsight.agree.campaign import _forced
from secondsight.agree.forced import SLEEPS_A_WHILE, Plan, both_told, judge_forced, plan_of, replanned
from secondsight.agree.generate import scenario_of
from secondsight.agree.sides import Booted, KernelAnswer
from secondsight.agree.store import AGREES, DISAGREES
from secondsight.devices.mirror import Mirror
from secondsight.kernels.encode import RUNNING
from secondsight.kernels.jobs import Differs, ForcedRun
from secondsight.scenario import Recorder, Scenario, scenario
from secondsight.scenario.schedule import BLOCKED, ENDED
from secondsight.world.forced import Schedule, ScheduledStep, random_schedule
from secondsight.world.settled import ForcedModel


def plan(number: int) -> Plan:
    found = plan_of(scenario_of("forced", 1, number), 1, number)
    assert not found.problem
    return found


def as_run(found: Plan) -> ForcedRun:
    """The run that the model expects, as a kernel would answer it."""
    (expected,) = found.expected
    assert found.schedule is not None
    late = expected.late
    return ForcedRun(expected.outcome, expected.retries, expected.probe, late, "x", len(found.schedule.steps))


def verdict_of(made: Scenario, steps: dict[str, str], seen: str, release: str | None = None) -> str:
    """What is said where the last of these threads (each released, and where it should settle) is seen elsewhere."""
    found = replanned(made, Mirror, 0, release)
    assert found.schedule is not None
    wanted = tuple(ScheduledStep(thread, {thread: place}) for thread, place in steps.items())
    found = replace(found, schedule=replace(found.schedule, steps=wanted))
    thread, place = list(steps.items())[-1]
    verdict = judge_forced(found, ForcedRun((), (), (), (), made.name, 1, Differs(len(steps) - 1, thread, place, seen)))
    return ELSEWHERE if verdict.startswith(ELSEWHERE) else verdict


ELSEWHERE = "a thread settles elsewhere"


@pytest.mark.wide
def test_a_plan_is_always_the_same() -> None:
    assert str(plan(2)) == str(plan(2))
    assert "release" in str(plan(2))
    assert {plan(n).driver.__name__ for n in range(15)} >= {"Mirror", "MirrorWithoutTest", "MirrorDereferencesLater"}


def test_nearly_all_can_be_forced_and_have_one_end() -> None:
    plans = [plan_of(scenario_of("forced", 1, n), 1, n) for n in range(20)]
    assert sum(1 for one in plans if one.problem) <= 2
    assert sum(1 for one in plans if len(one.expected) == 1) >= 17


def test_what_counts_references_is_beside_the_right_driver_alone() -> None:
    """A real driver that is wrong holds what it uses, and a page that somebody holds is not moved."""
    for number in range(200):
        drawn = scenario_of("forced", 3, number)
        if {place.op.kind for place in drawn.places()} & {"move_pages", "madvise_pageout"} and len(drawn.threads) == 2:
            assert plan_of(drawn, 3, number).driver is Mirror
            break


def test_a_process_that_is_killed_can_be_in_a_forced_run() -> None:
    @scenario
    def killed(s: Recorder) -> None:
        other = s.process()
        with other:
            a = s.mmap(pages=1)

        @s.thread
        def kills() -> None:
            s.kill(other)
            s.process_mrelease(other)

        @other.thread
        def writes() -> None:
            s.write(a, "A")

    assert not replanned(killed, Mirror, 0).problem


def test_a_smaller_scenario_that_the_model_has_not_is_none_to_compare() -> None:
    @scenario
    def of_huge_pages(s: Recorder) -> None:
        s.hugetlb_pool(6)
        memfd = s.memfd_create_hugetlb(pages=4)
        mapping = s.mmap(memfd, pages=4)

        @s.thread
        def cpu() -> None:
            s.read(mapping)

    setup = tuple(replace(op, args=op.args | {"pages": 1}) if op.kind == "memfd_create_hugetlb" else op for op in of_huge_pages.setup)
    assert not replanned(of_huge_pages, Mirror, 0).problem
    assert "ScenarioError: " in replanned(replace(of_huge_pages, setup=setup), Mirror, 0).problem


def test_what_the_model_expects_agrees() -> None:
    assert judge_forced(plan(3), as_run(plan(3))) == ""


def test_every_difference_is_seen() -> None:
    @scenario
    def stores(s: Recorder) -> None:
        a, gpu = s.mmap(pages=1), s.device()

        @s.thread
        def device() -> None:
            gpu.read(a, into="r1")
            gpu.write(a, "a", into="r2")

    found = replanned(stores, Mirror, 0)
    run = as_run(found)
    other = tuple((name, "x" if name == "r2" else value) for name, value in run.outcome)
    assert judge_forced(found, replace(run, outcome=other)) == "device_write: model ok, kernel a value"
    assert judge_forced(found, replace(run, retries=tuple(n + 1 for n in run.retries))).endswith("fault rounds, kernel 2")
    assert judge_forced(found, replace(run, probe=("other",))) == "the device's table: model same+w, kernel other"
    assert judge_forced(found, replace(run, late=("same",) * len(run.late))) == "late use: model none at all, kernel same"
    assert judge_forced(found, replace(run, timed_out=1)) == "a hold was given up"
    differs = Differs(0, "device", "op:1", "range_faulted")
    assert judge_forced(found, replace(run, differs=differs)) == "a thread settles elsewhere: model op, kernel range_faulted"
    killed = replace(run, outcome=(*run.outcome, ("process", "SIGKILL")))
    assert judge_forced(found, killed) == "the process: kernel SIGKILL"
    assert "step 1: device at range_faulted" in both_told(found, replace(run, differs=differs))


@pytest.mark.parametrize(("release", "settles"), [("6.12.117+deb12-amd64", ENDED), ("6.1.0-56-amd64", BLOCKED)])
def test_a_fault_goes_on_beside_a_change_of_another_vma(release: str, settles: str) -> None:
    """It is under the lock of its vma alone, from 6.4 on; before that it waits for the mmap lock."""

    @scenario
    def beside(s: Recorder) -> None:
        a, b = s.mmap(pages=1), s.mmap(pages=1)
        s.device()

        @s.thread
        def cpu() -> None:
            s.mprotect(a, write=False)

        @s.thread
        def other() -> None:
            s.read(b, into="r1")

    assert settled(beside, release, "cpu", "invalidate_enter", "other") == {settles}


@pytest.mark.parametrize(("release", "settles"), [("7.2.13+deb14-amd64", ENDED), ("6.12.117+deb12-amd64", BLOCKED)])
def test_later_kernels_forget_contents_beside_a_change_of_another_vma(release: str, settles: str) -> None:
    """MADV_DONTNEED is under the lock of its vma alone, from 6.17 on; before that it waits for the mmap lock."""

    @scenario
    def beside(s: Recorder) -> None:
        a, b = s.mmap(pages=1), s.mmap(pages=1)
        s.device()

        @s.thread
        def cpu() -> None:
            s.mprotect(a, write=False)

        @s.thread
        def other() -> None:
            s.madvise_dontneed(b)

    assert settled(beside, release, "cpu", "invalidate_enter", "other") == {"invalidate_enter" if settles == ENDED else settles}


@pytest.mark.parametrize(("pages", "settles"), [(1, BLOCKED), (2, BLOCKED)])
def test_who_changes_a_vma_waits_for_who_forgets_its_contents(pages: int, settles: str) -> None:
    @scenario
    def beside(s: Recorder) -> None:
        a = s.mmap(pages=2)
        s.device()

        @s.thread
        def cpu() -> None:
            s.madvise_dontneed(a)

        @s.thread
        def other() -> None:
            s.munmap(a, pages=pages)

    assert settled(beside, "7.2", "cpu", "invalidate_enter", "other") == {settles}


@pytest.mark.parametrize(("release", "settles"), [("7.2.13+deb14-amd64", ENDED), ("6.12.117+deb12-amd64", BLOCKED)])
def test_a_new_mapping_comes_beside_who_forgets_contents(release: str, settles: str) -> None:
    """Of later kernels forced runs had no verdict of this one."""

    @scenario
    def beside(s: Recorder) -> None:
        a = s.mmap(pages=1)
        s.device()

        @s.thread
        def cpu() -> None:
            s.madvise_dontneed(a)

        @s.thread
        def other() -> None:
            s.mmap(pages=1)

    assert settled(beside, release, "cpu", "invalidate_enter", "other") == {settles}


def test_of_several_vmas_it_takes_the_mmap_lock() -> None:
    @scenario
    def beside(s: Recorder) -> None:
        a = s.mmap(pages=2)
        s.mprotect(a, pages=1, write=False)
        s.device()

        @s.thread
        def cpu() -> None:
            s.madvise_dontneed(a, pages=2)

        @s.thread
        def other() -> None:
            s.mmap(pages=1)

    assert settled(beside, "7.2", "cpu", "invalidate_enter", "other") == {BLOCKED}


def settled(made: Scenario, release: str, first: str, where: str, second: str) -> set[str]:
    """Where a second thread settles that is released while the first one is held at a place."""
    model = ForcedModel(made, release=release)
    (node,) = model.start().settled
    (node,) = model.release(node, first).settled
    assert model.places_of(node)[first] == where
    return {model.places_of(after)[second] for after in model.release(node, second).settled}


@pytest.mark.parametrize(("sealed", "release", "told"), [(False, None, True), (True, "6.1", True), (True, None, False)])
def test_a_mapping_that_its_file_refuses_is_told_to_subscribers(sealed: bool, release: str | None, told: bool) -> None:
    """unmap_region() undoes what a driver might have mapped; found on 6.1, whose F_SEAL_FUTURE_WRITE is the file's own business."""

    @scenario
    def refused(s: Recorder) -> None:
        file = s.memfd_create(pages=1, seals="future_write" if sealed else "shrink")
        buf = file if sealed else s.udmabuf_create(file, pages=1)
        s.mmap(pages=1)
        s.device()

        @s.thread
        def cpu() -> None:
            s.mmap(buf, pages=1 if sealed else 2)

    schedule = random_schedule(refused, Mirror, lambda among: 0, release=release)
    assert isinstance(schedule, Schedule)
    assert any("invalidate_enter" in step.then.values() for step in schedule.steps) == told


@pytest.mark.parametrize(("release", "told"), [("6.12", True), ("7.2", False), (None, True)])
def test_a_devices_memory_refuses_a_private_mapping_before_there_is_one_on_later_kernels(release: str | None, told: bool) -> None:
    @scenario
    def private(s: Recorder) -> None:
        dax = s.dax(pages=1)
        s.mmap(dax, pages=1)
        s.device()

        @s.thread
        def cpu() -> None:
            s.mmap_private(dax, pages=1)

    schedule = random_schedule(private, Mirror, lambda among: 0, release=release)
    assert isinstance(schedule, Schedule)
    assert any("invalidate_enter" in step.then.values() for step in schedule.steps) == told


def test_a_write_seal_that_sleeps_for_a_while_is_no_verdict() -> None:
    @scenario
    def held(s: Recorder) -> None:
        memfd = s.memfd_create(pages=1, seals="shrink")
        s.udmabuf_create(memfd)
        s.device()

        @s.thread
        def cpu() -> None:
            s.add_seals(memfd, "write")

    assert verdict_of(held, {"cpu": "ended"}, "blocked") == SLEEPS_A_WHILE


class Busy:
    """A kernel whose runs are late, the first so many of them."""

    release = None

    def __init__(self, late: int) -> None:
        self.late = late

    def force(self, plans: Iterable[Plan]) -> Iterator[KernelAnswer]:
        for one in plans:
            run = as_run(one)
            assert one.schedule is not None
            if self.late:
                step = one.schedule.steps[0]
                (thread, expected), *_ = step.then.items()
                run = replace(run, settled=0, differs=Differs(0, thread, expected, RUNNING))
                self.late -= 1
            yield KernelAnswer({}, run)


@pytest.mark.parametrize(("late", "verdicts"), [(0, [AGREES] * 2), (1, [AGREES] * 2), (2, [AGREES] * 2), (4, [DISAGREES] * 2)])
def test_a_run_that_was_late_is_run_once_more(late: int, verdicts: list[str]) -> None:
    """On a machine with a load of 18 a thread had not settled in time, which was said to be a disagreement (forced, seed 1, 2099)."""
    found = _forced(cast(Booted, Busy(late)), {n: scenario_of("forced", 1, n) for n in (3, 4)}, 1)
    assert [one.verdict for one in sorted(found, key=lambda one: one.number)] == verdicts
