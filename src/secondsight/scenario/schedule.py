"""A schedule: which held thread is released when, and where everybody settles then. It is data, and can be saved.

In a forced run every thread of a scenario is held at each hold point that it meets. One *coarse step* releases one thread
and waits until all are *settled*: held again, blocked, or ended. Threads that were blocked and are woken run on by
themselves, within the same coarse step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secondsight.scenario.data import Outcome, Scenario, show_outcome
from secondsight.scenario.holds import HOLDS, USUAL
from secondsight.scenario.ops import ScenarioError

__all__ = [
    "BLOCKED",
    "ENDED",
    "LATE",
    "SCHEDULE_SCHEMA",
    "CannotForce",
    "Forced",
    "Schedule",
    "ScheduledStep",
    "load_schedule",
    "schedule_of_json",
]

BLOCKED, ENDED = "blocked", "ended"
LATE = ("", "none", "same", "other")
"""What the CPU's table has at an address when a driver uses, late, the page that it found there: nothing, that page, another."""
SCHEDULE_SCHEMA = 1
"""The version of a schedule's JSON form (docs/json.md)."""


@dataclass(frozen=True)
class ScheduledStep:
    """One coarse step: the thread that is released, and where each thread that moved has settled.

    `then`: a thread's name -> a hold point's name (`op:N` before its operation N, from 0), `blocked`, or `ended`.
    """

    release: str
    then: Mapping[str, str]

    def __str__(self) -> str:
        return f"release {self.release}: " + ", ".join(f"{thread} {place}" for thread, place in self.then.items())


@dataclass(frozen=True)
class Schedule:
    """The coarse steps of a scenario from its start: every thread has run to its first place (`op:0`) by itself.

    `driver`: the name of the device's driver class, None for a scenario without a device. `points`: the hold points at
    which threads are held. When the steps are done, whoever is still held runs freely.
    """

    scenario: Scenario
    driver: str | None
    steps: tuple[ScheduledStep, ...]
    points: tuple[str, ...] = USUAL

    def to_json(self) -> str:
        """This schedule as JSON text; `load_schedule` reads it back."""
        data = {
            "schema": SCHEDULE_SCHEMA,
            "kind": "schedule",
            "scenario": json.loads(self.scenario.to_json()),
            "driver": self.driver,
            "points": list(self.points),
            "steps": [{"release": step.release, "then": dict(step.then)} for step in self.steps],
        }
        return json.dumps(data, indent=1)


@dataclass(frozen=True)
class Forced:
    """What one forced run leaves behind.

    `retries`: for each operation, in the order of `scenario.places()`, how often it met the hold point `read_begun`: each
    time after the first the driver started over. `probe`: for each page, in the order in which pages were mapped, what the
    device's table had at the end: `none`, `same` (the frame that the CPU's table has there) or `other`, with `+w` if it may
    be written. `late`: for each operation, what the CPU's table had when the driver used a page after it held nothing any more that
    keeps it (`LATE`; "" for no such use; of several, the last that found anything else than `same`).
    """

    outcome: Outcome
    retries: tuple[int, ...]
    probe: tuple[str, ...]
    late: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [show_outcome(self.outcome) or "nothing to tell"]
        if self.probe:
            parts.append("device's table: " + " ".join(self.probe))
        if any(self.retries):
            parts.append("fault rounds: " + " ".join(map(str, self.retries)))
        if any(self.late):
            parts.append("late use of a page where the CPU has: " + " ".join(word for word in self.late if word))
        return "; ".join(parts)


@dataclass(frozen=True)
class CannotForce:
    """Why something cannot be forced on a kernel: one sentence, without a full stop."""

    why: str


def load_schedule(path: Path) -> Schedule:
    """A saved schedule. Raises ScenarioError that names the file and what is wrong with it."""
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise ScenarioError(f"cannot be read: {error.strerror}", site=(str(path), 0)) from error
    except ValueError as error:
        raise ScenarioError(f"not JSON: {error}", "give a schedule, or a trace that --json wrote", (str(path), 0)) from error
    try:
        return schedule_of_json(data)
    except ScenarioError as error:
        raise ScenarioError(error.reason, error.remedy, (str(path), 0)) from error


def schedule_of_json(data: Any) -> Schedule:
    """A schedule from its JSON form, checked: threads, points and places must be the scenario's. Raises ScenarioError."""
    if not isinstance(data, dict) or data.get("kind") != "schedule":
        raise ScenarioError("not a schedule", 'its "kind" is "schedule"; secondsight check --confirm --json writes one')
    if data.get("schema") != SCHEDULE_SCHEMA:
        raise ScenarioError(f"a schedule of form {data.get('schema')!r}; this secondsight reads form {SCHEDULE_SCHEMA}")
    try:
        scenario = Scenario.from_json(json.dumps(data["scenario"]))
        driver, points = data["driver"], tuple(data["points"])
        steps = tuple(ScheduledStep(step["release"], dict(step["then"])) for step in data["steps"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ScenarioError(f"a schedule with a part that is missing or wrong: {error}", "see docs/json.md") from error
    if driver is not None and not isinstance(driver, str):
        raise ScenarioError(f"driver {driver!r} is not a class's name")
    for point in points:
        if not isinstance(point, str) or point not in HOLDS:
            raise ScenarioError(f"there is no hold point {point!r}", f"there are {', '.join(HOLDS)}")
    for number, step in enumerate(steps, 1):
        _check_step(step, number, scenario, points)
    return Schedule(scenario, driver, steps, points)


def _check_step(step: ScheduledStep, number: int, scenario: Scenario, points: tuple[str, ...]) -> None:
    lengths = {thread.name: len(thread.ops) for thread in scenario.threads}
    for name in (step.release, *step.then):
        if not isinstance(name, str) or name not in lengths:
            there = f"there are {', '.join(lengths)}" if lengths else "it has none"
            raise ScenarioError(f"step {number}: {scenario.name} has no thread {name!r}", there)
    for thread, place in step.then.items():
        kind, colon, operation = str(place).partition(":")
        if place in (BLOCKED, ENDED) or (place in points and place != "op"):
            continue
        if kind == "op" and colon and operation.isdecimal() and int(operation) < lengths[thread]:
            continue
        raise ScenarioError(
            f"step {number}: {thread} cannot settle at {place!r}",
            f"op:0 to op:{max(0, lengths[thread] - 1)}, blocked, ended, or one of the schedule's points",
        )
