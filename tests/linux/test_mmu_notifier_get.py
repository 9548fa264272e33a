"""mmu notifiers that the users of a driver share: one for each mm, freed when nobody walks over it any more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from linux_world import world

from secondsight.contract import check
from secondsight.devices.device import Device
from secondsight.devices.shared_notifier import (
    FreesAtOnce,
    FreesUnderAMutex,
    GetsItsNotifier,
    GetsTwice,
    LeavesTheFreeBehind,
    PutsTwice,
    StopsAfterItsPut,
    shared_notifiers,
)
from secondsight.lang import RuleBroken
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmu_notifier_get import mmu_notifier_get, mmu_notifier_put


@contextmanager
def driver_of(mms: int = 1) -> Iterator[tuple[GetsItsNotifier, Mm]]:
    with world({GetsItsNotifier: 1}, mmu_notifiers=2, shared_notifiers=2, mms=mms) as (machine, mm):
        driver = machine.pool(GetsItsNotifier).alloc()
        yield driver, mm


def test_users_of_a_driver_share_one_in_each_mm() -> None:
    with driver_of() as (driver, mm):
        first = mmu_notifier_get(driver, mm)
        assert mmu_notifier_get(driver, mm) is first
        assert shared_notifiers.is_used(shared_notifiers[0])
        assert not shared_notifiers.is_used(shared_notifiers[1])
        assert first is not None
        mmu_notifier_put(first, mm)
        assert mmu_notifier_get(driver, mm) is first
        mmu_notifier_put(first, mm)
        mmu_notifier_put(first, mm)
        assert mm.subscriptions.list == 0
        second = mmu_notifier_get(driver, mm)
        assert second is not first  # that one waits to be freed
        with pytest.raises(RuleBroken, match="more often than it got it"):
            mmu_notifier_put(first, mm)


@pytest.mark.parametrize(
    ("driver", "rule"),
    [
        (FreesAtOnce, "use-after-free"), (PutsTwice, "removed-twice"), (GetsTwice, "teardown"), (StopsAfterItsPut, "as-if-cpu"),
        (LeavesTheFreeBehind, "teardown"), (FreesUnderAMutex, "sleep-in-atomic"),
    ],
)  # fmt: skip
def test_what_one_may_do_wrong(driver: type[Device], rule: str) -> None:
    first = next(iter(check(driver, ["close"])))
    assert first.result.violation is not None
    assert first.result.violation.rule == rule
