"""Memfds of huge pages: what is whole comes and goes, and a part of a folio keeps all of it."""

from __future__ import annotations

import pytest
from linux_world import A, B, C, Mirror, device_main, free_frames, mirror_of, search, world

from secondsight.linux import EINVAL, ENOMEM, EPERM, SIGBUS
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import memfd_pin_folio, unpin_folio
from secondsight.linux.hugetlb import HugetlbFile, hugetlb_file_setup, hugetlbfs_punch_hole
from secondsight.linux.hugetlb_pool import hstates, set_max_huge_pages
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_add_seals
from secondsight.linux.mm_flags import MAP_NORESERVE
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, do_mmap_fixed, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.page_alloc import page_folio
from secondsight.linux.pgtable import folio_mapcount, pmd_trans_huge
from secondsight.linux.shmem import F_SEAL_SHRINK, F_SEAL_WRITE
from secondsight.linux.udmabuf import udmabuf_create, udmabufs
from secondsight.scenario import Recorder, ScenarioError, show_outcome
from secondsight.search import Verdict
from secondsight.world.model import only_outcome

FILE = {"huge": 1, "pmds": 2, "pages": 4, "vmas": 6, "file_pages": 4, "hugetlb_files": 1, "hugetlb_pages": 2, "frames": 8}


def mapped(mm: Mm, seals: int = 0, pages: int = 4) -> HugetlbFile:
    """A file with its mapping, written."""
    file = hugetlb_file_setup(pages, seals)
    do_mmap(mm, 0, pages, file, 0, True)
    for va in range(pages):
        assert cpu_write(mm, va, A + va) == 0
    return file


def test_a_folio_is_mapped_by_one_entry_and_the_file_keeps_a_reference_for_each_page() -> None:
    with world(**FILE) as (_, mm):
        before = free_frames()
        file = mapped(mm)
        folio = file.pages[0]
        assert folio is not None and page_folio(file.pages[1]) is folio  # type: ignore[arg-type]
        assert pmd_trans_huge(mm, 1) and (folio.refcount, folio_mapcount(folio)) == (3, 1)
        assert vm_munmap(mm, 0, 4) == 0 and folio.refcount == 2
        assert hugetlbfs_punch_hole(file, 0, 4) == 0 and free_frames() == before


def test_a_part_of_a_folio_is_neither_unmapped_nor_protected_nor_mapped_over() -> None:
    with world(**FILE) as (_, mm):
        mapped(mm)
        assert [vm_munmap(mm, 1, 1), vm_munmap(mm, 0, 3), do_mprotect_pkey(mm, 1, 2, False, 0, 4)] == [-EINVAL] * 3
        assert do_mmap_fixed(mm, 1, 1, None, 0, True) == -EINVAL
        assert [cpu_read(mm, va) for va in range(4)] == [A, A + 1, A + 2, A + 3]
        assert madvise_dontneed(mm, 1, 3) == -EINVAL
        assert madvise_dontneed(mm, 0, 3) == 0 and not pmd_trans_huge(mm, 0) and pmd_trans_huge(mm, 2)


def test_a_hole_zeroes_parts_in_place_and_takes_whole_folios_out() -> None:
    with world({Mirror: 1}, **FILE, subscribers=1) as (machine, mm):
        file = mapped(mm)
        mirror = mirror_of(machine, mm)
        first = file.pages[0]
        assert hugetlbfs_punch_hole(file, 1, 1) == 0
        assert (cpu_read(mm, 0), cpu_read(mm, 1), file.pages[0] is first, mirror.calls) == (A, 0, True, 0)
        assert hugetlbfs_punch_hole(file, 1, 3) == 0
        assert file.pages[2] is None and mirror.calls == 1 and cpu_read(mm, 3) == 0
        assert memfd_add_seals(file, F_SEAL_SHRINK) == 0 and vm_munmap(mm, 0, 4) == 0
        assert memfd_add_seals(file, F_SEAL_WRITE) == 0 and hugetlbfs_punch_hole(file, 0, 2) == -EPERM


def test_a_fault_past_the_end_is_refused_and_pins_hold_the_folio() -> None:
    with world(**FILE, udmabufs=1, dmabuf_pages=2) as (_, mm):
        file = hugetlb_file_setup(2, F_SEAL_SHRINK)
        do_mmap(mm, 0, 4, file, 0, True)
        assert cpu_write(mm, 2, A) == -SIGBUS
        page = memfd_pin_folio(file, 1)
        assert (page_folio(page).pins, page.pins) == (1, 0)
        unpin_folio(page)
        cpu_write(mm, 1, B)
        buffer = udmabufs[udmabuf_create(file, 1, 1)]
        assert buffer.folios[0] is file.pages[1]
        hugetlbfs_punch_hole(file, 0, 2)
        cpu_write(mm, 1, C)
        held = buffer.folios[0]
        assert held is not None and held is not file.pages[1] and held.contents == B


def punch_and_write(file: HugetlbFile, mm: Mm) -> None:
    """What the process does beside the device."""
    hugetlbfs_punch_hole(file, 0, 2)
    cpu_write(mm, 1, B)


def test_a_mirror_beside_a_hole_never_uses_what_was_taken_out() -> None:
    with world({Mirror: 1}, **{**FILE, "pages": 2, "pmds": 1, "frames": 5}, subscribers=1) as (machine, mm):
        file = mapped(mm, pages=2)
        mirror = mirror_of(machine, mm)
        assert search(machine, (punch_and_write, (file, mm)), (device_main, (mirror, 1, 2))).verdict is Verdict.HOLDS


def test_what_is_reserved_is_the_files_and_a_hole_gives_it_away() -> None:
    with world(**{**FILE, "pages": 6, "pmds": 3, "hugetlb_pool": 1, "hugetlb_regions": 2, "hugetlb_files": 2, "frames": 9}) as (_, mm):
        set_max_huge_pages(2)
        file, other = hugetlb_file_setup(4, 0), hugetlb_file_setup(4, 0)
        assert do_mmap(mm, 0, 2, file, 0, True) == 0 and hstates[0].resv_huge_pages == 1
        assert do_mmap(mm, 2, 2, other, 0, True) == 2 and do_mmap(mm, 4, 2, other, 2, True) == -ENOMEM
        assert cpu_write(mm, 0, A) == 0 and (hstates[0].free_huge_pages, hstates[0].resv_huge_pages) == (1, 1)
        assert hugetlbfs_punch_hole(file, 0, 2) == 0 and (hstates[0].free_huge_pages, hstates[0].resv_huge_pages) == (2, 1)
        assert do_mmap(mm, 4, 2, other, 2, True) == 4  # what the hole gave back is reserved for the other file now
        assert cpu_read(mm, 0) == -SIGBUS and cpu_read(mm, 3) == 0 and cpu_read(mm, 4) == 0
        assert (hstates[0].free_huge_pages, hstates[0].resv_huge_pages) == (0, 0)


def test_with_noreserve_nothing_is_reserved_and_what_others_reserved_for_the_file_is_used() -> None:
    with world(**{**FILE, "pages": 6, "pmds": 3, "hugetlb_pool": 1, "hugetlb_regions": 2, "hugetlb_files": 2, "frames": 9}) as (_, mm):
        set_max_huge_pages(1)
        file, other = hugetlb_file_setup(4, 0), hugetlb_file_setup(4, 0)
        assert do_mmap(mm, 0, 2, file, 0, True) == 0 and hstates[0].resv_huge_pages == 1
        assert do_mmap(mm, 2, 2, other, 0, True) == -ENOMEM
        assert do_mmap(mm, 2, 2, other, 0, True, MAP_NORESERVE) == 2 and hstates[0].resv_huge_pages == 1
        assert cpu_read(mm, 2) == -SIGBUS  # the one page is the first file's
        assert do_mmap(mm, 4, 2, file, 0, True, MAP_NORESERVE) == 4 and cpu_write(mm, 4, A) == 0
        assert (hstates[0].free_huge_pages, hstates[0].resv_huge_pages) == (0, 0) and cpu_read(mm, 0) == A


def test_mmap_noreserve_is_of_a_memfd_of_huge_pages() -> None:
    s = Recorder()
    s.hugetlb_pool(2)
    a = s.mmap(s.memfd_create_hugetlb(2))
    b = s.mmap_noreserve(s.memfd_create_hugetlb(2), into="mapped")
    s.read(b, into="none_left")
    s.write(a, "a", pages=1, into="reserved")
    assert show_outcome(only_outcome(s.scenario("noreserve", ""))) == "mapped=ok, none_left=SIGBUS, reserved=ok"
    other = Recorder()
    other.mmap_noreserve(other.memfd_create(2))
    with pytest.raises(ScenarioError, match="not of a memfd of huge pages"):
        only_outcome(other.scenario("refused", ""))
