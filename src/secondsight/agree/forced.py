"""Forced scenarios: one driver, one schedule, and what both sides must leave behind.

The schedule of scenario i of a seed is drawn from that seed too. Where none can be forced (every thread can settle in more
than one way, say), another order is tried, a few times.
"""

from __future__ import annotations

from dataclasses import dataclass

from secondsight.agree.draw import Draw, Seeded, choice
from secondsight.devices.device import Device
from secondsight.devices.mirror import (
    Mirror,
    MirrorCallbackWithoutLock,
    MirrorDereferencesLater,
    MirrorTestsBeforeLock,
    MirrorWithoutTest,
)
from secondsight.lang import LangError
from secondsight.scenario import Outcome, Scenario
from secondsight.scenario.forced import CannotForce, Forced, Schedule, random_schedule, run_forced

__all__ = ["DRIVERS", "Plan", "plan_of", "replanned"]

DRIVERS: tuple[type[Device], ...] = (
    Mirror, Mirror, Mirror, MirrorWithoutTest, MirrorTestsBeforeLock, MirrorCallbackWithoutLock, MirrorDereferencesLater,
)  # fmt: skip
"""Drivers to draw from: the right one oftener than a wrong one."""
TRIES = 5


@dataclass(frozen=True)
class Plan:
    """A scenario with a driver and a schedule, and everything that the model can leave behind under it. `problem`: there is none."""

    scenario: Scenario
    driver: type[Device]
    schedule: Schedule | None
    expected: frozenset[Forced]
    problem: str = ""

    @property
    def possible(self) -> frozenset[Outcome]:
        return frozenset(forced.outcome for forced in self.expected)

    def __str__(self) -> str:
        """The driver and the steps, in words."""
        steps = [f"  {i}. {step}" for i, step in enumerate(self.schedule.steps, 1)] if self.schedule else []
        return "\n".join([f"driver {self.driver.__name__}", *steps])


def plan_of(scenario: Scenario, seed: int, index: int) -> Plan:
    """The plan of scenario `index` of a seed: always the same one, as long as the model is."""
    draw = Seeded(f"schedule/{seed}/{index}")
    return _plan(scenario, choice(draw, DRIVERS), draw)


def replanned(scenario: Scenario, driver: type[Device]) -> Plan:
    """A plan for a scenario that was made smaller."""
    return _plan(scenario, driver, Seeded("again"))


def _plan(scenario: Scenario, driver: type[Device], draw: Draw) -> Plan:
    why = ""
    try:
        for _ in range(TRIES):
            schedule = random_schedule(scenario, driver, lambda n: draw.integer(0, n - 1))
            if isinstance(schedule, CannotForce):
                why = schedule.why
            else:
                return Plan(scenario, driver, schedule, run_forced(schedule, driver))
    except LangError as error:
        why = f"{type(error).__name__}: {error}"
    return Plan(scenario, driver, None, frozenset(), why)
