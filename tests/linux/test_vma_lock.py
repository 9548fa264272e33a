"""The lock of a vma alone: faults go on beside changes of other vmas, and of none that they are in."""

from __future__ import annotations

from linux_world import A, search, world

from secondsight.lang import atomic, require
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
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
