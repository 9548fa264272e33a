"""Drivers that reclaim asks whether the device has used a page lately, as KVM is asked."""

from __future__ import annotations

from secondsight.devices.device import DevicePageTable
from secondsight.devices.small.vcpu import Vcpu
from secondsight.lang import Mutex, SpinLock, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Event, Mm, Range, Va, VaEnd

__all__ = ["SaysWhatIsMapped", "SleepsWhenAsked"]


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
