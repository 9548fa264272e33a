"""Reclaim asks subscribers whether a device has used a page lately; what a driver may do wrong when it answers."""

from __future__ import annotations

import pytest

from secondsight.contract import rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.device import Device
from secondsight.devices.small.young import SaysWhatIsMapped, SleepsWhenAsked
from secondsight.scenario import Recorder, scenario


@scenario
def reclaims(s: Recorder) -> None:
    """kswapd takes a page that the device uses."""
    page = s.mmap(pages=1)
    s.write(page, "A")
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.read(page, into="first")

    @s.thread
    def kswapd() -> None:
        s.reclaim(page)

    with s.after():
        gpu.compare(page)


@pytest.mark.parametrize(("driver", "rule"), [(SaysWhatIsMapped, ""), (SleepsWhenAsked, "sleep-in-atomic")])
def test_who_is_asked_may_not_sleep(driver: type[Device], rule: str) -> None:
    result = check_scenario(driver, "swap", reclaims, rules_for(driver)).result
    assert result.error is None, result.error
    assert (result.violation.rule if result.violation is not None else "") == rule
