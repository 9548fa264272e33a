"""vmas are records: split, merged, kept in the order of a file's interval tree, and as many as the kernel has."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from linux_world import world

from secondsight.lang.standins import unwrap
from secondsight.linux.errno import ENOMEM
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import vm_area_cache
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import AddressSpace, Mm, Vma
from secondsight.linux.mmap import do_mmap, do_mmap_fixed, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.shmem import shmem_fallocate_punch_hole

PAGES = 6


def seen(mm: Mm) -> list[tuple[int, int, int, bool, bool]]:
    """The vmas by address: where they begin and end, the file's page, whether they have a file and may be written."""
    by_address: list[Vma] = []
    for vma in mm.mm_mt:
        if vma is not None and (not by_address or by_address[-1] is not vma):
            by_address.append(vma)
    return [(v.vm_start, v.vm_end, v.vm_pgoff, v.vm_file is not None, v.write) for v in by_address]


def tree(file: AddressSpace) -> list[tuple[int, int]]:
    """The file's interval tree: the page that each vma begins with, and where it is mapped."""
    out = []
    vma = file.i_mmap
    while vma is not None:
        out.append((int(vma.vm_pgoff), int(vma.vm_start)))
        vma = vma.shared
    return out


def free_vmas() -> int:
    """How many vmas are free."""
    number, vma = 0, vm_area_cache.free
    while vma is not None:
        number, vma = number + 1, vma.next
    return number


def test_a_hole_splits_a_vma_and_mapping_it_again_merges_all_three() -> None:
    with world(pages=PAGES, files=1, file_pages=PAGES) as (_, mm):
        file = memfd_create(PAGES, 0)
        do_mmap(mm, 0, 6, file, 0, True)
        vm_munmap(mm, 2, 2)
        assert seen(mm) == [(0, 2, 0, True, True), (4, 6, 4, True, True)]
        assert tree(file) == [(0, 0), (4, 4)]
        do_mmap_fixed(mm, 2, 2, file, 2, True, 0, 0, 6)
        assert seen(mm) == [(0, 6, 0, True, True)]
        assert tree(file) == [(0, 0)] and free_vmas() == PAGES - 1


def test_neighbours_that_do_not_continue_each_other_are_not_merged() -> None:
    with world(pages=PAGES, files=1, file_pages=PAGES) as (_, mm):
        file = memfd_create(PAGES, 0)
        do_mmap(mm, 0, 2, file, 0, True)
        do_mmap_fixed(mm, 2, 1, file, 3, True, 0, 0, 6)  # another page of the file
        do_mmap_fixed(mm, 3, 1, file, 4, False, 0, 0, 6)  # read only
        do_mmap_fixed(mm, 4, 1, None, 0, False, 0, 0, 6)
        do_mmap_fixed(mm, 5, 1, None, 0, False, 0, 5, 6)  # would merge, but for the limit of where neighbours are looked for
        assert [s[:3] for s in seen(mm)] == [(0, 2, 0), (2, 3, 3), (3, 4, 4), (4, 5, 4), (5, 6, 5)]


def test_of_vmas_that_begin_with_one_page_the_first_that_came_is_first() -> None:
    """vma_interval_tree_insert(): to the right of its equals. A vma that is split is put in anew, behind its equals."""
    with world(pages=PAGES, files=1, file_pages=3) as (_, mm):
        file = memfd_create(3, 0)
        do_mmap(mm, 4, 2, file, 0, True)
        do_mmap(mm, 0, 2, file, 0, True)
        assert tree(file) == [(0, 4), (0, 0)]
        vm_munmap(mm, 5, 1)
        assert tree(file) == [(0, 0), (0, 4)]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["mmap", "munmap", "anonymous", "mprotect", "punch", "read"]), st.integers(0, 5), st.integers(1, 6), st.integers(0, 3), st.booleans()), max_size=12))
def test_vmas_are_what_a_list_of_pages_says(calls: list[tuple[str, int, int, int, bool]]) -> None:
    """Whatever is mapped and unmapped, in one window: each page has what a list says; vmas are as few as they can be; none leaks."""
    with world(pages=PAGES, files=1, file_pages=10, frames=16) as (_, mm):
        file = memfd_create(10, 0)
        pages: list[tuple[bool, int, bool] | None] = [None] * PAGES
        for what, start, length, pgoff, write in calls:
            end = min(PAGES, start + length)
            if what == "mmap":
                do_mmap_fixed(mm, start, end - start, file, pgoff, write, False, 0, PAGES)
                pages[start:end] = [(True, pgoff + i, write) for i in range(end - start)]
            elif what == "anonymous":
                do_mmap_fixed(mm, start, end - start, None, 0, write, False, 0, PAGES)
                pages[start:end] = [(False, 0, write)] * (end - start)
            elif what == "munmap":
                vm_munmap(mm, start, end - start)
                pages[start:end] = [None] * (end - start)
            elif what == "mprotect":
                some = next((i for i in range(start, end) if pages[i] is None), end)
                assert do_mprotect_pkey(mm, start, end - start, write, 0, PAGES) == (0 if some == end else -ENOMEM)
                pages[start:some] = [(is_file, page, write) for is_file, page, _ in pages[start:some]]  # type: ignore[misc]
            elif what == "punch":
                shmem_fallocate_punch_hole(file, pgoff, min(length, 10 - pgoff))
            else:
                assert (cpu_read(mm, start) >= 0) == (pages[start] is not None)
                entry = pages[start]
                assert (cpu_write(mm, start, 1) == 0) == (entry is not None and entry[2])
        by_page = [v and (v.vm_file is not None, v.vm_pgoff + va - v.vm_start if v.vm_file is not None else 0, v.write) for va, v in enumerate(mm.mm_mt)]
        assert by_page == pages
        vmas = seen(mm)
        for before, after in pairwise(vmas):
            continues = before[1] == after[0] and before[3:] == after[3:] and (not before[3] or before[2] + before[1] - before[0] == after[2])
            assert not continues
        assert sorted(s[:3] for s in vmas if s[3]) == sorted((v[1], v[1] + length_at(mm, v[1]), v[0]) for v in tree(file))
        assert [p for p, _ in tree(file)] == sorted(p for p, _ in tree(file))
        assert free_vmas() == PAGES - len(vmas)
        assert not any(pte.writable and (v is None or not v.write) for pte, v in zip(mm.ptes, mm.mm_mt, strict=True))
        assert all(unwrap(v.vm_mm) is unwrap(mm) for v in mm.mm_mt if v is not None)


def length_at(mm: Mm, va: int) -> int:
    """How many pages the vma at `va` has."""
    vma = mm.mm_mt[va]
    assert vma is not None
    return int(vma.vm_end - vma.vm_start)
