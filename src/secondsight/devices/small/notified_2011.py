"""Drivers on a kernel of 2011, as KVM was then: told of single pages by `invalidate_page` and `change_pte`, under the page-table lock."""

from __future__ import annotations

from secondsight.devices.device import DevicePageTable
from secondsight.devices.small.vcpu import Vcpu
from secondsight.lang import SpinLock, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Event, Folio, Mm, Range, Va
from secondsight.linux.page_alloc import page_to_pfn
from secondsight.linux.page_alloc_slowpath import might_sleep

__all__ = ["DropsWhatChanges", "NotifiedIn2011", "OverlooksACopy", "OverlooksAPage", "SleepsForAPage"]


class DropsWhatChanges(Vcpu):
    """Right: has `invalidate_page` alone, and is called by it for copies too. There is no second call: the number goes on at once."""

    mmu_lock: SpinLock
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    def invalidate_page(self, mm: Mm, address: Va) -> None:
        """kvm_mmu_notifier_invalidate_page()."""
        with self.mmu_lock:
            self.invalidate_seq += 1
            self.drop_page(address)

    @atomic
    def drop_page(self, address: Va) -> None:
        """Under the lock."""
        self.page_table.unmap(Range(address, address + 1, Event.CLEAR, True))


class NotifiedIn2011(DropsWhatChanges):
    """Right: takes the new page of a copy into its table, where it had the old one; for reading, so that a write faults."""

    def change_pte(self, mm: Mm, address: Va, page: Folio, write: bool) -> None:
        """kvm_mmu_notifier_change_pte(), kvm_set_pte_rmapp()."""
        with self.mmu_lock:
            self.invalidate_seq += 1
            self.set_page(address, page)

    @atomic
    def set_page(self, address: Va, page: Folio) -> None:
        """Under the lock."""
        if self.page_table.is_mapped(address, False):
            self.drop_page(address)
            self.page_table.map(address, page_to_pfn(page), False)


class OverlooksAPage(DropsWhatChanges):
    """Goes on with its number where a range's invalidation ends, and not for a single page: one that it has just found comes into its table."""

    def invalidate_page(self, mm: Mm, address: Va) -> None:
        with self.mmu_lock:
            self.drop_page(address)


class OverlooksACopy(NotifiedIn2011):
    """Keeps what it has when a page is copied: it has `change_pte`, so nobody calls `invalidate_page`."""

    @atomic
    def set_page(self, address: Va, page: Folio) -> None:
        """Nothing."""


class SleepsForAPage(DropsWhatChanges):
    """Flushes its device for each page, which sleeps."""

    def invalidate_page(self, mm: Mm, address: Va) -> None:
        with self.mmu_lock:
            self.invalidate_seq += 1
            self.drop_page(address)
        might_sleep()
