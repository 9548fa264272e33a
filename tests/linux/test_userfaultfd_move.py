"""UFFDIO_MOVE, and minor faults with UFFDIO_CONTINUE."""

from __future__ import annotations

from linux_world import A, B, Mirror, load, mirror_of, world

from secondsight.linux import EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, SIGBUS
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import FOLL_PIN, pin_user_pages_fast
from secondsight.linux.madvise import madvise_pageout
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mm_flags import VM_UFFD_MINOR, VM_UFFD_MISSING
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.swapops import is_swap_entry
from secondsight.linux.userfaultfd_ioctl import (
    new_userfaultfd,
    userfaultfd_continue,
    userfaultfd_copy,
    userfaultfd_move,
    userfaultfd_register,
)
from secondsight.scenario import Recorder, show_outcome
from secondsight.search import Verdict
from secondsight.world.model import outcomes

SIZES = {"pages": 4, "frames": 8, "vmas": 6, "files": 1, "file_pages": 2, "vma_flags": 1, "userfaultfd": 1, "userfaults": 3, "cow": 1}


def two_places(mm: Mm) -> None:
    """Page 0 holds A; page 2 is registered, and missing."""
    do_mmap(mm, 0, 2, None, 0, True)
    do_mmap(mm, 2, 2, None, 0, True)
    new_userfaultfd(mm, True, False)
    userfaultfd_register(mm, 2, 2, VM_UFFD_MISSING, 2, 4)
    cpu_write(mm, 0, A)


def test_a_page_moves_and_leaves_nothing() -> None:
    with world({Mirror: 1}, **SIZES) as (machine, mm):
        two_places(mm)
        mirror = mirror_of(machine, mm)
        mirror.map_page(0, False)
        frame = mm.ptes[0].frame
        assert userfaultfd_move(mm, 2, 0) == 0
        assert mm.ptes[2].frame is frame and load(mirror, 0) == -1
        assert [cpu_read(mm, va) for va in (0, 2)] == [0, A] and cpu_write(mm, 2, B) == 0
        assert userfaultfd_move(mm, 3, 0) == 0 and mm.ptes[3].frame is frames[ZERO_PFN]  # the zero page, which a load has mapped


def test_what_does_not_move() -> None:
    with world(**SIZES) as (_, mm):
        two_places(mm)
        assert userfaultfd_move(mm, 2, 1) == -ENOENT and userfaultfd_move(mm, 0, 2) == -EINVAL  # a hole; not registered
        pin_user_pages_fast(mm, 0, FOLL_PIN)
        assert userfaultfd_move(mm, 2, 0) == -EBUSY
        assert userfaultfd_copy(mm, 2, B) == 0 and userfaultfd_move(mm, 2, 0) == -EEXIST


def test_a_page_in_swap_moves() -> None:
    with world(anon_vmas=1, swap_slots=2, **SIZES) as (_, mm):
        two_places(mm)
        madvise_pageout(mm, 0, 1)
        assert is_swap_entry(mm.ptes[0]) and userfaultfd_move(mm, 2, 0) == 0
        assert is_swap_entry(mm.ptes[2]) and cpu_read(mm, 2) == A
        madvise_pageout(mm, 2, 1)  # the walk finds it at its new place
        assert is_swap_entry(mm.ptes[2])


def test_what_the_file_has_is_mapped_when_user_space_says_so() -> None:
    with world(**SIZES) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True)
        do_mmap(mm, 2, 2, file, 0, True)
        new_userfaultfd(mm, True, False)
        cpu_write(mm, 0, A)
        assert userfaultfd_register(mm, 2, 2, VM_UFFD_MINOR, 2, 4) == 0
        assert cpu_read(mm, 2) == -SIGBUS and cpu_read(mm, 3) == 0  # a hole is none of its business, and nothing around it is mapped
        assert cpu_read(mm, 2) == -SIGBUS
        assert userfaultfd_continue(mm, 2) == 0 and userfaultfd_continue(mm, 2) == -EEXIST and userfaultfd_continue(mm, 0) == -ENOENT
        assert cpu_read(mm, 2) == A and cpu_write(mm, 2, B) == 0 and cpu_read(mm, 0) == B


def test_continue_of_a_hole_and_of_private_memory() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 2, memfd_create(1, 0), 0, True)
        do_mmap(mm, 2, 2, None, 0, True)
        new_userfaultfd(mm, True, False)
        assert userfaultfd_register(mm, 2, 1, VM_UFFD_MINOR, 2, 4) == -EINVAL
        userfaultfd_register(mm, 2, 1, VM_UFFD_MISSING, 2, 4)
        userfaultfd_register(mm, 0, 2, VM_UFFD_MINOR, 0, 2)
        assert [userfaultfd_continue(mm, va) for va in (0, 1, 2)] == [-EFAULT, -EINVAL, -EINVAL]


def test_who_waits_goes_on_with_what_was_moved_there() -> None:
    """A handler that has its pages ready moves them in: nobody else ever sees one half done."""
    s = Recorder()
    u = s.userfaultfd()
    ready, missing = s.mmap(pages=1), s.mmap(pages=1)
    s.write(ready, "a")
    s.uffd_register(u, missing)

    @s.thread
    def reads() -> None:
        s.read(missing, into="found")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="why")
        s.uffd_move(u, missing, ready)
        s.read(ready, into="left")

    result, possible = outcomes(s.scenario("moves", ""))
    assert result.verdict is Verdict.HOLDS
    assert {show_outcome(outcome) for outcome in possible} == {"found=a, left=0, why=f"}
