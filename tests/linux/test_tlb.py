"""What CPUs may use of entries that have changed, until their TLBs are flushed: what each may do before the flush, and may not after it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from linux_world import A, B, no_use_after_free, search, world

from secondsight.lang import atomic, require, rule
from secondsight.linux.errno import SIGSEGV
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc, mms
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.hugetlb import hugetlb_file_setup
from secondsight.linux.madvise import madvise_dontneed, madvise_hugepage, madvise_pageout
from secondsight.linux.madvise_free import madvise_free
from secondsight.linux.memory import do_wp_page
from secondsight.linux.mm_flags import FAULT_FLAG_WRITE, MAP_PRIVATE, VM_UFFD_MISSING, VM_UFFD_WP
from secondsight.linux.mm_types import Folio, Gather, Mm, PteKind
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.mremap_tables import move_page_tables
from secondsight.linux.page_alloc import frame_touch, zone
from secondsight.linux.pgtable import pmd_trans_huge
from secondsight.linux.rmap import try_to_unmap
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.userfaultfd_ioctl import new_userfaultfd, userfaultfd_move, userfaultfd_register, userfaultfd_writeprotect
from secondsight.linux.vmscan_lists import shrink_inactive_list
from secondsight.search.result import Verdict

SWAP = {"frames": 6, "pages": 2, "anon_vmas": 1, "swap_slots": 2}
FORK = {"frames": 8, "pages": 2, "anon_vmas": 2, "mms": 2, "cow": 1}


@rule("protected", on=frame_touch)
def protected(frame: Folio, write: bool) -> None:
    """Nobody writes to the first page while its entry says that nobody may."""
    pte = mms[0].ptes[0]
    require(not write or pte.frame is not frame or pte.writable, "protected", "a store where the entry allows none")


def looks_twice(mm: Mm) -> None:
    """What is there when nobody may write any more stays."""
    first = cpu_read(mm, 0)
    require(cpu_read(mm, 0) == first, "settled", "a store after the flush")


def protects(mm: Mm) -> None:
    do_mprotect_pkey(mm, 0, 1, False, 0, 2)
    looks_twice(mm)


def forks(child: Mm, mm: Mm) -> None:
    dup_mmap(child, mm)
    looks_twice(child)


@pytest.mark.parametrize("tlbs", [0, 1])
def test_another_cpu_may_write_what_mprotect_has_protected_until_it_has_flushed(tlbs: int) -> None:
    with world(frames=4, pages=2, tlbs=tlbs) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        threads = ((protects, (mm,)), (cpu_write, (mm, 0, B)))
        assert search(machine, *threads, rules=[protected]).verdict is (Verdict.BROKEN if tlbs else Verdict.HOLDS)
        assert search(machine, *threads, rules=[]).verdict is Verdict.HOLDS


@pytest.mark.parametrize("tlbs", [0, 1])
def test_another_cpu_may_write_what_fork_has_protected_until_it_has_flushed(tlbs: int) -> None:
    """The child has it then."""
    with world(**FORK, tlbs=tlbs) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        threads = ((forks, (mm_alloc(), mm)), (cpu_write, (mm, 0, B)))
        assert search(machine, *threads, rules=[protected]).verdict is (Verdict.BROKEN if tlbs else Verdict.HOLDS)
        assert search(machine, *threads, rules=[]).verdict is Verdict.HOLDS


UFFD = {"frames": 4, "pages": 2, "vma_flags": 1, "userfaultfd": 1, "userfaults": 1}


def protected_by_user_space(mm: Mm) -> None:
    """The first page may be written, and is registered for write protection."""
    do_mmap(mm, 0, 1, None, 0, True)
    cpu_write(mm, 0, A)
    new_userfaultfd(mm, True, False)
    userfaultfd_register(mm, 0, 1, VM_UFFD_WP, 0, 2)


def write_protects(mm: Mm) -> None:
    userfaultfd_writeprotect(mm, 0, 1, True)
    looks_twice(mm)


@pytest.mark.parametrize("tlbs", [0, 1])
def test_another_cpu_may_write_what_userfaultfd_has_protected_until_it_has_flushed(tlbs: int) -> None:
    with world(**UFFD, tlbs=tlbs) as (machine, mm):
        protected_by_user_space(mm)
        threads = ((write_protects, (mm,)), (cpu_write, (mm, 0, B)))
        assert search(machine, *threads, rules=[protected]).verdict is (Verdict.BROKEN if tlbs else Verdict.HOLDS)
        assert search(machine, *threads, rules=[]).verdict is Verdict.HOLDS


def test_a_write_fault_flushes_what_userfaultfd_has_put_off() -> None:
    """One whose page is protected no more, and copied now: nobody may write to the old one."""
    with world(**UFFD | {"frames": 6}, mms=2, cow=1, anon_vmas=2, tlbs=1) as (_, mm):
        protected_by_user_space(mm)
        dup_mmap(mm_alloc(), mm)
        vma, frame = mm.mm_mt[0], mm.ptes[0].frame
        assert vma is not None and frame is not None
        mm.tlb[0].entries[0].frame, mm.tlb[0].entries[0].writable = frame, True
        do_wp_page(vma, 0, FAULT_FLAG_WRITE)
        assert mm.tlb[0].entries[0].frame is None and not mm.tlb[0].entries[0].writable


def test_a_page_that_moves_is_flushed_where_it_was() -> None:
    with world(**UFFD | {"pages": 4, "vmas": 4}, cow=1, tlbs=1) as (_, mm):
        protected_by_user_space(mm)
        do_mmap(mm, 2, 2, None, 0, True)
        userfaultfd_register(mm, 2, 2, VM_UFFD_MISSING, 2, 4)
        for dst in (2, 3):  # the page, then the zero page that a load has mapped
            mm.tlb[0].entries[0].frame = mm.ptes[0].frame
            assert userfaultfd_move(mm, dst, 0) == 0 and mm.tlb[0].entries[0].frame is None
            assert cpu_read(mm, 0) == 0


def writes_and_says_so(mm: Mm) -> None:
    cpu_write(mm, 0, B)
    cpu_write(mm, 1, B)


def hears_and_reads(mm: Mm) -> None:
    if cpu_read(mm, 1) == B:
        require(cpu_read(mm, 0) == B, "order", "what was there before")


def pages_out_and_reads(mm: Mm) -> None:
    madvise_pageout(mm, 0, 1)
    if cpu_read(mm, 0) == B:
        require(cpu_read(mm, 0) == B, "order", "what was there before, after the flush")


def clean_in_swap_cache(mm: Mm) -> None:
    """The first page was read from swap, and is clean: reclaim drops it without writing."""
    do_mmap(mm, 0, 2, None, 0, True)
    cpu_write(mm, 0, A)
    cpu_write(mm, 1, A)
    madvise_pageout(mm, 0, 1)
    assert cpu_read(mm, 0) == A


@pytest.mark.parametrize("tlbs", [0, 1])
def test_a_cpu_may_read_what_reclaim_has_dropped_until_it_has_flushed(tlbs: int) -> None:
    """Another has the page in a new frame by then, and has written to it."""
    with world(**SWAP, tlbs=tlbs) as (machine, mm):
        clean_in_swap_cache(mm)
        found = search(machine, (madvise_pageout, (mm, 0, 1)), (writes_and_says_so, (mm,)), (hears_and_reads, (mm,)), rules=[no_use_after_free])
        assert found.verdict is (Verdict.BROKEN if tlbs else Verdict.HOLDS)
        assert found.violation is None or found.violation.rule == "order"


def test_nobody_reads_what_reclaim_has_dropped_when_it_has_flushed() -> None:
    with world(**SWAP, tlbs=1) as (machine, mm):
        clean_in_swap_cache(mm)
        assert search(machine, (pages_out_and_reads, (mm,)), (cpu_write, (mm, 0, B)), rules=[no_use_after_free]).verdict is Verdict.HOLDS


def writes_and_reads(mm: Mm) -> None:
    cpu_write(mm, 0, B)
    require(cpu_read(mm, 0) == B, "lost", "a store that is lost")


def test_a_page_that_cpus_may_write_is_flushed_before_it_is_written_to_swap() -> None:
    with world(**SWAP, tlbs=1) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        assert search(machine, (madvise_pageout, (mm, 0, 1)), (writes_and_reads, (mm,)), rules=[no_use_after_free]).verdict is Verdict.HOLDS


def unmaps_and_reads(mm: Mm) -> None:
    vm_munmap(mm, 0, 1)
    require(cpu_read(mm, 0) == -SIGSEGV, "gone", "read after munmap()")


def protects_and_reads(mm: Mm) -> None:
    do_mprotect_pkey(mm, 0, 1, False, 0, 2, True)
    require(cpu_read(mm, 0) == -SIGSEGV, "gone", "read after mprotect(PROT_NONE)")


def forgets_and_reads(mm: Mm) -> None:
    madvise_dontneed(mm, 0, 1)
    require(cpu_read(mm, 0) == 0, "gone", "read after MADV_DONTNEED")


@pytest.mark.parametrize("changes", [unmaps_and_reads, protects_and_reads, forgets_and_reads])
def test_who_changes_entries_flushes_first_what_reclaim_has_put_off(changes: Callable[[Mm], None]) -> None:
    with world(**SWAP, vma_flags=1, prot_none=1, tlbs=1) as (machine, mm):
        clean_in_swap_cache(mm)
        assert search(machine, (madvise_pageout, (mm, 0, 1)), (changes, (mm,)), rules=[no_use_after_free]).verdict is Verdict.HOLDS


@pytest.mark.parametrize(
    "changes",
    [
        lambda mm: vm_munmap(mm, 0, 1), lambda mm: do_mprotect_pkey(mm, 0, 2, False, 0, 2), lambda mm: madvise_free(mm, 0, 1), lambda mm: madvise_pageout(mm, 0, 1),
        lambda mm: move_page_tables(mm, 0, 1, 2, False),
    ],
    ids=["munmap", "mprotect", "madvise_free", "madvise_pageout", "mremap"],
)
def test_what_reclaim_has_put_off_is_flushed_by_who_changes_entries(changes: Callable[[Mm], object]) -> None:
    with world(**SWAP | {"pages": 3}, lazyfree=1, tlbs=1) as (_, mm):
        clean_in_swap_cache(mm)
        folio = mm.ptes[0].frame
        assert folio is not None
        folio.locked = True
        try_to_unmap(folio)
        folio.locked = False
        assert mm.tlb[0].batched and not mm.tlb[0].batch_writable and mm.tlb[0].entries[0].frame is folio
        changes(mm)
        assert not mm.tlb[0].batched and mm.tlb[0].entries[0].frame is None


def writes_what_is_clean(mm: Mm) -> None:
    with atomic:
        clean = not mm.ptes[0].dirty
    if clean:
        cpu_write(mm, 0, B)
        with atomic:
            require(mm.ptes[0].dirty, "trace", "a store that left no trace")


def frees_and_writes(mm: Mm) -> None:
    madvise_free(mm, 0, 1)
    writes_what_is_clean(mm)


@pytest.mark.parametrize("tlbs", [0, 1])
def test_a_store_beside_madv_free_may_leave_no_trace(tlbs: int) -> None:
    """Behind the call each makes the page dirty, and reclaim leaves it."""
    with world(**SWAP, lazyfree=1, tlbs=tlbs) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (madvise_free, (mm, 0, 1)), (writes_what_is_clean, (mm,)), rules=[])
        assert found.verdict is (Verdict.BROKEN if tlbs else Verdict.HOLDS)
        assert search(machine, (frees_and_writes, (mm,)), rules=[]).verdict is Verdict.HOLDS


def test_what_is_dropped_is_free_when_the_call_returns() -> None:
    with world(**SWAP, tlbs=1) as (_, mm):
        clean_in_swap_cache(mm)
        free = zone.nr_free
        assert madvise_pageout(mm, 0, 2) == 0 and zone.nr_free == free + 2
        assert not mm.tlb[0].batched and mm.tlb[0].entries[0].frame is None
        assert cpu_read(mm, 0) == A and cpu_read(mm, 1) == A


def page_is_kept_isolated(mm: Mm, first: Folio) -> None:
    with atomic:
        require(not first.isolated or mm.ptes[1].frame is not None, "kept", "isolated, and the other has gone")


def test_what_pageout_cannot_take_goes_back_when_all_have_been_looked_at() -> None:
    with world(**SWAP) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, A)
        first = mm.ptes[0].frame
        assert first is not None
        first.refcount += 1  # somebody holds it
        found = search(machine, (madvise_pageout, (mm, 0, 2)), (page_is_kept_isolated, (mm, first)), rules=[])
        assert found.violation is not None and found.violation.rule == "kept"
        madvise_pageout(mm, 0, 2)
        assert not first.isolated and mm.ptes[1].frame is None


HUGE = {"huge": 1, "pmds": 1, "pages": 2, "vma_flags": 1, "cow": 1, "frames": 12}


def huge_page(mm: Mm) -> None:
    do_mmap(mm, 0, 2, None, 0, True)
    assert madvise_hugepage(mm, 0, 2, 0, 2) == 0 and cpu_write(mm, 0, A) == 0 and pmd_trans_huge(mm, 0)


def private_huge_file(mm: Mm) -> None:
    assert do_mmap(mm, 0, 2, hugetlb_file_setup(2, 0), 0, True, MAP_PRIVATE) == 0 and cpu_write(mm, 0, A) == 0 and pmd_trans_huge(mm, 0)


@pytest.mark.parametrize(("maps", "more"), [(huge_page, {"anon_vmas": 2}), (private_huge_file, {"hugetlb_private": 1, "hugetlb_files": 1, "hugetlb_pages": 1, "file_pages": 2})])
def test_another_cpu_may_write_a_huge_page_that_fork_has_protected_until_it_has_flushed(maps: Callable[[Mm], None], more: dict[str, int]) -> None:
    with world(**HUGE | more, mms=2, tlbs=1) as (machine, mm):
        maps(mm)
        threads = ((forks, (mm_alloc(), mm)), (cpu_write, (mm, 0, B)))
        assert search(machine, *threads, rules=[protected]).verdict is Verdict.BROKEN
        assert search(machine, *threads, rules=[]).verdict is Verdict.HOLDS


@pytest.mark.parametrize("changes", [lambda mm: madvise_dontneed(mm, 0, 2), lambda mm: do_mprotect_pkey(mm, 0, 2, False, 0, 2)], ids=["zap", "mprotect"])
def test_what_reclaim_has_put_off_waits_where_the_entry_of_a_huge_page_changes(changes: Callable[[Mm], object]) -> None:
    """zap_huge_pmd() and change_huge_pmd() come to no page table."""
    with world(**HUGE, anon_vmas=1, swap_slots=4, migrations=1, tlbs=1) as (_, mm):
        huge_page(mm)
        mm.tlb[0].batched = True
        changes(mm)
        assert mm.tlb[0].batched


def test_a_huge_page_that_is_dropped_is_free_when_cpus_have_flushed() -> None:
    sizes = HUGE | {"anon_vmas": 1, "swap_slots": 4, "migrations": 1, "tlbs": 1}
    with world(**sizes) as (_, mm):
        huge_page(mm)
        free = zone.nr_free
        assert madvise_pageout(mm, 0, 2) == 0 and zone.nr_free == free + 2
        assert not mm.tlb[0].batched and mm.tlb[0].entries[1].frame is None
        assert (cpu_read(mm, 0), cpu_read(mm, 1)) == (A, 0)
    with world(**sizes) as (machine, mm):
        huge_page(mm)
        found = search(machine, (madvise_pageout, (mm, 0, 2)), (writes_and_reads, (mm,)), rules=[no_use_after_free])
        assert found.verdict is Verdict.HOLDS


def test_a_scan_splits_a_huge_page_that_is_mapped_in_part() -> None:
    """Its second page was forgotten: it is split, and both are looked at by themselves."""
    with world(**HUGE, anon_vmas=1, swap_slots=4, migrations=1) as (_, mm):
        huge_page(mm)
        madvise_dontneed(mm, 1, 1)
        first = mm.ptes[0].frame
        assert first is not None and first.partially_mapped[0] and folio_isolate_lru(first)
        folios: Gather = [first]
        free = zone.nr_free
        shrink_inactive_list(folios)
        assert zone.nr_free == free + 2 and mm.ptes[0].kind == PteKind.SWAP
