"""Private mappings of memfds of huge pages: copies, forks, holes, what is reserved; and a mirror beside each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from linux_world import A, B, C, Mirror, device_main, free_frames, mirror_of, search, world

from secondsight.lang import Machine
from secondsight.linux import EINVAL, ENOMEM, SIGBUS, SIGSEGV
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mm
from secondsight.linux.gup import pin_user_pages_fast, unpin_user_page
from secondsight.linux.hugetlb import HugetlbFile, hugetlb_file_setup, hugetlbfs_fallocate, hugetlbfs_punch_hole
from secondsight.linux.hugetlb_pool import hstates, set_max_huge_pages
from secondsight.linux.hugetlb_vma_lock import has_vma_lock
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.mm_flags import FOLL_PIN, FOLL_WRITE, MAP_NORESERVE, MAP_PRIVATE
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.page_alloc import frames
from secondsight.linux.pgtable import pmd_trans_huge
from secondsight.linux.sched_mm import mmput
from secondsight.search import Verdict

SIZES = {
    "huge": 1, "pmds": 2, "pages": 4, "mms": 2, "vmas": 8, "file_pages": 4, "hugetlb_files": 2, "hugetlb_pages": 2, "frames": 15, "cow": 1, "vma_flags": 1, "hugetlb_private": 1,
}  # fmt: skip
POOL = {"hugetlb_pool": 1, "hugetlb_regions": 2, "hugetlb_private_pool": 1, "hugetlb_private_regions": 2}


@contextmanager
def private(length: int = 4, pool: int = 0, **more: int) -> Iterator[tuple[Machine, Mm, HugetlbFile]]:
    """A process with a private mapping of a file of huge pages, of which the pool has `pool`, if it is limited."""
    with world({Mirror: 1}, **(SIZES | (POOL if pool else {}) | {"subscribers": 1} | more)) as (machine, mm):
        if pool:
            set_max_huge_pages(pool)
        file = hugetlb_file_setup(4, 0)
        assert do_mmap(mm, 0, length, file, 0, True, MAP_PRIVATE) == 0
        yield machine, mm, file


def counts() -> tuple[int, int]:
    """How many pages of the pool are free, and reserved."""
    return hstates[0].free_huge_pages, hstates[0].resv_huge_pages


def test_a_write_copies_both_halves_in_one_bracket() -> None:
    with private(2) as (machine, mm, file):
        assert do_mmap(mm, 2, 2, file, 0, True) == 2 and cpu_write(mm, 2, A) == cpu_write(mm, 3, B) == 0
        assert cpu_read(mm, 0) == A and mm.ptes[0].frame is file.pages[0] and not mm.ptes[0].writable
        mirror = mirror_of(machine, mm)
        assert cpu_write(mm, 0, C) == 0 and mirror.calls == 1
        assert pmd_trans_huge(mm, 1) and (cpu_read(mm, 0), cpu_read(mm, 1), cpu_read(mm, 2)) == (C, B, A)


def test_a_page_that_the_file_has_not_is_the_processes_own_for_a_read_too() -> None:
    with private() as (machine, mm, file):
        mirror = mirror_of(machine, mm)
        assert cpu_read(mm, 1) == 0 and file.pages[0] is None
        first = mm.ptes[0].frame
        assert cpu_write(mm, 0, A) == 0 and mm.ptes[0].frame is first and mirror.calls == 0
        assert do_mprotect_pkey(mm, 0, 2, False, 0, 4) == 0 and do_mprotect_pkey(mm, 0, 2, True, 0, 4) == 0
        assert not mm.ptes[0].writable and cpu_write(mm, 0, B) == 0 and mm.ptes[0].frame is first
        assert vm_munmap(mm, 1, 1) == -EINVAL


def test_nothing_is_left_when_all_has_gone() -> None:
    with private() as (_, mm, _file):
        before = free_frames()
        for va in range(4):
            cpu_write(mm, va, A)
        child = mm_alloc()
        assert dup_mm(child, mm) == 0 and cpu_write(child, 0, B) == 0 and (cpu_read(mm, 0), cpu_read(child, 1)) == (A, A)
        mmput(child)
        assert vm_munmap(mm, 0, 4) == 0 and free_frames() == before


def test_a_hole_takes_copies_away_and_a_fault_finds_the_files_page() -> None:
    with private() as (machine, mm, file):
        mirror = mirror_of(machine, mm)
        cpu_write(mm, 0, A)
        assert hugetlbfs_punch_hole(file, 0, 2) == 0 and mirror.calls == 1 and cpu_read(mm, 0) == 0


def test_a_fork_copies_what_is_pinned_and_the_child_has_no_lock() -> None:
    with private() as (_, mm, _file):
        cpu_write(mm, 0, A)
        cpu_write(mm, 2, B)
        pfn = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)
        child = mm_alloc()
        assert dup_mm(child, mm) == 0
        assert child.ptes[0].frame is not mm.ptes[0].frame and child.ptes[2].frame is mm.ptes[2].frame
        assert mm.ptes[0].writable and not mm.ptes[2].writable and child.ptes[0].writable
        assert [has_vma_lock(one.mm_mt[0]) for one in (mm, child)] == [True, False]  # type: ignore[arg-type]
        unpin_user_page(frames[pfn])
        assert [cpu_write(child, va, C) for va in (0, 2)] == [0, 0] and (cpu_read(mm, 0), cpu_read(mm, 2)) == (A, B)


def test_what_is_reserved_is_the_mappings_own() -> None:
    with private(pool=3) as (_, mm, file):
        assert counts() == (3, 2) and cpu_write(mm, 0, A) == 0 and counts() == (2, 1)
        other = mm_alloc()
        assert do_mmap(other, 0, 4, file, 0, True, MAP_PRIVATE) == -ENOMEM
        assert do_mmap(other, 0, 4, file, 0, True, MAP_PRIVATE | MAP_NORESERVE) == 0 and counts() == (2, 1)
        assert cpu_write(other, 2, A) == 0 and cpu_write(other, 0, A) == -SIGBUS and counts() == (1, 1)
        assert vm_munmap(mm, 2, 2) == 0 and counts() == (1, 0) and cpu_write(other, 0, A) == 0
        mmput(other)
        assert vm_munmap(mm, 0, 2) == 0 and counts() == (3, 0)


@pytest.mark.parametrize("older", [0, 1])
def test_a_page_that_is_forgotten_is_reserved_again(older: int) -> None:
    with private(2, pool=1, loses_reserve=older) as (_, mm, file):
        assert cpu_write(mm, 0, A) == 0 and counts() == (0, 0)
        assert madvise_dontneed(mm, 0, 2) == 0 and counts() == (1, 1 - older)
        assert (do_mmap(mm, 2, 2, file, 0, True, MAP_PRIVATE) == 2) == bool(older)
        assert cpu_write(mm, 0, A) == (-SIGBUS if older else 0)


def test_the_owner_takes_its_page_away_from_a_child() -> None:
    with private(pool=2) as (machine, mm, _):
        cpu_write(mm, 0, A)
        cpu_write(mm, 2, B)
        child = mm_alloc()
        assert dup_mm(child, mm) == 0
        mirror = mirror_of(machine, child)
        first = mm.ptes[0].frame
        assert cpu_write(mm, 1, C) == 0 and mm.ptes[0].frame is first and mirror.calls == 1
        assert (cpu_read(child, 0), cpu_read(child, 2), cpu_read(mm, 0)) == (-SIGBUS, B, A)
        assert cpu_write(child, 2, C) == -SIGBUS and cpu_read(child, 2) == B  # a child takes nothing away


def test_a_fork_fails_where_the_pool_has_no_page_for_a_copy() -> None:
    with private(2, pool=1) as (_, mm, _file):
        cpu_write(mm, 0, A)
        pfn, child = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE), mm_alloc()
        assert dup_mm(child, mm) == -ENOMEM and child.users == 0
        unpin_user_page(frames[pfn])
        assert vm_munmap(mm, 0, 2) == 0 and counts() == (1, 0)


def writes(mm: Mm, value: int) -> None:
    """A store to the first page."""
    cpu_write(mm, 0, value)


def punches(file: HugetlbFile) -> None:
    """A hole in the file."""
    hugetlbfs_punch_hole(file, 0, 2)


@pytest.mark.parametrize("in_the_file", [False, True])
def test_a_mirror_beside_a_copy_and_a_hole(in_the_file: bool) -> None:
    with private(2, pages=2, pmds=1, mms=1, vmas=2, frames=9) as (machine, mm, file):
        if in_the_file:
            hugetlbfs_fallocate(file, 0, 2, True)
        mirror = mirror_of(machine, mm)
        found = search(machine, (writes, (mm, A)), (punches, (file,)), (device_main, (mirror, 1, 1)))
        assert found.verdict is Verdict.HOLDS


def test_a_mirror_of_the_child_beside_its_owner() -> None:
    """The child's device is told before the page is another's; else it would go on with what the owner writes."""
    with private(2, pool=1, pages=2, pmds=1, vmas=4, frames=7) as (machine, mm, _):
        cpu_write(mm, 0, A)
        child = mm_alloc()
        assert dup_mm(child, mm) == 0
        mirror = mirror_of(machine, child)
        found = search(machine, (writes, (mm, C)), (device_main, (mirror, 0, 2)))
        assert found.verdict is Verdict.HOLDS


def test_what_may_not_be_accessed_is_not_the_childs_to_access() -> None:
    with private(prot_none=1) as (_, mm, _file):
        cpu_write(mm, 0, A)
        cpu_write(mm, 2, A)
        pfn, child = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE), mm_alloc()
        assert do_mprotect_pkey(mm, 0, 4, False, 0, 4, True) == 0 and dup_mm(child, mm) == 0
        assert [cpu_read(child, va) for va in range(4)] == [-SIGSEGV] * 4
        assert do_mprotect_pkey(child, 0, 4, True, 0, 4) == 0 and [cpu_read(child, va) for va in (0, 2)] == [A, A]
        unpin_user_page(frames[pfn])


def test_a_page_that_a_child_still_has_is_not_reserved_again() -> None:
    with private(2, pool=2) as (_, mm, _file):
        cpu_write(mm, 0, A)
        child = mm_alloc()
        assert dup_mm(child, mm) == 0 and counts() == (1, 0)
        assert madvise_dontneed(mm, 0, 2) == 0 and counts() == (1, 0)
        assert cpu_write(mm, 0, B) == 0 and counts() == (0, 0) and cpu_read(child, 0) == A
        mmput(child)
        assert counts() == (1, 0) and vm_munmap(mm, 0, 2) == 0 and counts() == (2, 0)
