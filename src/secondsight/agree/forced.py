"""Forced scenarios: one driver, one schedule, and what both sides must leave behind.

The schedule of scenario i of a seed is drawn from that seed too. Where none can be forced (every thread can settle in more
than one way, say), another order is tried, a few times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondsight.agree.compare import difference
from secondsight.agree.draw import Draw, Seeded, choice
from secondsight.devices.device import Device
from secondsight.devices.mirror import (
    Mirror,
    MirrorCallbackWithoutLock,
    MirrorDereferencesLater,
    MirrorTestsBeforeLock,
    MirrorWithoutTest,
)
from secondsight.kernels.encode import RUNNING
from secondsight.kernels.jobs import ForcedRun
from secondsight.lang import LangError
from secondsight.scenario import Outcome, Scenario, ScenarioError
from secondsight.scenario.schedule import BLOCKED
from secondsight.world.forced import CannotForce, Forced, Schedule, ScheduledStep, random_schedule, run_forced

__all__ = ["DRIVERS", "NOT_COMPARED", "Plan", "both_told", "judge_forced", "plan_of", "ran_out_of_time", "replanned"]

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
    release: str | None = None
    """The kernel release that the model has answered as; None: its own."""

    @property
    def possible(self) -> frozenset[Outcome]:
        return frozenset(forced.outcome for forced in self.expected)

    def __str__(self) -> str:
        """The driver and the steps, in words."""
        steps = [f"  {i}. {step}" for i, step in enumerate(self.schedule.steps, 1)] if self.schedule else []
        return "\n".join([f"driver {self.driver.__name__}", *steps])


def plan_of(scenario: Scenario, seed: int, index: int, release: str | None = None) -> Plan:
    """The plan of scenario `index` of a seed on a kernel release: always the same one, as long as the model is."""
    draw = Seeded(f"schedule/{seed}/{index}")
    driver = choice(draw, DRIVERS)
    return _plan(scenario, Mirror if _counts_references(scenario) else driver, draw, release)


COUNTS_REFERENCES = ("move_pages", "madvise_pageout", "fadvise_dontneed", "fs_dax_punch_hole")
"""What leaves a page alone that somebody holds, or waits until nobody does."""


def _counts_references(scenario: Scenario) -> bool:
    """Whether a page moves or goes in a scenario that would not if somebody held it: a real driver that is wrong holds what it uses, the model's does not."""
    return any(place.op.kind in COUNTS_REFERENCES for place in scenario.places())


def replanned(scenario: Scenario, driver: type[Device], again: int, release: str | None = None) -> Plan:
    """A plan for a scenario that was made smaller; another one for each number."""
    return _plan(scenario, driver, Seeded(f"again/{again}"), release)


SLEEPS_A_WHILE = "a write seal sleeps for a while where somebody holds a page: a run takes that for a thread that is blocked"
"""Not compared: memfd_wait_for_pins() (mm/memfd.c) looks five times in some 75 ms, which the model has without the time between."""
NOT_COMPARED = (SLEEPS_A_WHILE,)


def ran_out_of_time(got: ForcedRun) -> bool:
    """Whether a run says how busy the machine was, and perhaps no more: a hold was given up, or a thread had not settled anywhere yet."""
    return got.timed_out > 0 or (got.differs is not None and got.differs.got == RUNNING)


def judge_forced(plan: Plan, got: ForcedRun) -> str:
    """Where a forced run on a kernel is not what the model left behind under the schedule: its signature; "" where it is.

    Compared are where every thread settled after each step, and what is left behind (`compare`).
    """
    if got.timed_out:
        return "a hold was given up"
    if got.differs is not None:
        if got.differs.got == BLOCKED and plan.schedule is not None:
            steps = plan.schedule.steps[: got.differs.step + 1]
            if _operation(plan, steps, got.differs.thread) == "add_seals":
                return SLEEPS_A_WHILE
        return f"a thread settles elsewhere: model {_kind(got.differs.expected)}, kernel {_kind(got.differs.got)}"
    found = [difference(plan.scenario, expected, got) for expected in plan.expected]
    return min(("" if one is None else one.signature for one in found), key=len)


def _operation(plan: Plan, steps: Sequence[ScheduledStep], name: str) -> str:
    """The kind of the operation that a thread is in when it last moved: the one before which it was last held, if it is not
    there now."""
    thread = next(thread for thread in plan.scenario.threads if thread.name == name)
    number = 0
    for i, step in enumerate(steps):
        place = step.then.get(name, "")
        if place.startswith("op:") and i + 1 < len(steps):
            number = int(place.removeprefix("op:"))
    return thread.ops[number].kind if number < len(thread.ops) else ""


def _kind(where: str) -> str:
    return where.partition(":")[0] if where.startswith("op:") else where


def both_told(plan: Plan, got: ForcedRun) -> str:
    """The plan and both answers, in words."""
    where = f"; step {got.differs.step + 1}: {got.differs.thread} at {got.differs.got}" if got.differs else ""
    lines = [str(plan), f"kernel: {got}{where}", *(f"model:  {expected}" for expected in sorted(plan.expected, key=str)[:4])]
    return "\n".join(lines)


def _plan(scenario: Scenario, driver: type[Device], draw: Draw, release: str | None) -> Plan:
    why = ""
    try:
        for _ in range(TRIES):
            schedule = random_schedule(scenario, driver, lambda n: draw.integer(0, n - 1), release=release)
            if isinstance(schedule, CannotForce):
                why = schedule.why
            else:
                return Plan(scenario, driver, schedule, run_forced(schedule, driver, release), release=release)
    except (LangError, ScenarioError) as error:  # a scenario that was made smaller may be one that the model has not
        why = f"{type(error).__name__}: {error}"
    return Plan(scenario, driver, None, frozenset(), why, release)
