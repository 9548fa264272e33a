"""The 2019 interface: `valid`, and what it cannot see."""

from __future__ import annotations

import pytest
from linux_world import A, B, Mirror, load, search, world

from secondsight.linux import EBUSY, EFAULT, SIGBUS
from secondsight.linux import hmm_2019 as hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.dax import DevDax, dax_mmap, dev_dax_probe, unregister_dev_dax
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memremap import dev_pagemap_kill
from secondsight.linux.mm_types import Event, Mm, Range, Result, Va
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.page_alloc import ZERO_PFN, frames

SIZES = {"subscribers": 0, "mmu_notifiers": 1, "hmms": 1, "hmm_ranges": 1, "mirrors": 1}


class Mirror2019(Mirror):
    """The populate loop as the thread writes it."""

    def map_page(self, va: Va, write: bool) -> Result:
        tracked = hmm.hmm_range_register(self, va, va + 1)
        if tracked is None:
            return -EFAULT
        while True:
            pfn = hmm.hmm_range_fault(tracked, va, write)
            if pfn < 0:
                hmm.hmm_range_unregister(tracked)
                return pfn
            self.lock.lock()
            if hmm.hmm_range_valid(tracked):
                self.table[va].frame = frames[pfn]
                self.lock.unlock()
                hmm.hmm_range_unregister(tracked)
                return 0
            self.lock.unlock()

    def sync_cpu_device_pagetables(self, rng: Range) -> int:
        with self.lock:
            for va in range(rng.start, rng.end):
                self.table[va].frame = None
        return 0

    def release(self, mm: Mm) -> None:
        """Needed: an exit forgets its mmu notifiers before it unmaps."""
        with self.lock:
            for va in range(len(self.table)):
                self.table[va].frame = None


class HoldsMmapLock(Mirror2019):
    """The loop as Documentation/vm/hmm.rst of 5.3 has it: the mmap lock is held over the test."""

    def map_page(self, va: Va, write: bool) -> Result:
        tracked = hmm.hmm_range_register(self, va, va + 1)
        if tracked is None:
            return -EFAULT
        while True:
            hmm.hmm_range_wait_until_valid(tracked)
            mm = hmm.hmm_range_mm(tracked)
            mm.mmap_lock.read_lock()
            pfn = hmm.hmm_range_fault_locked(tracked, mm, va, write)
            if pfn < 0:
                mm.mmap_lock.read_unlock()
                if pfn == -EBUSY:
                    continue
                hmm.hmm_range_unregister(tracked)
                return pfn
            self.lock.lock()
            valid = hmm.hmm_range_valid(tracked)
            if valid:
                self.table[va].frame = frames[pfn]
            self.lock.unlock()
            mm.mmap_lock.read_unlock()
            if valid:
                hmm.hmm_range_unregister(tracked)
                return 0


def device_main(mirror: Mirror2019, va: Va, times: int) -> None:
    """A device that reads `va`; an error ends it."""
    done = 0
    while done < times:
        if load(mirror, va) != -1:
            done += 1
        elif mirror.map_page(va, False) != 0:
            return


def mapped(kind: type[Mirror2019], **more: int):  # type: ignore[no-untyped-def]
    return world({kind: 1}, pages=1, **SIZES, **more)


def register(machine, mm, kind=Mirror2019):  # type: ignore[no-untyped-def]
    mirror = machine.pool(kind).alloc()
    assert hmm.hmm_mirror_register(mirror, mm) == 0
    return mirror


def test_any_invalidation_makes_a_range_invalid_and_the_last_to_end_makes_all_valid() -> None:
    with mapped(Mirror2019) as (machine, mm):
        mirror = register(machine, mm)
        first, second = Range(0, 1, Event.CLEAR, True), Range(0, 1, Event.UNMAP, True)
        tracked = hmm.hmm_range_register(mirror, 0, 1)
        assert tracked is not None
        assert tracked.valid
        mn.mmu_notifier_invalidate_range_start(mm, first)
        assert not tracked.valid
        mn.mmu_notifier_invalidate_range_start(mm, second)
        mn.mmu_notifier_invalidate_range_end(mm, first)
        assert not tracked.valid
        mn.mmu_notifier_invalidate_range_end(mm, second)
        assert tracked.valid


def test_a_range_registered_during_an_invalidation_is_not_valid_and_busy() -> None:
    with mapped(Mirror2019) as (machine, mm):
        mirror = register(machine, mm)
        do_mmap(mm, 0, 1, None, 0, True)
        rng = Range(0, 1, Event.CLEAR, True)
        mn.mmu_notifier_invalidate_range_start(mm, rng)
        tracked = hmm.hmm_range_register(mirror, 0, 1)
        assert tracked is not None
        assert not tracked.valid
        assert hmm.hmm_range_fault(tracked, 0, False) == -EBUSY
        mn.mmu_notifier_invalidate_range_end(mm, rng)
        assert hmm.hmm_range_fault(tracked, 0, False) == ZERO_PFN
        hmm.hmm_range_unregister(tracked)


def test_a_registered_range_keeps_the_process_and_no_process_means_no_range() -> None:
    with mapped(Mirror2019) as (machine, mm):
        mirror = register(machine, mm)
        tracked = hmm.hmm_range_register(mirror, 0, 1)
        assert tracked is not None
        assert mm.users == 2
        hmm.hmm_range_unregister(tracked)
        exit_mm(mm)
        assert hmm.hmm_range_register(mirror, 0, 1) is None


def test_errors_are_those_of_a_cpu_access() -> None:
    with mapped(Mirror2019) as (machine, mm):
        mirror = register(machine, mm)
        assert mirror.map_page(0, False) == -EFAULT
        assert mm.users == 1


def test_killed_device_memory_is_busy_for_those_who_take_a_reference() -> None:
    with mapped(Mirror2019, dax_devices=1, pagemaps=1, file_pages=1) as (machine, mm):
        mirror = register(machine, mm)
        dax = dev_dax_probe(1)
        dax_mmap(dax, mm, 0, 1, 0, True)
        cpu_write(mm, 0, A)
        tracked = hmm.hmm_range_register(mirror, 0, 1)
        assert tracked is not None
        assert hmm.hmm_range_fault(tracked, 0, False) > ZERO_PFN
        assert dax.pgmap is not None
        dev_pagemap_kill(dax.pgmap)
        with mm.mmap_lock.reading():
            assert hmm.hmm_vma_walk(mm, 0, False, True) == -EBUSY  # and looks again, as long as the range is valid
        assert hmm.hmm_range_fault(tracked, 0, False, pagemap=False) > ZERO_PFN


# Every interleaving.


def munmap_main(mm: Mm) -> None:
    vm_munmap(mm, 0, 1)


def munmap_mmap_main(mm: Mm) -> None:
    vm_munmap(mm, 0, 1)
    do_mmap(mm, 0, 1, None, 0, True)
    cpu_write(mm, 0, B)


def dontneed_main(mm: Mm) -> None:
    madvise_dontneed(mm, 0, 1)
    cpu_write(mm, 0, B)


def exit_main(mm: Mm) -> None:
    exit_mm(mm)


@pytest.mark.parametrize("adversary", [munmap_main, munmap_mmap_main, dontneed_main])
def test_an_invalidation_that_begins_and_ends_before_the_test_goes_unseen(adversary) -> None:  # type: ignore[no-untyped-def]
    """`valid` is true again: the bug that the sequence number of 5.5 removed."""
    with mapped(Mirror2019) as (machine, mm):
        mirror = register(machine, mm)
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (adversary, (mm,)), (device_main, (mirror, 0, 1)))
    assert found.violation is not None
    assert found.violation.rule in ("as-if-cpu", "no-use-after-free")


@pytest.mark.parametrize(
    ("adversary", "verdict"),
    [(munmap_main, "holds"), (exit_main, "holds"), (dontneed_main, "broken"), (munmap_mmap_main, "broken")],
)
def test_holding_the_mmap_lock_helps_against_those_who_write_lock_it(adversary, verdict: str) -> None:  # type: ignore[no-untyped-def]
    """MADV_DONTNEED, and a write that replaces the zero page, hold it for reading, as the driver does."""
    with mapped(HoldsMmapLock) as (machine, mm):
        mirror = register(machine, mm, HoldsMmapLock)
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (adversary, (mm,)), (device_main, (mirror, 0, 1)))
    assert found.verdict.value == verdict


def test_exit_waits_for_registered_ranges() -> None:
    with mapped(Mirror2019) as (machine, mm):
        mirror = register(machine, mm)
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (exit_main, (mm,)), (device_main, (mirror, 0, 1)))
    assert found.verdict.value == "holds"


def remove_main(dax: DevDax) -> None:
    unregister_dev_dax(dax)


def test_the_threads_claim_about_device_memory_is_broken_by_the_same_gap() -> None:
    with mapped(Mirror2019, dax_devices=1, pagemaps=1, file_pages=1) as (machine, mm):
        mirror = register(machine, mm)
        dax = dev_dax_probe(1)
        dax_mmap(dax, mm, 0, 1, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (remove_main, (dax,)), (device_main, (mirror, 0, 1)))
    assert found.violation is not None


def test_a_cpu_access_after_removal_is_an_error() -> None:
    with mapped(Mirror2019, dax_devices=1, pagemaps=1, file_pages=1) as (_, mm):
        dax = dev_dax_probe(1)
        dax_mmap(dax, mm, 0, 1, 0, True)
        unregister_dev_dax(dax)
        assert cpu_read(mm, 0) == -SIGBUS
