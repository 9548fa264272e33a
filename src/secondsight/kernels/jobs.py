"""What a booted kernel is asked, one scenario after another, and what it answers.

A `GuestJob` is a scenario and how to run it: so many times with pauses drawn from a seed, or once, forced, by a schedule. Its
answer is an `Observation`, a `ForcedRun`, or `Died`: the guest did, meanwhile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from secondsight.devices.device import Device
from secondsight.kernels.encode import SentSchedule, encode, encode_steps, place_of, value_of
from secondsight.kernels.errors import KernelError
from secondsight.kernels.real_device import default_of, variant_of
from secondsight.scenario.data import Outcome, Scenario, collect, freeze
from secondsight.scenario.holds import USUAL, Where, hold
from secondsight.scenario.schedule import LATE, Forced

__all__ = ["GuestAnswer", "Died", "Differs", "ForcedRun", "GuestJob", "Observation", "outcome_of"]

MOST_RUNS = 250  # in one request: the agent's limit


@dataclass(frozen=True)
class GuestJob:
    """A scenario to run: `runs` times (in a batch at most `MOST_RUNS`) from `seed`, or, with `steps`, once by that schedule, with the hold points of the names
    `points` armed. `driver`: its device's driver, one that secondsight.ko has (None: the reference mirror, or what the operations need)."""

    scenario: Scenario
    runs: int = 1
    seed: int = 1
    driver: type[Device] | None = None
    steps: SentSchedule | None = None
    points: tuple[str, ...] = USUAL

    def loading(self) -> str:
        """The lines that load the scenario and put hold points into kernel functions. Raises KernelError for an operation or a driver that no real kernel has."""
        variant = variant_of(self.driver or default_of(self.scenario))
        if variant is None:
            assert self.driver is not None
            raise KernelError(
                f"{self.scenario.name}: secondsight.ko has no driver {self.driver.__name__}",
                "a real device has the mirrors of secondsight.devices.mirror; run others on the model",
            )
        hooked = {point.function for point in map(hold, self.points) if point.where in (Where.ENTRY, Where.EXIT)}
        hooks = [f"hook {function}\n" for function in sorted(hooked)] if self.steps is not None else []
        return "".join([*hooks, encode(self.scenario, variant)])

    def request(self, done: int = 0, most: int = MOST_RUNS) -> str:
        """The lines that run it once it is loaded and `done` runs are done: the schedule, or the next runs, `most` at most."""
        if self.steps is not None:
            return encode_steps(self.scenario, self.steps, self.points)
        return f"run {(self.seed % (1 << 31) << 32) + done} {min(most, self.runs - done)}\n"


@dataclass(frozen=True)
class Observation:
    """What was seen of one scenario on one kernel: how often each outcome came up in `runs` runs.

    A run whose process did not end by itself has `process` in its outcome (of another process its handle): the signal it
    died of, or `hung`.
    """

    scenario: str
    outcomes: dict[Outcome, int]
    runs: int
    kernel_release: str
    seconds: float


@dataclass(frozen=True)
class Differs:
    """Where a forced run left its schedule: after step `step` (-1: before the first) `thread` was `got`, not `expected`."""

    step: int
    thread: str
    expected: str
    got: str


@dataclass(frozen=True)
class ForcedRun(Forced):
    """A forced run of the scenario of that name, with what it left behind. `settled` steps went as the schedule says; `differs` None:
    all of them. `timed_out`: holds that were given up; then this run is no result."""

    scenario: str = ""
    settled: int = 0
    differs: Differs | None = None
    timed_out: int = 0


@dataclass(frozen=True)
class Died:
    """The guest panicked, hung or ended while it ran a job: why, and the end of its console."""

    scenario: str
    reason: str
    console: str


GuestAnswer = Observation | ForcedRun | Died


def outcome_of(scenario: Scenario, answer: dict[str, Any]) -> Outcome:
    """An outcome in the scenario's names, from the agent's answer."""
    outcome = dict(collect(scenario, [value_of(result) for result in answer["results"]]))
    for process, ended in zip(scenario.processes, answer["ended"], strict=True):
        if ended != "exit":
            how = value_of(ended) if ended.startswith("signal:") else ended
            outcome[process or "process"] = "hung" if how == "SIGALRM" else str(how)
    return freeze(outcome)


def forced_of(scenario: Scenario, answer: dict[str, Any]) -> ForcedRun:
    """A forced run, from the agent's answer."""
    what, differs = answer["forced"], None
    if found := what["differs"]:
        thread = scenario.threads[found["thread"]].name
        differs = Differs(found["step"], thread, place_of(found["expected"]), place_of(found["got"]))
    late = tuple(LATE[n] for n in answer["late"])
    left = outcome_of(scenario, answer), tuple(answer["retries"]), tuple(answer["probe"]), late
    return ForcedRun(*left, scenario.name, what["settled"], differs, answer["timed_out"])


def counted(scenario: Scenario, answers: Iterator[dict[str, Any]]) -> Counter[Outcome]:
    """The outcomes of one request's answers, which end with a `done`."""
    counts: Counter[Outcome] = Counter()
    for answer in answers:
        if "done" in answer:
            break
        counts[outcome_of(scenario, answer)] += answer["count"]
    return counts
