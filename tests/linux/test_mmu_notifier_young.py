"""Reclaim asks subscribers whether a device has used a page lately; what a driver may do wrong when it answers."""

from __future__ import annotations

import pytest

from secondsight.contract import rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.devices.small.young import SaysWhatIsMapped, SleepsWhenAsked
from secondsight.linux.mm_types import Mm, MmuNotifier, Va, VaEnd
from secondsight.scenario import Recorder, scenario
from secondsight.world.model import program


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


class Asked(MmuNotifier):
    """A notifier beside the device's record, as `struct kvm` has one."""

    def clear_flush_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        return True


class Flushed(MmuNotifier):
    def arch_invalidate_secondary_tlbs(self, mm: Mm, start: Va, end: VaEnd) -> None:
        pass


class HasOneBeside(Mirror):
    asked: Asked


class HasAnotherBeside(Mirror):
    flushed: Flushed


@pytest.mark.parametrize(
    ("driver", "young", "flushed"),
    [(Mirror, False, False), (SaysWhatIsMapped, True, False), (HasOneBeside, True, False), (HasAnotherBeside, False, True)],
)
def test_a_callback_is_called_wherever_the_notifier_lies(driver: type[Device], young: bool, flushed: bool) -> None:
    """Else it is never asked, and a wrong one holds."""
    machine = program(reclaims, driver, []).machine
    assert (machine.bound("young_callbacks") > 0, machine.bound("secondary_tlbs") > 0) == (young, flushed)
