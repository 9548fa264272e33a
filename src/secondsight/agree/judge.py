"""What the model says of a scenario, and whether a kernel's answer agrees.

A scenario without threads has one outcome, unless something in it is not decided by what was done before: it is had by running the operations in plain execution, in CPython, without a
search: thousands in the time that one search takes to begin. The kernel's must equal it, error codes included. (The search
is asked about a sample all the same, and must say the same: `tests/agree`.)

A scenario with threads has a set of outcomes: the search's. What the kernel showed must be among them. What is not, where pages are taken away, may have
come about through the TLB: the entry is cleared first and the TLBs are flushed later, and a thread that reads in between may still find the page. So the model
is asked once more, with TLBs (`linux/tlb.py`), which make many more states. So it is where its search was cut short before it had come to what the kernel showed: then
with more of them allowed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from secondsight.agree.compare import kind_of_value
from secondsight.agree.store import AGREES, DISAGREES, NO_VERDICT, REFUSED
from secondsight.devices.device import Device
from secondsight.lang import LangError
from secondsight.scenario import Outcome, Scenario, show_outcome
from secondsight.scenario.ops import ScenarioError
from secondsight.search import Limits, Request, Verdict
from secondsight.world.model import only_outcome, outcomes

__all__ = ["ModelAnswer", "ask", "both_answers", "judge", "only_outcome", "signature_of"]

MOST = 8  # outcomes told
FEW = 300_000  # states of a search that is made for every scenario
MANY = 20_000_000  # of one that is made where a kernel's outcome was not among those that the first one came to
_NOTHING = "(nothing failed, nothing to tell)"


@dataclass(frozen=True)
class ModelAnswer:
    """What the model says: the possible outcomes; `complete`: all of them. `problem`: why it says nothing. `release`: of which kernel it was asked; `driver`: of which of its
    device."""

    possible: frozenset[Outcome]
    states: int = 0
    complete: bool = True
    problem: str = ""
    release: str | None = None
    driver: type[Device] | None = None


def ask(
    scenario: Scenario, release: str | None = None, states: int = FEW, tlbs: bool = False, driver: type[Device] | None = None
) -> ModelAnswer:
    """Ask the model about a scenario, as a kernel of that release would answer; searches end after so many states. `tlbs`: CPUs may use TLB entries until they
    are flushed. `driver`: its device's, if it is not the one that the operations need."""
    try:
        if not (scenario.threads or scenario.has_device or scenario.chooses):
            return ModelAnswer(frozenset([only_outcome(scenario, release)]), release=release)
        result, possible = outcomes(scenario, driver, request=Request(limits=Limits(states=states)), bounds={"tlbs": 1} if tlbs else None, release=release)
    except (LangError, ScenarioError) as error:  # a scenario that was made smaller may be one that the model has not
        return ModelAnswer(frozenset(), problem=f"{type(error).__name__}: {error}")
    if result.error is not None:
        return ModelAnswer(frozenset(), result.states, problem=str(result.error))
    if result.verdict is Verdict.BROKEN and result.violation is not None:
        return ModelAnswer(possible, result.states, problem=f"{result.violation.rule}: {result.violation.message}")
    return ModelAnswer(possible, result.states, result.verdict is Verdict.HOLDS, release=release, driver=driver)


def judge(scenario: Scenario, answer: ModelAnswer, seen: Iterable[Outcome]) -> tuple[str, str]:
    """The verdict, and for one other than `agrees` its signature."""
    if answer.problem:
        return REFUSED, answer.problem
    wrong = [outcome for outcome in seen if outcome not in answer.possible]
    if not wrong:
        return AGREES, ""
    if not answer.complete:
        answer = ask(scenario, answer.release, MANY, driver=answer.driver)
        wrong = [outcome for outcome in wrong if outcome not in answer.possible]
        if answer.problem:
            return REFUSED, answer.problem
        if not wrong:
            return AGREES, ""
        if not answer.complete:
            return NO_VERDICT, f"more than {answer.states:,} states"
    if _takes_away(scenario):
        again = ask(scenario, answer.release, MANY, tlbs=True, driver=answer.driver)
        if not again.problem:
            wrong = [outcome for outcome in wrong if outcome not in again.possible]
            if not wrong:
                return AGREES, ""
            if not again.complete:
                return NO_VERDICT, f"with TLBs more than {again.states:,} states"
            return DISAGREES, signature_of(scenario, again, wrong[0])
    return DISAGREES, signature_of(scenario, answer, wrong[0])


def _takes_away(scenario: Scenario) -> bool:
    """Whether a thread takes pages away that another may still find by a TLB entry."""
    return any(op.declared.takes_away or op.declared.remaps for thread in scenario.threads for op in thread.ops)


def both_answers(answer: ModelAnswer, seen: Iterable[Outcome]) -> str:
    """Both answers in words: what the kernel showed that is not possible, and what the model calls possible."""
    if answer.problem:
        return f"model: {answer.problem}"
    wrong = [outcome for outcome in seen if outcome not in answer.possible]
    lines = [f"kernel: {show_outcome(outcome) or _NOTHING}" for outcome in wrong]
    says = [f"model:  {show_outcome(outcome) or _NOTHING}" for outcome in sorted(answer.possible)]
    more = [f"        ... {len(says) - MOST} more" for _ in says[MOST : MOST + 1]]
    return "\n".join([*lines, *says[:MOST], *more])


def signature_of(scenario: Scenario, answer: ModelAnswer, outcome: Outcome) -> str:
    """What an outcome that is not possible has that the nearest possible one has not: the first operation that differs."""
    seen = dict(outcome)

    def differing(possible: Outcome) -> list[str]:
        says = dict(possible)
        return [name for name in seen.keys() | says.keys() if seen.get(name) != says.get(name)]

    nearest = min(sorted(answer.possible), key=lambda possible: len(differing(possible)), default=())
    says, names = dict(nearest), set(differing(nearest))
    first = next((place for place in scenario.places() if place.name in names), None)
    name = first.name if first else "process"
    what = first.op.kind if first else "the process"
    return f"{what}: model {kind_of_value(says.get(name))}, kernel {kind_of_value(seen.get(name))}"
