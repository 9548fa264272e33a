"""Every trace that is printed comes back as possible, with the rule that it breaks; so does every part of every run."""

from __future__ import annotations

import os
import random

import pytest
from claims_world import asked, printed, scenario_named

from secondsight.contract import adversaries_for
from secondsight.contract.check import driver_program
from secondsight.contract.lessons import ONLY_HERE, RULES_BROKEN
from secondsight.devices.device import Device
from secondsight.devices.exclusive import ExclusiveRetriesLocked
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.devices.small import (
    ClosesKeepingItsTable,
    IgnoresParts,
    KeepsItsMapping,
    LeavesUnderItsLock,
    RemembersByAddress,
    TrustsItsMemory,
)
from secondsight.lang.reference import Reference
from secondsight.report.columns import columns
from secondsight.report.story import ELSEWHERE, tell
from secondsight.report.trace import busy
from secondsight.search import Step, Trace

EVERYTHING = os.environ.get("SECONDSIGHT_CLAIMS") == "all"
NO_STEP = {"livelock", "lock-order"}
"""Rules that no step breaks: what a trace says of them at its end is not looked at."""

SOME = [
    (MirrorWithoutTest, "munmap: two engines"), (ClosesKeepingItsTable, "close: beside exit"), (LeavesUnderItsLock, "exit: reads"), (KeepsItsMapping, "buffer-revoked: two jobs"),
    (RemembersByAddress, "two-processes: munmap"), (ExclusiveRetriesLocked, "atomics: closes"),
    (TrustsItsMemory, "device-memory-goes: a CPU reads, an engine writes"),
]  # fmt: skip
PAIRS = dict.fromkeys([(wrong, adversary) for _, adversary, wrong, _ in RULES_BROKEN] + [(wrong, adversary) for adversary, wrong in ONLY_HERE.items()])
ALL = [(driver, s.name) for driver, name in PAIRS for s in adversaries_for(driver)[name].scenarios]


@pytest.mark.parametrize(("driver", "scenario"), ALL if EVERYTHING else SOME, ids=lambda v: getattr(v, "__name__", v))
def test_a_printed_trace_is_possible_and_breaks_the_same(driver: type[Device], scenario: str) -> None:
    """All of them: `make claims`, minutes."""
    text, rule = printed(driver, scenario)
    if not text:
        assert EVERYTHING
        return
    tried = asked(text, driver, scenario)
    assert (tried.verdict, tried.unknown, tried.remarks) == ("possible", (), ())
    assert tried.possible is not None
    assert tried.possible.breaks == rule or rule in NO_STEP


def told_walk(driver: type[Device], scenario: str, seed: int) -> str:
    """A part of what is told of a random run, in columns."""
    program, drawn = driver_program(driver, scenario_named(scenario)), random.Random(seed)
    reference, steps = Reference(program), list[Step]()
    state = reference.initial
    while ways := [way for way in reference.successors(state) if way.state is not None]:
        going = [way for way in ways if steps and way.thread == steps[-1].thread]
        way = drawn.choice(going if going and drawn.random() < 0.6 else ways)
        steps.append(Step(way.thread, way.choices))
        state = way.state or b""
    entries, _ = tell(program, Trace.along(reference, steps))
    some: list[int] = []  # a claim of nothing but steps without a line says nothing
    while all(entries[i].text == ELSEWHERE for i in some):
        some = sorted(drawn.sample(range(len(entries)), min(len(entries), drawn.choice([3, 8, 20, 200]))))
    return "\n".join(columns(*busy([thread.name for thread in program.threads], [entries[i] for i in some])))


@pytest.mark.parametrize(("driver", "scenario"), [(Mirror, "munmap: reads"), (Mirror, "close: beside munmap"), (IgnoresParts, "part: two engines")], ids=lambda v: getattr(v, "__name__", v))
def test_any_part_of_any_run_is_possible(driver: type[Device], scenario: str) -> None:
    """So *impossible* is never said of what a run has: runs at random, and lines out of them at random."""
    for seed in range(40 if EVERYTHING else 3):
        text = told_walk(driver, scenario, seed)
        tried = asked(text, driver, scenario)
        assert (tried.verdict, tried.unknown) == ("possible", ()), text
