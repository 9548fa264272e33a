"""A forced run on a kernel beside what the model says that it must leave behind: the one comparison of the two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from secondsight.scenario import Place, Scenario, show_value
from secondsight.scenario.schedule import Forced

__all__ = ["Mismatch", "difference", "kind_of_value"]


@dataclass(frozen=True)
class Mismatch:
    """The first thing in which a run is not as the model says. `what`: which part; `place`: of which operation, or None.

    `model`, `kernel`: what each has there; None for nothing worth telling.
    """

    what: str
    place: Place | None
    model: str | None
    kernel: str | None

    @property
    def signature(self) -> str:
        """What runs that differ alike have in common: neither the place nor a page's contents."""
        model, kernel = kind_of_value(self.model), kind_of_value(self.kernel)
        kind = self.place.op.kind if self.place is not None else ""
        match self.what:
            case "result":
                return f"{kind}: model {model}, kernel {kernel}"
            case "process":
                return f"the process: kernel {self.kernel}"
            case "rounds":
                return f"{kind}: model {self.model} fault rounds, kernel {self.kernel}"
            case "table":
                return f"the device's table: model {self.model}, kernel {self.kernel}"
        return f"late use: model {self.model or 'none at all'}, kernel {self.kernel or 'none at all'}"

    @property
    def sentence(self) -> str:
        """The same for people, with the place."""
        at = f"{self.place.section}[{self.place.index}].{self.place.op.kind}" if self.place is not None else "the process"
        match self.what:
            case "result":
                assert self.place is not None
                return f"{self.place.name} is {_shown(self.kernel)}; the model says {_shown(self.model)}"
            case "process":
                return f"the process ended otherwise than by itself: {self.kernel}"
            case "rounds":
                return f"{at} began {self.kernel} rounds of its fault handler; the model says {self.model}"
            case "table":
                return f"in the end the device's table has {self.kernel}; the model says {self.model}"
        return f"{at} found {self.kernel or 'nothing to use'} late; the model says {self.model or 'nothing to use'}"


def difference(scenario: Scenario, expected: Forced, seen: Forced) -> Mismatch | None:
    """The first thing in which a run is not the expected one; None if there is none.

    Compared are every operation's result, how often each operation of the threads began a fault, what the device's table has in
    the end, and what was used late.
    """
    return next(_differences(scenario, expected, seen), None)


def _differences(scenario: Scenario, expected: Forced, seen: Forced) -> Iterator[Mismatch]:
    places = list(scenario.places())
    says, saw = dict(expected.outcome), dict(seen.outcome)
    for place in places:
        if says.get(place.name) != saw.get(place.name):
            yield Mismatch("result", place, says.get(place.name), saw.get(place.name))
    if says != saw:
        yield Mismatch("process", None, None, saw.get("process"))
    in_threads = [(row, place) for row, place in enumerate(places) if place.section != "setup"]
    for row, place in in_threads:
        if expected.retries[row] != seen.retries[row]:
            yield Mismatch("rounds", place, str(expected.retries[row]), str(seen.retries[row]))
    if len(expected.probe) != len(seen.probe):
        yield Mismatch("table", None, f"{len(expected.probe)} pages", f"{len(seen.probe)} pages")
    for one, other in zip(expected.probe, seen.probe, strict=False):
        if one != other:
            yield Mismatch("table", None, one, other)
    for row, place in in_threads:
        if expected.late[row] != seen.late[row]:
            yield Mismatch("late", place, expected.late[row], seen.late[row])


def kind_of_value(value: str | None) -> str:
    """A value in a signature: any page's contents count as the same."""
    shown = _shown(value)
    return "a value" if len(shown) == 1 and shown != "0" else shown


def _shown(value: str | None) -> str:
    return "ok" if value is None else show_value(value)
