"""Devices that walk the process's page tables themselves: what the adversaries do not ask of them, and what a flush is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest

from secondsight.contract import check, rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.devices.small import (
    AnswersForTheDead,
    FlushesAtTheEnd,
    FlushesTheDeviceFirst,
    HearsBoth,
    StaysBound,
    WaitsForNoFlush,
)
from secondsight.devices.sva import Sva
from secondsight.lang.plain import replay
from secondsight.lang.render_c import render_c
from secondsight.scenario import Recorder, Scenario
from secondsight.search import Request, Verdict
from secondsight.world.model import program

REFERENCE = Request(executor="reference")


def absent_page_beside_exit() -> Scenario:
    """The device asks for a page that is not there while the process goes."""
    s = Recorder()
    pages = s.mmap(pages=2)
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.read(pages, into="read")

    @s.thread
    def cpu() -> None:
        s.exit()

    return s.scenario("absent-page", "The device asks for a page that is not there while the process goes.")


def verdict(driver: type[Device], scenario: Scenario) -> tuple[Verdict, str]:
    checked = check_scenario(driver, "", scenario, rules_for(driver), REFERENCE)
    violation = checked.result.violation
    if violation is not None:
        steps = violation.trace.schedule
        assert len(replay(checked.rebuild(), steps, violation.trace.states)) == len(steps)
    return checked.result.verdict, "" if violation is None else violation.rule


def test_a_page_request_of_a_process_that_goes() -> None:
    scenario = absent_page_beside_exit()
    assert verdict(Sva, scenario) == (Verdict.HOLDS, "")
    assert verdict(AnswersForTheDead, scenario) == (Verdict.BROKEN, "no-use-after-free")


def first(driver: type[Device], adversary: str) -> str:
    """The rule that the first scenario of an adversary breaks, by the reference."""
    for checked in check(driver, [adversary], request=REFERENCE):
        assert checked.result.error is None, checked.result.error
        return "" if checked.result.violation is None else checked.result.violation.rule
    raise AssertionError(adversary)


@pytest.mark.parametrize(("driver", "adversary"), [
    (WaitsForNoFlush, "munmap"), (FlushesTheDeviceFirst, "munmap"), (StaysBound, "exit"), (FlushesAtTheEnd, "exclusive-access"),
])  # fmt: skip
def test_a_flush_that_comes_too_late(driver: type[Device], adversary: str) -> None:
    assert first(driver, adversary) == "as-if-cpu"
    assert first(Sva, adversary) == ""


def test_who_hears_of_changes_is_not_told_of_flushes() -> None:
    """mmu_notifier_register() refuses a subscriber that wants both."""
    (checked, *_) = check(HearsBoth, ["munmap"])
    assert "open() fails although the process lives" in str(checked.result.error)


class WithoutBound(Sva):
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 0, "mmu_notifiers": 1}


def test_the_bound_comes_with_the_callback() -> None:
    """Else nobody would call it."""
    assert program(absent_page_beside_exit(), WithoutBound, []).machine.bound("secondary_tlbs") > 0


def test_a_driver_that_walks_no_table_pays_nothing() -> None:
    """Neither a place in the state nor a function."""
    texts = [render_c(program(absent_page_beside_exit(), driver, [])).text for driver in (Mirror, Sva)]
    assert ["secondary_tlbs" in text for text in texts] == [False, True]
