"""Does a real kernel, left to itself, do only what the model says? A scenario run often, and its outcomes beside the possible ones.

For what holds there is nothing to force: a schedule shows one interleaving. Here the kernel goes its own ways, and each of its
outcomes must be possible, and have the property that was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from secondsight.agree.confirm import Confirmation, Confirmed
from secondsight.agree.judge import ask, judge
from secondsight.agree.store import AGREES, DISAGREES
from secondsight.kernels.jobs import Observation
from secondsight.scenario import Scenario, show_outcome, show_value

__all__ = ["RUNS", "Observing", "run_freely"]

RUNS = 200

MOST = 5_000_000
"""States after which the model has no answer: of one scenario that somebody asks about, more than of each of a campaign's."""


class Observing(Protocol):
    """What runs scenarios: a booted kernel (`kernels.VM`)."""

    def observe(self, scenario: Scenario, runs: int = RUNS) -> Observation:
        """Run it so often, and count its outcomes."""


def run_freely(
    vm: Observing, scenario: Scenario, shows: Callable[[Mapping[str, str]], bool] | None = None, release: str | None = None, runs: int = RUNS
) -> Confirmation:
    """Run a scenario on a real kernel, of `release`, and compare. `shows`: whether an outcome has the property. Raises KernelError when the
    guest dies."""
    alone = next((p.op.kind for p in scenario.places() if p.op.declared.model_only), None)
    if alone is not None:
        return Confirmation(Confirmed.CANNOT, f"{alone} is the model's alone: no real kernel runs it here", free=True)
    answer = ask(scenario, release, MOST)
    if answer.problem or not answer.complete:
        return Confirmation(Confirmed.CANNOT, f"the model does not say what is possible: {answer.problem or 'too many states'}", free=True)
    if shows is not None and (against := [o for o in answer.possible if not shows(_named(o))]):
        return Confirmation(Confirmed.CANNOT, f"the scenario does not ask what the cell does: {show_outcome(min(against))} is possible", free=True)
    seen = vm.observe(scenario, runs)
    verdict, why = judge(scenario, answer, seen.outcomes)
    if verdict == DISAGREES:
        return Confirmation(Confirmed.REFUTED, f"an outcome that the model has not: {why}", free=True)
    if verdict != AGREES:
        return Confirmation(Confirmed.CANNOT, why, free=True)
    told = f"it ran freely {runs} times: {len(seen.outcomes)} of {len(answer.possible)} possible outcomes, and no other"
    return Confirmation(Confirmed.CONFIRMED, told, free=True)


def _named(outcome: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {name: show_value(value) for name, value in outcome}
