"""Huge pages: one entry for two pages, that goes as one, or is split first."""

from __future__ import annotations

from linux_world import A, B, Mirror, free_frames, mirror_of, world

from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.madvise import madvise_dontneed, madvise_hugepage
from secondsight.linux.mm_types import Mm, PmdKind
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.page_alloc import ZERO_PFN, folio_order, frames, page_folio
from secondsight.linux.pgtable import folio_mapcount, pmd_trans_huge

HUGE = {"huge": 1, "pmds": 2, "pages": 4, "vma_flags": 1, "vmas": 6}


def huge_page(mm: Mm, pages: int = 4, value: int = A) -> None:
    """Map pages where huge pages are wanted, and write the first."""
    do_mmap(mm, 0, pages, None, 0, True)
    assert madvise_hugepage(mm, 0, pages, 0, pages) == 0
    assert cpu_write(mm, 0, value) == 0


def test_a_fault_makes_a_huge_page_that_goes_as_one() -> None:
    with world(**HUGE, cow=1) as (_, mm):
        before = free_frames()
        huge_page(mm)
        folio = mm.ptes[0].frame
        assert folio is not None and mm.ptes[1].frame is folio.tail[0]
        assert (folio.refcount, folio_mapcount(folio), folio_order(folio)) == (1, 1, 1)
        assert (cpu_read(mm, 1), cpu_write(mm, 1, B), cpu_read(mm, 0), cpu_read(mm, 1)) == (0, 0, A, B)
        assert free_frames() == before - 2
        assert madvise_dontneed(mm, 0, 2) == 0
        assert free_frames() == before and mm.pmds[0].kind == PmdKind.NONE


def test_a_part_that_goes_splits_it_first() -> None:
    with world(**HUGE, cow=1) as (_, mm):
        before = free_frames()
        huge_page(mm)
        folio = mm.ptes[0].frame
        assert folio is not None
        assert madvise_dontneed(mm, 1, 1) == 0
        assert (mm.pmds[0].kind, folio.refcount, folio_mapcount(folio)) == (PmdKind.TABLE, 1, 1)
        assert free_frames() == before - 2  # the folio stays one
        assert cpu_write(mm, 1, B) == 0  # a page of its own now: a page table is there
        assert page_folio(frames[frames.index(mm.ptes[1].frame)]) is mm.ptes[1].frame
        assert vm_munmap(mm, 0, 4) == 0
        assert free_frames() == before and mm.pmds[0].kind == PmdKind.NONE


def test_a_read_finds_the_huge_zero_page_and_a_write_splits_it() -> None:
    with world(**HUGE) as (_, mm):
        do_mmap(mm, 0, 4, None, 0, True)
        madvise_hugepage(mm, 0, 4, 0, 4)
        assert cpu_read(mm, 0) == 0 and pmd_trans_huge(mm, 1) and mm.ptes[1].frame is frames[ZERO_PFN]
        assert cpu_write(mm, 1, A) == 0 and not pmd_trans_huge(mm, 1)
        assert mm.ptes[0].frame is frames[ZERO_PFN] and cpu_read(mm, 1) == A


def test_a_vma_that_is_split_splits_the_huge_page_and_calls_for_all_of_it() -> None:
    """Also where there is none: the kernel does not look."""
    with world({Mirror: 1}, **HUGE, cow=1, subscribers=1) as (machine, mm):
        huge_page(mm)
        mirror = mirror_of(machine, mm)
        assert do_mprotect_pkey(mm, 1, 1, False, 0, 4) == 0
        assert mirror.calls == 2 and mm.pmds[0].kind == PmdKind.TABLE
        assert (mm.ptes[0].writable, mm.ptes[1].writable) == (True, False)
        assert do_mprotect_pkey(mm, 2, 2, False, 0, 4) == 0
        assert mirror.calls == 3  # a huge page's border
