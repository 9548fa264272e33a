"""Huge pages that are moved, split for good and swapped out."""

from __future__ import annotations

from linux_world import A, B, free_frames, search, world

from secondsight.lang import require
from secondsight.linux import EAGAIN, EFAULT
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.gup import FOLL_PIN, FOLL_WRITE, pin_user_pages_fast, unpin_user_page
from secondsight.linux.huge_memory_split import split_folio
from secondsight.linux.madvise import madvise_dontneed, madvise_hugepage, madvise_pageout
from secondsight.linux.migrate import move_page
from secondsight.linux.mm_types import Mm, PmdKind, PteKind
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.page_alloc import ZERO_PFN, folio_order, frames, get_page, put_page
from secondsight.linux.pgtable import pmd_trans_huge
from secondsight.linux.swapops import swap_slots
from secondsight.search import Verdict

HUGE = {"huge": 1, "pmds": 2, "pages": 4, "vma_flags": 1, "vmas": 6, "cow": 1, "migrations": 1, "anon_vmas": 1, "swap_slots": 6, "frames": 9}


def huge_page(mm: Mm, pages: int = 2) -> None:
    """Map pages where huge pages are wanted, and write the first two."""
    do_mmap(mm, 0, pages, None, 0, True)
    assert madvise_hugepage(mm, 0, pages, 0, pages) == 0
    assert (cpu_write(mm, 0, A), cpu_write(mm, 1, B)) == (0, 0)


def test_a_huge_page_moves_as_a_whole() -> None:
    with world(**HUGE) as (_, mm):
        before = free_frames()
        huge_page(mm)
        old = mm.ptes[0].frame
        assert move_page(mm, 1) == 0
        new = mm.ptes[0].frame
        assert new is not None and new is not old and mm.ptes[1].frame is new.tail[0] and pmd_trans_huge(mm, 0)
        assert (new.refcount, new.locked, new.isolated) == (1, False, False)
        assert (cpu_read(mm, 0), cpu_read(mm, 1), free_frames()) == (A, B, before - 2)
        pfn = pin_user_pages_fast(mm, 1, FOLL_WRITE | FOLL_PIN)
        assert move_page(mm, 0) == -EAGAIN and pmd_trans_huge(mm, 0) and mm.ptes[0].frame is new
        unpin_user_page(frames[pfn])
        vm_munmap(mm, 0, 2)
        assert free_frames() == before


def test_what_is_mapped_in_part_is_split_and_both_are_moved() -> None:
    with world(**HUGE) as (_, mm):
        before = free_frames()
        huge_page(mm)
        old = mm.ptes[0].frame
        madvise_dontneed(mm, 1, 1)
        assert old is not None and old.partially_mapped[0] and folio_order(old) == 1
        assert move_page(mm, 0) == 0
        assert folio_order(mm.ptes[0].frame) == 0 and free_frames() == before - 1
        assert cpu_read(mm, 0) == A


def test_a_split_folio_is_two_and_a_page_of_zeros_is_the_zero_page() -> None:
    with world(**HUGE) as (_, mm):
        before = free_frames()
        do_mmap(mm, 0, 2, None, 0, True)
        madvise_hugepage(mm, 0, 2, 0, 2)
        cpu_write(mm, 1, B)
        folio = mm.ptes[0].frame
        assert folio is not None
        get_page(folio)
        folio.locked = True
        get_page(folio)
        assert split_folio(folio) == -EAGAIN and pmd_trans_huge(mm, 0)  # somebody holds it
        put_page(folio)
        assert split_folio(folio) == 0
        assert mm.ptes[0].frame is frames[ZERO_PFN] and cpu_read(mm, 1) == B
        assert folio_order(folio) == 0 and mm.pmds[0].kind == PmdKind.TABLE
        folio.locked = False
        put_page(folio)
        assert free_frames() == before - 1
        assert (move_page(mm, 0), move_page(mm, 1)) == (-EFAULT, 0)
        assert (cpu_write(mm, 0, A), cpu_read(mm, 0), cpu_read(mm, 1)) == (0, A, B)


def test_a_huge_page_goes_to_swap_whole_and_comes_back_in_parts() -> None:
    with world(**HUGE) as (_, mm):
        before = free_frames()
        huge_page(mm)
        assert madvise_pageout(mm, 0, 2) == 0
        assert [mm.ptes[i].kind for i in range(2)] == [PteKind.SWAP] * 2 and free_frames() == before
        assert (cpu_read(mm, 1), cpu_read(mm, 0)) == (B, A)
        assert free_frames() == before - 2 and folio_order(mm.ptes[0].frame) == 0
        vm_munmap(mm, 0, 2)
        assert free_frames() == before and not any(slot.count or slot.cache for slot in swap_slots)


def test_pageout_of_a_part_splits() -> None:
    with world(**HUGE) as (_, mm):
        before = free_frames()
        huge_page(mm)
        assert madvise_pageout(mm, 1, 1) == 0
        assert (mm.ptes[0].kind, mm.ptes[1].kind) == (PteKind.PRESENT, PteKind.SWAP)
        assert free_frames() == before - 1 and folio_order(mm.ptes[0].frame) == 0
        assert (cpu_read(mm, 0), cpu_read(mm, 1)) == (A, B)


def test_a_held_huge_page_stays_in_the_swap_cache_whole() -> None:
    with world(**HUGE | {"mms": 2, "anon_vmas": 2}) as (_, mm):
        before = free_frames()
        huge_page(mm)
        folio = mm.ptes[0].frame
        assert folio is not None
        get_page(folio)
        assert madvise_pageout(mm, 0, 2) == 0 and pmd_trans_huge(mm, 0)  # it cannot be split, so it is left alone
        put_page(folio)
        child = mm_alloc()
        dup_mmap(child, mm)
        assert move_page(mm, 0) == -13  # the child maps it too
        assert madvise_pageout(mm, 0, 2) == 0 and pmd_trans_huge(mm, 0)
        vm_munmap(child, 0, 2)
        assert move_page(mm, 0) == 0 and free_frames() == before - 2


def moves(mm: Mm) -> None:
    """Moves the huge page."""
    move_page(mm, 1)


def writes_and_reads(mm: Mm) -> None:
    """Writes one page and reads both, beside it."""
    cpu_write(mm, 1, A)
    found = cpu_read(mm, 1)
    require(found == A, "lost", "a store was lost")
    other = cpu_read(mm, 0)
    require(other == A, "lost", "the other page has changed")


def test_who_faults_waits_until_the_huge_page_has_moved() -> None:
    with world(**HUGE) as (machine, mm):
        huge_page(mm)
        result = search(machine, (moves, (mm,)), (writes_and_reads, (mm,)))
        assert result.verdict is Verdict.HOLDS


def pages_out_a_part(mm: Mm) -> None:
    """Splits the huge page."""
    madvise_pageout(mm, 1, 1)


def test_a_split_loses_nothing() -> None:
    with world(**HUGE) as (machine, mm):
        huge_page(mm)
        result = search(machine, (pages_out_a_part, (mm,)), (writes_and_reads, (mm,)))
        assert result.verdict is Verdict.HOLDS
