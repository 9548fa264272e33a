"""mremap: entries move, and with them what they stand for; page numbers of private memory stay where it was touched."""

from __future__ import annotations

from linux_world import A, B, Mirror, free_frames, load, mirror_of, search, world

from secondsight.lang import atomic, require
from secondsight.linux import EFAULT, EINVAL, SIGSEGV
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.madvise import madvise_pageout
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.mremap import mremap_to
from secondsight.linux.shmem import ShmemFile, shmem_fallocate_punch_hole
from secondsight.linux.swapops import is_swap_entry
from secondsight.scenario import Recorder, show_outcome
from secondsight.search import Verdict
from secondsight.world.model import only_outcome, outcomes


def spans(mm: Mm) -> list[tuple[int, int, int]]:
    """The vmas of an address space: where each begins, ends, and the number of its first page."""
    found = {int(vma.vm_start): (int(vma.vm_start), int(vma.vm_end), int(vma.vm_pgoff)) for vma in mm.mm_mt if vma is not None}
    return [found[start] for start in sorted(found)]


def test_what_a_page_holds_goes_with_it_and_no_frame_is_taken_or_given_back() -> None:
    with world({Mirror: 1}, pages=6, anon_prepared=1) as (machine, mm):
        mirror = mirror_of(machine, mm)
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 1, A)
        mirror.map_page(1, False)
        frame, free, calls = mm.ptes[1].frame, free_frames(), int(mirror.calls)
        assert mremap_to(mm, 0, 2, 3, 3, 5) == 3
        assert mm.ptes[4].frame is frame and free_frames() == free
        assert load(mirror, 1) == -1 and mirror.calls == calls + 2  # for the entries, and for the unmapping of nothing
        assert [cpu_read(mm, va) for va in (1, 3, 4)] == [-SIGSEGV, 0, A]


def test_private_memory_that_was_touched_keeps_its_page_numbers_and_joins_only_where_they_go_on() -> None:
    with world(pages=6, anon_prepared=1) as (_, mm):
        do_mmap(mm, 0, 3, None, 0, True)
        cpu_write(mm, 1, A)
        mremap_to(mm, 1, 1, 4, 4, 5)
        assert spans(mm) == [(0, 1, 0), (2, 3, 2), (4, 5, 1)]
        mremap_to(mm, 4, 1, 1, 0, 3)
        assert spans(mm) == [(0, 3, 0)]
        mremap_to(mm, 0, 1, 5, 5, 6)
        mremap_to(mm, 5, 1, 2, 0, 3)  # page 0 behind page 1
        assert spans(mm) == [(1, 2, 1), (2, 3, 0)]


def test_untouched_memory_counts_anew_where_it_comes_to_lie() -> None:
    with world(pages=6, anon_prepared=1) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        mremap_to(mm, 0, 2, 3, 3, 5)
        assert spans(mm) == [(3, 5, 3)]
        do_mmap(mm, 0, 3, None, 0, True)
        assert mremap_to(mm, 0, 1, 2, 0, 3) == 2  # into its own vma: one that was split for it
        assert spans(mm) == [(1, 3, 1), (3, 5, 3)]


def test_touched_memory_does_not_join_untouched_memory_before_linux_7_2() -> None:
    for joins, after in ((0, [(0, 1, 0), (1, 2, 1)]), (1, [(0, 2, 0)])):
        with world(pages=6, anon_prepared=1, joins_untouched=joins) as (_, mm):
            do_mmap(mm, 0, 2, None, 0, True)
            do_mprotect_pkey(mm, 1, 1, False, 0, 2)
            cpu_write(mm, 0, A)
            do_mprotect_pkey(mm, 0, 1, False, 0, 2)
            assert spans(mm) == after


def test_what_is_at_the_new_place_goes_even_if_nothing_comes() -> None:
    with world(pages=6, anon_prepared=1, vmas=6) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        do_mmap(mm, 1, 1, None, 0, False)
        do_mmap(mm, 3, 2, None, 0, True)
        cpu_write(mm, 3, B)
        assert mremap_to(mm, 0, 2, 3, 3, 5) == -EFAULT  # two vmas
        assert cpu_read(mm, 3) == -SIGSEGV and cpu_read(mm, 0) == 0
        assert mremap_to(mm, 2, 1, 2, 2, 3) == -EFAULT and mremap_to(mm, 0, 1, 0, 0, 1) == -EINVAL


def test_linux_7_2_moves_several_vmas_and_looks_first() -> None:
    with world(pages=6, anon_prepared=1, vmas=6, moves_several=1) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        do_mmap(mm, 1, 1, None, 0, False)
        do_mmap(mm, 3, 2, None, 0, True)
        cpu_write(mm, 0, A)
        assert mremap_to(mm, 2, 1, 2, 2, 3) == -EINVAL
        assert mremap_to(mm, 0, 2, 3, 3, 5) == 3
        assert [cpu_read(mm, va) for va in (0, 1, 3, 4)] == [-SIGSEGV, -SIGSEGV, A, 0] and cpu_write(mm, 4, B) == -SIGSEGV


def test_with_dontunmap_the_old_place_stays_and_is_empty() -> None:
    with world(pages=6, anon_prepared=1) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        assert mremap_to(mm, 0, 2, 3, 3, 5, True) == 3
        assert [cpu_read(mm, va) for va in (0, 3)] == [0, A]
        assert spans(mm) == [(0, 2, 0), (3, 5, 0)]


def test_a_page_in_swap_moves_and_a_page_that_moved_goes_to_swap() -> None:
    with world(pages=4, anon_prepared=1, anon_vmas=1, swap_slots=2) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        mremap_to(mm, 0, 1, 2, 2, 3)
        assert is_swap_entry(mm.ptes[2]) and cpu_read(mm, 2) == A
        mremap_to(mm, 2, 1, 1, 1, 2)
        madvise_pageout(mm, 1, 1)  # the walk from the folio finds its new place
        assert is_swap_entry(mm.ptes[1]) and cpu_read(mm, 1) == A


def mover(mm: Mm) -> None:
    mremap_to(mm, 0, 1, 1, 1, 2)


def puncher(file: ShmemFile) -> None:
    shmem_fallocate_punch_hole(file, 0, 1)
    with atomic:
        require(file.pages[0] is None, "punched", "the page is there")


def test_a_punch_beside_it_finds_the_page_at_one_place_or_the_other() -> None:
    """unmap_mapping_range() walks the vmas in an order in which the new one comes behind the old one."""
    with world(files=1, file_pages=1, pages=2, anon_prepared=1, vmas=3, frames=3) as (machine, mm):
        file = memfd_create(1, 0)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (mover, (mm,)), (puncher, (file,)))
        assert found.verdict is Verdict.HOLDS


def reader(mirror: Mirror, mm: Mm) -> None:
    if mirror.map_page(0, False) == 0:
        load(mirror, 0)


def test_a_mirror_hears_of_the_old_place_in_time() -> None:
    with world({Mirror: 1}, pages=2, anon_prepared=1, vmas=3, frames=3) as (machine, mm):
        mirror = mirror_of(machine, mm)
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        assert search(machine, (mover, (mm,)), (reader, (mirror, mm))).verdict is Verdict.HOLDS


def test_user_space_is_told_of_three_things_in_order() -> None:
    s = Recorder()
    u = s.userfaultfd(events=True)
    a, b = s.mmap(pages=1), s.mmap(pages=1)
    s.uffd_register(u, a)
    s.uffd_register(u, b)
    s.uffd_copy(u, a, "a")

    @s.thread
    def moves() -> None:
        s.mremap(a, at=b)
        s.read(b, into="moved")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="first")
        s.uffd_copy(u, b, "b", into="filled")
        s.uffd_read(u, into="second")
        s.uffd_read(u, into="third")

    result, possible = outcomes(s.scenario("told", ""))
    assert result.verdict is Verdict.HOLDS
    assert {show_outcome(outcome) for outcome in possible} == {"filled=-EAGAIN, first=u, moved=a, second=m, third=u"}


def test_without_the_event_memory_is_registered_no_more_where_it_moves_to() -> None:
    s = Recorder()
    u = s.userfaultfd(sigbus=True)
    a = s.mmap(pages=1)
    s.uffd_register(u, a)
    moved = s.mremap(a)
    s.read(moved, into="moved")
    s.uffd_copy(u, moved, "a", into="filled")
    assert show_outcome(only_outcome(s.scenario("told", ""))) == "filled=-ENOENT, moved=0"
