"""Drivers with interval notifiers of their own: as many as they like, with callbacks in the kernel's signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import pytest
from stacked import LeavesItsSubscription, Stacked

from secondsight.contract import ADVERSARIES, check, driver_program
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.lang import Array, Errno, Mutex, Ref, container_of
from secondsight.lang.plain import replay
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY
from secondsight.linux.mm_types import Mm, Pgoff, Va
from secondsight.linux.sched_mm import mmget_not_zero, mmput
from secondsight.search import Verdict


class Region(mn.IntervalNotifier):
    """A part of the address space, with a lock and a callback of its own."""

    gpu: Ref[InRegions]
    lock: Mutex

    def invalidate(self, rng: mn.Range, cur_seq: mn.Seq) -> bool:
        """Store the sequence number and clear, under the region's lock."""
        gpu = self.gpu
        assert gpu is not None
        if rng.blockable:
            self.lock.lock()
        else:
            locked = self.lock.trylock()
            if not locked:
                return False
        mn.mmu_interval_set_seq(self, cur_seq)
        gpu.page_table.unmap(rng)
        self.lock.unlock()
        return True


class InRegions(Device):
    """Right: a subscription for the first page and one for the rest, as drivers have one a buffer object."""

    regions: Array[Region, Literal[2]]
    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 2}

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """Subscribe twice, or not at all."""
        alive = mmget_not_zero(mm)
        if not alive:
            return -22
        for region in self.regions:
            region.gpu = self
        ret = mn.mmu_interval_notifier_insert(self.regions[0], mm, start, 1)
        if ret == 0:
            ret = mn.mmu_interval_notifier_insert(self.regions[1], mm, start + 1, length - 1)
            if ret != 0:
                mn.mmu_interval_notifier_remove(self.regions[0])
        mmput(mm)
        return ret

    def close(self) -> None:
        """Stop the device, then unsubscribe."""
        self.page_table.disable()
        mn.mmu_interval_notifier_remove(self.regions[0])
        mn.mmu_interval_notifier_remove(self.regions[1])

    def fault(self, va: Va, write: bool) -> Errno:
        """By the region that the page is in."""
        return self.fault_in(self.regions[0 if va == 0 else 1], va, write)

    def fault_in(self, region: Region, va: Va, write: bool) -> Errno:
        """The pattern of Documentation/mm/hmm.rst with a region's notifier and lock."""
        while True:
            seq = mn.mmu_interval_read_begin(region)
            pfn = hmm.hmm_range_fault(region, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with region.lock:
                if mn.mmu_interval_read_retry(region, seq):
                    continue
                self.page_table.map(va, pfn, write)
            return 0


class InTheWrongRegion(InRegions):
    """Wrong: it goes by the first region's number whatever the page."""

    def fault(self, va: Va, write: bool) -> Errno:
        """Always the first region."""
        return self.fault_in(self.regions[0], va, write)


class Context(mn.IntervalNotifier):
    """A subscription that lies in the device: its callback finds that by container_of."""

    def invalidate(self, rng: mn.Range, cur_seq: mn.Seq) -> bool:
        """As the device says."""
        return container_of(self, ByContainer, "context").drop(rng, cur_seq)


class ByContainer(Mirror):
    """Right: the reference mirror with a subscription of another class in it."""

    context: Context

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """Subscribe with `context`."""
        alive = mmget_not_zero(mm)
        if not alive:
            return -22
        ret = mn.mmu_interval_notifier_insert(self.context, mm, start, length)
        mmput(mm)
        return ret

    def close(self) -> None:
        """Stop the device, then unsubscribe."""
        self.page_table.disable()
        mn.mmu_interval_notifier_remove(self.context)

    def drop(self, rng: mn.Range, cur_seq: mn.Seq) -> bool:
        """What the context's callback does."""
        if rng.blockable:
            self.lock.lock()
        else:
            locked = self.lock.trylock()
            if not locked:
                return False
        mn.mmu_interval_set_seq(self.context, cur_seq)
        self.page_table.unmap(rng)
        self.lock.unlock()
        return True

    def fault(self, va: Va, write: bool) -> Errno:
        """The pattern of Documentation/mm/hmm.rst with `context`."""
        while True:
            seq = mn.mmu_interval_read_begin(self.context)
            pfn = hmm.hmm_range_fault(self.context, va, write)
            if pfn == -EBUSY:
                continue
            if pfn < 0:
                return pfn
            with self.lock:
                if mn.mmu_interval_read_retry(self.context, seq):
                    continue
                self.page_table.map(va, pfn, write)
            return 0


class ForgetsTheNumber(ByContainer):
    """Wrong: the callback does not store the sequence number."""

    def drop(self, rng: mn.Range, cur_seq: mn.Seq) -> bool:
        """Clears, and no more."""
        self.page_table.unmap(rng)
        return True


SOME = ["munmap", "oom-reaper", "part", "close"]


@pytest.mark.parametrize("driver", [InRegions, ByContainer, Stacked])
def test_right_drivers_hold(driver: type[Device]) -> None:
    for done in check(driver, SOME):
        assert done.result.verdict is Verdict.HOLDS, (done.scenario, done.result.violation)


@pytest.mark.parametrize("driver", [InTheWrongRegion, ForgetsTheNumber])
def test_wrong_drivers_are_broken_and_their_traces_replay(driver: type[Device]) -> None:
    broken = [c for c in check(driver, ["munmap", "part"]) if c.result.violation is not None]
    assert broken and {c.result.violation.rule for c in broken if c.result.violation} == {"as-if-cpu"}
    violation = broken[0].result.violation
    assert violation is not None
    steps = replay(driver_program(driver, next(s for s in ADVERSARIES[broken[0].adversary].scenarios if s.name == broken[0].scenario)), violation.trace.schedule)
    assert steps[-1].error is not None


def test_a_notifier_whose_stack_frame_has_gone_breaks_the_rule() -> None:
    broken = [c.result.violation for c in check(LeavesItsSubscription, ["munmap"]) if c.result.violation is not None]
    assert broken and {violation.rule for violation in broken} == {"use-after-free"}
