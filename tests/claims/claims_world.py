"""Traces as `check` prints them, and what is said of them, or of what was made of them, as claims."""

from __future__ import annotations

from functools import cache

from secondsight.claims import Tried, ask_of, read_claim, subject_of
from secondsight.contract import EVERY_ADVERSARY, rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.device import Device
from secondsight.report.trace import mail
from secondsight.scenario import Scenario
from secondsight.search import Limits, Request

ENOUGH = Request(limits=Limits(states=150_000))


def scenario_named(name: str) -> Scenario:
    (found,) = [s for a in EVERY_ADVERSARY.values() for s in a.scenarios if s.name == name]
    return found


@cache
def printed(driver: type[Device], scenario: str) -> tuple[str, str]:
    """The trace of the rule that a driver breaks in a scenario, as a mail has it, and the rule; nothing where none is broken."""
    checked = check_scenario(driver, scenario.partition(":")[0], scenario_named(scenario), rules_for(driver), ENOUGH)
    violation = checked.result.violation
    if violation is None:
        return "", ""
    return mail(f"{driver.__name__} ({scenario})", checked.rebuild(), checked.result), violation.rule


def asked(text: str, driver: type[Device], scenario: str) -> Tried:
    """What is said of a text."""
    return ask_of(read_claim(text, "claim.txt"), subject_of(driver, scenario_named(scenario), rules_for(driver)), ENOUGH)


def numbers(tried: Tried) -> list[int]:
    """The lines of the claim in the order in which the run is told that has them."""
    assert tried.possible is not None
    return [entry.claimed for entry in tried.possible.told.entries if entry.claimed]
