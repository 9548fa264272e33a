"""docs/adequacy.md: whether the contract can fail: who breaks each rule, which adversary is needed for what, which mutants of a driver may live.
Written by `make docs`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from secondsight.contract.adversaries import EVERY_ADVERSARY
from secondsight.contract.check import RULES, rules_for
from secondsight.contract.driver_mutants import driver_mutants
from secondsight.contract.harmless import HARMLESS, JUDGED, by_reason
from secondsight.contract.lessons import (
    ALSO_BROKEN,
    ALWAYS_CHECKED,
    BROKEN_ELSEWHERE,
    BROKEN_IN_A_TABLE,
    KEPT,
    ONLY_HERE,
    RULES_BROKEN,
)
from secondsight.contract.without_mutants import NOT_RUN
from secondsight.devices.device import Device, Promise
from secondsight.devices.exclusive import Exclusive, Marking
from secondsight.devices.mirror import Mirror
from secondsight.devices.mirror_2019 import Mirror2019, Mirror2019MmapSem
from secondsight.devices.private_gpu import GpuMemory, PrivateGpu
from secondsight.devices.private_range import PrivateRangeGpu
from secondsight.devices.rdma_odp import OdpLater
from secondsight.devices.registration_cache import ForgetsByEvents, ForgetsByHook, KeepsEverything, UnsubscribesByEntry
from secondsight.devices.shared_notifier import GetsItsNotifier, SharedNotifier
from secondsight.devices.small import LeavesInItsCallback, PinsAllOrNothing
from secondsight.devices.userfault_handler import FillsPages

__all__ = ["PARTS", "RIGHT", "page"]

_RIGHT: list[type[Device]] = [Mirror, *(row[3] for row in RULES_BROKEN)]
_BESIDE: list[type[Device]] = [PinsAllOrNothing, LeavesInItsCallback]
_JUDGED: list[type[Device]] = [OdpLater, Mirror2019, Mirror2019MmapSem, FillsPages, KeepsEverything, ForgetsByHook, ForgetsByEvents, PrivateRangeGpu, UnsubscribesByEntry]
RIGHT: dict[str, type[Device]] = {driver.__name__: driver for driver in _RIGHT + _BESIDE + _JUDGED}
"""The drivers that ship and are right, and whose mutants are judged, of themselves or where others that derive from them are, by name."""

PARTS: dict[str, tuple[type, type[Device]]] = {
    part.__name__: (part, driver) for part, driver in ((Marking, Exclusive), (GpuMemory, PrivateGpu), (SharedNotifier, GetsItsNotifier))
}
"""Records within drivers that ship and are right, which have methods of their own: each with the driver that is tried with it changed."""

HEAD = """\
# Whether the contract can fail

A rule that no driver breaks, or an adversary that finds nothing which others do not, would prove nothing. Here is for each who
shows that it is needed; `make adversaries` tries it all. (`make docs` writes this page from `contract/lessons.py` and
`contract/harmless.py`.)
"""

MUTANTS = """
## Mutants of drivers

Of each driver every statement is dropped, swapped with its neighbour, moved out of its lock; each lock is left out, of several one too, and each test negated
(`secondsight mutants`). A mutant is noticed when the language refuses it, an adversary breaks it, its device gets at no page any more, or what its
promise is about does not happen: no page comes into the device's memory. Where the adversaries are not for a driver, others judge it: see below.
"""


def page() -> str:
    """The document."""
    return "".join((HEAD, *_promises(), *_rules(), *_adversaries(), MUTANTS, *_mutants()))


def _promises() -> Iterator[str]:
    yield "\n## Promises\n\n| promise | rules | broken by | kept by |\n| --- | --- | --- | --- |\n"
    for promise in get_args(Promise):
        rows = [(wrong, right) for *_, wrong, right in RULES_BROKEN if wrong.promise == promise]
        right = rows[0][1]
        rules = ", ".join(f"`{rule.name}`" for rule in rules_for(right))
        yield f"| `{promise}` | {rules} | {len({wrong for wrong, _ in rows})} drivers | {_names(right for _, right in rows)} |\n"


def _rules() -> Iterator[str]:
    yield "\n## Rules\n\nIn the same scenarios, at the same bound:\n\n| rule | with | broken by | kept by |\n| --- | --- | --- | --- |\n"
    names = [*RULES, *ALWAYS_CHECKED, *(rule for rule, *_ in RULES_BROKEN), *BROKEN_IN_A_TABLE, *BROKEN_ELSEWHERE]
    for name in dict.fromkeys(names):
        rows = [row for row in RULES_BROKEN if row[0] == name]
        if name in ALSO_BROKEN:
            adversary, wrong, right = ALSO_BROKEN[name]
            rows.append((name, adversary, wrong, right))
        for at, (_, adversary, wrong, right) in enumerate(rows):
            yield f"| {'' if at else f'`{name}`'} | `{adversary}` | `{wrong.__name__}` | `{right.__name__}` |\n"
        if name in BROKEN_IN_A_TABLE:
            table, breaks, keeps = BROKEN_IN_A_TABLE[name]
            yield f"| `{name}` | table `{table}` | {', '.join(breaks)} | {', '.join(keeps)} |\n"
        if name in BROKEN_ELSEWHERE and name != "progress":
            yield f"| `{name}` | | {BROKEN_ELSEWHERE[name]} | |\n"
        if name == "progress":
            yield f"| `progress` | | {', '.join(f'`{part}`' for part in ALWAYS_CHECKED)}, below | |\n"


def _adversaries() -> Iterator[str]:
    yield "\n## Adversaries\n\n| adversary | breaks, and no other does | or why it is kept |\n| --- | --- | --- |\n"
    for name in EVERY_ADVERSARY:
        only = f"`{ONLY_HERE[name].__name__}`" if name in ONLY_HERE else ""
        yield f"| `{name}` | {only} | {KEPT.get(name, '')} |\n"


def _mutants() -> Iterator[str]:
    yield "\n| driver | mutants | noticed |\n| --- | --- | --- |\n"
    for name, living in HARMLESS.items():
        several = len(driver_mutants(PARTS[name][0] if name in PARTS else RIGHT[name]))
        shown = f"`{name}` of `{PARTS[name][1].__name__}`" if name in PARTS else f"`{name}`"
        yield f"| {shown} | {several} | {several - len(living)} |\n"
    yield "\n| may live | reason |\n| --- | --- |\n"
    for name, living in HARMLESS.items():
        for reason, mutants in by_reason(living).items():
            yield f"| `{name}`: {'; '.join(mutants)} | {reason} |\n"
    yield "\n| not run | why |\n| --- | --- |\n"
    for reason, names in by_reason(NOT_RUN).items():
        yield f"| {', '.join(f'`{name}`' for name in names)} | {reason} |\n"
    yield "\n| driver | who judges its mutants |\n| --- | --- |\n"
    for name, judges in JUDGED.items():
        yield f"| `{name}` | {judges} |\n"


def _names(drivers: Iterator[type[Device]]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(driver.__name__ for driver in drivers))
