"""`invalidate_page` and `change_pte`, as they were in Linux 3.2: who is called, when, and under what."""

from __future__ import annotations

import pytest

from secondsight.contract import check
from secondsight.devices.device import Device
from secondsight.devices.small import DropsWhatChanges, NotifiedIn2011, OverlooksACopy, OverlooksAPage, SleepsForAPage, Vcpu
from secondsight.lang import U8, Mutex, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Mm, Range, Va
from secondsight.scenario import Recorder, scenario
from secondsight.search import Verdict
from secondsight.testing import outcomes
from secondsight.world.model import program


def rules(driver: type[Device], *adversaries: str) -> set[str]:
    """The rules that a driver breaks; each trace is replayed."""
    found = set()
    for checked in check(driver, adversaries):
        assert checked.result.error is None, checked.result.error
        violation = checked.result.violation
        if violation is None:
            assert checked.result.verdict is Verdict.HOLDS
        else:
            assert len(violation.trace.replay(checked.rebuild())) == len(violation.trace)
            found.add(violation.rule)
    return found


@pytest.mark.parametrize("driver", [DropsWhatChanges, NotifiedIn2011])
@pytest.mark.parametrize("adversary", ["migration", "swap", "fork", "munmap"])
def test_who_drops_each_page_under_its_lock_is_right(driver: type[Device], adversary: str) -> None:
    assert rules(driver, adversary) == set()


@pytest.mark.parametrize("adversary", ["migration", "swap"])
def test_a_call_for_one_page_is_a_change_too(adversary: str) -> None:
    assert "as-if-cpu" in rules(OverlooksAPage, adversary)


@pytest.mark.parametrize("adversary", ["migration", "swap", "fork"])
def test_nobody_sleeps_under_the_page_table_lock(adversary: str) -> None:
    """Reclaim and migration clear an entry there, a copy on write enters one; `change_pte` that is not there is `invalidate_page`."""
    assert rules(SleepsForAPage, adversary) == {"sleep-in-atomic"}


def test_an_unmapping_has_a_bracket_and_calls_for_no_page() -> None:
    assert rules(SleepsForAPage, "munmap") == set()


class SleepsForARange(DropsWhatChanges):
    """Takes a mutex where a range is about to go."""

    waiting: Mutex

    def invalidate_range_start(self, mm: Mm, rng: Range) -> int:
        """All callbacks are called under rcu_read_lock()."""
        with self.waiting:
            pass
        return Vcpu.invalidate_range_start(self, mm, rng)


class SleepsForARangeToday(Vcpu):
    """The same today."""

    waiting: Mutex

    def invalidate_range_start(self, mm: Mm, rng: Range) -> int:
        """Under SRCU."""
        if rng.blockable:
            with self.waiting:
                pass
        return Vcpu.invalidate_range_start(self, mm, rng)


@pytest.mark.parametrize(("driver", "broken"), [(SleepsForARange, {"sleep-in-atomic"}), (SleepsForARangeToday, set[str]())])
def test_in_2011_nobody_slept_in_a_bracket_either(driver: type[Device], broken: set[str]) -> None:
    assert rules(driver, "munmap") == broken


class CountsCalls(DropsWhatChanges):
    """How often it is called, and by what."""

    ranges: U8
    pages: U8
    copies: U8

    def invalidate_range_start(self, mm: Mm, rng: Range) -> int:
        """One range more."""
        with atomic:
            self.ranges += 1
        return Vcpu.invalidate_range_start(self, mm, rng)

    def invalidate_page(self, mm: Mm, address: Va) -> None:
        """One page more."""
        with self.mmu_lock:
            self.pages += 1
            self.invalidate_seq += 1
            self.drop_page(address)

    def access(self, va: Va, write: bool, value: int) -> int:
        """The device reads its own counts."""
        return 48 + self.ranges + 3 * self.pages


def _called_by(record: object) -> set[str]:
    return {one.rpartition("calls=")[2] for one in outcomes(record, driver=CountsCalls)}  # type: ignore[arg-type]


@scenario
def migrated(s: Recorder) -> None:
    """A page is moved; the device then says how it was called."""
    page = s.mmap(pages=1)
    s.write(page, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.move_pages(page)
        gpu.read(page, into="calls")


@scenario
def unmapped(s: Recorder) -> None:
    """A page is unmapped."""
    page = s.mmap(pages=1)
    s.write(page, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.munmap(page)
        gpu.read(page, into="calls")


@scenario
def zero_page_replaced(s: Recorder) -> None:
    """A page of zeros is written."""
    page = s.mmap(pages=1)
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.read(page)
        s.write(page, "A")
        gpu.read(page, into="calls")


@pytest.mark.parametrize(("record", "ranges", "pages"), [(migrated, 0, 1), (unmapped, 1, 0), (zero_page_replaced, 0, 1)])
def test_who_is_called_how(record: object, ranges: int, pages: int) -> None:
    assert _called_by(record) == {chr(48 + ranges + 3 * pages)}


def test_a_copy_is_told_of_by_change_pte_alone() -> None:
    """Who has it and does nothing keeps the old page."""
    assert "as-if-cpu" in rules(OverlooksACopy, "zero-page")
    assert rules(OverlooksACopy, "migration") == set()


def test_who_has_neither_callback_is_on_a_kernel_of_today() -> None:
    def size(driver: type[Device], name: str) -> int:
        return program(migrated, driver, closes=True).machine.bound(name)

    assert size(NotifiedIn2011, "page_notifiers") == 1
    assert size(Vcpu, "page_notifiers") == 0
    assert mn.MmuNotifier.has_change_pte(None) is False  # type: ignore[arg-type]
