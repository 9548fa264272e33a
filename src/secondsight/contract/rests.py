"""What a driver's verdicts rest on: which adversaries reached it, which rules looked, which of its lines ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from secondsight.contract.adversaries import EVERY_ADVERSARY
from secondsight.contract.check import RULES, Rule, driver_program, rules_for
from secondsight.contract.runs import Line, Seen, files_of, methods_of, unseen, watch
from secondsight.devices.device import Device
from secondsight.lang import stored
from secondsight.lang.cuts import functions_of
from secondsight.lang.modules import is_ours
from secondsight.lang.program import Program
from secondsight.search.kept import hash_of, identity_of

__all__ = ["Reach", "Rests", "rests_on"]


@dataclass(frozen=True, slots=True)
class Reach:
    """What was seen of one adversary in some of its interleavings.

    `touched`: the device got at a page, whatever its accesses have returned. `called`: a callback of the driver was called (never, where nothing is subscribed: a driver that pins). `silent`: the rules
    that never came to demand anything, of those that something in the adversary's programs could make look.
    """

    touched: bool
    called: bool
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rests:
    """What some interleavings of a driver with adversaries showed.

    `runs`: how many were run. `unseen`: the lines of the driver that none of them came to. A line that only a rare interleaving
    comes to may be among them.
    """

    runs: int
    reach: dict[str, Reach]
    unseen: tuple[Line, ...]


def rests_on(
    driver: type[Device],
    adversaries: Sequence[str],
    rules: Sequence[str] | None = None,
    bounds: dict[str, int] | None = None,
    kept: bool = False,
    known: Mapping[str, Program] | None = None,
) -> Rests:
    """Run some interleavings of a driver with the named adversaries, always the same ones, and see what they do.

    `kept`: not where that was kept, and nothing that it depends on has changed since. `known`: by scenario, the programs that were built already,
    of this driver with these rules and bounds.
    """
    watching = [rule for rule in rules_for(driver, rules) if rule.probes]
    known = known or {}
    programs = [
        [known.get(s.name) or driver_program(driver, s, watching, bounds) for s in EVERY_ADVERSARY[name].scenarios] for name in adversaries
    ]
    question = _question(driver, adversaries, watching, programs) if kept else None
    code = programs[0][0].code if question is not None else None
    told = stored.find_answer(code, question) if code is not None and question is not None else None
    if told is not None:
        return _read(told)
    rests = _seen(driver, adversaries, watching, programs)
    if kept:
        question = _question(driver, adversaries, watching, programs)  # now all the code is kept
        if question is not None:
            stored.keep_answer(programs[0][0].code, question, asdict(rests))
    return rests


def _question(
    driver: type[Device], adversaries: Sequence[str], watching: Sequence[Rule], programs: Sequence[Sequence[Program]]
) -> str | None:
    """What the answer depends on, as one word; None where that cannot be made out.

    The programs stand for the texts that the driver's methods and the rules are in: those are among the files that they come from.
    """
    identities = [[identity_of(one) for one in some] for some in programs]
    origins = [one.code.origin for some in programs for one in some]
    if not origins or any(one is None for some in identities for one in some):
        return None
    methods = [(m.__module__, m.__qualname__, m.__code__.co_filename, m.__code__.co_firstlineno) for m in methods_of(driver)]
    if not all(is_ours(module) or any(o is not None and file in o.files for o in origins) for module, _, file, _ in methods):
        return None
    probes = [(rule.name, [probe.__qualname__ for probe in rule.probes]) for rule in watching]
    return hash_of("rests of touches", list(adversaries), identities, probes, driver.promise, methods)


def _read(told: dict[str, Any]) -> Rests:
    reach = {name: Reach(one["touched"], one["called"], tuple(one["silent"])) for name, one in told["reach"].items()}
    return Rests(told["runs"], reach, tuple(Line(**line) for line in told["unseen"]))


def _seen(
    driver: type[Device], adversaries: Sequence[str], watching: Sequence[Rule], programs: Sequence[Sequence[Program]]
) -> Rests:
    files = files_of(driver) | {probe.__code__.co_filename for rule in watching for probe in rule.probes}

    asked = [[rule for rule in watching if any(_is_asked(rule, program) for program in some)] for some in programs]

    def silent(number: int, seen: Seen) -> tuple[str, ...]:
        return tuple(rule.name for rule in asked[number] if not any(seen.looked(probe) for probe in rule.probes))

    def is_called(seen: Seen) -> bool:
        return seen.called or driver.promise == "pinned"

    found = watch(
        programs,
        files,
        lambda number, seen: seen.accessed and is_called(seen) and not silent(number, seen),
        lambda seen: not unseen(driver, seen),
    )
    whole = Seen()
    for seen in found:
        whole.add(seen)
    reach = {name: Reach(seen.accessed, is_called(seen), silent(number, seen)) for number, (name, seen) in enumerate(zip(adversaries, found, strict=True))}
    return Rests(sum(seen.runs for seen in found), reach, tuple(unseen(driver, whole)))


def _is_asked(rule: Rule, program: Program) -> bool:
    """Whether anything in a program can make a rule look: where nothing is swapped out or moved nobody asks what was lost by it.

    A rule of the driver's own file is always asked: one that nothing there can make look is what its author has to hear of.
    """
    if rule.name not in RULES:
        return True
    functions = functions_of(program)
    return any(probe in functions for probe in rule.probes)
