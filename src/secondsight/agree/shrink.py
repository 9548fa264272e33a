"""Making a scenario small while something stays true of it: what is left is what matters.

`shrink(scenario, still)` tries smaller scenarios, keeps the first for which `still` holds, and begins again, until none
does. Smaller means: fewer operations (with an operation goes whatever needs the handle it made), threads made part of the
setup, then fewer processes, fewer pages, lower page numbers, fewer seals, shorter lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from secondsight.agree.source import refs
from secondsight.scenario import HandleRef, Op, Place, Scenario, ScenarioError, ScenarioThread
from secondsight.scenario.data import check
from secondsight.scenario.ops import ArgValue, HandleType, handle_name

__all__ = ["renumbered", "shrink", "without"]


def shrink(scenario: Scenario, still: Callable[[Scenario], bool], most: int = 400) -> Scenario:
    """The smallest scenario found of which `still` holds, as it does of the given one. At most `most` are tried."""
    tried = 0
    seen: set[str] = set()
    found = True
    while found:
        found = False
        for smaller in _smaller(scenario):
            candidate = renumbered(smaller) if _makes_sense(smaller) else None
            if candidate is None:
                continue
            key = "\n".join([*(t.name for t in candidate.threads), *(f"{p.section} {p.op}" for p in candidate.places())])
            if key in seen:
                continue
            seen.add(key)
            tried += 1
            if tried > most:
                return scenario
            if still(candidate):
                scenario, found = candidate, True
                break
    return scenario


def without(scenario: Scenario, unwanted: Callable[[Place], bool]) -> Scenario:
    """The scenario without some of its operations, and without those that need what they would have made."""
    gone: set[str] = set()

    def left(section: str, ops: tuple[Op, ...], number: int | None) -> tuple[Op, ...]:
        kept = []
        for i, op in enumerate(ops):
            if unwanted(Place(section, i, number, op)) or op.process in gone or any(ref.handle in gone for ref in refs(op)):
                if op.makes is not None:
                    gone.add(op.makes)
            else:
                kept.append(op)
        return tuple(kept)

    setup = left("setup", scenario.setup, None)
    threads = tuple(ScenarioThread(t.name, left(t.name, t.ops, n)) for n, t in enumerate(scenario.threads))
    return replace(scenario, setup=setup, threads=threads, final=left("final", scenario.final, None))


def renumbered(scenario: Scenario) -> Scenario:
    """The same scenario with the handles' and results' names that a recorder would give them in order: r1, r2, ..."""
    names: dict[str, str] = {}
    counts = dict.fromkeys(HandleType, 0)
    results = 0

    def renamed(value: ArgValue) -> ArgValue:
        if isinstance(value, HandleRef):
            return HandleRef(names[value.handle], value.page)
        if isinstance(value, tuple):
            return tuple((HandleRef(names[ref.handle], ref.page), page, pages) for ref, page, pages in value)
        return value

    def each(ops: tuple[Op, ...]) -> tuple[Op, ...]:
        nonlocal results
        done = []
        for op in ops:
            args = {name: renamed(value) for name, value in op.args.items()}
            makes, into = op.makes, op.into
            if makes is not None:
                made = op.declared.makes
                assert made is not None
                names[makes] = makes = handle_name(made, counts[made])
                counts[made] += 1
            if into is not None:
                results += 1
                into = f"r{results}"
            process = None if op.process is None else names[op.process]
            done.append(replace(op, args=args, makes=makes, into=into, process=process))
        return tuple(done)

    setup = each(scenario.setup)
    threads = tuple(ScenarioThread(t.name, each(t.ops)) for t in scenario.threads)
    return replace(scenario, setup=setup, threads=threads, final=each(scenario.final))


def _makes_sense(scenario: Scenario) -> bool:
    if not any(True for _ in scenario.places()):
        return False
    try:
        check(scenario)
    except ScenarioError:
        return False
    return True


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Scenarios that are a step smaller, the largest steps first."""
    places = list(scenario.places())
    size = len(places) // 2
    while size >= 1:
        for start in range(len(places) - size, -1, -size):
            cut = {(p.section, p.index) for p in places[start : start + size]}
            yield without(scenario, lambda place, cut=cut: (place.section, place.index) in cut)  # type: ignore[misc]
        size //= 2
    for number, thread in enumerate(scenario.threads):
        others = scenario.threads[:number] + scenario.threads[number + 1 :]
        if not thread.ops:
            yield replace(scenario, threads=others)
        elif len(scenario.threads) > 1:
            yield replace(scenario, setup=scenario.setup + thread.ops, threads=others)
            yield replace(scenario, final=thread.ops + scenario.final, threads=others)
    for process in scenario.processes[1:]:
        yield _moved(scenario, process)
    for place in places:
        for op in _simpler(place.op):
            yield _with(scenario, place, op)


def _moved(scenario: Scenario, process: str | None) -> Scenario:
    """The same with what a process does done by the first one."""

    def each(ops: tuple[Op, ...]) -> tuple[Op, ...]:
        return tuple(replace(op, process=None) if op.process == process else op for op in ops if op.makes != process)

    threads = tuple(ScenarioThread(t.name, each(t.ops)) for t in scenario.threads)
    return replace(scenario, setup=each(scenario.setup), threads=threads, final=each(scenario.final))


def _simpler(op: Op) -> Iterator[Op]:
    """The same operation with a simpler argument."""
    for name, value in op.args.items():
        if isinstance(value, HandleRef) and value.page:
            yield replace(op, args={**op.args, name: HandleRef(value.handle, 0)})
        elif name == "at" and value is not None:
            yield replace(op, args={**op.args, name: None})
        elif isinstance(value, int) and name in ("pages", "page"):
            least = 1 if name == "pages" else 0
            for lower in dict.fromkeys((least, value - 1)):
                if least <= lower < value:
                    yield replace(op, args={**op.args, name: lower})
        elif name == "seals" and isinstance(value, str) and value:
            parts = value.split("|")
            for i in range(len(parts)):
                yield replace(op, args={**op.args, name: "|".join(parts[:i] + parts[i + 1 :])})
        elif isinstance(value, tuple) and len(value) > 1:
            for i in range(len(value)):
                yield replace(op, args={**op.args, name: value[:i] + value[i + 1 :]})


def _with(scenario: Scenario, place: Place, op: Op) -> Scenario:
    """The scenario with another operation in a place."""

    def put(ops: tuple[Op, ...]) -> tuple[Op, ...]:
        return (*ops[: place.index], op, *ops[place.index + 1 :])

    if place.section == "setup":
        return replace(scenario, setup=put(scenario.setup))
    if place.section == "final":
        return replace(scenario, final=put(scenario.final))
    threads = tuple(ScenarioThread(t.name, put(t.ops)) if n == place.thread else t for n, t in enumerate(scenario.threads))
    return replace(scenario, threads=threads)
