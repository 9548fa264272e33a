"""A target run against a release: random walks for some seconds, every transition of its bounded configurations, and a
disagreement made small."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secondsight.conform.side import Side
from secondsight.conform.target import Configuration, Target
from secondsight.conform.walk import Beside, Divergence, Tally

__all__ = ["ConformReport", "run"]

OnWord = Callable[[str], None]

MOST_STATES = 30_000
"""States of one bounded configuration; where there are more the search is cut, and the report says so."""


@dataclass
class ConformReport:
    """What came of it. `walks` and `every`: what random walks and the bounded configurations compared."""

    release: str
    file: str
    walks: Tally
    every: Tally
    seconds: float = 0.0
    interrupted: bool = False
    disagreement: Divergence | None = None

    @property
    def steps(self) -> int:
        """How many steps were compared."""
        return self.walks.steps + self.every.steps


def run(
    target: Target, release: str, program: Path, seconds: float = 10, seed: int = 0, transitions: bool = True,
    on_progress: OnWord | None = None, most_steps: int | None = None, small: bool = True,
) -> ConformReport:  # fmt: skip
    """Compare until the time is up, everything bounded was seen, or both sides differ.

    `seconds`: of random walks, whose drawing begins with `seed`; `transitions`: the bounded configurations too. `small`:
    make a disagreement small. Ctrl-C ends it with what was seen. Raises ConformError for a table that does not fit.
    """
    version = release.removeprefix("linux-")
    report = ConformReport(release, target.file, Tally(), Tally())
    started = time.monotonic()
    tell = on_progress or (lambda text: None)
    with Side(program) as side:
        beside = Beside(target, side, version)
        try:
            _walks(beside, report.walks, seconds, seed, most_steps, tell)
            if transitions and report.walks.disagreement is None:
                _every(beside, report.every, tell)
        except KeyboardInterrupt:
            report.interrupted = True
        found = report.walks.disagreement or report.every.disagreement
        if found is not None and small and not report.interrupted:
            tell("making the disagreement small")
            found = made_small(beside, found)
        report.disagreement = found
    report.seconds = time.monotonic() - started
    return report


def _walks(beside: Beside, tally: Tally, seconds: float, seed: int, most_steps: int | None, tell: OnWord) -> None:
    started = time.monotonic()
    number = 0
    while tally.disagreement is None and time.monotonic() - started < seconds:
        if most_steps is not None and tally.steps >= most_steps:
            return
        source = random.Random(f"{seed} {number}")
        number += 1
        beside.walk(beside.target.draw(source, beside.release), source, tally)
        if number % 20 == 0:
            tell(f"{tally.steps:,} steps of {tally.walks:,} walks")


def _every(beside: Beside, tally: Tally, tell: OnWord) -> None:
    configurations = list(beside.target.bounded(beside.release))
    for number, configuration in enumerate(configurations, 1):

        def look(states: int, steps: int, number: int = number) -> bool:
            tell(f"configuration {number} of {len(configurations)}: {states:,} states, {steps:,} transitions in all")
            return True

        beside.all_transitions(configuration, tally, most=MOST_STATES, on_progress=look, careful=True)
        if tally.disagreement is not None:
            return


# Made small.

TRIES = 12
"""Random walks that a smaller configuration gets to show the disagreement, before every transition is tried."""


def made_small(beside: Beside, found: Divergence, seconds: float = 20) -> Divergence:
    """The same kind of disagreement with fewer operations and a shorter schedule, as far as `seconds` go."""
    until = time.monotonic() + seconds
    smaller = True
    while smaller and time.monotonic() < until:
        smaller = False
        for configuration in beside.target.smaller(found.configuration):
            if time.monotonic() > until:
                break
            other = _shows(beside, configuration, found, until)
            if other is not None:
                found, smaller = other, True
                break
    while found.steps > 1 and time.monotonic() < until:
        tally = Tally()
        beside.all_transitions(found.configuration, tally, deepest=found.steps, most=20_000, on_progress=lambda *_: time.monotonic() < until)
        shorter = tally.disagreement
        if shorter is None or shorter.steps >= found.steps:
            break
        found = shorter
    return found


def _shows(beside: Beside, configuration: Configuration, found: Divergence, until: float) -> Divergence | None:
    """A disagreement of that kind in a configuration."""
    tally = Tally()
    for number in range(TRIES):
        beside.walk(configuration, random.Random(number), tally)
        if tally.disagreement is not None:
            break
    else:
        beside.all_transitions(configuration, tally, most=1_500, on_progress=lambda *_: time.monotonic() < until)
    other = tally.disagreement
    return other if other is not None and other.what == found.what else None
