"""Drivers that reclaim asks whether the device has used a page lately, as KVM is asked."""

from __future__ import annotations

from secondsight.devices.device import DevicePageTable
from secondsight.devices.small.vcpu import Vcpu
from secondsight.lang import Char, Mutex, SpinLock, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Event, Mm, PageBits, Range, Result, Va, VaEnd

__all__ = ["HasAccessedBits", "SaysWhatIsMapped", "SleepsWhenAsked", "SleepsWhenCleared", "SleepsWhenTested"]


class SaysWhatIsMapped(Vcpu):
    """Right: its table has no accessed bit. A page that it maps counts as used, and is unmapped: the next use tells again."""

    mmu_lock: SpinLock
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def clear_flush_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        with self.mmu_lock:
            return self.take_out(start, end)

    @atomic
    def take_out(self, start: Va, end: VaEnd) -> bool:
        """Whether a page of the range was mapped; it is not any more."""
        young = False
        for va in range(start, end):
            if self.page_table.is_mapped(va, False):
                young = True
        self.page_table.unmap(Range(start, end, Event.CLEAR, True))
        return young


class SleepsWhenAsked(SaysWhatIsMapped):
    """Takes a mutex where the page-table lock is held."""

    answering: Mutex

    def clear_flush_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        with self.answering:
            return self.take_out(start, end)


class HasAccessedBits(Vcpu):
    """Right: its table has an accessed bit for each page, which the device sets (`used`)."""

    mmu_lock: SpinLock
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier
    used: PageBits

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        """The hardware sets the bit with each use."""
        result = Vcpu.access(self, va, write, value)
        if result >= 0:
            self.used |= {va}
        return result

    @atomic
    def test_and_clear(self, start: Va, end: VaEnd) -> bool:
        """Whether a page of the range was used; its bit is cleared."""
        young = False
        for va in range(start, end):
            if va in self.used:
                young = True
                self.used -= {va}
        return young

    def clear_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        with self.mmu_lock:
            return self.test_and_clear(start, end)

    def test_young(self, mm: Mm, address: Va) -> bool:
        with self.mmu_lock:
            return address in self.used


class SleepsWhenCleared(HasAccessedBits):
    """Takes a mutex to clear its bits."""

    answering: Mutex

    def clear_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        with self.answering:
            return self.test_and_clear(start, end)


class SleepsWhenTested(HasAccessedBits):
    """Takes a mutex to look at its bits."""

    answering: Mutex

    def test_young(self, mm: Mm, address: Va) -> bool:
        with self.answering:
            return address in self.used
