"""What campaigns against Linux 6.12 found wrong in the model: each as the smallest calls that show it, or the smallest scenario with what the kernel showed."""

from __future__ import annotations

import pytest
from linux_world import A, B, free_frames, world

from secondsight.lang import RuleBroken
from secondsight.linux import EBUSY, EFAULT, EINVAL, ENOMEM, EPERM, SIGSEGV
from secondsight.linux.dma_buf import dma_buf_fget, dma_buf_fput, dma_buf_mmap
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, pin_user_pages_fast
from secondsight.linux.hugetlb import hugetlb_file_setup
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_add_seals, memfd_create
from secondsight.linux.memory import (
    FAULT_FLAG_ALLOW_RETRY,
    FAULT_FLAG_WRITE,
    VM_FAULT_COMPLETED,
    VM_FAULT_ERROR,
    VM_FAULT_UNLOCKED,
    handle_mm_fault,
)
from secondsight.linux.migrate import move_page
from secondsight.linux.mm_flags import MAP_SEALS_LATE
from secondsight.linux.mmap import do_mmap, do_mmap_fixed, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.releases import DIFFERENCES, differs
from secondsight.linux.shmem import F_SEAL_FUTURE_WRITE, F_SEAL_SHRINK, F_SEAL_WRITE, shmem_fallocate_punch_hole
from secondsight.linux.udmabuf import udmabuf_create, udmabufs
from secondsight.linux.vma import vms_gather_munmap_vmas
from secondsight.scenario import Recorder
from secondsight.world.model import only_outcome, outcomes

SIZES = {"files": 3, "file_pages": 3, "udmabufs": 2, "dmabuf_pages": 4, "create_items": 2, "pages": 6, "frames": 9}


def test_a_write_seal_waits_for_pins_in_vain() -> None:
    with world(**SIZES):
        file = memfd_create(2, F_SEAL_SHRINK)
        buf = udmabufs[udmabuf_create(file, 1, 1)]
        assert memfd_add_seals(file, F_SEAL_WRITE) == -EBUSY
        assert not file.deny_writable
        assert memfd_add_seals(file, F_SEAL_FUTURE_WRITE) == 0
        dma_buf_fput(buf)
        assert memfd_add_seals(file, F_SEAL_WRITE) == 0


def test_a_buffer_is_released_with_its_descriptor_and_its_last_mapping() -> None:
    with world(**SIZES) as (_, mm):
        file = memfd_create(2, F_SEAL_SHRINK)
        before = free_frames()
        buf = udmabufs[udmabuf_create(file, 0, 2)]
        assert dma_buf_mmap(buf, mm, 0, 2, 0, True) == 0
        dma_buf_fput(buf)
        vm_munmap(mm, 0, 1)
        assert udmabufs.is_used(buf)
        assert memfd_add_seals(file, F_SEAL_WRITE) == -EBUSY
        vm_munmap(mm, 1, 1)
        assert not udmabufs.is_used(buf)
        assert free_frames() == before - 2  # the file keeps its pages
        assert memfd_add_seals(file, F_SEAL_WRITE) == 0


def test_a_buffer_stays_while_a_call_uses_its_file() -> None:
    with world(**SIZES) as (_, mm):
        buf = udmabufs[udmabuf_create(memfd_create(2, F_SEAL_SHRINK), 0, 2)]
        dma_buf_fget(buf)
        dma_buf_fput(buf)
        dma_buf_mmap(buf, mm, 0, 1, 0, True)
        dma_buf_fput(buf)
        assert udmabufs.is_used(buf)
        vm_munmap(mm, 0, 1)
        assert not udmabufs.is_used(buf)
        with pytest.raises(RuleBroken, match=r"DmaBuf\.f_count of a record that was freed"):
            dma_buf_fput(buf)


def test_a_sealed_file_is_refused_before_the_old_mapping_goes() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        for seal in (F_SEAL_WRITE, F_SEAL_FUTURE_WRITE):
            assert do_mmap_fixed(mm, 0, 1, memfd_create(1, seal), 0, True) == -EPERM
        assert cpu_read(mm, 0) == A


def test_a_buffer_that_is_too_short_is_refused_after_the_old_mapping_went() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        buf = udmabufs[udmabuf_create(memfd_create(2, F_SEAL_SHRINK), 0, 1)]
        assert do_mmap_fixed(mm, 0, 2, buf, 0, True) == -EINVAL
        assert cpu_read(mm, 0) == -SIGSEGV
        assert do_mmap(mm, 0, 1, None, 0, True) == 0


def test_a_buffer_is_mapped_over_what_is_there() -> None:
    with world(**SIZES) as (_, mm):
        file = memfd_create(2, F_SEAL_SHRINK)
        do_mmap(mm, 0, 2, file, 0, True)
        cpu_write(mm, 1, B)
        buf = udmabufs[udmabuf_create(file, 1, 1)]
        assert do_mmap_fixed(mm, 0, 1, buf, 0, True) == 0
        assert cpu_read(mm, 0) == B


def test_dontneed_goes_on_behind_a_gap_and_says_so_at_the_end() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 3, None, 0, True)
        for va in range(3):
            cpu_write(mm, va, A)
        vm_munmap(mm, 1, 1)
        assert madvise_dontneed(mm, 0, 3) == -ENOMEM
        assert [cpu_read(mm, va) for va in range(3)] == [0, -SIGSEGV, 0]


def test_dontneed_stops_at_a_buffer_and_has_forgotten_what_lies_before() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 3, None, 0, True)
        for va in range(3):
            cpu_write(mm, va, A)
        buf = udmabufs[udmabuf_create(memfd_create(1, F_SEAL_SHRINK), 0, 1)]
        do_mmap_fixed(mm, 1, 1, buf, 0, True)
        assert madvise_dontneed(mm, 0, 3) == -EINVAL
        assert [cpu_read(mm, va) for va in range(3)] == [0, 0, A]


def test_older_releases_ask_for_the_future_write_seal_late() -> None:
    with world(**SIZES) as (_, mm):
        for seal, left in ((F_SEAL_WRITE, A), (F_SEAL_FUTURE_WRITE, -SIGSEGV)):
            do_mmap_fixed(mm, 0, 1, None, 0, True)
            cpu_write(mm, 0, A)
            assert do_mmap_fixed(mm, 0, 1, memfd_create(1, seal), 0, True, MAP_SEALS_LATE) == -EPERM
            assert cpu_read(mm, 0) == left
    assert differs("future-write-seal-is-asked-late", "6.1.0-56-amd64")
    assert not differs("future-write-seal-is-asked-late", "linux-6.12")
    assert not differs("future-write-seal-is-asked-late", None)
    with pytest.raises(ValueError, match="no kernel release"):
        differs("future-write-seal-is-asked-late", "newest")
    assert all(found.mechanism == name for name, found in DIFFERENCES.items())


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("write", [False, True])
def test_a_long_pin_for_reading_of_a_files_page_takes_the_slow_path_where_its_entry_may_not_write(write: bool, large: bool) -> None:
    more = {"huge": 1, "pmds": 1, "hugetlb_files": 1, "hugetlb_pages": 1} if large else {}
    with world(**SIZES | more) as (_, mm):
        do_mmap(mm, 0, 2, hugetlb_file_setup(2, 0) if large else memfd_create(2, 0), 0, write)
        assert (cpu_write(mm, 0, A) if write else cpu_read(mm, 0)) == 0
        assert vms_gather_munmap_vmas(mm, 0, 2) is not None  # as munmap() begins: the entry is still there
        assert pin_user_pages_fast(mm, 0, FOLL_PIN) >= 0
        assert (pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_LONGTERM) >= 0) is write


def test_a_page_that_a_child_shares_is_not_pinned_while_its_mapping_goes() -> None:
    with world(**SIZES | {"mms": 2, "cow": 1}) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        assert cpu_write(mm, 0, A) == 0
        child = mm_alloc()
        assert dup_mmap(child, mm)
        assert vms_gather_munmap_vmas(mm, 0, 1) is not None
        assert pin_user_pages_fast(mm, 0, FOLL_PIN) == -EFAULT
        assert cpu_read(child, 0) == A


@pytest.mark.parametrize("call", ["munmap", "mmap", "mprotect"])
def test_a_vma_that_cannot_end_within_a_huge_page_stays_split_where_it_could_begin(call: str) -> None:
    more = {"huge": 1, "pmds": 2, "pages": 4, "file_pages": 4, "hugetlb_files": 1, "hugetlb_pages": 2}
    with world(**SIZES | more) as (_, mm):
        do_mmap(mm, 0, 4, hugetlb_file_setup(4, 0), 0, True)
        calls = {
            "munmap": lambda at: vm_munmap(mm, at, 1),
            "mmap": lambda at: do_mmap_fixed(mm, at, 1, None, 0, True),
            "mprotect": lambda at: do_mprotect_pkey(mm, at, 1, False, 0, 4),
        }
        assert calls[call](1) == -EINVAL and mm.mm_mt[0] is mm.mm_mt[2]
        assert calls[call](2) == -EINVAL and mm.mm_mt[0] is not mm.mm_mt[2]
        assert [mm.mm_mt[va] is mm.mm_mt[va + 1] for va in range(3)] == [True, False, True]
        assert [cpu_write(mm, va, A) for va in range(4)] == [0] * 4


@pytest.mark.parametrize("release", [None, "6.1.0", "7.2.0"])
def test_a_page_that_came_to_the_node_meanwhile_has_moved(release: str | None) -> None:
    """Seen on a real 6.12 (drawn scenario free_1_4532): the block goes offline between the question where the page is and the call that moves it there."""
    s = Recorder()
    memfd = s.memfd_create(pages=1, seals="")
    a = s.mmap(memfd)
    s.write(a, "a")
    b = s.mmap(memfd)

    @s.thread
    def takes_offline() -> None:
        s.read(b, into="b")
        s.offline_pages()

    @s.thread
    def moves() -> None:
        s.move_pages(b, into="moved")

    _, seen = outcomes(s.scenario("a_block_goes_offline", ""), release=release)
    assert {dict(one)["moved"] for one in seen} == {"ok", "-EACCES", "-EBUSY", "-ENOENT"}


def a_fault_beside_a_move(fault: str, before: str) -> set[tuple[str, str]]:
    """What becomes of a fault, and whether there is a page then where the mapping has moved to."""
    s = Recorder()
    memfd = s.memfd_create(pages=1, seals="")
    a = s.mmap_private(memfd) if before == "private" else s.mmap(memfd)
    if before == "written":
        s.write(a, "a")
        s.madvise_dontneed(a, pages=1)

    @s.thread
    def faults() -> None:
        if fault == "pin":
            s.pin(a, into="fault")
        elif fault == "madvise_populate_read":
            s.madvise_populate_read(a, pages=1, into="fault")
        else:
            s.madvise_populate_write(a, pages=1, into="fault")

    @s.thread
    def moves() -> None:
        b = s.mremap(a, pages=1)
        s.move_pages(b, into="moved")

    _, seen = outcomes(s.scenario("a_fault_beside_a_move", ""))
    return {(dict(one)["fault"], dict(one)["moved"]) for one in seen}


@pytest.mark.parametrize(("fault", "failed"), [("madvise_populate_write", "-ENOMEM"), ("pin", "-EFAULT")])
def test_a_fault_that_makes_a_files_page_dirty_gives_the_lock_up_when_it_is_done(fault: str, failed: str) -> None:
    """Seen on a real 6.12 (drawn scenario free_1_4802): the page is there, its mapping moves, and who wanted it finds nothing mapped."""
    assert (failed, "ok") in a_fault_beside_a_move(fault, "fresh")


def test_a_page_becomes_dirty_once_as_long_as_it_is_the_same() -> None:
    with world(**SIZES | {"completed_faults": 1, "migrations": 1, "anon_vmas": 1}) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True)

        def gives_up(va: int, flags: int = FAULT_FLAG_ALLOW_RETRY) -> bool:
            mm.mmap_lock.read_lock()
            ret = handle_mm_fault(mm, va, FAULT_FLAG_WRITE | flags)
            assert ret & VM_FAULT_ERROR == 0 and mm.mmap_lock.held_by_me() is (ret & VM_FAULT_UNLOCKED == 0)
            if ret & VM_FAULT_UNLOCKED == 0:
                mm.mmap_lock.read_unlock()
            return ret == VM_FAULT_COMPLETED

        assert cpu_read(mm, 0) == 0
        mm.ptes[0].writable = False  # as userfaultfd leaves it: do_wp_page()
        assert (gives_up(0), gives_up(0)) == (True, False)
        assert madvise_dontneed(mm, 0, 2) == 0 and not gives_up(0)
        assert move_page(mm, 0) == 0 and madvise_dontneed(mm, 0, 2) == 0 and not gives_up(0)
        assert shmem_fallocate_punch_hole(file, 0, 1) == 0 and gives_up(0)
        assert not gives_up(1, 0) and madvise_dontneed(mm, 0, 2) == 0 and not gives_up(1)


@pytest.mark.parametrize(("fault", "before"), [("madvise_populate_write", "written"), ("madvise_populate_write", "private"), ("madvise_populate_read", "fresh")])
def test_any_other_keeps_the_lock(fault: str, before: str) -> None:
    assert a_fault_beside_a_move(fault, before) >= {("ok", "ok"), ("-ENOMEM", "-ENOENT")}
    assert ("-ENOMEM", "ok") not in a_fault_beside_a_move(fault, before)


@pytest.mark.parametrize(("release", "answer"), [("6.1.0", "-EFAULT"), ("6.12.0", "-ENOMEM")])
def test_populating_ends_at_a_gap_since_6_12(release: str, answer: str) -> None:
    """Seen on a real 6.1 (drawn scenarios sequential_42_302 and _415): what is wrong behind a gap is told."""
    s = Recorder()
    fd = s.memfd_create(pages=2)
    a = s.mmap(fd, pages=3)
    s.munmap(a, pages=1)
    s.madvise_populate_read(a, pages=3, into="wrong_behind")
    s.madvise_populate_read(a, pages=2, into="nothing_wrong")
    assert dict(only_outcome(s.scenario("behind_a_gap", ""), release)) == {"wrong_behind": answer, "nothing_wrong": "-ENOMEM"}


@pytest.mark.parametrize("asks", ["fallocate", "fault"])
def test_who_waits_for_a_files_page_keeps_it_from_being_moved(asks: str) -> None:
    """Seen on a real 6.12 (drawn scenario forced_1_3258): filemap_get_entry() takes a reference before the lock is waited for."""
    s = Recorder()
    memfd = s.memfd_create(pages=1, seals="")
    a = s.mmap(memfd)
    s.write(a, "a")
    b = s.mmap(memfd)

    @s.thread
    def moves() -> None:
        s.move_pages(a, into="moved")

    @s.thread
    def waits() -> None:
        if asks == "fault":
            s.read(b, into="b")
        else:
            s.fallocate(memfd, page=0, pages=1)

    _, seen = outcomes(s.scenario("a_page_is_moved", ""))
    assert {dict(one)["moved"] for one in seen} >= {"ok", "-EAGAIN"}


def test_who_has_split_a_huge_page_holds_it_a_little_longer_than_its_lock() -> None:
    """Seen on a real 6.12 (drawn scenario free_1_1815): madvise_cold_or_pageout_pte_range() unlocks the folio and drops its reference then; who has waited for the lock finds that one."""
    s = Recorder()
    a = s.mmap(pages=2)
    s.madvise_hugepage(a, pages=2)
    s.write(a, "a")

    @s.thread
    def pages_out() -> None:
        s.madvise_pageout(a + 1, pages=1)

    @s.thread
    def moves() -> None:
        s.move_pages(a, into="moved")

    _, seen = outcomes(s.scenario("a_part_goes_out", ""))
    assert {dict(one)["moved"] for one in seen} >= {"ok", "-EAGAIN"}
