"""Two drivers, or two versions of one, against the same adversaries: what the one does that the other does not.

A verdict that changed is a difference; so is an outcome of a scenario that only one of them has: the results of its operations,
as the process and its device see them. Outcomes are compared where nothing stops a run: a driver that breaks a rule of the contract
has its outcomes without that rule, one that never ends has none that are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from secondsight.contract.check import Checked, check_scenario, pick, rules_for
from secondsight.contract.importer_adversaries import adversaries_for
from secondsight.devices.device import Device, all_quiet
from secondsight.lang import const, require, rule
from secondsight.lang.errors import LangError
from secondsight.lang.program import Program
from secondsight.linux.mm_types import Driver, Mm
from secondsight.scenario import Scenario
from secondsight.search import Progress, Result, Verdict
from secondsight.search.auto import search
from secondsight.search.request import Request
from secondsight.world.enough import with_enough
from secondsight.world.model import program, value_in, value_of, watched
from secondsight.world.tables import results

__all__ = ["Change", "Ending", "Reached", "compare", "trace_to"]

sought = const("sought")
"""By row: the results of the outcome to which a trace is sought."""

OnProgress = Callable[[str, Progress], None]


@rule("outcome", on=all_quiet)
def not_this_outcome(device: Driver, mm: Mm, gone: bool) -> None:
    """Broken by the first run that ends with the results that are sought: how a trace to them is come by."""
    same = True
    for i in range(len(results)):
        if results[i].value != sought[i]:
            same = False
    require(not same, "outcome", "a run can end so")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a scenario can end: of each operation that is not in the setup its name and its result, in order."""

    results: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return ", ".join(f"{name} = {value}" for name, value in self.results)


@dataclass(frozen=True, slots=True)
class Change:
    """Two drivers against one scenario of one adversary.

    `gone`: how only the old one can end, `come`: how only the new one can; both None where one of the two sets is not complete.
    """

    adversary: str
    scenario: Scenario
    old: Checked
    new: Checked
    gone: frozenset[Ending] | None
    come: frozenset[Ending] | None

    @property
    def differs(self) -> bool:
        """Whether there is anything to tell: the verdict, the rule that is broken, or how a run can end."""
        return _judged(self.old.result) != _judged(self.new.result) or bool(self.gone) or bool(self.come)

    @property
    def is_worse(self) -> bool:
        """Whether the new one is broken where the old one was not, or by a rule that the old one kept."""
        return self.new.result.verdict is Verdict.BROKEN and _judged(self.old.result) != _judged(self.new.result)


@dataclass(frozen=True, slots=True)
class Reached:
    """A search for a way to an outcome: its result is broken by the shortest trace to it; `rebuild` builds its program again."""

    result: Result
    rebuild: Callable[[], Program]


def _judged(result: Result) -> tuple[Verdict, tuple[str, ...]]:
    return result.verdict, tuple(sorted(v.rule for v in result.broken))


def compare(
    old: type[Device],
    new: type[Device],
    adversaries: Sequence[str] | None = None,
    request: Request | None = None,
    on_progress: OnProgress | None = None,
    bounds: dict[str, int] | None = None,
) -> Iterator[Change]:
    """Both drivers against every adversary (or those named), each judged by its own promise; one a scenario, as they finish.

    Raises `LangError` for unknown names, for a driver outside the language, and for two drivers of different promises.
    """
    if old.promise != new.promise:
        raise LangError(f"{old.__name__} promises {old.promise!r} and {new.__name__} {new.promise!r}: they are judged by different rules")
    asked = request or Request()
    for adversary in pick("adversary", adversaries_for(new), adversaries):
        for scenario in adversary.scenarios:
            checked = [check_scenario(one, adversary.name, scenario, rules_for(one), asked, on_progress, bounds) for one in (old, new)]
            endings = [_endings(one, scenario, done, asked, on_progress) for one, done in zip((old, new), checked, strict=True)]
            gone = come = None
            if endings[0] is not None and endings[1] is not None:
                gone, come = frozenset(endings[0].keys() - endings[1].keys()), frozenset(endings[1].keys() - endings[0].keys())
            yield Change(adversary.name, scenario, checked[0], checked[1], gone, come)


def _endings(
    driver: type[Device], scenario: Scenario, checked: Checked, request: Request, on_progress: OnProgress | None = None
) -> dict[Ending, list[bytes]] | None:
    """How a driver can end a scenario, each with the results' bytes in such final states; None where not all are known."""
    result = checked.result
    if result.verdict is not Verdict.HOLDS:
        result = _search_without_rules(driver, scenario, checked, request, on_progress)
    if result.verdict is not Verdict.HOLDS:
        return None
    endings: dict[Ending, list[bytes]] = {}
    for seen in sorted(result.outcomes):
        endings.setdefault(_ending(scenario, seen), []).append(seen)
    return endings


def _search_without_rules(
    driver: type[Device], scenario: Scenario, checked: Checked, request: Request, on_progress: OnProgress | None
) -> Result:
    def tell(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(f"{scenario.name}, outcomes", progress)

    asked = request.but(on_progress=tell, livelock=True, collect=False)
    build = partial(_watched_by_nobody, driver, scenario)
    return with_enough(build, lambda made: search(made, asked.but(watch=watched(made))), dict(checked.bounds)).result


def _watched_by_nobody(driver: type[Device], scenario: Scenario, bounds: dict[str, int]) -> Program:
    return program(scenario, driver, (), bounds, closes=True)


def _ending(scenario: Scenario, seen: bytes) -> Ending:
    """The results of a final state, without those of the setup, which are the same in all."""
    rows = [(row, place) for row, place in enumerate(scenario.places()) if place.section != "setup"]
    return Ending(tuple((place.name, value_of(place.op, value_in(seen, row)) or "not run") for row, place in rows))


def trace_to(
    driver: type[Device], checked: Checked, scenario: Scenario, ending: Ending, request: Request | None = None
) -> Reached:
    """The shortest way to an ending that `compare` has reported of the driver. Raises `LookupError` where a run cannot end so."""
    asked = (request or Request()).but(kept=False)
    ways = (_endings(driver, scenario, checked, asked) or {}).get(ending)
    if not ways:
        raise LookupError(f"{driver.__name__} cannot end {scenario.name} so: {ending}")
    reached = [_reach(driver, scenario, dict(checked.bounds), seen, asked) for seen in ways]
    return min(reached, key=lambda one: len(one.result.violation.trace) if one.result.violation else 1 << 62)


def _reach(driver: type[Device], scenario: Scenario, bounds: dict[str, int], seen: bytes, request: Request) -> Reached:
    def build() -> Program:
        data = {"sought": [byte - 128 for byte in seen]}
        return program(scenario, driver, [not_this_outcome], bounds, closes=True, data=data)

    return Reached(search(build(), request), build)
