"""Every class of devices/ has its mutants run, or is wrong and shown to be, or has a reason."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from secondsight import devices
from secondsight.cases.table_mutants import DESIGNS
from secondsight.contract import EVERY_ADVERSARY, rules_for
from secondsight.contract.adequacy import PARTS, RIGHT
from secondsight.contract.check import check_scenario
from secondsight.contract.driver_mutants import driver_mutants
from secondsight.contract.lessons import ALSO_BROKEN, ONLY_HERE, RULES_BROKEN
from secondsight.contract.without_mutants import NOT_RUN, WRONG
from secondsight.devices.small import ForgetsItsWorker
from secondsight.search import Verdict

HOUSE = Path(__file__).parents[2]


def _defined() -> Iterator[type]:
    """The classes that files of devices/ define and that have a statement to change."""
    for found in pkgutil.walk_packages(devices.__path__, "secondsight.devices."):
        for value in vars(import_module(found.name)).values():
            if inspect.isclass(value) and value.__module__ == found.name and driver_mutants(value):
                yield value


def test_every_class_has_its_mutants_run_or_a_reason() -> None:
    wrong = {row[2].__name__ for row in RULES_BROKEN} | {driver.__name__ for driver in ONLY_HERE.values()} | {row[1].__name__ for row in ALSO_BROKEN.values()}
    known = [RIGHT, PARTS, DESIGNS, wrong | set(WRONG), NOT_RUN]
    places = {kind.__name__: sum(kind.__name__ in where for where in known) for kind in _defined()}
    assert [name for name, several in places.items() if several == 0] == [], "neither tried nor said why"
    assert [name for name, several in places.items() if several > 1] == [], "in two of them"
    assert set(WRONG) | set(NOT_RUN) | set(DESIGNS) <= set(places), "of a class that is not there"


def test_who_is_said_to_be_wrong_is_named_where_that_is_shown() -> None:
    assert [name for name, file in WRONG.items() if name not in (HOUSE / file).read_text()] == []


def test_a_worker_that_counts_on_its_attachment_finds_none() -> None:
    (scenario,) = [one for one in EVERY_ADVERSARY["buffer-moves"].scenarios if one.name == "buffer-moves: two jobs"]
    result = check_scenario(ForgetsItsWorker, "buffer-moves", scenario, rules_for(ForgetsItsWorker)).result
    assert result.verdict is Verdict.BROKEN
    assert result.violation is not None and result.violation.rule == "assertion"
