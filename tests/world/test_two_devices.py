"""Two devices on one address space: outcomes, right and wrong drivers, and what a scenario with one does not pay for."""

from __future__ import annotations

from pathlib import Path

import pytest

from secondsight.contract import rules_for
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.devices.small import CollisionIsAnError
from secondsight.lang import LangError
from secondsight.lang.plain import replay
from secondsight.linux.mm_types import IntervalNotifier
from secondsight.scenario import Recorder, Scenario, ScenarioError, load_scenarios, scenario
from secondsight.search import Verdict
from secondsight.search.auto import search
from secondsight.world.forced import free_schedule, run_forced
from secondsight.world.model import outcomes, program

ROOT = Path(__file__).parent.parent.parent
two_mirrors, one_thread_two_devices = load_scenarios(ROOT / "scenarios" / "two_devices.py")


def test_right_drivers_hold_and_wrong_ones_are_broken_by_either_device() -> None:
    right = program(two_mirrors, Mirror, [p for r in rules_for(Mirror) for p in r.probes], closes=True)
    assert search(right).verdict is Verdict.HOLDS
    wrong = program(two_mirrors, MirrorWithoutTest, [p for r in rules_for(Mirror) for p in r.probes], closes=True)
    result = search(wrong)
    assert result.violation is not None and result.violation.rule == "as-if-cpu"
    steps = replay(wrong, result.violation.trace.schedule)
    assert steps[-1].error is not None


def test_a_device_that_is_closed_does_not_excuse_another() -> None:
    s = Recorder()
    page = s.mmap(pages=1)
    s.write(page, "A")
    first, second = s.device(), s.device()

    @s.thread
    def device() -> None:
        second.close()
        first.read(page)

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(page)

    made = s.scenario("one_is_closed", "")
    for driver, rule in ((Mirror, None), (CollisionIsAnError, "as-if-cpu")):
        violation = search(program(made, driver, [p for r in rules_for(driver) for p in r.probes], closes=True)).violation
        assert (violation and violation.rule) == rule


class Silent(IntervalNotifier):
    """A subscription that does not say whose it is."""


class WithASilentOne(Mirror):
    other: Silent


def test_a_subscription_that_does_not_say_whose_it_is_is_refused_where_there_are_several_devices() -> None:
    with pytest.raises(LangError, match="Silent does not say whose subscription it is, and there are several devices: give it `def driver"):
        program(two_mirrors, WithASilentOne)
    with pytest.raises(LangError, match="Silent does not say"):
        outcomes(two_mirrors, WithASilentOne)


def test_a_scenario_is_the_same_when_it_comes_back_from_a_file() -> None:
    again = Scenario.from_json(two_mirrors.to_json())
    assert outcomes(again)[1] == outcomes(two_mirrors)[1]


def test_there_is_a_most_and_the_error_names_the_line() -> None:
    with pytest.raises(ScenarioError, match=rf"{__file__}:\d+: device: a scenario has at most 4 devices"):

        @scenario
        def five(s: Recorder) -> None:
            for _ in range(5):
                s.device()


def test_a_forced_run_looks_at_both_tables() -> None:
    (left,) = run_forced(free_schedule(one_thread_two_devices))
    assert left.probe == ("same+w", "none")  # the second is closed
