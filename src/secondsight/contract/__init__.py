"""The contract between a driver and the memory manager: the rules, and the adversaries that try to break them."""

from secondsight.contract.adversaries import ADVERSARIES, Adversary
from secondsight.contract.check import RULES, Checked, Rule, check, check_scenario, driver_program, load_drivers

__all__ = ["ADVERSARIES", "RULES", "Adversary", "Checked", "Rule", "check", "check_scenario", "driver_program", "load_drivers"]
