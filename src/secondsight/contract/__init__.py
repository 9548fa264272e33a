"""The contract between a driver and the memory manager: the rules, and the adversaries that try to break them."""

from secondsight.contract.adversaries import ADVERSARIES, EVERY_ADVERSARY, IMPORTER_ADVERSARIES, Adversary, adversaries_for
from secondsight.contract.check import (
    RULES,
    Checked,
    Rule,
    check,
    check_scenario,
    driver_program,
    drivers_in,
    import_file,
    load_drivers,
    rules_for,
)
from secondsight.contract.rests import Rests, rests_on

__all__ = [
    "ADVERSARIES",
    "EVERY_ADVERSARY",
    "IMPORTER_ADVERSARIES",
    "RULES",
    "Adversary",
    "Checked",
    "Rests",
    "Rule",
    "adversaries_for",
    "check",
    "check_scenario",
    "driver_program",
    "drivers_in",
    "import_file",
    "load_drivers",
    "rests_on",
    "rules_for",
]
