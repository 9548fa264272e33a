"""Pages that go into a device's memory and come back, by hand and under search: what becomes of an entry, of references, and who is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from linux_world import A, B, C, broken_rule, free_frames, world

from secondsight.contract.coherence import as_if_cpu
from secondsight.devices.coherent_gpu import CoherentGpu
from secondsight.devices.device import open_device
from secondsight.devices.private_gpu import PrivateGpu
from secondsight.devices.private_range import PrivateRangeGpu
from secondsight.devices.small import OwnsAllMemory
from secondsight.lang import require
from secondsight.lang.errors import RuleBroken
from secondsight.lang.plain import replay
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import EFAULT, EINVAL, ENOENT, EPERM
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, pin_user_pages_fast, unpin_user_page
from secondsight.linux.hmm import hmm_range_fault, hmm_range_snapshot
from secondsight.linux.madvise import madvise_dontneed, madvise_hugepage, madvise_pageout
from secondsight.linux.memfd import memfd_create
from secondsight.linux.memremap_private import memunmap_private
from secondsight.linux.migrate import move_page
from secondsight.linux.mm_types import Mm, PmdKind, PteKind
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.linux.page_alloc import ZERO_PFN, frames, get_page, put_page
from secondsight.linux.pgtable import folio_kept_by, folio_mapcount, pmd_trans_huge, pte_none
from secondsight.linux.swapops import swap_slots
from secondsight.search.bfs import breadth_first
from secondsight.search.request import Request

SIZES = {**PrivateGpu.bounds, "frames": 8, "pages": 3, "private_pages": 2, "vmas": 4}


@contextmanager
def gpu_on(kind: type[PrivateGpu] = PrivateGpu, **wanted: int) -> Iterator[tuple[Any, Mm, Any]]:
    """A process with two private pages, of which the first holds A, and a device of some class."""
    with world({kind: 1}, **{**SIZES, **wanted}) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        gpu = machine.pool(kind).alloc()
        assert open_device(gpu, mm) == 0
        yield machine, mm, gpu


def test_a_page_goes_there_and_comes_back() -> None:
    with gpu_on() as (_, mm, gpu):
        free = free_frames()
        assert gpu.migrate(0, 1) == 1
        page = mm.ptes[0].frame
        assert page is not None and page.pgmap[0] is not None and mm.ptes[0].kind == PteKind.DEVICE_PRIVATE and mm.ptes[0].writable
        assert (page.refcount, folio_mapcount(page), page.locked, page.contents) == (1, 1, False, A)
        assert folio_kept_by(mm.ptes[0]) is page and free_frames() == free + 1 and gpu.nr_free == 1
        assert gpu.read(0) == A and gpu.write(0, B) == 0 and page.contents == B
        assert cpu_read(mm, 0) == B and mm.ptes[0].kind == PteKind.PRESENT and mm.ptes[0].writable
        assert page.refcount == 0 and gpu.nr_free == 2 and free_frames() == free
        assert gpu.read(0) == B and gpu.evict() == 0
        gpu.close()


@pytest.mark.parametrize("locks", [0, 1])
def test_the_page_of_a_fault_is_in_device_memory_and_in_linux_7_2_locked(locks: int) -> None:
    with gpu_on(locks_the_device_page=locks) as (_, mm, gpu):
        there = mm.ptes[0].frame
        assert there is not None
        mm.mmap_lock.read_lock()
        there.locked = locks == 1
        assert gpu.to_ram(mm, 0, there) == -EINVAL, "a page of the system's"
        there.locked = False
        mm.mmap_lock.read_unlock()
        assert (there.refcount, there.locked, mm.ptes[0].frame) == (1, False, there)
        assert gpu.migrate(0, 1) == 1
        there = mm.ptes[0].frame
        assert there is not None
        mm.mmap_lock.read_lock()
        get_page(there)
        assert gpu.to_ram(mm, 0, there) == (-EINVAL if locks else 0)
        put_page(there)
        mm.mmap_lock.read_unlock()
        assert (mm.ptes[0].kind == PteKind.DEVICE_PRIVATE) == (locks == 1) and cpu_read(mm, 0) == A


def test_an_untouched_page_and_the_zero_page_are_zeroes_there() -> None:
    with gpu_on() as (_, mm, gpu):
        gpu.migrate(0, 1)
        cpu_read(mm, 0)
        madvise_dontneed(mm, 0, 1)
        assert gpu.migrate(0, 2) == 2 and gpu.read(0) == 0, "what its memory held before is gone"
        cpu_write(mm, 1, C)
        madvise_dontneed(mm, 1, 1)
        assert cpu_read(mm, 1) == 0 and not mm.ptes[1].writable
        assert gpu.migrate(1, 1) == 1 and gpu.write(1, C) == 0 and cpu_read(mm, 1) == C


def test_what_is_held_shared_or_beyond_its_memory_stays() -> None:
    with gpu_on(files=1, file_pages=1, pages=4) as (_, mm, gpu):
        pfn = pin_user_pages_fast(mm, 0, FOLL_WRITE | FOLL_PIN | FOLL_LONGTERM)
        assert gpu.migrate(0, 1) == 0 and mm.ptes[0].kind == PteKind.PRESENT and not frames[pfn].locked
        unpin_user_page(frames[pfn])
        get_page(frames[pfn])
        assert gpu.migrate(0, 1) == 0 and mm.ptes[0].frame is frames[pfn]
        put_page(frames[pfn])
        frames[pfn].locked = True
        assert gpu.migrate(0, 1) == 0
        frames[pfn].locked = False
        do_mmap(mm, 3, 1, memfd_create(1, 0), 0, True)
        cpu_write(mm, 3, C)
        assert gpu.migrate(3, 1) == 0 and cpu_read(mm, 3) == C and gpu.nr_free == 2
        assert gpu.migrate(2, 1) == -EINVAL
        assert gpu.migrate(0, 2) == 2 and gpu.migrate(0, 2) == 0
        gpu.close()
        assert cpu_read(mm, 0) == A and all(not frame.locked for frame in frames)


@pytest.mark.parametrize("how", ["munmap", "dontneed", "exit", "reaped"])
def test_what_takes_memory_away_gives_the_device_its_page(how: str) -> None:
    with gpu_on() as (_, mm, gpu):
        free = free_frames()
        gpu.migrate(0, 1)
        match how:
            case "munmap":
                vm_munmap(mm, 0, 2)
            case "dontneed":
                madvise_dontneed(mm, 0, 2)
            case "exit":
                exit_mm(mm)
            case "reaped":
                assert oom_reap_task_mm(mm)
        assert gpu.nr_free == 2 and pte_none(mm.ptes[0]) and free_frames() == free + 1
        assert gpu.migrate(0, 1) == (-EFAULT if how == "exit" else -EINVAL if how == "munmap" else 0 if how == "reaped" else 1)
        gpu.close()


def test_a_child_shares_it_and_who_writes_gets_a_copy() -> None:
    with gpu_on(mms=2, vmas=8, frames=12, cow=1, anon_vmas=2) as (_, mm, gpu):
        gpu.migrate(0, 1)
        child = mm_alloc()
        dup_mmap(child, mm)
        page = mm.ptes[0].frame
        assert page is not None and child.ptes[0].frame is page and page.refcount == 2 and page.shared[0]
        assert not mm.ptes[0].writable and not child.ptes[0].writable
        assert gpu.read(0) == A
        assert gpu.write(0, B) == 0, "it comes back, and is copied"
        assert cpu_read(child, 0) == A and gpu.read(0) == B and cpu_read(mm, 0) == B
        assert gpu.nr_free == 2 and cpu_write(child, 0, C) == 0 and cpu_read(mm, 0) == B
        gpu.close()


def test_who_may_not_write_does_not_write_there() -> None:
    with gpu_on(cow=1) as (_, mm, gpu):
        gpu.migrate(0, 1)
        assert gpu.write(0, B) == 0
        do_mprotect_pkey(mm, 0, 2, False, 0, 2)
        assert mm.ptes[0].kind == PteKind.DEVICE_PRIVATE and not mm.ptes[0].writable
        assert gpu.read(0) == B and gpu.write(0, C) == -EPERM and cpu_read(mm, 0) == B


def test_a_pin_and_a_move_find_it_there() -> None:
    with gpu_on() as (_, mm, gpu):
        gpu.migrate(0, 1)
        assert move_page(mm, 0) < 0 and mm.ptes[0].kind == PteKind.DEVICE_PRIVATE
        pfn = pin_user_pages_fast(mm, 0, FOLL_WRITE | FOLL_PIN)
        assert frames[pfn] is mm.ptes[0].frame and frames[pfn].contents == A and gpu.nr_free == 2
        unpin_user_page(frames[pfn])


def test_a_clean_page_of_the_swap_cache_leaves_its_slot() -> None:
    with gpu_on(swap_slots=2) as (_, mm, gpu):
        madvise_pageout(mm, 0, 1)
        assert gpu.migrate(0, 1) == 0, "in swap"
        cpu_read(mm, 0)
        assert swap_slots[0].cache is not None and gpu.migrate(0, 1) == 1
        assert swap_slots[0].cache is None and gpu.write(0, B) == 0 and cpu_read(mm, 0) == B
        madvise_pageout(mm, 0, 1)
        assert cpu_read(mm, 0) == B


def test_hmm_range_fault_tells_its_owner_where_it_is_and_brings_it_back_for_others() -> None:
    with world({PrivateGpu: 2}, **{**SIZES, "owners": 2, "subscribers": 2, "frames": 12, "private_memory": 2}) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        gpus = [machine.pool(PrivateGpu).alloc() for _ in range(2)]
        for gpu in gpus:
            assert open_device(gpu, mm) == 0
        gpus[0].migrate(0, 1)
        page = mm.ptes[0].frame
        assert frames[hmm_range_fault(gpus[0].notifier, 0, True)] is page
        assert frames[hmm_range_snapshot(gpus[0].notifier, 0)] is page
        assert hmm_range_snapshot(gpus[1].notifier, 0) < 0
        assert gpus[1].bring_back(0) == 0 and mm.ptes[0].frame is page, "it is not this one's to move"
        assert gpus[1].read(0) == A and mm.ptes[0].kind == PteKind.PRESENT


def test_another_devices_memory_is_a_stale_access() -> None:
    with world({OwnsAllMemory: 2}, **{**SIZES, "owners": 2, "subscribers": 2, "frames": 12, "private_memory": 2}) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        gpus = [machine.pool(OwnsAllMemory).alloc() for _ in range(2)]
        for gpu in gpus:
            assert open_device(gpu, mm) == 0
        gpus[0].migrate(0, 1)
        found = breadth_first(Reference(build(machine, [Thread("its", gpus[1].read, (0,))], rules=[as_if_cpu])))
        assert found.violation is not None and found.violation.rule == "as-if-cpu"


@pytest.mark.parametrize("locks", [False, True])
def test_two_faults_may_keep_each_other_from_it_unless_they_lock_it(locks: bool) -> None:
    """6.12 takes a reference for each fault, which the other's migration does not expect; 7.2 locks the page first."""
    wanted = {"migrate_vmas": 2, "frames": 5, "pages": 2, "private_pages": 1} | ({"locks_the_device_page": 1} if locks else {})
    with world({PrivateGpu: 1}, **{**SIZES, **wanted}) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        gpu = machine.pool(PrivateGpu).alloc()
        gpu.memory_comes()  # nobody listens: no sequence number counts the rounds
        gpu.notifier.mm = mm
        gpu.migrate(0, 1)
        program = build(machine, [Thread(f"cpu{i}", cpu_read, (mm, 0)) for i in range(2)])
        found = breadth_first(Reference(program), Request(livelock=True))
        assert found.error is None
        if locks:
            assert found.violation is None
        else:
            assert found.violation is not None and found.violation.rule == "livelock"
            steps = found.violation.trace.schedule
            assert len(replay(program, steps, found.violation.trace.states)) == len(steps)


def memory_goes(gpu: PrivateGpu) -> None:
    """What is in the device's memory goes back, and the memory goes: the driver is unloaded."""
    while gpu.memory_in_use():
        gpu.evict()
    memunmap_private(gpu.memory)


@pytest.mark.parametrize("form, rule", [({}, None), ({"locks_the_device_page": 1}, None), ({"faults_hold_nothing": 1}, "use-after-free")])
def test_a_fault_holds_the_page_that_it_asks_the_driver_of(form: dict[str, int], rule: str | None) -> None:
    """16ce101db85d: the page comes back, by another fault or an eviction, and the device's memory goes meanwhile."""
    wanted = {"migrate_vmas": 2, "frames": 5, "pages": 2, "private_pages": 1}
    with world({PrivateGpu: 1}, **{**SIZES, **wanted, **form}) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        gpu = machine.pool(PrivateGpu).alloc()
        gpu.memory_comes()  # nobody listens
        gpu.notifier.mm = mm
        assert gpu.migrate(0, 1) == 1
        assert broken_rule(machine, Thread("cpu", cpu_read, (mm, 0)), Thread("rmmod", memory_goes, (gpu,))) == rule


@pytest.mark.parametrize("form, rule", [({}, None), ({"pages_hold_no_pagemap": 1}, "use-after-free")])
def test_memory_that_goes_waits_for_pages_that_are_mapped(form: dict[str, int], rule: str | None) -> None:
    """0dc45ca1ce18: memunmap_pages() without an eviction before, and a CPU that brings the page back."""
    with world({PrivateGpu: 1}, **{**SIZES, "private_pages": 1, "pages": 2, **form}) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        gpu = machine.pool(PrivateGpu).alloc()
        gpu.memory_comes()  # nobody listens
        gpu.notifier.mm = mm
        assert gpu.migrate(0, 1) == 1
        assert broken_rule(machine, Thread("cpu", cpu_read, (mm, 0)), Thread("rmmod", memunmap_private, (gpu.memory,))) == rule


def store_and_load(mm: Mm) -> None:
    """What a CPU has stored it finds again."""
    cpu_write(mm, 0, B)
    found = cpu_read(mm, 0)
    require(found == B, "lost-write", "a CPU finds what was there before its store")


@pytest.mark.parametrize("form, rule", [({}, None), ({"collect_forgets_dirty": 1}, "lost-write")])
def test_a_migration_that_is_called_off_loses_no_store(form: dict[str, int], rule: str | None) -> None:
    """fd35ca3d12cc: the page has a slot in swap, with what it held before; the device has no room for it, and then it is reclaimed."""
    with world({PrivateGpu: 1}, **{**SIZES, "private_pages": 1, "pages": 2, "swap_slots": 2, "migrations": 2, **form}) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, C)
        gpu = machine.pool(PrivateGpu).alloc()
        gpu.memory_comes()  # nobody listens
        gpu.notifier.mm = mm
        assert gpu.migrate(1, 1) == 1 and gpu.nr_free == 0
        assert madvise_pageout(mm, 0, 1) == 0 and cpu_read(mm, 0) == A and not mm.ptes[0].dirty
        threads = [Thread("cpu", store_and_load, (mm,)), Thread("gpu", gpu.migrate, (0, 1)), Thread("reclaim", madvise_pageout, (mm, 0, 1))]
        assert broken_rule(machine, *threads) == rule


def test_a_range_in_one_call_passes_over_what_is_held() -> None:
    with gpu_on(PrivateRangeGpu, pages=4, migrate_pages=3, private_pages=3) as (_, mm, gpu):
        cpu_write(mm, 1, B)
        pfn = pin_user_pages_fast(mm, 0, FOLL_WRITE | FOLL_PIN)
        assert gpu.migrate(0, 2) == 1 and (mm.ptes[0].kind, mm.ptes[1].kind) == (PteKind.PRESENT, PteKind.DEVICE_PRIVATE)
        unpin_user_page(frames[pfn])
        assert gpu.migrate(0, 2) == 1 and gpu.evict() == 2 and (cpu_read(mm, 0), cpu_read(mm, 1)) == (A, B)
        assert gpu.migrate(1, 2) == -EINVAL and mm.ptes[1].kind == PteKind.DEVICE_PRIVATE  # what lies behind the vma is another call
        gpu.close()


HUGE = {"huge": 1, "pmds": 2, "pages": 4, "vma_flags": 1, "cow": 1, "frames": 10}


def test_a_huge_page_is_split_for_good_first() -> None:
    with gpu_on(PrivateRangeGpu, migrate_pages=2, **HUGE) as (_, mm, gpu):
        madvise_dontneed(mm, 0, 2)
        vm_munmap(mm, 0, 2)
        do_mmap(mm, 0, 4, None, 0, True)
        madvise_hugepage(mm, 0, 4, 0, 4)
        cpu_write(mm, 1, B)
        assert gpu.migrate(1, 1) == 1 and (mm.ptes[1].kind, mm.pmds[0].kind) == (PteKind.DEVICE_PRIVATE, PmdKind.TABLE)
        assert mm.ptes[0].frame is frames[ZERO_PFN] and gpu.read(1) == B
        cpu_read(mm, 2)
        assert gpu.migrate(2, 1) == 1 and not pmd_trans_huge(mm, 2)  # the huge zero page's entry
        assert gpu.evict() == 2 and (cpu_read(mm, 1), cpu_read(mm, 2)) == (B, 0)
        gpu.close()


COHERENT = {"coherent_memory": 1, "migrate_vmas": 2}


def test_a_page_in_coherent_memory_is_like_any_and_is_never_pinned_for_long() -> None:
    with gpu_on(CoherentGpu, **COHERENT) as (_, mm, gpu):
        assert gpu.migrate(0, 2) == 2
        page = mm.ptes[0].frame
        assert page is not None and page.pgmap[0] is not None and mm.ptes[0].kind == PteKind.PRESENT and folio_mapcount(page) == 1
        assert (cpu_read(mm, 0), cpu_write(mm, 0, B), gpu.read(0), gpu.write(1, C), cpu_read(mm, 1)) == (A, 0, B, 0, C)
        assert gpu.migrate(0, 1) == 0 and move_page(mm, 0) == -ENOENT and mm.ptes[0].frame is page
        pfn = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)
        assert frames[pfn] is page and gpu.evict() == 1, "one that is pinned, but not for long, stays"
        unpin_user_page(page)
        pfn = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM)
        assert frames[pfn] is not page and frames[pfn].contents == B and page.refcount == 0 and gpu.nr_free == 2
        unpin_user_page(frames[pfn])
        gpu.close()


def test_a_child_that_writes_has_its_copy_of_a_coherent_page_in_the_systems_memory() -> None:
    with gpu_on(CoherentGpu, **COHERENT, mms=2, anon_vmas=2, cow=1, frames=10) as (_, mm, gpu):
        assert gpu.migrate(0, 1) == 1
        child = mm_alloc()
        dup_mmap(child, mm)
        page = mm.ptes[0].frame
        assert page is not None and child.ptes[0].frame is page and page.refcount == 2
        assert cpu_write(child, 0, C) == 0 and child.ptes[0].frame is not page
        assert (cpu_write(mm, 0, B), cpu_read(mm, 0), cpu_read(child, 0)) == (0, B, C) and mm.ptes[0].frame is page
        assert gpu.evict() == 1 and (cpu_read(mm, 0), cpu_read(child, 0)) == (B, C)
        gpu.close()


def test_who_moves_pages_holds_the_mmap_lock() -> None:
    with gpu_on() as (_, mm, gpu), pytest.raises(RuleBroken, match="lock-not-held: moves pages without the mmap lock"):
        gpu.to_device(mm, 0)
