"""What the model says of a scenario, and whether a kernel's answer agrees.

A scenario without threads has one outcome: it is had by running the operations in plain execution, in CPython, without a
search: thousands in the time that one search takes to begin. The kernel's must equal it, error codes included. (The search
is asked about a sample all the same, and must say the same: `tests/agree`.)

A scenario with threads has a set of outcomes: the search's. What the kernel showed must be among them. One thing that the
model leaves out is told apart, and not compared: munmap() clears a page's entry first and flushes the TLB later, and a thread
that reads in between may still find the page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from secondsight.agree.compare import kind_of_value
from secondsight.agree.store import AGREES, DISAGREES, NO_VERDICT, REFUSED
from secondsight.lang import LangError
from secondsight.scenario import Outcome, Scenario, show_outcome
from secondsight.scenario.data import ZERO
from secondsight.scenario.ops import Op, ScenarioError
from secondsight.search import Limits, Request, Verdict
from secondsight.world.model import only_outcome, outcomes

__all__ = ["THROUGH_THE_TLB", "ModelAnswer", "ask", "both_answers", "judge", "only_outcome", "signature_of"]

MOST = 8  # outcomes told
THROUGH_THE_TLB = "a read beside munmap finds the page by a TLB entry that is not flushed yet"
_NOTHING = "(nothing failed, nothing to tell)"


@dataclass(frozen=True)
class ModelAnswer:
    """What the model says: the possible outcomes; `complete`: all of them. `problem`: why it says nothing."""

    possible: frozenset[Outcome]
    states: int = 0
    complete: bool = True
    problem: str = ""


def ask(scenario: Scenario, release: str | None = None, states: int = 300_000) -> ModelAnswer:
    """Ask the model about a scenario, as a kernel of that release would answer; searches end after so many states."""
    try:
        if not scenario.threads:
            return ModelAnswer(frozenset([only_outcome(scenario, release)]))
        result, possible = outcomes(scenario, request=Request(limits=Limits(states=states)), release=release)
    except (LangError, ScenarioError) as error:  # a scenario that was made smaller may be one that the model has not
        return ModelAnswer(frozenset(), problem=f"{type(error).__name__}: {error}")
    if result.error is not None:
        return ModelAnswer(frozenset(), result.states, problem=str(result.error))
    if result.verdict is Verdict.BROKEN and result.violation is not None:
        return ModelAnswer(possible, result.states, problem=f"{result.violation.rule}: {result.violation.message}")
    return ModelAnswer(possible, result.states, result.verdict is Verdict.HOLDS)


def judge(scenario: Scenario, answer: ModelAnswer, seen: Iterable[Outcome]) -> tuple[str, str]:
    """The verdict, and for one other than `agrees` its signature."""
    if answer.problem:
        return REFUSED, answer.problem
    wrong = [outcome for outcome in seen if outcome not in answer.possible]
    if not wrong:
        return AGREES, ""
    if not answer.complete:
        return NO_VERDICT, f"more than {answer.states:,} states"
    if all(_through_the_tlb(scenario, answer, outcome) for outcome in wrong):
        return NO_VERDICT, THROUGH_THE_TLB
    return DISAGREES, signature_of(scenario, answer, wrong[0])


def _through_the_tlb(scenario: Scenario, answer: ModelAnswer, outcome: Outcome) -> bool:
    """Whether an outcome differs from a possible one only in reads that found a page where the model has SIGSEGV, each by a
    thread beside which another takes mappings away, and each of what a page may have held."""
    unmaps = {(t.name, t.process) for t in scenario.threads if any(_unmaps(op) for op in t.ops)}
    beside = {
        place.name
        for place in scenario.places()
        if place.thread is not None and place.op.declared.loads and place.op.declared.faults
        and any(name != place.section and process == place.op.process for name, process in unmaps)
    }
    held = {ZERO} | {value for place in scenario.places() if isinstance(value := place.op.args.get("value"), str)}
    seen = dict(outcome)

    def found(name: str, says: str | None) -> bool:
        return name in beside and says == "SIGSEGV" and seen.get(name) in held

    for possible in answer.possible:
        says = dict(possible)
        if all(found(name, says.get(name)) for name in seen.keys() | says.keys() if seen.get(name) != says.get(name)):
            return True
    return False


def _unmaps(op: Op) -> bool:
    """Whether an operation takes mappings away: one that maps does where something was."""
    return op.declared.remaps and (op.declared.makes is None or op.args.get("at") is not None)


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
