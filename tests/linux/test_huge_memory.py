"""Huge pages: one entry for two pages, that goes as one, or is split first."""

from __future__ import annotations

from linux_world import A, B, Mirror, device_main, free_frames, mirror_of, search, world

from secondsight.lang import atomic, require
from secondsight.linux import EAGAIN, EBUSY, EINVAL, hmm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.gup import FOLL_PIN, FOLL_WRITE, pin_user_pages_fast, unpin_user_page
from secondsight.linux.khugepaged import madvise_collapse
from secondsight.linux.madvise import madvise_dontneed, madvise_hugepage
from secondsight.linux.mm_types import Mm, Pgoff, PmdKind, PteKind, Va
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mmu_notifier import mmu_interval_read_begin
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.page_alloc import ZERO_PFN, folio_order, frames, get_page, page_folio, put_page
from secondsight.linux.pgtable import folio_mapcount, pmd_trans_huge
from secondsight.linux.rmap_exclusive import make_device_exclusive, make_device_exclusive_range, unlock_and_put
from secondsight.search import Verdict

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


def test_a_collapse_copies_and_a_held_page_is_not_collapsed() -> None:
    with world({Mirror: 1}, **HUGE, cow=1, subscribers=1, detached_tables=1) as (machine, mm):
        before = free_frames()
        do_mmap(mm, 0, 4, None, 0, True)
        cpu_write(mm, 1, B)
        old = mm.ptes[1].frame
        assert old is not None
        mirror = mirror_of(machine, mm)
        get_page(old)
        assert madvise_collapse(mm, 0, 2) == -EAGAIN and mm.ptes[1].frame is old and not old.locked and mirror.calls == 0
        put_page(old)
        assert madvise_collapse(mm, 0, 2) == 0 and mirror.calls == 1
        assert pmd_trans_huge(mm, 0) and [cpu_read(mm, 0), cpu_read(mm, 1)] == [0, B] and old.refcount == 0
        assert madvise_collapse(mm, 2, 2) == -EINVAL  # no page table
        vm_munmap(mm, 0, 4)
        assert free_frames() == before


def test_a_fork_shares_the_huge_page_and_a_pinned_one_is_split_and_copied() -> None:
    with world(**HUGE, mms=2, cow=1, frames=8) as (_, mm):
        huge_page(mm)
        folio = mm.ptes[0].frame
        assert folio is not None
        child = mm_alloc()
        dup_mmap(child, mm)
        assert pmd_trans_huge(child, 1) and (folio.refcount, folio_mapcount(folio)) == (2, 2)
        assert cpu_write(child, 1, B) == 0 and not pmd_trans_huge(child, 0) and pmd_trans_huge(mm, 0)
        assert (cpu_read(mm, 1), cpu_read(child, 0), cpu_read(child, 1)) == (0, A, B)
    with world(**HUGE, mms=2, cow=1, frames=8) as (_, mm):
        huge_page(mm)
        pfn = pin_user_pages_fast(mm, 1, FOLL_PIN | FOLL_WRITE)
        child = mm_alloc()
        dup_mmap(child, mm)
        assert not pmd_trans_huge(mm, 0) and mm.ptes[1].frame is frames[pfn] and mm.ptes[1].writable
        assert child.ptes[0].frame is not mm.ptes[0].frame and (cpu_read(child, 0), cpu_read(child, 1)) == (A, 0)
        unpin_user_page(frames[pfn])


def test_a_device_takes_a_page_of_a_huge_one_for_itself() -> None:
    """Linux 6.12 refuses the second page, and takes both with the first; 7.2 takes the one that is asked for."""
    with world(**HUGE, cow=1, owners=1) as (_, mm):
        huge_page(mm)
        mm.mmap_lock.read_lock()
        assert make_device_exclusive_range(mm, 1, None) == -EBUSY and not pmd_trans_huge(mm, 0)
        pfn = make_device_exclusive_range(mm, 0, None)
        assert frames[pfn].locked and [mm.ptes[va].kind for va in (0, 1)] == [PteKind.DEVICE_EXCLUSIVE] * 2
        unlock_and_put(pfn)
        mm.mmap_lock.read_unlock()
        assert (cpu_read(mm, 1), cpu_read(mm, 0)) == (0, A)
    with world(**HUGE, cow=1, owners=1) as (_, mm):
        huge_page(mm)
        mm.mmap_lock.read_lock()
        unlock_and_put(make_device_exclusive(mm, 1, None))
        assert [mm.ptes[va].kind for va in (0, 1)] == [PteKind.PRESENT, PteKind.DEVICE_EXCLUSIVE]


def test_hmm_says_of_a_huge_page_that_it_is_one_and_faults_it_in_whole() -> None:
    with world({Mirror: 1, hmm.HmmRange: 1}, **HUGE, cow=1, subscribers=1, frames=6) as (machine, mm):
        do_mmap(mm, 0, 4, None, 0, True)
        madvise_hugepage(mm, 0, 4, 0, 4)
        mirror = mirror_of(machine, mm)
        item = machine.pool(hmm.HmmRange).alloc()
        item.start, item.end, item.default_flags = 1, 4, hmm.HMM_PFN_REQ_FAULT | hmm.HMM_PFN_REQ_WRITE
        item.notifier_seq = mmu_interval_read_begin(mirror.notifier)
        mm.mmap_lock.read_lock()
        assert hmm.hmm_range_fault_pages(mirror.notifier, item) == 0
        whole = hmm.HMM_PFN_VALID | hmm.HMM_PFN_WRITE | hmm.HMM_PFN_ORDER
        assert [pfn & ~15 for pfn in list(item.hmm_pfns)[:3]] == [whole] * 3
        assert frames[item.hmm_pfns[0] & 15] is mm.ptes[1].frame


def collapse_and_write(mm: Mm) -> None:
    """What the process does beside the device."""
    madvise_collapse(mm, 0, 2)
    cpu_write(mm, 1, B)


def test_a_mirror_beside_a_collapse_never_uses_an_old_frame() -> None:
    with world({Mirror: 1}, **{**HUGE, "pages": 2, "pmds": 1}, subscribers=1, detached_tables=1) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 1, A)
        mirror = mirror_of(machine, mm)
        assert search(machine, (collapse_and_write, (mm,)), (device_main, (mirror, 1, 2))).verdict is Verdict.HOLDS


def forget(mm: Mm, first: Va, pages: Pgoff) -> None:
    """MADV_DONTNEED."""
    madvise_dontneed(mm, first, pages)


def forget_and_use(mm: Mm) -> None:
    """MADV_DONTNEED of the second huge page, which another comes in the place of, and a look at all of it."""
    madvise_dontneed(mm, 2, 2)
    cpu_write(mm, 3, B)
    cpu_read(mm, 2)
    with atomic:
        halved = pmd_trans_huge(mm, 2) and (mm.ptes[2].frame is None or mm.ptes[3].frame is None)
        require(not halved, "entry", "a half of a huge page's entry is empty")


def test_a_huge_page_that_comes_while_another_is_split_is_split_too() -> None:
    """Drawn scenario free_12_239: the second half of a range is looked at before the huge page that is there then."""
    with world(**HUGE, frames=10) as (machine, mm):
        huge_page(mm)
        cpu_write(mm, 2, A)
        found = search(machine, (forget, (mm, 1, 2)), (forget_and_use, (mm,)))
        assert found.verdict is Verdict.HOLDS
