"""mremap to another length: what goes, what comes, what is counted, and who is told."""

from __future__ import annotations

from linux_world import A, B, world

from secondsight.linux import EAGAIN, EFAULT, EINVAL, ENOMEM, SIGBUS, SIGSEGV
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.memfd import memfd_create
from secondsight.linux.mlock import do_mlock
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.mremap_in_place import mremap
from secondsight.linux.mremap_resized import mremap_resized
from secondsight.linux.util import locked_vms
from secondsight.scenario import Recorder, show_outcome
from secondsight.search import Verdict
from secondsight.world.model import only_outcome, outcomes


def found(mm: Mm) -> list[int]:
    return [cpu_read(mm, va) for va in range(len(mm.ptes))]


def test_a_file_that_moves_shows_more_of_it_or_less() -> None:
    with world(files=1, file_pages=2, pages=6, anon_prepared=1, vmas=6, frames=6) as (_, mm):
        do_mmap(mm, 0, 1, memfd_create(2, 0), 0, True)
        cpu_write(mm, 0, A)
        assert mremap_resized(mm, 0, 1, 1, 3, 1, 4) == 1
        cpu_write(mm, 2, B)
        assert found(mm) == [-SIGSEGV, A, B, -SIGBUS, -SIGSEGV, -SIGSEGV]
        assert mremap_resized(mm, 1, 3, 4, 2, 4, 6) == 4
        assert found(mm) == [-SIGSEGV, -SIGSEGV, -SIGSEGV, -SIGSEGV, A, B]


def test_the_new_place_goes_in_its_new_length_and_a_part_moves_out_of_the_middle() -> None:
    with world(pages=7, anon_prepared=1, vmas=8, frames=10) as (_, mm):
        do_mmap(mm, 0, 3, None, 0, True)
        do_mmap(mm, 4, 3, None, 0, True)
        for va, value in ((0, A), (1, B), (5, A), (6, A)):
            cpu_write(mm, va, value)
        assert mremap_resized(mm, 1, 1, 4, 2, 4, 7) == 4
        assert found(mm) == [A, -SIGSEGV, 0, -SIGSEGV, B, 0, A]


def test_what_was_to_be_cut_off_has_gone_where_the_rest_cannot_move_but_not_on_linux_7_2() -> None:
    for looks_first in (0, 1):
        with world(pages=6, anon_prepared=1, vmas=8, frames=8, moves_several=looks_first) as (_, mm):
            do_mmap(mm, 0, 3, None, 0, True)
            do_mmap(mm, 5, 1, None, 0, True)
            do_mprotect_pkey(mm, 1, 2, False, 0, 3)
            assert mremap_resized(mm, 0, 3, 4, 2, 4, 6) == -EFAULT  # two vmas
            assert found(mm) == ([0, 0, 0, -SIGSEGV, -SIGSEGV, 0] if looks_first else [0, 0, -SIGSEGV, -SIGSEGV, -SIGSEGV, -SIGSEGV])
            assert mremap_resized(mm, 0, 1, 0, 2, 0, 3) == -EINVAL
            assert mremap_resized(mm, 3, 1, 3, 2, 3, 6) == (-EINVAL if looks_first else -EFAULT)


def test_locked_memory_is_counted_at_its_new_length_and_is_there() -> None:
    with world(pages=6, anon_prepared=1, vmas=8, frames=10, memlock=1, vma_flags=1, cow=1) as (_, mm):
        locked_vms[0].limit = 2
        do_mmap(mm, 0, 2, None, 0, True)
        do_mlock(mm, 0, 1, 0, 2)
        assert mremap_resized(mm, 0, 1, 3, 3, 3, 6) == -EAGAIN and locked_vms[0].pages == 1
        assert mremap_resized(mm, 0, 1, 3, 2, 3, 6) == 3 and locked_vms[0].pages == 2
        assert mm.ptes[4].frame is not None
        assert mremap_resized(mm, 3, 2, 0, 1, 0, 2) == 0 and locked_vms[0].pages == 1
        assert mremap(mm, 0, 1, 2, 0, 2, True, 2) == 2 and locked_vms[0].pages == 2 and mm.ptes[3].frame is not None


def test_to_the_same_length_several_vmas_move_on_linux_7_2() -> None:
    for moves_several in (0, 1):
        with world(pages=4, anon_prepared=1, vmas=6, frames=6, moves_several=moves_several) as (_, mm):
            do_mmap(mm, 0, 2, None, 0, True)
            do_mprotect_pkey(mm, 1, 1, False, 0, 2)
            assert mremap_resized(mm, 0, 2, 2, 2, 2, 4) == (2 if moves_several else -EFAULT)


def test_what_may_move_moves_only_where_it_cannot_grow() -> None:
    with world(pages=6, anon_prepared=1, vmas=8, frames=8) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        assert mremap(mm, 0, 1, 2, 0, 2) == -ENOMEM
        assert mremap(mm, 0, 1, 2, 0, 2, True, 3) == 3
        assert found(mm) == [-SIGSEGV, 0, -SIGSEGV, A, 0, -SIGSEGV]
        assert mremap(mm, 3, 2, 1, 3, 5, True, 0) == 3 and mremap(mm, 3, 1, 2, 3, 5, True, 0) == 3
        assert found(mm) == [-SIGSEGV, 0, -SIGSEGV, A, 0, -SIGSEGV]


def test_in_a_scenario_a_mapping_that_did_not_move_has_not_become_another() -> None:
    s = Recorder()
    a = s.mmap(pages=2)
    s.write(a, "a")
    moved = s.mremap_maymove(a, pages=1, new_pages=2)
    s.read(moved, into="moved")
    stays = s.mremap_maymove(moved, new_pages=1)
    s.read(stays, into="no_other")
    s.read(moved + 1, into="cut_off")
    assert show_outcome(only_outcome(s.scenario("may_move", ""))) == "cut_off=SIGSEGV, moved=a, no_other=skipped"


def test_user_space_is_told_of_what_is_cut_off_after_the_move_and_before_the_old_place() -> None:
    s = Recorder()
    u = s.userfaultfd(events=True)
    a = s.mmap(pages=2)
    s.uffd_register(u, a)

    @s.thread
    def moves() -> None:
        s.mremap_resized(a, new_pages=1)

    @s.thread
    def handler() -> None:
        for name in ("first", "second", "third"):
            s.uffd_read(u, into=name)

    result, possible = outcomes(s.scenario("told", ""))
    assert result.verdict is Verdict.HOLDS
    assert {show_outcome(outcome) for outcome in possible} == {"first=m, second=u, third=u"}
