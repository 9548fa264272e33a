"""For tests: a driver that must hold, and the outcomes of a scenario.

    from secondsight.testing import assert_holds, outcomes

    assert_holds(MyGpu, adversaries=["munmap"])
    assert outcomes(forget) == {"seen=0", "seen=b"}

With pytest there is a fixture too (docs/pytest.md).
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from secondsight.contract import Checked, check, rules_for
from secondsight.devices.device import Device
from secondsight.lang import LangError
from secondsight.report import mail, replay_command
from secondsight.scenario import Scenario, ScenarioError, show_outcome
from secondsight.search import Limits, Request, Verdict, Violation
from secondsight.world import model

__all__ = ["ContractBroken", "NotSettled", "assert_holds", "outcomes"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


class ContractBroken(AssertionError):
    """A driver breaks rules. `traces` has the shortest trace of each, as `secondsight check` prints it."""

    def __init__(self, summary: str, traces: Sequence[str]) -> None:
        super().__init__(f"{summary}\n\n" + "\n".join(traces))
        self.summary, self.traces = summary, tuple(traces)


class NotSettled(AssertionError):
    """A search came to no verdict: a limit was reached, or the machine was too small."""


def _told_where_it_is_asked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """The function, whose errors are shown by pytest at the line that calls it, and at none of ours: the message says what is wrong."""

    @functools.wraps(function)
    def asked(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        __tracebackhide__ = True
        try:
            return function(*args, **kwargs)
        except (LangError, ScenarioError) as error:
            raise error.with_traceback(None) from None

    return asked


@_told_where_it_is_asked
def assert_holds(
    driver: type[Device],
    adversaries: str | Sequence[str] | None = None,
    rules: str | Sequence[str] | None = None,
    *,
    bounds: dict[str, int] | None = None,
    request: Request | None = None,
) -> list[Checked]:
    """Run a driver through every interleaving with each adversary (or those named), under the rules of its promise (or those named).

    Raises `ContractBroken`, with traces, where a rule is broken, and `NotSettled` where a search did not end: the verdict *holds* is
    given for every one, or there is an error. `request`: how the searches are to be made, `Request(limits=Limits(seconds=60))`.
    """
    __tracebackhide__ = True
    found = []
    for checked in check(driver, _names(adversaries), _names(rules), _request(request), None, bounds):
        found.append(checked)
        if checked.result.reason == "interrupted":
            raise KeyboardInterrupt
    broken = _shortest(found)
    if broken:
        told = ", ".join(f"{checked.scenario} breaks {violation.rule}" for checked, violation in broken)
        raise ContractBroken(f"{driver.__name__}: {told}", [_mail(driver, *one) for one in broken])
    unsettled = [c for c in found if c.result.verdict is not Verdict.HOLDS]
    if unsettled:
        why = "; ".join(f"{c.scenario}: {_why(c)}" for c in unsettled)
        raise NotSettled(f"{driver.__name__}: not finished: {why}")
    return found


@_told_where_it_is_asked
def outcomes(
    scenario: Scenario,
    driver: type[Device] | None = None,
    *,
    bounds: dict[str, int] | None = None,
    release: str | None = None,
    request: Request | None = None,
) -> set[str]:
    """Every outcome that a scenario can have on the model, as `secondsight run` prints them: `{"seen=a", "seen=0"}`.

    `driver`: of its devices; by default the right mirror. `release`: the model answers as that kernel. Raises `NotSettled` where the search
    did not see everything, and `ContractBroken` where the scenario breaks a rule of the machinery.
    """
    __tracebackhide__ = True
    result, possible = model.outcomes(scenario, driver, request=_request(request), bounds=bounds, release=release)
    if result.reason == "interrupted":
        raise KeyboardInterrupt
    if result.violation is not None:
        raise ContractBroken(f"{scenario.name} breaks {result.violation.rule}: {result.violation.message}", [])
    if result.verdict is not Verdict.HOLDS:
        raise NotSettled(f"{scenario.name}: not finished: {result.error or result.reason}, after {result.states:,} states")
    return {show_outcome(outcome) for outcome in possible}


def _names(given: str | Sequence[str] | None) -> list[str] | None:
    if given is None:
        return None
    names = [given] if isinstance(given, str) else list(given)
    if not names:
        raise LangError("an empty list of names asks for nothing: name some, or leave it out for all")
    return names


def _request(given: Request | None) -> Request:
    """How to search; under pytest-xdist each process has one core, unless it is said otherwise."""
    asked = given or Request(limits=Limits(memory=8 << 30))
    if asked.workers is None and asked.cluster is None and "PYTEST_XDIST_WORKER" in os.environ:
        return asked.but(workers=1)
    return asked


def _shortest(found: Sequence[Checked]) -> list[tuple[Checked, Violation]]:
    """Of each broken rule the shortest trace."""
    by_rule: dict[str, tuple[Checked, Violation]] = {}
    for checked in found:
        for violation in checked.result.broken:
            known = by_rule.get(violation.rule)
            if known is None or len(violation.trace) < len(known[1].trace):
                by_rule[violation.rule] = checked, violation
    return list(by_rule.values())


def _mail(driver: type[Device], checked: Checked, violation: Violation) -> str:
    """The trace, and under it the command that replays it."""
    file = os.path.relpath(inspect.getsourcefile(driver) or "")
    every = [rule.name for rule in rules_for(driver)]
    options = {
        "class": [driver.__name__],
        "rule": [] if list(checked.rules) == every else checked.rules,
        "bound": [f"{name}={number}" for name, number in checked.bounds.items()],
    }
    again = functools.partial(replay_command, file, checked.scenario, options=options)
    return mail(f"{checked.driver} ({checked.scenario})", checked.rebuild(), replace(checked.result, violation=violation), again)


def _why(checked: Checked) -> Any:
    result = checked.result
    return result.error or f"{result.reason}, after {result.states:,} states"
