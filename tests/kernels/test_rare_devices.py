"""What is done to a device rarely: it is opened late, reset, and uses the second halves of pages; and a process that may lock few pages."""

from __future__ import annotations

import pytest
from test_agree import SEED

from secondsight.agree.campaign import examine
from secondsight.agree.forced import judge_forced, replanned
from secondsight.agree.generate import scenario_of
from secondsight.agree.sides import Booted
from secondsight.agree.source import source_of
from secondsight.devices import Device, Mirror
from secondsight.devices.mirror import MirrorWithoutTest
from secondsight.devices.small.resetting import Resets, RestoresItsTable
from secondsight.kernels import VM
from secondsight.scenario import Recorder, Scenario, scenario
from secondsight.world.model import outcomes


@scenario
def opened_between(s: Recorder) -> None:
    """What is asked of a device before somebody opens it is skipped."""
    a = s.mmap(pages=1)
    gpu = s.closed_device()
    s.write(a, "A")
    gpu.read(a, into="before")
    gpu.open(into="opened")
    gpu.read(a, into="after")
    gpu.close(into="closed")
    gpu.read(a, into="at_the_end")


@scenario
def reset_between(s: Recorder) -> None:
    """What it had mapped it may read at once afterwards, and write after another fault; after a close nothing."""
    a = s.mmap(pages=1)
    gpu = s.device()
    gpu.write(a, "A")
    gpu.reset(into="reset")
    gpu.read(a, into="read")
    gpu.write(a, "B", into="written")
    s.read(a, into="by_the_cpu")
    gpu.close(into="closed")
    gpu.reset(into="too_late")
    gpu.read(a, into="after_the_end")


@scenario
def both_halves(s: Recorder) -> None:
    a = s.mmap(pages=1)
    gpu = s.device()
    s.write(a, "A")
    s.write_half(a, "b")
    gpu.read_half(a, into="second")
    gpu.write_half(a, "c", into="written")
    s.read_half(a, into="by_the_cpu")
    gpu.read(a, into="first")
    s.read(a, into="first_by_the_cpu")
    s.munmap(a)
    gpu.read_half(a, into="gone")


@scenario
def few_locked(s: Recorder) -> None:
    a = s.mmap(pages=2)
    b = s.mmap(pages=1)
    s.limit_memlock(pages=2)
    s.mlock(b, into="one")
    s.mlock(a, into="too_many")
    s.mlock(a, pages=1, into="two")
    s.munlock(b, into="one_less")
    s.mlock(a, into="both")


EXPECTED: list[tuple[Scenario, dict[str, str]]] = [
    (opened_between, {"before": "skipped", "opened": "ok", "after": "A", "closed": "ok", "at_the_end": "-EBADF"}),
    (reset_between, {"reset": "ok", "read": "A", "written": "ok", "by_the_cpu": "B", "closed": "ok", "too_late": "-ENODEV", "after_the_end": "-ENOENT"}),
    (both_halves, {"second": "b", "written": "ok", "by_the_cpu": "c", "first": "A", "first_by_the_cpu": "A", "gone": "-EFAULT"}),
    (few_locked, {"one": "ok", "too_many": "-ENOMEM", "two": "ok", "one_less": "ok", "both": "ok"}),
]


@pytest.mark.parametrize(("recorded", "expected"), EXPECTED, ids=[recorded.name for recorded, _ in EXPECTED])
def test_one_after_the_other(recorded: Scenario, expected: dict[str, str], module_vm: VM) -> None:
    seen = module_vm.observe(recorded, runs=3)
    assert [dict(outcome) for outcome in seen.outcomes] == [expected]
    assert outcomes(recorded)[1] == frozenset(seen.outcomes)


def test_a_driver_without_reset_says_so(module_vm: VM) -> None:
    ((seen, _),) = module_vm.observe(reset_between, runs=1, driver=Mirror).outcomes.items()
    assert dict(seen)["reset"] == dict(seen)["too_late"] == "-EOPNOTSUPP"
    assert outcomes(reset_between, Mirror)[1] == {seen}


@scenario
def opened_beside(s: Recorder) -> None:
    """Of two devices one is there already: whoever changes what is mapped is held in its callback, where the other comes in."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    s.device()
    late = s.closed_device()

    @s.thread
    def cpu() -> None:
        s.munmap(a)

    @s.thread
    def device() -> None:
        late.open(into="opened")
        late.read(a, into="seen")


@scenario
def opened_at_the_end(s: Recorder) -> None:
    a = s.mmap(pages=1)
    s.write(a, "A")
    late = s.closed_device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(a)
        s.exit()

    @s.thread
    def device() -> None:
        late.open(into="opened")
        late.read(a, into="seen")


@scenario
def halves_beside(s: Recorder) -> None:
    a = s.mmap(pages=1)
    s.write(a, "A")
    s.write_half(a, "b")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(a)
        s.write_half(a, "c")

    @s.thread
    def device() -> None:
        gpu.read_half(a, into="second")
        gpu.write_half(a, "d", into="written")


@scenario
def reset_beside(s: Recorder) -> None:
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()
    gpu.read(a)

    @s.thread
    def cpu() -> None:
        s.munmap(a)
        s.mmap(pages=1, at=a)

    @s.thread
    def resets() -> None:
        gpu.reset(into="reset")

    @s.thread
    def device() -> None:
        gpu.read(a, into="seen")


FORCED = [(opened_beside, Mirror), (opened_at_the_end, Mirror), (opened_at_the_end, MirrorWithoutTest), (halves_beside, Mirror), (halves_beside, MirrorWithoutTest), (reset_beside, Resets), (reset_beside, RestoresItsTable)]


@pytest.mark.parametrize(("recorded", "driver"), FORCED, ids=lambda one: getattr(one, "name", None) or one.__name__)
def test_forced_among_other_threads(recorded: Scenario, driver: type[Device], module_vm: VM) -> None:
    plans = [plan for plan in (replanned(recorded, driver, i, module_vm.release) for i in range(8)) if not plan.problem]
    assert len(plans) >= 4
    seen = list(Booted(module_vm.kernel, True, vm=module_vm).force(plans))
    found = [judge_forced(plan, one.forced) if one.forced is not None else one.died for plan, one in zip(plans, seen, strict=True)]
    assert found == [""] * len(plans)


def test_drawn_ones_agree(module_vm: VM) -> None:
    booted = Booted(module_vm.kernel, True, vm=module_vm)
    drawn = {number: booted.fitted(scenario_of("rare", SEED, number)) for number in range(6)}
    wrong = [one.finding for one in examine(booted, drawn, "rare") if one.finding is not None]
    assert not wrong, f"seed {SEED}: {wrong[0].signature}\n{source_of(wrong[0].scenario, wrong[0].answers)}"
