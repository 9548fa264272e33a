"""mlock: pages are there and stay, and are counted."""

from __future__ import annotations

from linux_world import A, B, world

from secondsight.linux import EINVAL, ENOMEM
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.madvise import madvise_dontneed, madvise_pageout
from secondsight.linux.memfd import memfd_create
from secondsight.linux.migrate import move_page
from secondsight.linux.mlock import do_mlock, munlock
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.mremap import mremap_to
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.util import account_locked_vm, locked_vms
from secondsight.scenario import Recorder, show_outcome
from secondsight.world.model import only_outcome

SIZES = {"pages": 6, "frames": 10, "vmas": 8, "vma_flags": 1, "memlock": 1, "cow": 1, "anon_prepared": 1}


def test_pages_are_faulted_in_as_for_a_write_where_that_would_copy_them() -> None:
    with world(files=1, file_pages=2, **SIZES) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        do_mmap(mm, 2, 1, None, 0, False)
        do_mmap(mm, 3, 2, memfd_create(1, 0), 0, True)
        cpu_read(mm, 0)
        assert do_mlock(mm, 0, 3, 0, 3) == 0 and locked_vms[0].pages == 3
        assert mm.ptes[0].frame is not frames[ZERO_PFN] and mm.ptes[1].frame is not None and mm.ptes[2].frame is frames[ZERO_PFN]
        assert do_mlock(mm, 3, 2, 3, 5) == -ENOMEM  # past the end of the file; what is there is locked all the same
        assert locked_vms[0].pages == 5 and mm.ptes[3].frame is not None


def test_who_counts_and_how_much() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 4, None, 0, True)
        locked_vms[0].limit = 3
        assert do_mlock(mm, 0, 4, 0, 4) == -ENOMEM and locked_vms[0].pages == 0
        assert do_mlock(mm, 0, 2, 0, 4) == 0 and do_mlock(mm, 0, 3, 0, 4) == 0  # two of the three are counted already
        assert account_locked_vm(mm, 1, True) == -ENOMEM  # a driver that pins for long has no room
        assert munlock(mm, 1, 1, 0, 4) == 0 and account_locked_vm(mm, 1, True) == 0
        vm_munmap(mm, 0, 4)
        assert locked_vms[0].pages == 1
        assert munlock(mm, 0, 1, 0, 4) == -ENOMEM


def test_they_are_not_taken_out_nor_forgotten_and_may_move() -> None:
    with world(anon_vmas=1, swap_slots=2, migrations=1, **SIZES) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        do_mlock(mm, 0, 1, 0, 1)
        assert madvise_pageout(mm, 0, 1) == -EINVAL and madvise_dontneed(mm, 0, 1) == -EINVAL
        before = mm.ptes[0].frame
        assert move_page(mm, 0) == 0 and mm.ptes[0].frame is not before and cpu_read(mm, 0) == A


def test_what_moves_stays_locked_and_a_child_has_nothing_locked() -> None:
    with world(mms=2, **(SIZES | {"memlock": 2})) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        do_mlock(mm, 0, 2, 0, 2)
        mremap_to(mm, 1, 1, 3, 3, 4)
        assert locked_vms[0].pages == 2 and madvise_dontneed(mm, 3, 1) == -EINVAL
        mremap_to(mm, 0, 1, 4, 4, 5, True)
        assert locked_vms[0].pages == 2 and madvise_dontneed(mm, 0, 1) == 0 and madvise_dontneed(mm, 4, 1) == -EINVAL
        child = mm_alloc()
        locked_vms[0].limit = 2
        dup_mmap(child, mm)
        assert locked_vms[1].pages == 0 and locked_vms[1].limit == 2 and madvise_dontneed(child, 3, 1) == 0


def test_locked_private_memory_that_comes_to_be_writable_is_copied_at_once() -> None:
    with world(mms=2, **(SIZES | {"memlock": 2})) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        do_mprotect_pkey(mm, 0, 1, False, 0, 1)
        do_mlock(mm, 0, 1, 0, 1)
        child = mm_alloc()
        dup_mmap(child, mm)
        assert mm.ptes[0].frame is child.ptes[0].frame
        do_mprotect_pkey(mm, 0, 1, True, 0, 1)
        assert mm.ptes[0].frame is not child.ptes[0].frame and cpu_write(mm, 0, B) == 0 and cpu_read(child, 0) == A


def test_in_a_scenario() -> None:
    s = Recorder()
    s.limit_memlock(1)
    a = s.mmap(pages=2)
    s.mlock(a, pages=2, into="both")
    s.mlock(a + 1, into="one")
    s.madvise_dontneed(a + 1, into="forgotten")
    s.munlock(a, into="none")
    s.madvise_dontneed(a + 1, into="now")
    assert show_outcome(only_outcome(s.scenario("locked", ""))) == "both=-ENOMEM, forgotten=-EINVAL, none=ok, now=ok, one=ok"
