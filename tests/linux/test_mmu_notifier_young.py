"""Reclaim asks subscribers whether a device has used a page lately; what a driver may do wrong when it answers."""

from __future__ import annotations

import pytest

from secondsight.contract import adversaries_for, check, rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.devices.small.young import (
    HasAccessedBits,
    SaysWhatIsMapped,
    SleepsWhenAsked,
    SleepsWhenCleared,
    SleepsWhenTested,
)
from secondsight.linux.mm_types import Mm, MmuNotifier, Va, VaEnd
from secondsight.scenario import Recorder, scenario
from secondsight.testing import outcomes
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


@scenario
def is_asked_about(s: Recorder) -> None:
    """Idle page tracking and DAMON ask about a page before and after a device has used it."""
    page = s.mmap(pages=1)
    s.write(page, "A")
    gpu = s.device()

    @s.thread
    def device() -> None:
        s.page_is_young(page, into="before")
        gpu.read(page, into="first")
        s.page_is_young(page, into="used")
        s.page_is_young(page, into="used_still")
        s.page_is_idle(page, into="since_it_was_asked")
        s.page_is_idle(page, into="not_since")
        s.page_is_young(page, into="cleared")
        s.munmap(page)
        s.page_is_idle(page, into="gone")
        s.page_is_young(page, into="gone_too")


ASKED = {
    "before": "-", "first": "A", "used": "y", "used_still": "y", "since_it_was_asked": "y", "not_since": "-", "cleared": "-", "gone": "-", "gone_too": "-",
}  # fmt: skip


@pytest.mark.parametrize(("driver", "yes"), [(HasAccessedBits, "y"), (SaysWhatIsMapped, "-"), (Mirror, "-")])
def test_who_looks_changes_nothing_and_who_clears_is_told_once(driver: type[Device], yes: str) -> None:
    """A driver that has the callbacks, one that has another of them, and one that has none."""
    told = {name: yes if answer == "y" else answer for name, answer in ASKED.items()}
    assert outcomes(is_asked_about, driver=driver) == {", ".join(f"{name}={answer}" for name, answer in sorted(told.items()))}


@pytest.mark.parametrize(
    ("driver", "adversary", "rule"),
    [
        (HasAccessedBits, "page-idle", ""),
        (HasAccessedBits, "damon", ""),
        (SleepsWhenCleared, "page-idle", "sleep-in-atomic"),
        (SleepsWhenCleared, "damon", ""),
        (SleepsWhenTested, "damon", "sleep-in-atomic"),
    ],
)
def test_each_of_the_callbacks_is_asked_by_somebody(driver: type[Device], adversary: str, rule: str) -> None:
    (checked,) = check(driver, [adversary])
    assert checked.result.error is None, checked.result.error
    assert (checked.result.violation.rule if checked.result.violation is not None else "") == rule


def test_only_who_has_the_callback_is_asked() -> None:
    assert not {"page-idle", "damon", "reclaim"} & set(adversaries_for(Mirror))
    assert {"page-idle", "damon"} <= set(adversaries_for(HasAccessedBits))


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
