"""Two drivers, or two versions of one, against the same adversaries: what the one does that the other does not.

A verdict that changed is a difference; so is an outcome of a scenario that only one of them has: the results of its operations,
as the process and its device see them. Outcomes are compared where nothing stops a run: a driver that breaks a rule of the contract
has its outcomes without that rule, one that never ends has none that are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from secondsight.contract.adversaries import adversaries_for
from secondsight.contract.check import Checked, check_scenario, pick, rules_for
from secondsight.devices.device import Device
from secondsight.lang.errors import LangError
from secondsight.lang.program import Program
from secondsight.scenario import Scenario
from secondsight.search import Progress, Result, Trace, Verdict
from secondsight.search.auto import search
from secondsight.search.request import Request
from secondsight.world.enough import with_enough
from secondsight.world.model import program, value_in, value_of, watched
from secondsight.world.reach import ways_in

__all__ = ["Change", "Ending", "compare", "ways_of"]

OnProgress = Callable[[str, Progress], None]


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
            checked = [check_scenario(one, adversary.name, scenario, rules_for(one), asked, on_progress, bounds, results=True) for one in (old, new)]
            endings = [_endings(one, scenario, done, asked, on_progress) for one, done in zip((old, new), checked, strict=True)]
            gone = come = None
            if endings[0] is not None and endings[1] is not None:
                gone, come = endings[0] - endings[1], endings[1] - endings[0]
            yield Change(adversary.name, scenario, checked[0], checked[1], gone, come)


def _endings(
    driver: type[Device], scenario: Scenario, checked: Checked, request: Request, on_progress: OnProgress | None = None
) -> frozenset[Ending] | None:
    """How a driver can end a scenario; None where not all ways are known."""
    result = checked.result
    if result.verdict is not Verdict.HOLDS:
        result = _search_without_rules(driver, scenario, checked, request, on_progress)
    if result.verdict is not Verdict.HOLDS:
        return None
    return frozenset(_ending(scenario, seen) for seen in result.outcomes)


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


def ways_of(driver: type[Device], checked: Checked, scenario: Scenario, endings: Iterable[Ending]) -> tuple[Program, dict[Ending, Trace]]:
    """The driver's program, and a shortest way to each of some endings that `compare` has reported of it; none to one that is far away."""
    build = partial(_watched_by_nobody, driver, scenario)
    return ways_in(build, endings, partial(_ending, scenario), dict(checked.bounds))
