"""Memfds: holes, seals, and faults that race with a punch."""

from __future__ import annotations

from linux_world import A, B, free_frames, search, world

from secondsight.lang import require
from secondsight.linux import EBUSY, EPERM
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import memfd_pin_folio, try_grab_folio, unpin_folio
from secondsight.linux.memfd import memfd_add_seals, memfd_create
from secondsight.linux.mm_types import Folio, Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.shmem import (
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    ShmemFile,
    shmem_fallocate_punch_hole,
)
from secondsight.scenario import Recorder
from secondsight.world.model import outcomes


def test_a_hole_reads_as_zero_everywhere_and_is_filled_by_a_fault() -> None:
    with world(pages=2, files=1, file_pages=1) as (_, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, file, 0, True)
        do_mmap(mm, 1, 1, file, 0, True)
        cpu_write(mm, 0, A)
        assert cpu_read(mm, 1) == A
        before = free_frames()
        assert shmem_fallocate_punch_hole(file, 0, 1) == 0
        assert file.pages[0] is None
        assert free_frames() == before + 1
        assert (mm.ptes[0].frame, mm.ptes[1].frame) == (None, None)
        assert cpu_read(mm, 1) == 0
        assert file.pages[0] is not None
        cpu_write(mm, 0, B)
        assert cpu_read(mm, 1) == B


def test_a_hole_is_punched_in_every_process() -> None:
    from secondsight.linux.fork import mm_alloc

    with world(mms=2, pages=2, files=1, file_pages=2) as (_, mm):
        other = mm_alloc()
        file = memfd_create(2, F_SEAL_SHRINK)
        do_mmap(mm, 0, 2, file, 0, True)
        do_mmap(other, 1, 1, file, 1, True)
        cpu_write(mm, 1, A)
        assert cpu_read(other, 1) == A
        shmem_fallocate_punch_hole(file, 1, 1)
        assert (cpu_read(mm, 1), cpu_read(other, 1)) == (0, 0)


def test_seals_against_writing_forbid_a_hole_and_those_against_shrinking_do_not() -> None:
    with world(files=4, file_pages=1):
        for seals, answer in ((F_SEAL_WRITE, -EPERM), (F_SEAL_FUTURE_WRITE, -EPERM), (F_SEAL_SHRINK, 0), (F_SEAL_GROW, 0)):
            assert shmem_fallocate_punch_hole(memfd_create(1, seals), 0, 1) == answer


def test_seals_are_added_until_sealed() -> None:
    with world(files=1, file_pages=1) as (_, mm):
        file = memfd_create(1, 0)
        do_mmap(mm, 0, 1, file, 0, True)
        assert memfd_add_seals(file, F_SEAL_WRITE) == -EBUSY
        vm_munmap(mm, 0, 1)
        assert memfd_add_seals(file, F_SEAL_WRITE | F_SEAL_SEAL) == 0
        assert file.seals == F_SEAL_WRITE | F_SEAL_SEAL
        assert memfd_add_seals(file, F_SEAL_SHRINK) == -EPERM


def test_a_pinned_page_leaves_the_file_and_lives_on() -> None:
    with world(files=1, file_pages=1) as (_, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        pinned = memfd_pin_folio(file, 0)
        shmem_fallocate_punch_hole(file, 0, 1)
        assert (pinned.refcount, pinned.pins, pinned.contents) == (1, 1, A)
        assert cpu_read(mm, 0) == 0
        assert mm.ptes[0].frame is not pinned
        unpin_folio(pinned)
        assert pinned.refcount == 0


# Every interleaving of a punch with faults.


def punch_main(file: ShmemFile) -> None:
    shmem_fallocate_punch_hole(file, 0, 1)


def touch_main(mm: Mm) -> None:
    """After the punch began there may be A, or zero; never anything else."""
    value = cpu_read(mm, 0)
    require(value in (0, A), "contents", "reads what nobody wrote")
    cpu_write(mm, 0, B)
    value = cpu_read(mm, 0)
    require(value in (0, B), "contents", "reads what was there before the hole")


def consistent_main(file: ShmemFile, mm: Mm) -> None:
    """After everything, what is mapped is what is in the file."""
    shmem_fallocate_punch_hole(file, 0, 1)
    frame = mm.ptes[0].frame
    require(frame is None or frame is file.pages[0], "contents", "a page that left the file is still mapped")


def test_a_fault_beside_a_punch_never_leaves_an_old_page_mapped() -> None:
    with world(pages=1, files=1, file_pages=1) as (machine, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        assert search(machine, (punch_main, (file,)), (touch_main, (mm,))).verdict.value == "holds"


def read_main(mm: Mm) -> None:
    cpu_read(mm, 0)


def unmap_main(mm: Mm) -> None:
    vm_munmap(mm, 0, 1)


def test_faults_munmap_and_two_punches_leave_no_page_behind_and_never_deadlock() -> None:
    with world(pages=1, files=1, file_pages=1) as (machine, mm):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (punch_main, (file,)), (punch_main, (file,)), (read_main, (mm,)), (unmap_main, (mm,)))
    assert found.verdict.value == "holds"


# A seal against writing waits for who holds pages.


def seal_main(file: ShmemFile) -> None:
    """Some schedule must get the seal although at every moment somebody holds a page."""
    ret = memfd_add_seals(file, F_SEAL_WRITE)
    require(ret == -EBUSY, "sealed", "the seal was given")


def hand_over_main(file: ShmemFile, first: Folio, second: Folio) -> None:
    """Let the first page go for a moment, and the second one while the first is held again."""
    unpin_folio(first)
    try_grab_folio(first)
    unpin_folio(second)


def test_a_page_that_was_once_found_without_holders_is_not_looked_at_again() -> None:
    with world(pages=1, files=1, file_pages=2) as (machine, _):
        file = memfd_create(2, 0)
        pins = [memfd_pin_folio(file, i) for i in range(2)]
        found = search(machine, (seal_main, (file,)), (hand_over_main, (file, *pins)))
        assert found.violation is not None and found.violation.rule == "sealed"


def test_a_page_that_nobody_lets_go_refuses_the_seal() -> None:
    with world(pages=1, files=1, file_pages=1) as (machine, mm):
        file = memfd_create(1, 0)
        memfd_pin_folio(file, 0)
        assert memfd_add_seals(file, F_SEAL_WRITE) == -EBUSY
        assert (file.seals, file.deny_writable) == (0, False)
        assert search(machine, (seal_main, (file,)), (read_main, (mm,))).verdict.value == "holds"


def test_a_hole_may_be_larger_than_the_file() -> None:
    """MADV_REMOVE punches what is mapped, past the end of the file too. A kernel saw it: sequential, seed 1, number 14904."""
    s = Recorder()
    memfd = s.memfd_create(pages=3, seals="shrink")
    mapped = s.mmap_read_only(memfd, page=2, pages=3)
    s.madvise_remove(mapped + 2, pages=1, into="behind")
    s.madvise_remove(mapped, pages=3, into="all")
    assert [dict(one) for one in outcomes(s.scenario("past_the_end", ""))[1]] == [{"behind": "ok", "all": "ok"}]
