"""`replay --show N`: the machine at a step is the one of the page, and what the step changed is said first."""

from __future__ import annotations

from typing import Any

import pytest
from page_world import shown, states
from report_world import driver

from secondsight.devices import mirror
from secondsight.report.at_step import at_step
from secondsight.report.tables import plain


@pytest.fixture(scope="module")
def trace() -> dict[str, Any]:
    return shown(driver(mirror.MirrorWithoutTest, "munmap"))


def text_at(trace: dict[str, Any], number: int, whole: bool = False) -> str:
    return "".join(plain(part) for part in at_step(trace, number, whole))


def test_before_the_first_step_nothing_has_changed(trace: dict[str, Any]) -> None:
    assert text_at(trace, 0).startswith(f"step 0 of {len(trace['steps'])}: the machine before the first step\n")
    assert "->" not in text_at(trace, 0) and "*" not in text_at(trace, 0)


def test_every_change_is_said_and_marked(trace: dict[str, Any]) -> None:
    seen = states(trace)
    for number, changes in enumerate(trace["changes"], 1):
        text = text_at(trace, number)
        machine = [cell for cell, _ in changes if cell not in trace["ours"]]
        for cell in machine:
            name = trace["cells"][cell]
            assert f"  {name}: {seen[number - 1][name]} -> {seen[number][name]}" in " ".join(text.split("\n")) or len(name) > 50
        assert text.count("->") == len(machine)
        assert (text.count(" *") > 0) == bool(machine), number
        assert ("it changes nothing" in text) == (not machine)


def test_whole_has_what_is_as_in_a_new_machine_and_what_the_checker_keeps(trace: dict[str, Any]) -> None:
    titles = [table["title"] for table in trace["tables"]]
    lines = text_at(trace, 3, whole=True).splitlines()
    assert [line for line in lines if line in titles] == titles
    assert not {table["title"] for table in trace["tables"] if table["ours"]} & set(text_at(trace, 3).splitlines())
