"""A device with memory of its own, into which it takes a process's pages for a while: no CPU can reach them there.

    migrate(va, pages)      pages of the process come into the device's memory
    a CPU's access          faults, and `migrate_to_ram` brings the page back
    evict()                 everything comes back: the device wants its memory, or is closed

`PrivateGpu` is the pattern of Documentation/mm/hmm.rst (Linux 6.12) and of drivers such as nouveau (nouveau_dmem.c, Linux 6.12): a free list of
device pages, migrate_vma_setup() with the driver as owner, migrate_device_range() before the memory goes. It maps nothing when it moves
pages: the device faults, hmm_range_fault() says where the page is, and the sequence tells whether that is true still.

Everything that moves pages is under one mutex (`moving`): who brings a page back holds a reference to it while it waits, and an
eviction that tried again and again beside it would keep both from it for ever.

Each other class leaves out or misplaces one thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from secondsight.devices.device import Device, DevicePageTable, Promise
from secondsight.lang import Array, Errno, Mutex, Ref, atomic, container_of, hold_point
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBADF, EBUSY, EFAULT, EINVAL
from secondsight.linux.filemap import folio_lock
from secondsight.linux.highmem import clear_highpage, copy_highpage
from secondsight.linux.memory import VM_FAULT_SIGBUS, vma_lookup
from secondsight.linux.memremap_private import PrivatePagemap, memremap_private, memunmap_private, zone_device_page_init
from secondsight.linux.migrate_device import (
    MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
    MIGRATE_VMA_SELECT_SYSTEM,
    MigrateVma,
    migrate_vma_init,
    migrate_vma_setup,
    migrate_vmas,
)
from secondsight.linux.migrate_device_pages import migrate_vma_finalize, migrate_vma_pages
from secondsight.linux.migrate_device_range import migrate_device_finalize, migrate_device_pages, migrate_device_range
from secondsight.linux.mm import vma_is_accessible
from secondsight.linux.mm_types import Count, Flags, Folio, Mm, Owner, Pgoff, Range, Result, Va
from secondsight.linux.page_alloc import alloc_page
from secondsight.linux.page_writeback import set_page_dirty
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["PrivateGpu"]


class GpuMemory(PrivatePagemap):
    """The device's memory: whose it is, is where it lies."""

    def migrate_to_ram(self, mm: Mm, va: Va, folio: Folio) -> Flags:
        return container_of(self, PrivateGpu, "memory").migrate_to_ram(mm, va, folio)

    @atomic
    def page_free(self, folio: Folio) -> None:
        container_of(self, PrivateGpu, "memory").page_free(folio)


class PrivateGpu(Device):
    """Right: see above."""

    promise: ClassVar[Promise] = "private"
    lock: Mutex
    moving: Mutex
    memory: GpuMemory
    free: Array[Ref[Folio], Literal["private_pages"]]
    nr_free: Count
    page_table: DevicePageTable
    notifier: mn.IntervalNotifier

    bounds: ClassVar[Mapping[str, int]] = {
        "subscribers": 1, "owners": 1, "migrations": 1, "anon_vmas": 1, "private_memory": 1, "private_pages": 2, "migrate_pages": 1, "migrate_vmas": 1,
    }  # fmt: skip

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        """The memory, then the subscription."""
        alive = mmget_not_zero(mm)
        if not alive:
            return -EINVAL
        self.memory_comes()
        ret = mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)
        if ret != 0:
            memunmap_private(self.memory)
        mmput(mm)
        return ret

    @atomic
    def memory_comes(self) -> None:
        """memremap_pages(), and all of it is free."""
        memremap_private(self.memory, self)
        for i in range(len(self.free)):
            self.free[i] = self.memory.pages[i]
        self.nr_free = len(self.free)

    def close(self) -> None:
        """The device stops, and nothing comes into its memory any more; what is there goes back, and the memory goes."""
        with self.moving:
            self.page_table.disable()
        while self.memory_in_use():
            self.evict()
        mn.mmu_interval_notifier_remove(self.notifier)
        memunmap_private(self.memory)

    @atomic
    def memory_in_use(self) -> bool:
        """Whether some page of the memory is somebody's."""
        return self.nr_free < len(self.free)

    # The memory.

    @atomic
    def alloc(self) -> Ref[Folio]:
        """A free page of the memory, locked; None: there is none."""
        if self.nr_free == 0:
            return None
        page = self.free[self.nr_free - 1]
        assert page is not None
        self.nr_free -= 1
        self.free[self.nr_free] = None
        zone_device_page_init(page, self.memory)
        return page

    @atomic
    def page_free(self, folio: Folio) -> None:
        """dev_pagemap_ops.page_free."""
        self.free[self.nr_free] = folio
        self.nr_free += 1

    def dev_private_owner(self) -> Ref[Owner]:
        return mn.owner_of(self)

    # The table.

    def fault(self, va: Va, write: bool) -> Errno:
        """As a mirror; the page may be in the device's memory. One there that may not be written comes back first, for a CPU's fault to copy."""
        while True:
            seq = mn.mmu_interval_read_begin(self.notifier)
            pfn = hmm.hmm_range_fault(self.notifier, va, write)
            if pfn == -EBUSY:
                continue
            if pfn == hmm.HMM_PFN_READ_ONLY:
                ret = self.bring_back(va)
                if ret != 0:
                    return ret
                continue
            if pfn < 0:
                return pfn
            hold_point("before_lock")
            with self.lock:
                hold_point("locked")
                if mn.mmu_interval_read_retry(self.notifier, seq):
                    continue
                self.page_table.map(va, pfn, write)
                if write:
                    set_page_dirty(pfn)
                hold_point("installed")
            hold_point("unlocked")
            return 0

    def invalidate(self, rng: Range, seq: mn.Seq) -> bool:
        """Store the sequence number and clear, under the lock: of the driver's own migrations too."""
        if rng.blockable:
            self.lock.lock()
        else:
            locked = self.lock.trylock()
            if not locked:
                return False
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.drop(rng)
        self.lock.unlock()
        return True

    def drop(self, rng: Range) -> None:
        """Clear the entries of what changes."""
        self.page_table.unmap(rng)

    # Migration.

    def migrate(self, va: Va, pages: Pgoff) -> Result:
        """Pages of the process come into the device's memory: how many have."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        mm.mmap_lock.read_lock()
        done: Result = 0
        for i in range(pages):
            ret = self.to_device(mm, va + i)
            if ret < 0:
                done = ret
                break
            done += ret
        mm.mmap_lock.read_unlock()
        mmput(mm)
        return done

    def to_device(self, mm: Mm, va: Va) -> Result:
        """One page: 1 if it has come. What the process may not read is not taken."""
        moved: Result = 0
        readable = self.is_readable(mm, va)
        if not readable:
            return -EINVAL
        with self.moving:
            if self.page_table.disabled:
                return -EBADF
            with migrate_vmas.on_stack() as args:
                with atomic:
                    migrate_vma_init(args, mm, va, 1, mn.owner_of(self), MIGRATE_VMA_SELECT_SYSTEM)
                ret = migrate_vma_setup(args)
                if ret != 0:
                    return ret
                self.cut_off(va)
                self.copy_to_device(args)
                migrate_vma_pages(args)
                self.has_come(va, args)
                if args.migrate[0]:
                    moved = 1
                migrate_vma_finalize(args)
        return moved

    @atomic
    def is_readable(self, mm: Mm, va: Va) -> bool:
        """VM_READ, of the vma at `va`; the caller holds the mmap lock."""
        vma = vma_lookup(mm, va)
        return vma is not None and vma_is_accessible(vma)

    def cut_off(self, va: Va) -> None:
        """Before the page at `va` is copied the device must not have it any more. The invalidation has cleared its entry already."""

    def has_come(self, va: Va, args: MigrateVma) -> None:
        """The page at `va` has moved, or has not. The device finds it by its next fault."""

    @atomic
    def copy_to_device(self, args: MigrateVma) -> None:
        """Give each page that can be moved a destination, as long as there is memory, and copy; where nothing was there are zeroes."""
        for i in range(args.npages):
            if args.migrate[i]:
                page = self.alloc()
                if page is not None:
                    src = args.src[i]
                    if src is not None:
                        copy_highpage(page, src)
                    else:
                        clear_highpage(page)
                    args.dst[i] = page

    def migrate_to_ram(self, mm: Mm, va: Va, folio: Folio) -> Flags:
        """dev_pagemap_ops.migrate_to_ram."""
        ret = self.to_ram(mm, va, folio)
        return VM_FAULT_SIGBUS if ret != 0 else 0

    def to_ram(self, mm: Mm, va: Va, folio: Ref[Folio]) -> Errno:
        """One page of the device's comes back, if it is there. The caller holds the mmap lock."""
        with self.moving, migrate_vmas.on_stack() as args:
            with atomic:
                migrate_vma_init(args, mm, va, 1, mn.owner_of(self), MIGRATE_VMA_SELECT_DEVICE_PRIVATE, folio)
            ret = migrate_vma_setup(args)
            if ret != 0:
                return ret
            self.cut_off(va)
            self.copy_to_ram(args)
            migrate_vma_pages(args)
            migrate_vma_finalize(args)
        return 0

    def bring_back(self, va: Va) -> Errno:
        """The same without a CPU's fault."""
        with atomic:
            mm = self.notifier.mm
            assert mm is not None
            alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        mm.mmap_lock.read_lock()
        ret = self.to_ram(mm, va, None)
        mm.mmap_lock.read_unlock()
        mmput(mm)
        return ret

    @atomic
    def copy_to_ram(self, args: MigrateVma) -> None:
        """Give each page of the device's a destination, and copy. The invalidation has taken it from the device before."""
        for i in range(args.npages):
            src = args.src[i]
            if args.migrate[i] and src is not None:
                page = alloc_page()
                folio_lock(page)
                copy_highpage(page, src)
                args.dst[i] = page

    def evict(self) -> Result:
        """What is in the device's memory goes back, as far as nobody else holds it: how many pages have."""
        moved: Result = 0
        for i in range(len(self.free)):
            with self.moving, migrate_vmas.on_stack() as args:
                migrate_device_range(args, self.memory, i, 1)
                self.copy_to_ram(args)
                migrate_device_pages(args)
                if args.migrate[0]:
                    moved += 1
                migrate_device_finalize(args)
        return moved
