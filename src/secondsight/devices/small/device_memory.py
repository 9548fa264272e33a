"""Devices with memory of their own: each leaves out or misplaces one thing of `PrivateGpu`, or does it in another way."""

from __future__ import annotations

from secondsight.devices.coherent_gpu import CoherentGpu
from secondsight.devices.private_gpu import PrivateGpu
from secondsight.devices.private_range import ClearsItsRange
from secondsight.lang import Ref, atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.highmem import clear_highpage, copy_highpage
from secondsight.linux.memremap_private import folio_is_zone_device, memunmap_private
from secondsight.linux.migrate_device import (
    MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
    MigrateVma,
    migrate_vma_init,
    migrate_vma_setup,
    migrate_vmas,
)
from secondsight.linux.migrate_device_pages import migrate_vma_finalize, migrate_vma_pages
from secondsight.linux.mm_flags import VM_FAULT_SIGBUS
from secondsight.linux.mm_types import Count, Event, Flags, Folio, Mm, Owner, Range, Result, Va
from secondsight.linux.page_alloc import alloc_page, get_page, page_to_pfn

__all__ = [
    "ClearsByItself",
    "ClearsTheFirst",
    "ClosesAndKeepsItsMemory",
    "ClosesFull",
    "EvictsBesideFaults",
    "GivesItUnlocked",
    "FailsWhileItMoves",
    "HoldsWhatGoesBack",
    "IgnoresMigrate",
    "KeepsWhatGoesBack",
    "LeavesOldContents",
    "MapsWhatDidNotMove",
    "OwnsAllMemory",
    "PassesOverItsOwn",
    "TakesPagesBackEarly",
    "TakesItsMemoryAwayTwice",
    "TakesPagesForNothing",
    "TakesPagesToTheEnd",
    "TrustsItsMemory",
]


class ClearsByItself(PrivateGpu):
    """Right: its own migration moves the sequence on; the entry it clears itself, before it copies."""

    def drop(self, rng: Range) -> None:
        """Not what its own call is about."""
        if rng.event != Event.MIGRATE or not mn.is_owner(self, rng):
            self.page_table.unmap(rng)

    def cut_off(self, va: Va) -> None:
        with self.lock:
            self.page_table.unmap(Range(va, va + 1, Event.MIGRATE, True))


class KeepsWhatGoesBack(ClearsByItself):
    """Leaves the entry as it is: the device goes on with the page that is being copied."""

    def cut_off(self, va: Va) -> None:
        """Without clearing."""


class PassesOverItsOwn(ClearsByItself):
    """Takes its own migration for none of its business: what was asked for before it is mapped after it."""

    def invalidate(self, rng: Range, seq: mn.Seq) -> bool:
        """Not even the sequence number."""
        own = rng.event == Event.MIGRATE and mn.is_owner(self, rng)
        if own:
            return True
        return PrivateGpu.invalidate(self, rng, seq)


class ClearsTheFirst(ClearsItsRange):
    """Clears the entry of the first page alone of those that it moves in one call."""

    def cut_off_range(self, va: Va, count: Count) -> None:
        self.cut_off(va)


class TrustsItsMemory(CoherentGpu):
    """Keeps an entry of a page in its own memory, unless it moves that itself or the mapping goes: who else would move it."""

    def drop(self, rng: Range) -> None:
        own = rng.event == Event.MIGRATE and mn.is_owner(self, rng)
        if own or rng.event != Event.CLEAR:
            self.page_table.unmap(rng)
        else:
            with atomic:
                for va in range(rng.start, rng.end):
                    page = self.page_table.entries[va].frame
                    if page is not None and not folio_is_zone_device(page):
                        self.page_table.unmap(Range(va, va + 1, rng.event, True))


class IgnoresMigrate(PrivateGpu):
    """Drops nothing at a MIGRATE, whoever asked."""

    def drop(self, rng: Range) -> None:
        if rng.event != Event.MIGRATE:
            self.page_table.unmap(rng)


class OwnsAllMemory(PrivateGpu):
    """Takes every page in device memory for one that it can reach."""

    def dev_private_owner(self) -> Ref[Owner]:
        return mn.owners[0]


class MapsWhatDidNotMove(PrivateGpu):
    """Maps the page that it has copied to, and does not ask whether that has moved (MIGRATE_PFN_MIGRATE)."""

    def has_come(self, va: Va, args: MigrateVma) -> None:
        page = args.dst[0]
        if page is not None:
            with self.lock:
                self.page_table.map(va, page_to_pfn(page), True)


class LeavesOldContents(PrivateGpu):
    """Clears no page that comes where nothing was."""

    @atomic
    def copy_to_device(self, args: MigrateVma) -> None:
        if args.migrate[0]:
            page = self.alloc()
            src = args.src[0]
            if page is not None:
                if src is not None:
                    copy_highpage(page, src)
                args.dst[0] = page


class TakesPagesForNothing(PrivateGpu):
    """Takes a page of its memory also for what cannot be moved, and forgets it."""

    @atomic
    def copy_to_device(self, args: MigrateVma) -> None:
        page = self.alloc()
        src = args.src[0]
        if page is not None and args.migrate[0]:
            if src is not None:
                copy_highpage(page, src)
            else:
                clear_highpage(page)
            args.dst[0] = page


class TakesPagesBackEarly(PrivateGpu):
    """Has a page in its free list when it has copied it: it may stay where it is."""

    @atomic
    def copy_to_ram(self, args: MigrateVma) -> None:
        PrivateGpu.copy_to_ram(self, args)
        src = args.src[0]
        if src is not None:
            self.take_back(src)

    @atomic
    def page_free(self, folio: Folio) -> None:
        self.take_back(folio)

    @atomic
    def take_back(self, folio: Folio) -> None:
        """Unless it is there already."""
        if not any(page is folio for page in self.free):
            self.free[self.nr_free] = folio
            self.nr_free += 1


class GivesItUnlocked(PrivateGpu):
    """Does not lock the page to which it copies what goes back: migrate_vma_finalize() unlocks it."""

    @atomic
    def copy_to_ram(self, args: MigrateVma) -> None:
        src = args.src[0]
        if args.migrate[0] and src is not None:
            page = alloc_page()
            copy_highpage(page, src)
            args.dst[0] = page


class HoldsWhatGoesBack(PrivateGpu):
    """Takes a reference of its own to the page to which it copies, and drops it nowhere."""

    @atomic
    def copy_to_ram(self, args: MigrateVma) -> None:
        PrivateGpu.copy_to_ram(self, args)
        page = args.dst[0]
        if page is not None:
            get_page(page)


class FailsWhileItMoves(PrivateGpu):
    """Fails a CPU's access while it moves pages: it does not wait for its mutex with the mmap lock held."""

    def migrate_to_ram(self, mm: Mm, va: Va, folio: Folio) -> Flags:
        if not self.moving.trylock():
            return VM_FAULT_SIGBUS
        self.moving.unlock()
        return PrivateGpu.migrate_to_ram(self, mm, va, folio)


class ClosesFull(PrivateGpu):
    """Is closed with pages in its memory: that goes when they have, and nobody brings them back."""

    def close(self) -> None:
        """Without an eviction."""
        with self.moving:
            self.page_table.disable()
        mn.mmu_interval_notifier_remove(self.notifier)
        memunmap_private(self.memory)


class ClosesAndKeepsItsMemory(PrivateGpu):
    """Is closed, and leaves its memory as it is."""

    def close(self) -> None:
        """Without an eviction, and the memory stays."""
        with self.moving:
            self.page_table.disable()
        mn.mmu_interval_notifier_remove(self.notifier)


class EvictsBesideFaults(PrivateGpu):
    """Brings pages back without the mutex that evictions are under: each may find that the other holds the page, again and again."""

    def to_ram(self, mm: Mm, va: Va, folio: Ref[Folio]) -> Result:
        """Without the mutex."""
        with migrate_vmas.on_stack() as args:
            with atomic:
                migrate_vma_init(args, mm, va, 1, mn.owner_of(self), MIGRATE_VMA_SELECT_DEVICE_PRIVATE, folio)
            ret = migrate_vma_setup(args)
            if ret != 0:
                return ret
            self.copy_to_ram(args)
            migrate_vma_pages(args)
            migrate_vma_finalize(args)
        return 0


class TakesItsMemoryAwayTwice(PrivateGpu):
    """Takes its memory away when it is closed, and once more when the subscription is gone."""

    def close(self) -> None:
        with self.moving:
            self.page_table.disable()
        while self.memory_in_use():
            self.evict()
        memunmap_private(self.memory)
        mn.mmu_interval_notifier_remove(self.notifier)
        memunmap_private(self.memory)


class TakesPagesToTheEnd(PrivateGpu):
    """Takes pages until its memory is gone: it goes on when it is closed."""

    def close(self) -> None:
        """The device is stopped last."""
        while self.memory_in_use():
            self.evict()
        mn.mmu_interval_notifier_remove(self.notifier)
        memunmap_private(self.memory)
        with self.moving:
            self.page_table.disable()
