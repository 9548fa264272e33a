"""Scenarios: recorded once, and data from then on.

`@scenario` records one (`recorder.py`); `ops.py` has the table of operations, `data.py` what a scenario
and an outcome are.
"""

from secondsight.scenario.data import (
    EXITED,
    OK,
    SKIPPED,
    TORN,
    ZERO,
    Outcome,
    Place,
    Scenario,
    ScenarioThread,
    collect,
    freeze,
    load_expected,
    show_outcome,
    show_value,
)
from secondsight.scenario.ops import OPS, ArgType, HandleRef, HandleType, Op, Operation, ScenarioError
from secondsight.scenario.recorder import Address, DeviceHandle, File, Mapping, Process, Recorder, load_scenarios, scenario

__all__ = [
    "EXITED",
    "OK",
    "OPS",
    "SKIPPED",
    "TORN",
    "ZERO",
    "Address",
    "ArgType",
    "DeviceHandle",
    "File",
    "HandleType",
    "Mapping",
    "Op",
    "Operation",
    "Outcome",
    "Place",
    "Process",
    "Recorder",
    "HandleRef",
    "Scenario",
    "ScenarioError",
    "ScenarioThread",
    "collect",
    "freeze",
    "load_expected",
    "load_scenarios",
    "scenario",
    "show_outcome",
    "show_value",
]
