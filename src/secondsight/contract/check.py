"""Checking a driver: every adversary against it, under the rules of the contract."""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, get_args
from weakref import WeakKeyDictionary

from secondsight.contract.adversaries import Adversary, adversaries_for
from secondsight.contract.balance import all_is_given_back
from secondsight.contract.buffer import job_on_the_buffers_memory
from secondsight.contract.coherence import as_if_cpu, isolation, same_at_rest
from secondsight.contract.exclusive import has_it_alone, is_atomic, nobody_stores_meanwhile
from secondsight.contract.failures import (
    access_ends,
    access_is_watched,
    fails_as_the_cpu,
    goes_away_meanwhile,
    is_being_closed,
    is_past_the_end_meanwhile,
    opens_for_who_lives,
)
from secondsight.contract.implicit_sync import cpu_asks, cpu_begins_when_it_is_over, is_under_way, is_under_way_no_more
from secondsight.contract.lifetime import no_use_after_free, no_use_of_a_dead_mm
from secondsight.contract.pinned import access_to_a_counted_frame, access_to_a_frame_that_may_stay, access_to_a_pinned_frame
from secondsight.contract.private import given_out_once, given_to_the_cpu, nothing_is_left, zeroed_where_nothing_was
from secondsight.contract.table import no_change_while_it_is_walked
from secondsight.contract.teardown import (
    detached_when_closed,
    no_callback_after_unregister,
    unsubscribed_when_closed,
    unsubscribed_when_refused,
)
from secondsight.contract.writeback import moved_as_it_is, saved_before_it_is_dropped
from secondsight.devices.device import Device, Promise
from secondsight.lang.cuts import functions_of
from secondsight.lang.errors import LangError, RuleBroken
from secondsight.lang.frontend import parameters
from secondsight.lang.modules import load, why_no_file
from secondsight.lang.names import there_are
from secondsight.lang.program import Program
from secondsight.scenario import Scenario
from secondsight.search import Progress, Result, Verdict
from secondsight.search.auto import search
from secondsight.search.request import Request
from secondsight.world.enough import with_enough
from secondsight.world.model import Together, done_together, has_succeeded, program, shape_of, watched

__all__ = ["RULES", "Checked", "Rule", "check", "check_scenario", "driver_program", "drivers_in", "import_file", "load_drivers", "own_rules", "pick", "rules_for"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the contract: its name, what it means, and the functions that watch for it.

    `probes` is empty for rules that the executors check by themselves (deadlock, misuse of locks): those are always on.
    """

    name: str
    summary: str
    probes: tuple[Callable[..., Any], ...] = ()
    file: str = ""
    promises: tuple[Promise, ...] = get_args(Promise)
    """Of whom it is asked; see `Device.promise`."""
    says: str | None = None
    """It is only asked of drivers that say this of themselves: an attribute of the class."""

    def is_asked_of(self, driver: type[Device]) -> bool:
        """Whether a driver is judged by it."""
        return driver.promise in self.promises and (self.says is None or getattr(driver, self.says, False) is True)


def _rule(name: str, *probes: Callable[..., Any], promises: tuple[Promise, ...] = get_args(Promise), says: str | None = None) -> Rule:
    summary = (probes[0].__doc__ or "").strip().splitlines()[0]
    file = Path(probes[0].__code__.co_filename)
    return Rule(name, summary, probes, f"{file.parent.name}/{file.name}", promises, says)


AS_A_CPU: tuple[Promise, ...] = ("mirror", "process", "exclusive", "private")


RULES: dict[str, Rule] = {
    r.name: r
    for r in (
        _rule(
            "as-if-cpu", as_if_cpu, same_at_rest, fails_as_the_cpu, access_is_watched, access_ends, goes_away_meanwhile, is_past_the_end_meanwhile,
            is_being_closed, opens_for_who_lives, promises=AS_A_CPU,
        ),
        _rule("pinned", access_to_a_pinned_frame, promises=("pinned",)),
        _rule("movable", access_to_a_frame_that_may_stay, promises=("pinned",)),
        _rule("memlock", access_to_a_counted_frame, promises=("pinned",)),
        _rule("no-freed-frame", job_on_the_buffers_memory, promises=("importer",)),
        _rule(
            "implicit-sync", cpu_begins_when_it_is_over, cpu_asks, is_under_way, is_under_way_no_more, promises=("importer",), says="implicit_sync",
        ),
        _rule("exclusive", is_atomic, has_it_alone, nobody_stores_meanwhile, promises=("exclusive",)),
        _rule("own-memory", given_out_once, given_to_the_cpu, zeroed_where_nothing_was, promises=("private",)),
        _rule("no-use-after-free", no_use_after_free, no_use_of_a_dead_mm),
        _rule("isolation", isolation, promises=AS_A_CPU),
        _rule("teardown", no_callback_after_unregister, unsubscribed_when_closed, unsubscribed_when_refused, detached_when_closed, nothing_is_left),
        _rule("balance", all_is_given_back),
        _rule("lost-write", saved_before_it_is_dropped, moved_as_it_is),
        _rule("table-lock", no_change_while_it_is_walked),
        Rule(
            "progress",
            "Nobody waits for ever, goes round for ever under a fair scheduler, sleeps where sleeping is forbidden, or misuses a lock "
            "(always checked).",
            (),
        ),
    )
}
"""The contract's rules by name."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One driver against one scenario of one adversary."""

    driver: str
    adversary: str
    scenario: str
    rules: tuple[str, ...]
    result: Result
    rebuild: Callable[[], Program]
    """Builds the same program again: to replay and print a trace."""
    accessed: bool = True
    """Whether an access of the device succeeded in any final state that was seen, and it can touch a page at all. Where not, *holds* says little."""
    bounds: Mapping[str, int] = field(default_factory=dict)
    """The bounds that were given by hand, or raised because they ran out."""
    program: Program | None = field(default=None, compare=False, repr=False)
    """What was searched; None where it could not be built."""


def pick(kind: str, table: dict[str, Any], names: Sequence[str] | None) -> list[Any]:
    """The entries of a table by name; all of them for None. Raises `LangError` that lists the names there are."""
    if not names:
        return list(table.values())
    unknown = [n for n in names if n not in table]
    if unknown:
        raise LangError(f"no {kind} is called {unknown[0]!r}; {there_are(unknown[0], table)}")
    return [table[n] for n in dict.fromkeys(names)]


def rules_for(driver: type[Device], names: Sequence[str] | None = None) -> list[Rule]:
    """The rules that a driver is judged by: those of its promise and those of its own file; or, of them, those named.

    Raises `LangError` for a name that is none of them.
    """
    if driver.promise not in get_args(Promise):
        raise LangError(f"{driver.__name__}.promise is {driver.promise!r}; there are: {', '.join(get_args(Promise))}")
    table = {name: rule for name, rule in RULES.items() if rule.is_asked_of(driver)} | own_rules(driver)
    for name in names or ():
        if name in RULES and name not in table:
            says = RULES[name].says
            but = f" and which does not say {says}" if says is not None and driver.promise in RULES[name].promises else ""
            raise LangError(f"the rule {name} is not asked of {driver.__name__}, whose promise is {driver.promise!r}{but}")
    return pick("rule", table, names)


def own_rules(driver: type[Device]) -> dict[str, Rule]:
    """The rules that a driver's file has, by name: its functions with `@rule`. Raises `LangError` for a name of the contract's."""
    known = {probe for rule in RULES.values() for probe in rule.probes}
    own: dict[str, list[Callable[..., Any]]] = {}
    for value in vars(sys.modules[driver.__module__]).values():
        if inspect.isfunction(value) and hasattr(value, "__rule__") and value not in known:
            own.setdefault(value.__rule__, []).append(value)
    for name, (probe, *_) in own.items():
        if name in RULES:
            code = probe.__code__
            raise LangError(f"{code.co_filename}:{code.co_firstlineno}: the contract has a rule {name}; give this one another name")
    return {name: _rule(name, *probes) for name, probes in own.items()}


def driver_program(
    driver: type[Device], scenario: Scenario, rules: Sequence[Rule] | None = None, bounds: dict[str, int] | None = None, results: bool = False
) -> Program:
    """The checked program of a driver in a scenario, watched by those of `rules` that its promise has (default: all). `results`: those of
    the operations are kept."""
    watching = rules_for(driver) if rules is None else [r for r in rules if r.is_asked_of(driver)]
    probes = [p for r in watching for p in r.probes]
    return program(scenario, driver, probes, bounds, closes=True, results=results, together=partial(_done_together, driver))


_together: WeakKeyDictionary[type[Device], Together] = WeakKeyDictionary()


def _done_together(driver: type[Device]) -> Together:
    """What the contract's scenarios of each shape do. A program has code for that alone, not for all that is declared beside it:
    half of the code for many an adversary. All adversaries count, whichever are tried, so that what is kept of a shape serves every run."""
    if driver not in _together:
        _together[driver] = done_together((s for adversary in adversaries_for(driver).values() for s in adversary.scenarios), driver)
    return _together[driver]


def check(
    driver: type[Device],
    adversaries: Sequence[str] | None = None,
    rules: Sequence[str] | None = None,
    request: Request | None = None,
    on_progress: Callable[[str, Progress], None] | None = None,
    bounds: dict[str, int] | None = None,
) -> Iterator[Checked]:
    """Run `driver` against every adversary (or those named), one result a scenario, as they finish.

    `rules` narrows the rules that are watched. `bounds` decides bounds of the machine by hand; others are raised when they run out. `request`: how
    its searches are to be made. Raises `LangError` for unknown names and for a driver outside the language.
    """
    picked: list[Adversary] = pick("adversary", adversaries_for(driver), adversaries)
    watching = rules_for(driver, rules)
    todo = [(adversary.name, scenario) for adversary in picked for scenario in adversary.scenarios]
    shapes: list[object] = []

    weights = [_weight(scenario) for _, scenario in todo]

    def coming(number: int) -> int:
        """How many scenarios from this one on share their code with it, each by its weight."""
        if not shapes:
            shapes.extend(shape_of(scenario, driver, bounds or {}) for _, scenario in todo)
        return sum(weight for shape, weight in zip(shapes[number:], weights[number:], strict=True) if shape == shapes[number])

    for number, (adversary, scenario) in enumerate(todo):
        asked = (request or Request()).but(coming=partial(coming, number), weight=weights[number])
        yield check_scenario(driver, adversary, scenario, watching, asked, on_progress, bounds)


A_FURTHER_ENGINE = 16
"""How many times the states a further engine costs at least, but for small ones: 13 to 50 with the README's driver, 8 where the device's access is exclusive."""


def _weight(scenario: Scenario) -> int:
    """How many times as large a scenario is as one with one engine: several threads that are nothing but the device's accesses are engines."""
    engines = sum(1 for thread in scenario.threads if thread.ops and all(op.declared.accesses for op in thread.ops))
    return int(A_FURTHER_ENGINE ** max(0, engines - 1))


def check_scenario(
    driver: type[Device],
    adversary: str,
    scenario: Scenario,
    rules: Sequence[Rule],
    request: Request | None = None,
    on_progress: Callable[[str, Progress], None] | None = None,
    bounds: dict[str, int] | None = None,
    results: bool = False,
) -> Checked:
    """One driver in one scenario. `results`: those of the operations are in `Result.outcomes`; else no more than `has_succeeded` reads."""

    def build(enough: dict[str, int]) -> Program:
        return driver_program(driver, scenario, rules, enough, results)

    def tell(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(scenario.name, progress)

    asked = (request or Request()).but(on_progress=tell, livelock=True)
    names = tuple(r.name for r in rules)
    try:
        found = with_enough(build, lambda made: search(made, asked.but(watch=watched(made))), bounds or {})
    except RuleBroken as error:  # by the driver, in what the scenario does before its threads: there is no program to search, nor a trace
        at = f"{error.where.file}:{error.where.line}: " if error.where is not None else ""
        said = LangError(f"{at}{driver.__name__} breaks the rule {error.rule} while {scenario.name} is set up, before any thread: {error.message}")
        result = Result(Verdict.NOT_FINISHED, 0, 0, 0, 0.0, reason="error", error=said)
        return Checked(driver.__name__, adversary, scenario.name, names, result, lambda: build(dict(bounds or {})), False, dict(bounds or {}))
    enough = {**(bounds or {}), **found.raised}
    accessed = has_succeeded(found.program, scenario, found.result.outcomes) and _can_touch(driver, found.program)
    return Checked(driver.__name__, adversary, scenario.name, names, found.result, lambda: build(enough), accessed, enough, found.program)


def _can_touch(driver: type[Device], made: Program) -> bool:
    """Whether anything in a program can have the device touch a page: an `access` of a driver's own may say that it did, and do nothing. (Whether an importer's engine
    does is seen in the interleavings that are watched.)"""
    return driver.promise == "importer" or any(getattr(function, "__name__", "") == "device_touches" for function in functions_of(made))


def load_drivers(path: str | Path, wanted: Sequence[str] | None = None) -> list[type[Device]]:
    """The driver classes that a file defines, in its order: classes derived from `Device` that nothing in it derives from.

    `wanted`: the names of those that will be used; what is wrong with the others does not matter then. Raises `LangError` when the file cannot be
    read or run (with the lines of the user's own file), or defines none.
    """
    path = Path(path)
    if not path.is_file():
        raise LangError(f"{path}: {why_no_file(path)}; give a Python file with a class derived from secondsight.Device")
    found = drivers_in(path, import_file(path), wanted)
    if not found:
        raise LangError(f"{path}: no driver in it; define a class derived from secondsight.Device")
    return found


def drivers_in(path: Path, module: ModuleType, wanted: Sequence[str] | None = None) -> list[type[Device]]:
    """The driver classes that a user's file defines, in its order; perhaps none. Raises `LangError` for one that is not well made."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Device) and value.__module__ == module.__name__
    ]
    found = list(dict.fromkeys(found))
    wrong = [text for driver in found if not wanted or driver.__name__ in wanted for text in _wrong_in(driver)]
    if wrong:
        raise LangError("\n\n".join(wrong))
    return sorted(found, key=lambda c: _line(path, c))


def _line(path: Path, thing: Any) -> int:
    """Where a class or a function of a file begins."""
    try:
        for own in vars(thing).values() if isinstance(thing, type) else ():
            if inspect.isfunction(own) and not Path(own.__code__.co_filename).exists():  # from Python 3.13 on a class has a line nevertheless
                raise OSError
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        raise LangError(f"{path}: {thing.__qualname__} has no source text there; write the class in the file itself") from None


def _wrong_in(driver: type[Device]) -> Iterator[str]:
    """Its fields that have no type of the language; methods with more or fewer parameters than the one that they override, or with other
    names than a device's: they are called as that one is."""
    try:
        driver.fields()
    except LangError as error:
        yield str(error)
    for name, own in vars(driver).items():
        other = next((vars(base)[name] for base in driver.__mro__[1:] if name in vars(base)), None)
        if inspect.isfunction(own) and inspect.isfunction(other):
            mine, theirs = inspect.signature(own).parameters, inspect.signature(inspect.unwrap(other)).parameters
            if len(mine) != len(theirs) or (other.__module__ == Device.__module__ and parameters(own) != parameters(other)):
                yield (
                    f"{own.__code__.co_filename}:{own.__code__.co_firstlineno}: {driver.__name__}.{name}({', '.join(mine)}) does not "
                    f"have the parameters of {other.__qualname__}({', '.join(theirs)}), which it overrides\n"
                    f"  instead: def {name}{written(other)}:"
                )


def written(function: Any) -> str:
    """A function's parameters and result with their types, as its source has them."""
    signature = inspect.signature(inspect.unwrap(function))
    parts = [p.name if p.annotation is p.empty else f"{p.name}: {_type(p.annotation)}" for p in signature.parameters.values()]
    return f"({', '.join(parts)})" + ("" if signature.return_annotation is signature.empty else f" -> {_type(signature.return_annotation)}")


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def import_file(path: Path) -> ModuleType:
    """A user's file, run. Raises `LangError`, with the lines of the file itself, when it cannot be."""
    name = f"_secondsight_driver_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"  # the same in every process
    try:
        return load(name, path)
    except SyntaxError as error:
        place = path if error.lineno is None else f"{path}:{error.lineno}" + (f":{error.offset}" if error.offset else "")
        raise LangError("\n    ".join(filter(None, [f"{place}: {error.msg}", (error.text or "").strip()]))) from None
    except LangError:
        raise
    except (Exception, SystemExit) as error:
        own = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).resolve() == path.resolve()]
        lines = "".join(f"\n  {path}:{f.lineno}: {f.line}" for f in own)
        raise LangError(f"{path}: cannot be run: {type(error).__name__}: {error}{lines}") from None
