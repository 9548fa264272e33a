"""Did the real kernel do as the model says? A schedule, forced, and what it left behind beside what it must leave behind.

    found = confirm(vm, schedule, driver)
    found.verdict        # confirmed, refuted or cannot be forced
    found.why            # in a sentence

*Confirmed* means: after each step every thread stood where the model says, and in the end every operation's result, the
rounds of each fault handler and the device's table were as the model says. The real device's wrong forms keep a reference to
the pages that they use, so that nothing is harmed: a page used too late is shown as one that the CPU did not have there any
more; that it was free by then is not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from secondsight.agree.compare import difference
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.kernels.errors import KernelError
from secondsight.kernels.jobs import ForcedRun
from secondsight.kernels.real_device import VARIANTS
from secondsight.lang import LangError
from secondsight.scenario.data import DIFFERS, Scenario
from secondsight.scenario.holds import INSIDE, hold
from secondsight.scenario.schedule import Forced, Schedule
from secondsight.world.forced import NotFollowed, run_forced

__all__ = ["Confirmation", "Confirmed", "Forcing", "confirm"]

TRIES = 3
"""How often a run is tried in which a hold was given up: such a run is no result."""


class Confirmed(Enum):
    """What a real kernel says to a prediction of the model."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    CANNOT = "cannot be forced"


@dataclass(frozen=True)
class Confirmation:
    """The verdict, why in a sentence, and what it is about: the schedule, what was expected, what was seen.

    `form`: which of the real device's forms ran, None without a device. `free`: nothing was forced, or would have been (`freely`).
    """

    verdict: Confirmed
    why: str
    schedule: Schedule | None = None
    expected: frozenset[Forced] = frozenset()
    seen: Forced | None = None
    form: str | None = None
    free: bool = False


class Forcing(Protocol):
    """What follows schedules: a booted kernel (`kernels.VM`)."""

    def force(
        self, scenario: Scenario, steps: Sequence[tuple[str, Mapping[str, str]]], driver: type[Device] | None, points: Iterable[str]
    ) -> ForcedRun:
        """Run a scenario once by a schedule."""


def confirm(
    vm: Forcing, schedule: Schedule, driver: type[Device] | None = None, release: str | None = None
) -> Confirmation:
    """Force a schedule on a real kernel, of `release`. `driver`: the class that the schedule's driver is. Raises KernelError
    when the guest dies."""
    alone = next((p.op.kind for p in schedule.scenario.places() if p.op.declared.model_only), None)
    if alone is not None:
        return Confirmation(Confirmed.CANNOT, f"{alone} is the model's alone: no real kernel runs it here", schedule)
    try:
        expected = run_forced(schedule, driver, release)
    except (NotFollowed, LangError) as error:
        return Confirmation(Confirmed.CANNOT, f"the model cannot follow the schedule: {error}", schedule)
    used = _form(schedule, driver, expected, release)
    if used is None:
        assert driver is not None
        why = f"the real device has no form of {driver.__name__}, nor one that does the same under this schedule"
        return Confirmation(Confirmed.CANNOT, why, schedule, expected)
    form = None if schedule.driver is None else VARIANTS[used]
    steps = [(step.release, step.then) for step in schedule.steps]
    for _ in range(TRIES):
        try:
            answer = vm.force(schedule.scenario, steps, used if schedule.driver is not None else None, schedule.points)
        except KernelError as error:
            if error.console:
                raise
            return Confirmation(Confirmed.CANNOT, error.reason, schedule, expected, form=form)
        if not answer.timed_out:
            break
    else:
        return Confirmation(Confirmed.CANNOT, "a hold lasted too long and was given up: the machine is too slow", schedule, expected)
    verdict, why = _compared(schedule, expected, answer)
    return Confirmation(verdict, why, schedule, expected, answer, form)


def _form(
    schedule: Schedule, driver: type[Device] | None, expected: frozenset[Forced], release: str | None
) -> type[Device] | None:
    """The real device's form to run: the driver's own, or one that the model says does the same under the schedule."""
    driver = driver or Mirror
    if driver in VARIANTS or schedule.driver is None:
        return driver
    for form in VARIANTS:
        try:
            if run_forced(schedule, form, release) == expected:
                return form
        except (NotFollowed, LangError):
            continue
    return None


def _compared(schedule: Schedule, expected: frozenset[Forced], seen: ForcedRun) -> tuple[Confirmed, str]:
    """The verdict on a run, and why."""
    differs = seen.differs
    if differs is not None:
        release = f" (release {schedule.steps[differs.step].release})" if 0 <= differs.step < len(schedule.steps) else ""
        return Confirmed.REFUTED, (
            f"after step {differs.step + 1} of {len(schedule.steps)}{release} {differs.thread} is {_at(differs.got)}; "
            f"the model says {_at(differs.expected)}"
        )
    wrong = [found.sentence for one in expected if (found := difference(schedule.scenario, one, seen)) is not None]
    if len(wrong) < len(expected):
        return Confirmed.CONFIRMED, _shown(schedule, seen)
    return Confirmed.REFUTED, min(wrong, default="the model has no end of this schedule")


def _at(place: str) -> str:
    return {"blocked": "blocked", "ended": "at its end", "running": "still running"}.get(place, f"held at {place}")


def _shown(schedule: Schedule, seen: Forced) -> str:
    """What a confirmed run has shown, and what it took beyond the usual holds."""
    told = []
    if any(word in ("none", "other") for word in seen.late):
        told.append("the driver used a page that the CPU's table did not have there any more")
    if any(page.startswith("other") for page in seen.probe):
        told.append("in the end the device's table had a page that the CPU's did not")
    if DIFFERS in dict(seen.outcome).values():
        told.append("the device's access and the CPU's ended differently")
    met = {place for step in schedule.steps for place in step.then.values()}
    if inside := dict.fromkeys(f"{hold(point).function}()" for point in INSIDE if point in met):
        told.append(f"held inside {' and '.join(inside)}")
    return "; ".join(["same places, same values, same rounds", *told])
