"""What a driver's verdicts rest on: which adversaries reached it, which rules looked, which of its lines ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondsight.contract.adversaries import ADVERSARIES
from secondsight.contract.check import driver_program, rules_for
from secondsight.contract.runs import Line, Seen, files_of, unseen, watch
from secondsight.devices.device import Device

__all__ = ["Reach", "Rests", "rests_on"]


@dataclass(frozen=True, slots=True)
class Reach:
    """What was seen of one adversary in some of its interleavings.

    `called`: a callback of the driver was called (never, where nothing is subscribed: a driver that pins). `silent`: the rules
    that never came to demand anything.
    """

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
) -> Rests:
    """Run some interleavings of a driver with the named adversaries, always the same ones, and see what they do."""
    watching = [rule for rule in rules_for(driver, rules) if rule.probes]
    programs = [[driver_program(driver, s, watching, bounds) for s in ADVERSARIES[name].scenarios] for name in adversaries]
    files = files_of(driver) | {probe.__code__.co_filename for rule in watching for probe in rule.probes}

    def silent(seen: Seen) -> tuple[str, ...]:
        return tuple(rule.name for rule in watching if not any(seen.looked(probe) for probe in rule.probes))

    def is_called(seen: Seen) -> bool:
        return seen.called or driver.promise == "pinned"

    found = watch(
        programs,
        files,
        lambda seen: seen.accessed and is_called(seen) and not silent(seen),
        lambda seen: not unseen(driver, seen),
    )
    whole = Seen()
    for seen in found:
        whole.add(seen)
    reach = {name: Reach(is_called(seen), silent(seen)) for name, seen in zip(adversaries, found, strict=True)}
    return Rests(sum(seen.runs for seen in found), reach, tuple(unseen(driver, whole)))
