"""A device with memory of its own that takes several pages in one call, as lib/test_hmm.c does (dmirror_migrate_to_device(), Linux 6.12).

    mmap lock; for as much of the range as lies in one vma:
        migrate_vma_setup()     one bracket for all of it; among pages that can be moved may be some that cannot
        copy                    each page that can be moved has a destination at its own place of the array
        migrate_vma_pages(), migrate_vma_finalize()

Everything else is as in `private_gpu`; what is in its memory goes back in one call too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from secondsight.devices.private_gpu import PrivateGpu
from secondsight.lang import atomic
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBADF, EFAULT, EINVAL
from secondsight.linux.memory import vma_lookup
from secondsight.linux.migrate_device import MIGRATE_VMA_SELECT_SYSTEM, migrate_vma_init, migrate_vma_setup, migrate_vmas
from secondsight.linux.migrate_device_pages import migrate_vma_finalize, migrate_vma_pages
from secondsight.linux.migrate_device_range import migrate_device_finalize, migrate_device_pages, migrate_device_range
from secondsight.linux.mm_types import Count, Event, Mm, Pgoff, Range, Result, Va
from secondsight.linux.sched_mm import mmget_not_zero, mmput

__all__ = ["ClearsItsRange", "PrivateRangeGpu"]


class PrivateRangeGpu(PrivateGpu):
    """Right: see above."""

    bounds: ClassVar[Mapping[str, int]] = {**PrivateGpu.bounds, "migrate_pages": 2}

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
        at: Pgoff = 0
        while at < pages:
            count = self.in_one_vma(mm, va + at, pages - at)
            ret = self.range_to_device(mm, va + at, count)
            if ret < 0:
                done = ret
                break
            done += ret
            at += count
        mm.mmap_lock.read_unlock()
        mmput(mm)
        return done

    @atomic
    def in_one_vma(self, mm: Mm, va: Va, most: Count) -> Count:
        """How many pages from `va` on are asked for in one call: as many as fit, and lie in one vma; at least one."""
        vma = vma_lookup(mm, va)
        count = min(most, len(migrate_vmas[0].src))
        return count if vma is None else min(count, vma.vm_end - va)

    def range_to_device(self, mm: Mm, va: Va, count: Count) -> Result:
        """Pages of one vma: how many have come. What the process may not read is not taken."""
        moved: Result = 0
        readable = self.is_readable(mm, va)
        if not readable:
            return -EINVAL
        with self.moving:
            if self.page_table.disabled:
                return -EBADF
            with migrate_vmas.on_stack() as args:
                with atomic:
                    migrate_vma_init(args, mm, va, count, mn.owner_of(self), MIGRATE_VMA_SELECT_SYSTEM)
                ret = migrate_vma_setup(args)
                if ret != 0:
                    return ret
                self.cut_off_range(va, count)
                self.copy_to_device(args)
                migrate_vma_pages(args)
                with atomic:
                    for i in range(count):
                        if args.migrate[i]:
                            moved += 1
                migrate_vma_finalize(args)
        return moved

    def cut_off_range(self, va: Va, count: Count) -> None:
        """Before the pages are copied the device must not have them any more. The invalidation has cleared their entries already."""

    def evict(self) -> Result:
        """What is in the device's memory goes back, in one call."""
        moved: Result = 0
        with self.moving, migrate_vmas.on_stack() as args:
            migrate_device_range(args, self.memory, 0, len(self.free))
            self.copy_to_ram(args)
            migrate_device_pages(args)
            with atomic:
                for i in range(len(self.free)):
                    if args.migrate[i]:
                        moved += 1
            migrate_device_finalize(args)
        return moved


class ClearsItsRange(PrivateRangeGpu):
    """Right: its own migration moves the sequence on; the entries it clears itself, before it copies."""

    def drop(self, rng: Range) -> None:
        """Not what its own call is about."""
        if rng.event != Event.MIGRATE or not mn.is_owner(self, rng):
            self.page_table.unmap(rng)

    def cut_off(self, va: Va) -> None:
        with self.lock:
            self.page_table.unmap(Range(va, va + 1, Event.MIGRATE, True))

    def cut_off_range(self, va: Va, count: Count) -> None:
        with self.lock:
            self.page_table.unmap(Range(va, va + count, Event.MIGRATE, True))
