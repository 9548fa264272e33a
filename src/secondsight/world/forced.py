"""Forced runs on the model: random schedules, what a schedule must leave behind, and the schedule of a counterexample.

    schedule = random_schedule(scenario, Mirror, choose)         # choose(n): one of 0..n-1, from a seed or a strategy
    expected = run_forced(schedule, Mirror)                      # every `Forced` that it can leave behind; mostly one
    schedule = schedule_of(scenario, driver, violation, probes)  # or why it cannot be forced

Schedules are made of steps that end in one way only as to where threads settle: what happens is then up to the schedule and
not to the kernel's timing. The model that says what is left behind has no rules and does not use freed frames again; see
`settled.ForcedModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.lang.errors import LangError, ModelError
from secondsight.scenario.data import DIFFERS, Scenario
from secondsight.scenario.holds import INSIDE, USUAL, hold
from secondsight.scenario.schedule import CannotForce, Forced, Schedule, ScheduledStep, load_schedule
from secondsight.search import Violation
from secondsight.world.settled import MOST, MOST_AT_THE_END, Coarse, ForcedModel, Node, TooManyInterleavings

__all__ = [
    "CannotForce",
    "Forced",
    "NotFollowed",
    "Schedule",
    "ScheduledStep",
    "free_schedule",
    "load_schedule",
    "random_schedule",
    "run_forced",
    "schedule_of",
    "shows",
]

Nodes = tuple[Node, ...]

MOST_STEPS = 300
"""Coarse steps of a random schedule; then the rest runs freely."""
MOST_PREFIXES = 30_000
"""Settled states that the search for a counterexample's schedule looks at."""
MOST_ENDINGS = 400
"""Endings of one such schedule that are tried for one that shows what was broken."""

_UNFORCEABLE = {
    "deadlock": "a deadlock would leave the threads of the real kernel hanging",
    "livelock": "a livelock has no end that could be compared",
    "lock-order": "locks taken in two orders are no event: nothing is left behind that could be compared",
}


class NotFollowed(LangError):
    """A schedule that the model cannot follow: at `step` (from 1) a thread is not held, or settles elsewhere."""

    def __init__(self, step: int, reason: str) -> None:
        self.step, self.reason = step, reason
        super().__init__(f"step {step} of the schedule: {reason}")


@dataclass(frozen=True, slots=True)
class _Sure:
    """A coarse step with one way to settle: where the threads that moved are then, and the states that it may be."""

    step: ScheduledStep
    nodes: Nodes


def _sure(model: ForcedModel, nodes: Nodes, thread: str) -> _Sure | None:
    """The step that releases a thread, if everybody settles at the same places whatever happens, and no rule is broken."""
    before = model.places_of(nodes[0])
    found: dict[Node, None] = {}
    for node in nodes:
        try:
            coarse = model.release(node, thread)
        except TooManyInterleavings:
            return None
        if coarse.broken:
            return None
        found.update(dict.fromkeys(coarse.settled))
    places = [model.places_of(node) for node in found]
    if not places or any(p != places[0] for p in places):
        return None
    then = {name: place for name, place in places[0].items() if name == thread or place != before[name]}
    return _Sure(ScheduledStep(thread, then), tuple(found))


def _begin(model: ForcedModel) -> Nodes | None:
    """The states in which a run begins, if the threads settle in one way."""
    coarse = model.start()
    if (
        coarse.broken
        or not coarse.settled
        or any(model.places_of(n) != model.places_of(coarse.settled[0]) for n in coarse.settled)
    ):
        return None
    return coarse.settled


# Random schedules.


def random_schedule(
    scenario: Scenario,
    driver: type[Device] | None,
    choose: Callable[[int], int],
    points: Iterable[str] = USUAL,
    release: str | None = None,
) -> Schedule | CannotForce:
    """A schedule that releases threads in an order of `choose`'s choosing: `choose(n)` gives one of 0..n-1.

    Only steps that settle in one way are taken; where no thread has one, the rest runs freely. `CannotForce` where that
    would break something (a deadlock, say). Raises `ModelError` for a bound that is too small.
    """
    points = tuple(points)
    model = ForcedModel(scenario, driver, points=points, release=release)
    nodes = _begin(model)
    if nodes is None:
        return CannotForce(f"the threads of {scenario.name} can settle in more than one way before the first step")
    steps: list[ScheduledStep] = []
    while not model.ended(nodes[0]) and len(steps) < MOST_STEPS:
        threads = model.held(nodes[0])
        step: _Sure | None = None
        while threads and step is None:
            step = _sure(model, nodes, threads.pop(choose(len(threads)) if len(threads) > 1 else 0))
        if step is None:
            break
        steps.append(step.step)
        nodes = step.nodes
    ends = _ends(model, nodes, MOST_AT_THE_END)
    return ends if isinstance(ends, CannotForce) else _schedule(scenario, driver, steps, points)


def free_schedule(scenario: Scenario, driver: type[Device] | None = None) -> Schedule:
    """The schedule without steps: every thread runs freely."""
    return _schedule(scenario, driver, [], USUAL)


def _schedule(scenario: Scenario, driver: type[Device] | None, steps: list[ScheduledStep], points: Iterable[str]) -> Schedule:
    has_device = scenario.has_device
    return Schedule(scenario, (driver or Mirror).__name__ if has_device else None, tuple(steps), tuple(points))


# What a schedule leaves behind.


def run_forced(schedule: Schedule, driver: type[Device] | None = None, release: str | None = None) -> frozenset[Forced]:
    """Everything that a run of a schedule can leave behind: one thing, unless some of it is up to timing. `release`: on which
    kernel release, as in `model.outcomes`.

    Raises `NotFollowed` where the model cannot do as the schedule says, `ModelError` for a bound that is too small.
    """
    model = ForcedModel(schedule.scenario, driver, points=schedule.points, release=release)
    nodes: Nodes = model.start().settled
    for number, step in enumerate(schedule.steps, 1):
        nodes = _follow(model, nodes, step, number)
    ends = _ends(model, nodes, MOST_AT_THE_END)
    if isinstance(ends, CannotForce):
        raise NotFollowed(len(schedule.steps) + 1, ends.why)
    return frozenset(model.left(node) for node in ends)


def _follow(model: ForcedModel, nodes: Nodes, step: ScheduledStep, number: int) -> Nodes:
    """The states after a step, of those in which threads settle as it says."""
    found: dict[Node, None] = {}
    elsewhere = ""
    for node in nodes:
        before = model.places_of(node)
        if step.release not in model.held(node):
            elsewhere = f"{step.release} is not held: it is {before[step.release]}"
            continue
        coarse = model.release(node, step.release)
        for broken in coarse.broken:
            elsewhere = f"{broken.thread} breaks {broken.rule}: {broken.message}"
        for after in coarse.settled:
            wanted, places = before | dict(step.then), model.places_of(after)
            if places == wanted:
                found[after] = None
            else:
                name = next(n for n in places if places[n] != wanted[n])
                elsewhere = f"{name} settles at {places[name]}, not at {wanted[name]}"
    if not found:
        raise NotFollowed(number, elsewhere)
    return tuple(found)


def _ends(model: ForcedModel, nodes: Nodes, most: int = MOST) -> Nodes | CannotForce:
    """The states at the end, whoever is still held running freely: `most` states of one run."""
    found: dict[Node, None] = {}
    for node in nodes:
        if model.ended(node):
            found[node] = None
            continue
        try:
            coarse = model.free(node, most)
        except TooManyInterleavings as error:
            return CannotForce(str(error))
        if coarse.broken:
            return CannotForce(
                f"run freely, {coarse.broken[0].thread} can break {coarse.broken[0].rule}: {coarse.broken[0].message}"
            )
        found.update(dict.fromkeys(coarse.settled))
    return tuple(found)


# The schedule of a counterexample.


def schedule_of(
    scenario: Scenario,
    driver: type[Device] | None,
    violation: Violation,
    rules: Iterable[Callable[..., Any]],
    bounds: dict[str, int] | None = None,
    points: Iterable[str] | None = None,
) -> Schedule | CannotForce:
    """A shortest schedule that breaks the rule of `violation`, and goes on from there to the end of the run.

    `rules` are the functions that watched when the violation was found, `bounds` the machine's raised bounds, `points` where
    threads are held (by default: at the usual points that the driver passes; where the counterexample cannot be ordered by
    those, inside one of the kernel's own functions as well, or inside all). Of the schedules that are equally short one is taken whose end *shows*
    what was broken (`shows`), if there is one; else a longer one that does; else the shortest.
    """
    if violation.rule in _UNFORCEABLE:
        return CannotForce(_UNFORCEABLE[violation.rule])
    rules = tuple(rules)
    if points is not None:
        return _schedule_at(tuple(points), scenario, driver, violation, rules, bounds)
    marked = ForcedModel(scenario, driver).marked
    usual, inside = (tuple(point for point in some if point in marked) for some in (USUAL, INSIDE))
    functions = {hold(point).function: tuple(p for p in inside if hold(p).function == hold(point).function) for point in inside}
    for more in ((), *functions.values(), inside):
        found = _schedule_at(usual + more, scenario, driver, violation, rules, bounds)
        if isinstance(found, Schedule):
            return _without_unused(found)
    return found


def _without_unused(schedule: Schedule) -> Schedule:
    """The same schedule without the points inside the kernel at which nobody is ever held: installing one takes a while."""
    met = {place for step in schedule.steps for place in step.then.values()}
    return replace(schedule, points=tuple(point for point in schedule.points if point not in INSIDE or point in met))


def _schedule_at(
    points: tuple[str, ...],
    scenario: Scenario,
    driver: type[Device] | None,
    violation: Violation,
    rules: tuple[Callable[..., Any], ...],
    bounds: dict[str, int] | None,
) -> Schedule | CannotForce:
    """`schedule_of` with threads held at these points."""
    watched = ForcedModel(scenario, driver, rules, bounds, points, quarantine=False)
    plain = ForcedModel(scenario, driver, (), bounds, points)
    unseen: Schedule | None = None
    reason = CannotForce(
        f"{violation.rule} is broken only if the threads switch where nobody can be held"
        + (f" ({violation.where})" if violation.where is not None else "")
    )
    for releases in _breaking(watched, violation.rule):
        ending = _ending(plain, releases)
        if isinstance(ending, CannotForce):
            reason = ending
            continue
        steps, visible = ending
        if visible:
            return _schedule(scenario, driver, steps, points)
        unseen = unseen or _schedule(scenario, driver, steps, points)
    return unseen or reason


def _breaking(model: ForcedModel, rule: str) -> Iterator[list[str]]:
    """The threads to release, one after another, until the rule is surely broken: shortest first."""
    begin = _begin(model)
    if begin is None:
        return
    todo: list[tuple[Nodes, tuple[Any, ...]]] = [(begin, ())]
    seen = {frozenset(node[0] for node in begin)}
    for nodes, way in todo:
        for thread in model.held(nodes[0]):
            try:
                ends = [model.release(node, thread) for node in nodes]
            except (TooManyInterleavings, ModelError):
                continue
            if all(_breaks(coarse, rule) for coarse in ends):
                yield [*_unrolled(way), thread]
                continue
            step = _sure(model, nodes, thread)
            if step is None:
                continue
            key = frozenset(node[0] for node in step.nodes)
            if key not in seen and len(seen) < MOST_PREFIXES:
                seen.add(key)
                todo.append((step.nodes, (way, thread)))


def _unrolled(way: tuple[Any, ...]) -> list[str]:
    found = []
    while way:
        way, thread = way
        found.append(thread)
    return found[::-1]


def _breaks(coarse: Coarse, rule: str) -> bool:
    """Whether a coarse step surely breaks a rule: there is no way round."""
    return not coarse.settled and bool(coarse.broken) and all(b.rule == rule for b in coarse.broken)


def _ending(model: ForcedModel, releases: list[str]) -> tuple[list[ScheduledStep], bool] | CannotForce:
    """The steps of some releases and of an ending, and whether it shows; without rules, on which the model goes on."""
    nodes = _begin(model)
    steps: list[ScheduledStep] = []
    for thread in releases:
        step = None if nodes is None or thread not in model.held(nodes[0]) else _sure(model, nodes, thread)
        if step is None:
            return CannotForce("what happens while the rule is being broken is up to timing")
        steps.append(step.step)
        nodes = step.nodes
    assert nodes is not None
    first: list[ScheduledStep] | None = None
    for tried, (more, end) in enumerate(_endings(model, nodes, releases[-1], set())):
        if all(shows(model.left(node)) for node in end):
            return steps + more, True
        first = first or steps + more
        if tried >= MOST_ENDINGS:
            break
    if first is None:
        return CannotForce("once the rule is broken, every way to the end is up to timing or breaks something worse")
    return first, False


def _endings(model: ForcedModel, nodes: Nodes, last: str, seen: set[Any]) -> Iterator[tuple[list[ScheduledStep], Nodes]]:
    """Every way to the end in steps that settle in one way, first those on which `last` goes on."""
    if model.ended(nodes[0]):
        yield [], nodes
        return
    key = frozenset(node[0] for node in nodes)
    if key in seen:
        return
    seen.add(key)
    held = model.held(nodes[0])
    for thread in sorted(held, key=lambda name: name != last):
        step = _sure(model, nodes, thread)
        if step is not None:
            for more, end in _endings(model, step.nodes, thread, seen):
                yield [step.step, *more], end


def shows(forced: Forced) -> bool:
    """Whether what a run left behind shows by itself that the device is out of step with the CPU."""
    values = dict(forced.outcome).values()
    return DIFFERS in values or any(w in ("none", "other") for w in forced.late) or any(page.startswith("other") for page in forced.probe)
