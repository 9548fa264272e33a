"""Bugs that were found: each is shown by whom its row names, and docs/bugs.md says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from secondsight.cases import TABLES
from secondsight.contract import check
from secondsight.contract.bugs import BUGS, Cells, InTest, WithAdversary, page
from secondsight.contract.lessons import RULES_BROKEN
from secondsight.devices.device import Device
from secondsight.lang.plain import replay
from secondsight.search import Verdict

HOUSE = Path(__file__).parents[2]
BESIDE = {(one.wrong.__name__, one.adversary): one for bug in BUGS for one in bug.shown if isinstance(one, WithAdversary)}
LESSONS = {(wrong, adversary) for _, adversary, wrong, _ in RULES_BROKEN}


def rules_broken(driver: type[Device], adversary: str, until: str = "") -> set[str]:
    found: set[str] = set()
    for checked in check(driver, [adversary]):
        if until in found:
            break
        violation = checked.result.violation
        assert checked.result.error is None, checked.result.error
        if violation is None:
            assert checked.result.verdict is Verdict.HOLDS
            continue
        found.add(violation.rule)
        steps = violation.trace.schedule
        assert len(replay(checked.rebuild(), steps, violation.trace.states)) == len(steps)
    return found


@pytest.mark.parametrize("one", [one for one in BESIDE.values() if (one.wrong, one.adversary) not in LESSONS], ids=lambda one: f"{one.wrong.__name__}-{one.adversary}")
def test_a_driver_is_wrong_as_the_bug_was_and_the_right_one_is_not(one: WithAdversary) -> None:
    """Those that are lessons too are run with the lessons (`make wrong-drivers`)."""
    assert one.rule in rules_broken(one.wrong, one.adversary, one.rule)
    assert rules_broken(one.right, one.adversary) == set()


def test_what_is_a_lesson_too_says_the_same() -> None:
    lessons = {(wrong, adversary): rule for rule, adversary, wrong, _ in RULES_BROKEN}
    both = [one for one in BESIDE.values() if (one.wrong, one.adversary) in LESSONS]
    assert both and all(lessons[one.wrong, one.adversary] == one.rule for one in both)


def test_cells_are_reviewed_and_tests_exist() -> None:
    for one in (one for bug in BUGS for one in bug.shown):
        if isinstance(one, Cells):
            assert (TABLES[one.table].expected[one.wrong], TABLES[one.table].expected[one.right]) == (Verdict.BROKEN, Verdict.HOLDS)
        if isinstance(one, InTest):
            body = ast.parse((HOUSE / one.file).read_text()).body
            assert one.test in [part.name for part in body if isinstance(part, ast.FunctionDef)]


def test_each_is_shown_or_says_why_not() -> None:
    assert all(bug.shown or bug.reason for bug in BUGS)


def test_the_page_says_what_the_table_does() -> None:
    assert (HOUSE / "docs" / "bugs.md").read_text() == page()
