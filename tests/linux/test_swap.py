"""Reclaim, the swap cache, swapping in: by hand and under search."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from linux_world import A, B, search, world

from secondsight.lang.errors import RuleBroken
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.gup import (
    FOLL_PIN,
    FOLL_WRITE,
    get_user_page_vma_remote,
    pin_user_pages_fast,
    unpin_folio,
    unpin_user_page_range_dirty_lock,
)
from secondsight.linux.madvise import madvise_dontneed, madvise_pageout
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_flags import MAP_PRIVATE, VM_LOCKED
from secondsight.linux.mm_types import Folio, PteKind
from secondsight.linux.mmap import do_mmap, exit_mmap, vm_munmap
from secondsight.linux.page_alloc import frames, get_page, put_page, zone
from secondsight.linux.shmem import shmem_fallocate_punch_hole
from secondsight.linux.swap_state import swap_free
from secondsight.linux.swapops import swap_slots

SWAP = {"frames": 5, "pages": 2, "anon_vmas": 1, "swap_slots": 2}


def test_a_page_goes_to_swap_and_comes_back() -> None:
    with world(**SWAP) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        free = zone.nr_free
        assert madvise_pageout(mm, 0, 2) == 0
        assert mm.ptes[0].kind == PteKind.SWAP and zone.nr_free == free + 1
        assert swap_slots[0].contents == A and swap_slots[0].count == 1 and swap_slots[0].cache is None
        assert cpu_read(mm, 0) == A
        assert swap_slots[0].count == 0 and swap_slots[0].cache is mm.ptes[0].frame and not mm.ptes[0].dirty
        assert madvise_pageout(mm, 0, 1) == 0, "clean: dropped, and the slot still has it"
        assert mm.ptes[0].kind == PteKind.SWAP and swap_slots[0].cache is None
        assert cpu_write(mm, 0, B) == 0
        assert swap_slots[0].cache is None, "written: nobody else had it, and the slot is free"
        assert madvise_pageout(mm, 0, 1) == 0 and cpu_read(mm, 0) == B
        vm_munmap(mm, 0, 2)
        assert zone.nr_free == free + 1 and all(slot.cache is None and slot.count == 0 for slot in swap_slots)


@pytest.mark.parametrize(("older", "writes"), [(0, False), (1, False), (0, True), (1, True)])
def test_what_comes_back_for_a_read_may_be_written_at_once_in_newer_releases(older: int, writes: bool) -> None:
    """Seen on a real 6.1 (drawn scenario forced_1_133)."""
    with world(**SWAP | {"swapped_in_read_only": older}) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        assert (cpu_write(mm, 0, B) if writes else cpu_read(mm, 0)) == (0 if writes else A)
        assert mm.ptes[0].writable == (writes or not older)
        assert cpu_write(mm, 0, B) == 0 and mm.ptes[0].writable and mm.ptes[0].dirty


@pytest.mark.parametrize("newer", [0, 1])
def test_a_write_to_what_is_the_processs_alone_keeps_the_slot_in_newer_releases(newer: int) -> None:
    """In 7.2 the page is mapped for writing before it is asked whether its slot may go. What is written is not lost with it."""
    with world(**SWAP | {"slot_goes_after_mapping": newer}, cow=1) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        assert mm.ptes[0].exclusive and cpu_write(mm, 0, B) == 0
        folio = mm.ptes[0].frame
        assert folio is not None and folio.swapcache == bool(newer) and folio.refcount == 1 + newer and swap_slots[0].count == 0
        assert mm.ptes[0].writable and mm.ptes[0].dirty
        madvise_pageout(mm, 0, 1)
        assert mm.ptes[0].kind == PteKind.SWAP and cpu_read(mm, 0) == B


def test_a_page_that_somebody_holds_stays_in_the_swap_cache() -> None:
    with world(**SWAP) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        folio = mm.ptes[0].frame
        assert folio is not None
        get_page(folio)
        madvise_pageout(mm, 0, 1)
        assert mm.ptes[0].kind == PteKind.SWAP and swap_slots[0].cache is folio and folio.refcount == 2
        folio.contents = B
        assert cpu_read(mm, 0) == B and mm.ptes[0].frame is folio
        put_page(folio)
        madvise_pageout(mm, 0, 1)
        assert cpu_read(mm, 0) == B, "it was dirty still"


@pytest.mark.parametrize("flags", [0, VM_LOCKED])
def test_what_is_locked_keeps_no_slot(flags: int) -> None:
    """A read takes it out of the swap cache, and it is dirty: what somebody writes to it unseen is not lost when it is locked no more."""
    with world(**SWAP, vma_flags=1, memlock=1) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        vma = mm.mm_mt[0]
        assert vma is not None
        vma.flags[0] = flags
        assert cpu_read(mm, 0) == A
        folio = mm.ptes[0].frame
        assert folio is not None and folio.swapcache == (flags == 0) and folio.dirty == (flags != 0)
        assert (swap_slots[0].cache is None) == (flags != 0) and swap_slots[0].count == 0
        folio.contents = B
        vma.flags[0] = 0
        madvise_pageout(mm, 0, 1)
        assert mm.ptes[0].kind == PteKind.SWAP and cpu_read(mm, 0) == (B if flags else A)


@pytest.mark.parametrize("locked", [0, VM_LOCKED])
def test_what_is_locked_elsewhere_keeps_no_slot_either(locked: int) -> None:
    """The parent's locked vma maps the page, and the child, whose vma is not, is the last for whom the slot stands (PG_mlocked)."""
    with world(**SWAP | {"frames": 8, "anon_vmas": 2}, mms=2, vma_flags=1, memlock=2, cow=1) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        child = mm_alloc()
        assert dup_mmap(child, mm) and swap_slots[0].count == 2
        vma = mm.mm_mt[0]
        assert vma is not None
        vma.flags[0] = locked
        assert cpu_read(mm, 0) == A and swap_slots[0].count == 1 and swap_slots[0].cache is not None
        assert cpu_read(child, 0) == A and swap_slots[0].count == 0
        assert (swap_slots[0].cache is None) == (locked != 0)


def test_what_is_written_unseen_and_not_marked_is_lost() -> None:
    with world(**SWAP) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        cpu_read(mm, 0)
        folio = mm.ptes[0].frame
        assert folio is not None
        folio.contents = B
        madvise_pageout(mm, 0, 1)
        assert cpu_read(mm, 0) == A


def test_a_page_that_was_taken_to_be_written_is_dirty() -> None:
    for flags, there in ((FOLL_PIN | FOLL_WRITE, B), (FOLL_PIN, A)):
        with world(**SWAP) as (_, mm):
            do_mmap(mm, 0, 1, None, 0, True)
            cpu_write(mm, 0, A)
            madvise_pageout(mm, 0, 1)
            cpu_read(mm, 0)
            mm.mmap_lock.read_lock()
            pfn = get_user_page_vma_remote(mm, 0, flags)
            mm.mmap_lock.read_unlock()
            frames[pfn].contents = B
            unpin_folio(frames[pfn])
            madvise_pageout(mm, 0, 1)
            assert cpu_read(mm, 0) == there, "FOLL_TOUCH marks it where it is grabbed"


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("unpin, there", [(unpin_folio, A), (unpin_user_page_range_dirty_lock, B)])
def test_a_page_that_was_taken_without_a_lock_is_not_until_who_had_it_written_says_so(unpin: Callable[[Folio], None], there: int, steps: int) -> None:
    with world(**SWAP, gup_fast_steps=steps) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        cpu_read(mm, 0)
        assert mm.ptes[0].writable and not mm.ptes[0].dirty
        pfn = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)
        frames[pfn].contents = B
        unpin(frames[pfn])
        madvise_pageout(mm, 0, 1)
        assert cpu_read(mm, 0) == there, "FOLL_TOUCH is of the slow path alone"


def test_what_is_in_swap_goes_with_its_entry() -> None:
    with world(**SWAP) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, B)
        madvise_pageout(mm, 0, 2)
        madvise_dontneed(mm, 0, 1)
        assert cpu_read(mm, 0) == 0 and swap_slots[0].count == 0
        mm.users = 0
        exit_mmap(mm)
        assert all(slot.count == 0 and slot.cache is None and slot.contents == 0 for slot in swap_slots)


def test_reclaim_beside_loads_stores_and_zaps() -> None:
    with world(**SWAP) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (madvise_pageout, (mm, 0, 1)), (cpu_write, (mm, 0, B)), (madvise_dontneed, (mm, 0, 1)), rules=[])
        assert found.verdict.value == "holds"
    with world(**SWAP) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (madvise_pageout, (mm, 0, 1)), (madvise_pageout, (mm, 0, 1)), (vm_munmap, (mm, 0, 1)), rules=[])
        assert found.verdict.value == "holds"


def test_a_hole_of_the_file_leaves_a_private_copy_that_is_in_swap() -> None:
    with world(**SWAP, cow=1, vma_flags=1, files=1, file_pages=1) as (_, mm):
        file = memfd_create(1, 0)
        assert do_mmap(mm, 0, 1, file, 0, True, MAP_PRIVATE) == 0
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        assert mm.ptes[0].kind == PteKind.SWAP
        shmem_fallocate_punch_hole(file, 0, 1)
        assert mm.ptes[0].kind == PteKind.SWAP and cpu_read(mm, 0) == A


def test_an_entry_that_nobody_has_cannot_be_dropped() -> None:
    """No driver does this: page tables alone count entries."""
    with world(**SWAP), pytest.raises(RuleBroken, match="drops a swap entry that no page-table entry stands for"):
        swap_free(0)
