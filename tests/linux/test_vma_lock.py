"""The lock of a vma alone: faults go on beside changes of other vmas, and of none that they are in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from linux_world import A, search, world

from secondsight.contract import check
from secondsight.devices.small import HoldsTheMmapLock, MirrorInParts
from secondsight.lang import atomic, require
from secondsight.linux import madvise
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.mm_flags import VM_UFFD_MISSING
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.userfaultfd_ioctl import new_userfaultfd, userfaultfd_copy, userfaultfd_move, userfaultfd_register
from secondsight.linux.vma_lock import lock_vma_under_rcu, vma_end_read, vma_end_write_all, vma_start_write
from secondsight.search import Verdict

SIZES = {"pages": 2, "frames": 4, "vmas": 3, "vma_locks": 1}


def looks_twice(mm: Mm) -> None:
    """A change of the first page's vma: nothing of the second one's entry may change meanwhile, if all faults wait."""
    mm.mmap_lock.write_lock()
    with atomic:
        vma = mm.mm_mt[0]
        assert vma is not None
        vma_start_write(vma)
        before = mm.ptes[1].frame
    with atomic:
        require(mm.ptes[1].frame is before, "waited", "the fault has gone on beside this")
    mm.mmap_lock.write_unlock()


def reads(mm: Mm) -> None:
    cpu_read(mm, 1)


def test_a_fault_goes_on_beside_a_change_of_another_vma_alone() -> None:
    for locks, verdict in ((1, Verdict.BROKEN), (0, Verdict.HOLDS)):
        with world(**(SIZES | {"vma_locks": locks})) as (machine, mm):
            do_mmap(mm, 0, 1, None, 0, False)
            do_mmap(mm, 1, 1, None, 0, True)
            found = search(machine, (looks_twice, (mm,)), (reads, (mm,)))
            assert found.verdict is verdict


def test_who_changes_a_vma_waits_for_faults_on_it_and_keeps_new_ones_away() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        vma = lock_vma_under_rcu(mm, 0)
        assert vma is not None
        vma_end_read(vma)
        vma_end_write_all(mm)
        mm.mmap_lock.write_lock()
        assert lock_vma_under_rcu(mm, 0) is not None
        vma_end_read(vma)
        vma_start_write(vma)
        assert lock_vma_under_rcu(mm, 0) is None
        mm.mmap_lock.write_unlock()
        assert lock_vma_under_rcu(mm, 0) is not None
        vma_end_read(vma)


def unmaps(mm: Mm) -> None:
    vm_munmap(mm, 0, 1)


def protects(mm: Mm) -> None:
    do_mprotect_pkey(mm, 0, 1, False, 0, 2)


def writes(mm: Mm) -> None:
    cpu_write(mm, 0, A)


def test_a_vma_does_not_go_under_a_fault() -> None:
    with world(**SIZES) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        assert search(machine, (unmaps, (mm,)), (writes, (mm,)), (protects, (mm,))).verdict is Verdict.HOLDS


def forgets(mm: Mm) -> None:
    madvise.madvise_dontneed(mm, 0, 1)


def changes_nothing(mm: Mm) -> None:
    """Has the mmap lock for writing: nothing of an entry may change meanwhile, if MADV_DONTNEED waits."""
    mm.mmap_lock.write_lock()
    with atomic:
        before = mm.ptes[0].frame
    with atomic:
        require(mm.ptes[0].frame is before, "waited", "contents are forgotten beside this")
    mm.mmap_lock.write_unlock()


def test_contents_are_forgotten_under_the_lock_of_the_vma_alone() -> None:
    for locks, verdict in ((1, Verdict.BROKEN), (0, Verdict.HOLDS)):
        with world(**(SIZES | {"madvise_locks_vma": locks})) as (machine, mm):
            do_mmap(mm, 0, 1, None, 0, True)
            cpu_write(mm, 0, A)
            assert search(machine, (changes_nothing, (mm,)), (forgets, (mm,))).verdict is verdict


def test_a_vma_does_not_go_under_who_forgets_its_contents() -> None:
    with world(**(SIZES | {"madvise_locks_vma": 1})) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        assert search(machine, (unmaps, (mm,)), (forgets, (mm,)), (writes, (mm,))).verdict is Verdict.HOLDS


def test_more_than_one_vma_and_one_that_is_changed_are_not_locked_alone() -> None:
    with world(**(SIZES | {"madvise_locks_vma": 1})) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        do_mmap(mm, 1, 1, None, 0, False)
        vma_end_write_all(mm)
        assert madvise.try_vma_read_lock(mm, 0, 2) is None
        vma = madvise.try_vma_read_lock(mm, 0, 1)
        assert vma is not None
        vma_end_read(vma)
        mm.mmap_lock.write_lock()
        vma_start_write(vma)
        assert madvise.try_vma_read_lock(mm, 0, 1) is None
        other = madvise.try_vma_read_lock(mm, 1, 2)
        assert other is not None
        vma_end_read(other)
        mm.mmap_lock.write_unlock()


def test_who_counts_on_the_mmap_lock_is_right_where_vmas_have_none_of_their_own() -> None:
    for bounds, verdict in (({"madvise_locks_vma": 0}, Verdict.HOLDS), ({"madvise_locks_vma": 0, "vma_locks": 1}, Verdict.BROKEN)):
        assert {one.result.verdict for one in check(HoldsTheMmapLock, ["madvise-dontneed"], bounds=bounds)} == {verdict}
    assert {one.result.verdict for one in check(MirrorInParts, ["madvise-dontneed"], bounds={"madvise_locks_vma": 1})} == {Verdict.HOLDS}


def fills(mm: Mm) -> None:
    userfaultfd_copy(mm, 1, A)


def moves(mm: Mm) -> None:
    userfaultfd_move(mm, 1, 2)


OF_USERFAULTFD = SIZES | {"pages": 3, "vma_flags": 1, "userfaultfd": 1, "userfaults": 1, "frames": 6, "vmas": 6}


def told_of_three_pages(mm: Mm) -> None:
    """Three vmas; the second is registered and was touched once, the third has a page."""
    do_mmap(mm, 0, 1, None, 0, False)
    do_mmap(mm, 1, 1, None, 0, True)
    new_userfaultfd(mm, True, False)
    userfaultfd_register(mm, 1, 1, VM_UFFD_MISSING, 0, 3)
    do_mmap(mm, 2, 1, None, 0, True)
    userfaultfd_copy(mm, 1, A)
    cpu_write(mm, 2, A)
    madvise.madvise_dontneed(mm, 1, 1)


@pytest.mark.parametrize("what", [fills, moves])
def test_user_space_fills_and_moves_pages_beside_a_change_of_another_vma(what: Callable[[Mm], None]) -> None:
    for locks, verdict in ((1, Verdict.BROKEN), (0, Verdict.HOLDS)):
        with world(**(OF_USERFAULTFD | {"vma_locks": locks})) as (machine, mm):
            told_of_three_pages(mm)
            found = search(machine, (looks_twice, (mm,)), (what, (mm,)))
            assert found.verdict is verdict


def unmaps_both(mm: Mm) -> None:
    vm_munmap(mm, 1, 2)


@pytest.mark.parametrize("what", [fills, moves])
def test_no_vma_goes_under_who_fills_or_moves_a_page(what: Callable[[Mm], None]) -> None:
    """Neither it, nor half of two, nor do the two wait for each other for ever."""
    with world(**OF_USERFAULTFD) as (machine, mm):
        told_of_three_pages(mm)
        assert search(machine, (unmaps_both, (mm,)), (what, (mm,))).verdict is Verdict.HOLDS


def test_what_was_never_touched_is_filled_under_the_mmap_lock_at_first() -> None:
    """It gets its anon_vma there, and then keeps the lock of its vma alone: as `looks_twice` has the mmap lock, nothing is filled meanwhile."""
    with world(**OF_USERFAULTFD) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, False)
        do_mmap(mm, 1, 1, None, 0, True)
        new_userfaultfd(mm, True, False)
        userfaultfd_register(mm, 1, 1, VM_UFFD_MISSING, 0, 3)
        assert search(machine, (waits_for_nothing, (mm,)), (fills, (mm,))).verdict is Verdict.HOLDS


def waits_for_nothing(mm: Mm) -> None:
    """As `looks_twice`, but what was filled before counts."""
    mm.mmap_lock.write_lock()
    with atomic:
        vma = mm.mm_mt[0]
        assert vma is not None
        vma_start_write(vma)
        second = mm.mm_mt[1]
        assert second is not None
        before = mm.ptes[1].frame
        prepared = second.anon_prepared[0]
    with atomic:
        require(prepared != 0 or mm.ptes[1].frame is before, "waited", "it was filled beside this")
    mm.mmap_lock.write_unlock()
