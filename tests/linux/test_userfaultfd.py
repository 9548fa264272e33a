"""Userfaultfd: faults and changes that user space is told of, one example a fact, then under search."""

from __future__ import annotations

import pytest
from linux_world import A, B, C, world

from secondsight.cases.judges import beside_a_change
from secondsight.devices.device import Device
from secondsight.devices.userfault_handler import FillsAtOnce, FillsOnce, FillsPages
from secondsight.linux import EAGAIN, EEXIST, EFAULT, EINVAL, ENOENT, SIGBUS
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.madvise import madvise_pageout
from secondsight.linux.memfd import memfd_create
from secondsight.linux.memory_zap import zap_page_range_single
from secondsight.linux.migrate import move_page
from secondsight.linux.mm_flags import VM_UFFD_MISSING, VM_UFFD_WP
from secondsight.linux.mm_types import Mm
from secondsight.linux.mm_userfaultfd import MFILL_ATOMIC_COPY, mfill_atomic, mwriteprotect_range
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.pgtable import pte_none
from secondsight.linux.swapops import is_pte_marker, is_swap_entry
from secondsight.linux.task_mmu import pagemap_read
from secondsight.linux.userfaultfd_ioctl import (
    new_userfaultfd,
    userfaultfd_copy,
    userfaultfd_copy_wp,
    userfaultfd_poison,
    userfaultfd_register,
    userfaultfd_release,
    userfaultfd_unregister,
    userfaultfd_writeprotect,
    userfaultfd_zeropage,
)
from secondsight.scenario import Recorder, Scenario, ScenarioError
from secondsight.search import Verdict
from secondsight.search.auto import search
from secondsight.search.request import Request
from secondsight.world.model import outcomes, program

SIZES = {"pages": 4, "frames": 8, "vmas": 6, "files": 1, "file_pages": 2, "vma_flags": 1, "userfaultfd": 1, "userfaults": 3}


def register(mm: Mm, start: int, length: int, modes: int) -> int:
    return int(userfaultfd_register(mm, start, length, modes, 0, 4))


def test_missing_pages_are_filled_by_user_space() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 3, None, 0, True)
        new_userfaultfd(mm, True, False)
        assert cpu_write(mm, 0, A) == 0
        assert register(mm, 3, 1, VM_UFFD_MISSING) == -EINVAL
        assert register(mm, 0, 2, VM_UFFD_MISSING) == 0 and mm.mm_mt[1] is not mm.mm_mt[2]
        assert cpu_read(mm, 0) == A and cpu_read(mm, 1) == -SIGBUS and cpu_write(mm, 1, A) == -SIGBUS
        assert [userfaultfd_copy(mm, va, B) for va in range(4)] == [-EEXIST, 0, -ENOENT, -ENOENT]
        assert cpu_read(mm, 1) == B and cpu_write(mm, 1, A) == 0
        assert userfaultfd_unregister(mm, 0, 2, 0, 4) == 0 and mm.mm_mt[1] is mm.mm_mt[2]
        assert userfaultfd_zeropage(mm, 2) == -ENOENT and cpu_read(mm, 2) == 0


def test_of_a_memfd_only_holes_are_missing() -> None:
    with world(**SIZES) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 3, file, 0, True)
        assert cpu_write(mm, 0, A) == 0
        new_userfaultfd(mm, True, False)
        register(mm, 0, 3, VM_UFFD_MISSING)
        do_mmap(mm, 3, 1, file, 0, True)
        assert cpu_read(mm, 0) == A and cpu_read(mm, 1) == -SIGBUS and cpu_read(mm, 3) == A
        assert [userfaultfd_copy(mm, va, B) for va in range(3)] == [-EEXIST, 0, -EFAULT]
        assert file.pages[1] is not None and cpu_read(mm, 1) == B


def test_write_protected_pages() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        new_userfaultfd(mm, True, False)
        assert userfaultfd_writeprotect(mm, 0, 2, True) == -ENOENT
        register(mm, 0, 2, VM_UFFD_WP)
        assert userfaultfd_writeprotect(mm, 0, 2, True) == 0
        assert cpu_read(mm, 0) == A and cpu_write(mm, 0, B) == -SIGBUS
        assert cpu_write(mm, 1, B) == 0  # it was not there: not protected
        do_mprotect_pkey(mm, 0, 1, False, 0, 2)
        do_mprotect_pkey(mm, 0, 1, True, 0, 2)
        assert cpu_write(mm, 0, B) == -SIGBUS
        assert userfaultfd_writeprotect(mm, 0, 2, False) == 0 and mm.ptes[0].writable and cpu_write(mm, 0, B) == 0
        userfaultfd_writeprotect(mm, 0, 1, True)
        userfaultfd_release(mm)
        assert mm.ptes[0].writable and userfaultfd_copy(mm, 0, A) == -ENOENT


def test_nothing_is_filled_while_a_change_is_in_progress() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        new_userfaultfd(mm, False, True)
        register(mm, 0, 2, VM_UFFD_MISSING | VM_UFFD_WP)
        mm.userfaultfd[0].mmap_changing = 1
        assert userfaultfd_copy(mm, 0, A) == userfaultfd_zeropage(mm, 0) == userfaultfd_writeprotect(mm, 0, 2, True) == -EAGAIN
        assert mwriteprotect_range(mm, 0, 2, True) == mfill_atomic(mm, 0, A, MFILL_ATOMIC_COPY) == -EAGAIN  # the second look, under the lock


def test_write_protection_goes_where_the_page_goes() -> None:
    """Swapped out and in, moved: it is still to be told; a child's page is not."""
    with world(**SIZES | {"mms": 2, "cow": 1, "anon_vmas": 2, "migrations": 1, "swap_slots": 2}) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        new_userfaultfd(mm, True, False)
        register(mm, 0, 1, VM_UFFD_WP)
        userfaultfd_writeprotect(mm, 0, 1, True)
        assert madvise_pageout(mm, 0, 1) == 0 and is_swap_entry(mm.ptes[0])
        assert cpu_write(mm, 0, B) == -SIGBUS and cpu_read(mm, 0) == A and not mm.ptes[0].writable
        assert move_page(mm, 0) == 0 and cpu_write(mm, 0, B) == -SIGBUS
        child = mm_alloc()
        dup_mmap(child, mm)
        assert cpu_write(child, 0, B) == 0 and (cpu_read(mm, 0), cpu_read(child, 0)) == (A, B)
        assert userfaultfd_writeprotect(mm, 0, 1, False) == 0 and cpu_write(mm, 0, C) == 0


def outcomes_of(scenario: Scenario, driver: type[Device] | None = None) -> set[tuple[tuple[str, str], ...]]:
    """Complete, by the reference executor."""
    result, found = outcomes(scenario, driver, request=Request(executor="reference"))
    assert result.verdict is Verdict.HOLDS, (result.violation and result.violation.message, result.error)
    return set(found)


def test_who_waits_ends_with_the_process() -> None:
    s = Recorder()
    a = s.mmap(pages=1)
    s.uffd_register(s.userfaultfd(events=True), a)

    @s.thread
    def touches() -> None:
        s.read(a, into="read")

    @s.thread
    def forgets() -> None:
        s.madvise_dontneed(a, into="forgot")

    @s.thread
    def ends() -> None:
        s.exit()

    assert outcomes_of(s.scenario("ends", "")) == {(("forgot", "exited"), ("read", "exited"))}


def test_a_pin_waits_for_the_handler_and_hmm_does_not() -> None:
    """pin_user_pages_fast() gives the mmap lock up and waits; hmm_range_fault() cannot, and fails: so does the device."""
    s = Recorder()
    a = s.mmap(pages=2)
    u = s.userfaultfd()
    s.uffd_register(u, a)
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.read(a + 1, into="by_hmm")
        pin = s.pin(a, pages=1)
        pin.read(into="pinned")

    @s.thread
    def handler() -> None:
        s.uffd_read(u, into="message")
        s.uffd_copy(u, a, "p")

    assert outcomes_of(s.scenario("pins", "")) == {(("by_hmm", "-EFAULT"), ("message", "f"), ("pinned", "p"))}


def test_what_is_filled_into_a_hole_that_is_being_punched_may_go_with_it() -> None:
    """shmem_undo_range() goes over the range twice, and UFFDIO_COPY does not wait for it. Seen on Linux 6.12 (a drawn scenario)."""
    s = Recorder()
    file = s.memfd_create(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a)

    @s.thread
    def fills() -> None:
        s.uffd_copy(u, a, "c", into="filled")

    @s.thread
    def punches() -> None:
        s.fallocate_punch_hole(file, page=0)

    with s.after():
        s.read(a, into="after")
    found = {(dict(one)["filled"], dict(one)["after"]) for one in outcomes_of(s.scenario("hole", ""))}
    assert found == {("-EEXIST", "SIGBUS"), ("ok", "c"), ("ok", "SIGBUS")}


@pytest.mark.parametrize(("handler", "why"), [(FillsPages, None), (FillsOnce, "deadlock"), (FillsAtOnce, "livelock")])
def test_a_handler_that_may_not_fill_now(handler: type[Device], why: str | None) -> None:
    found = search(program(beside_a_change(), handler, closes=True), Request(executor="reference", livelock=True))
    assert found.error is None and (found.violation.rule if found.violation else None) == why


def test_a_second_one_of_a_process_and_a_file_s_huge_pages_are_refused() -> None:
    s = Recorder()
    s.userfaultfd()
    s.userfaultfd()
    with pytest.raises(ScenarioError, match="a second one of the process"):
        outcomes(s.scenario("two", ""))
    s = Recorder()
    s.uffd_register(s.userfaultfd(), s.mmap(s.memfd_create_hugetlb(pages=2)), wp=True)
    with pytest.raises(ScenarioError, match="huge pages in one scenario are not modelled"):
        outcomes(s.scenario("large", ""))


@pytest.mark.parametrize(("release", "answers"), [(None, ["-EINVAL", "-EFAULT"]), ("6.12.117", ["-EINVAL", "-EFAULT"]), ("7.2.13", ["-EFAULT", "-ENOMEM"])])
def test_past_the_end_of_a_file(release: str | None, answers: list[str]) -> None:
    """A kernel saw it: sequential, seed 1, number 3611 on 7.2."""
    s = Recorder()
    memfd = s.memfd_create(pages=1, seals="")
    handler = s.userfaultfd(sigbus=True)
    mapped = s.mmap(memfd, pages=2)
    s.uffd_register(handler, addr=mapped + 1, pages=1, missing=True)
    s.uffd_continue(handler, addr=mapped + 1, into="continued")
    s.uffd_copy(handler, addr=mapped + 1, value="x", into="copied")
    (one,) = outcomes(s.scenario("past_the_end", ""), release=release)[1]
    assert [dict(one)["continued"], dict(one)["copied"]] == answers


MARKED = SIZES | {"pte_markers": 1, "pages": 3}


def test_what_is_to_come_is_protected_by_a_marker() -> None:
    """Of a memfd; the first touch finds the page protected, whatever it is for."""
    with world(**MARKED) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True)
        new_userfaultfd(mm, True, False)
        register(mm, 0, 2, VM_UFFD_WP)
        assert userfaultfd_writeprotect(mm, 0, 2, True) == 0 and is_pte_marker(mm.ptes[0]) and pagemap_read(mm, 0)
        assert cpu_write(mm, 0, A) == -SIGBUS and cpu_read(mm, 0) == 0 and not is_pte_marker(mm.ptes[0])
        zap_page_range_single(mm, 0, 1)
        assert is_pte_marker(mm.ptes[0]) and cpu_write(mm, 0, A) == -SIGBUS
        assert userfaultfd_writeprotect(mm, 1, 1, False) == 0 and pte_none(mm.ptes[1]) and cpu_write(mm, 1, B) == 0
        vm_munmap(mm, 0, 2)
        assert all(pte_none(mm.ptes[va]) for va in range(2))


def test_private_memory_has_markers_only_where_user_space_asks_for_them() -> None:
    for unpopulated in (False, True):
        with world(**MARKED) as (_, mm):
            do_mmap(mm, 0, 1, None, 0, True)
            new_userfaultfd(mm, True, False, False, unpopulated)
            register(mm, 0, 1, VM_UFFD_WP)
            userfaultfd_writeprotect(mm, 0, 1, True)
            assert is_pte_marker(mm.ptes[0]) is unpopulated and (cpu_write(mm, 0, A) == -SIGBUS) is unpopulated
            zap_page_range_single(mm, 0, 1)
            assert pte_none(mm.ptes[0])


def test_poison() -> None:
    with world(**MARKED) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        new_userfaultfd(mm, True, False)
        register(mm, 0, 2, VM_UFFD_MISSING | VM_UFFD_WP)
        assert userfaultfd_poison(mm, 2) == -ENOENT and userfaultfd_poison(mm, 0) == 0 and userfaultfd_poison(mm, 0) == -EEXIST
        assert userfaultfd_writeprotect(mm, 0, 1, True) == userfaultfd_writeprotect(mm, 0, 1, False) == 0
        assert cpu_read(mm, 0) == cpu_write(mm, 0, A) == -SIGBUS and not pagemap_read(mm, 0)
        assert userfaultfd_zeropage(mm, 0) == -EEXIST and userfaultfd_copy_wp(mm, 0, A) == 0
        assert cpu_read(mm, 0) == A and cpu_write(mm, 0, B) == -SIGBUS


def test_who_lifts_a_protection_makes_dirty_entries_of_a_file_writable() -> None:
    """A clean one takes a fault more (vma_wants_writenotify())."""
    with world(**MARKED, swap_slots=1) as (_, mm):
        do_mmap(mm, 0, 2, memfd_create(2, 0), 0, True)
        assert cpu_write(mm, 0, A) == 0 and cpu_read(mm, 1) == 0
        new_userfaultfd(mm, True, False)
        register(mm, 0, 2, VM_UFFD_WP)
        assert userfaultfd_writeprotect(mm, 0, 2, True) == 0 and not mm.ptes[0].writable
        assert userfaultfd_writeprotect(mm, 0, 2, False) == 0 and (mm.ptes[0].writable, mm.ptes[1].writable) == (True, False)
        assert cpu_write(mm, 1, B) == 0


def test_who_writes_while_a_protection_is_lifted_does_not_wait_for_ever() -> None:
    """It may have found the page protected, and goes to sleep after all were woken: unless the entry may be written by then."""
    s = Recorder()
    a = s.mmap(s.memfd_create(pages=1), pages=1)
    s.write(a, "a")
    u = s.userfaultfd()
    s.uffd_register(u, a, wp=True, missing=False)

    @s.thread
    def handler() -> None:
        s.uffd_writeprotect(u, a, pages=1)
        s.uffd_writeprotect(u, a, pages=1, protect=False)

    @s.thread
    def writes() -> None:
        s.write(a, "b", into="wrote")

    assert outcomes_of(s.scenario("lifted", "")) == {(("wrote", "ok"),)}


@pytest.mark.parametrize("populates", ["madvise_populate_read", "madvise_populate_write"])
def test_poisoned_pages_and_what_would_say_so_are_refused(populates: str) -> None:
    s = Recorder()
    a = s.mmap(pages=1)
    u = s.userfaultfd()
    s.uffd_register(u, a)
    s.uffd_poison(u, a)
    getattr(s, populates)(a)
    with pytest.raises(ScenarioError, match=f"{populates} and uffd_poison in one scenario are not modelled"):
        outcomes(s.scenario("poisoned", ""))


def test_a_page_that_leaves_its_file_leaves_no_marker() -> None:
    """unmap_mapping_folio(): a page that came when the hole's first walk was over. Drawn, and seen on Linux 6.12: rare, seed 1, number 124."""
    s = Recorder()
    memfd = s.memfd_create(pages=1)
    a = s.mmap(memfd, pages=1)
    s.write(s.mmap(memfd, pages=1), "a")
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a, wp=True)

    @s.thread
    def fills() -> None:
        s.uffd_copy_wp(u, a, "b", into="filled")

    @s.thread
    def punches() -> None:
        s.fallocate_punch_hole(memfd, page=0)

    with s.after():
        s.read(a, into="after")
        s.pagemap_wp(a, into="protected")
    found = {(dict(one)["filled"], dict(one)["after"], dict(one)["protected"]) for one in outcomes_of(s.scenario("hole", ""))}
    assert found == {("-EEXIST", "SIGBUS", "-"), ("ok", "b", "w"), ("ok", "SIGBUS", "-")}
