"""What is said of locks: why a thread must not sleep, and two orders of locks as two chains, in names that a kernel developer knows."""

from __future__ import annotations

from report_world import search

from secondsight.contract import ADVERSARIES, driver_program, rules_for
from secondsight.devices import Device
from secondsight.devices.mirror import Mirror
from secondsight.lang import SpinLock
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Result, Va
from secondsight.report import mail
from secondsight.report.trace import trace_to_json


class SleepsAlways(Mirror):
    def invalidate(self, rng: mn.Range, seq: int) -> bool:
        with self.lock:
            mn.mmu_interval_set_seq(self.notifier, seq)
            self.page_table.unmap(rng)
        return True


class SleepsUnderSpin(SleepsAlways):
    spin: SpinLock

    def invalidate(self, rng: mn.Range, seq: int) -> bool:
        with self.spin:
            with self.lock:
                mn.mmu_interval_set_seq(self.notifier, seq)
        return True


class LockOverFault(Mirror):
    """Takes its lock in the callback, below mmap_lock, and over hmm_range_fault() too."""

    def fault(self, va: Va, write: bool) -> Result:
        with self.lock:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn >= 0:
                self.page_table.map(va, pfn, write)
        return 0 if pfn >= 0 else pfn + seq * 0


def told(kind: type[Device], adversary: str) -> str:
    program = driver_program(kind, ADVERSARIES[adversary].scenarios[0], rules_for(kind))
    result = search(program)
    assert result.violation is not None
    text = " ".join(mail("Title", program, result).split())
    message = trace_to_json(program, result.violation, {})["message"]
    assert f"Title: {message} rule: {result.violation.rule} " in text
    return str(message)


def test_who_must_not_block_is_told_so_and_not_of_a_spinlock_that_is_not_there() -> None:
    assert told(SleepsAlways, "oom-reaper") == "must not sleep: called with blockable = false"


def test_a_spinlock_that_is_held_is_named() -> None:
    assert told(SleepsUnderSpin, "munmap") == "sleeps while it holds the spinlock SleepsUnderSpin.spin"
    assert told(SleepsUnderSpin, "oom-reaper") == "must not sleep: called with blockable = false, and holds SleepsUnderSpin.spin"


def test_two_orders_are_two_chains_with_the_names_of_the_locks() -> None:
    message = told(LockOverFault, "munmap")
    assert message.startswith("takes "), message
    assert "Mm.mmap_lock" in message and "LockOverFault.lock" in message and "mms[]" not in message
    assert " here, " in message and " elsewhere (" in message and "mirror.py:" in message
