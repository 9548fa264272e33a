"""Who flushes at once: an old entry of a CPU's TLB goes with the entry of the page table, and who puts that off may be seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from linux_world import A, B, search, world

from secondsight.lang import atomic, require, rule
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mms
from secondsight.linux.huge_memory import do_huge_zero_wp_pmd, split_huge_pmd
from secondsight.linux.huge_memory_pmd import set_pmd_migration_entry
from secondsight.linux.hugetlb import hugetlb_file_setup
from secondsight.linux.khugepaged import madvise_collapse
from secondsight.linux.madvise import madvise_hugepage
from secondsight.linux.mempolicy import task_numa_work
from secondsight.linux.migrate import move_page
from secondsight.linux.migrate_device import MIGRATE_VMA_SELECT_SYSTEM, migrate_vma_init, migrate_vma_setup, migrate_vmas
from secondsight.linux.migrate_device_pages import migrate_vma_insert_page
from secondsight.linux.mm_flags import MAP_PRIVATE
from secondsight.linux.mm_types import Folio, Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.mprotect import change_protection
from secondsight.linux.mremap_tables import move_page_tables
from secondsight.linux.page_alloc import alloc_page, frame_touch
from secondsight.linux.rmap_exclusive import make_device_exclusive_range
from secondsight.linux.rmap_mkclean import mkclean_entry
from secondsight.linux.task_mmu import clear_refs_write
from secondsight.search.result import Verdict


def anonymous(mm: Mm) -> None:
    do_mmap(mm, 0, 2, None, 0, True)
    cpu_write(mm, 0, A)


def huge(mm: Mm) -> None:
    do_mmap(mm, 0, 2, None, 0, True)
    assert madvise_hugepage(mm, 0, 2, 0, 2) == 0 and cpu_write(mm, 0, A) == 0


def huge_zeros(mm: Mm) -> None:
    do_mmap(mm, 0, 2, None, 0, True)
    assert madvise_hugepage(mm, 0, 2, 0, 2) == 0 and cpu_read(mm, 0) == 0


def zeros(mm: Mm) -> None:
    do_mmap(mm, 0, 2, None, 0, True)
    cpu_read(mm, 0)


def huge_of_a_file(mm: Mm) -> None:
    """The file's page, mapped privately."""
    file = hugetlb_file_setup(2, 0)
    assert do_mmap(mm, 2, 2, file, 0, True) == 2 and cpu_write(mm, 2, A) == 0
    assert do_mmap(mm, 0, 2, file, 0, True, MAP_PRIVATE) == 0 and cpu_read(mm, 0) == A


def makes_clean(mm: Mm) -> None:
    folio = mm.ptes[0].frame
    assert folio is not None
    mkclean_entry(folio, mm, 0)


def takes_for_a_device(mm: Mm) -> None:
    with mm.mmap_lock.reading():
        make_device_exclusive_range(mm, 0, None)


def moves_the_zero_page_to_a_device(mm: Mm) -> None:
    with mm.mmap_lock.reading(), migrate_vmas.on_stack() as args:
        migrate_vma_init(args, mm, 0, 1, None, MIGRATE_VMA_SELECT_SYSTEM)
        assert migrate_vma_setup(args) == 0 and args.migrate[0]
        args.dst[0] = alloc_page()
        migrate_vma_insert_page(args, 0)


SIZES = {"frames": 6, "pages": 3, "anon_vmas": 1, "swap_slots": 2, "cow": 1}
HUGE = {"huge": 1, "pmds": 1, "pages": 2, "vma_flags": 1, "cow": 1, "frames": 12, "anon_vmas": 1, "migrations": 1}
OF_A_FILE = {
    "huge": 1,
    "pmds": 2,
    "pages": 4,
    "vma_flags": 1,
    "cow": 1,
    "vmas": 2,
    "frames": 12,
    "hugetlb_private": 1,
    "hugetlb_files": 1,
    "hugetlb_pages": 1,
    "file_pages": 2,
}


@pytest.mark.parametrize(
    ("maps", "changes", "sizes"),
    [
        (anonymous, makes_clean, SIZES),
        (anonymous, takes_for_a_device, SIZES | {"owners": 1}),
        (anonymous, lambda mm: move_page_tables(mm, 0, 1, 2, False), SIZES),
        (anonymous, lambda mm: move_page(mm, 0), SIZES | {"migrations": 1}),
        (zeros, moves_the_zero_page_to_a_device, SIZES | {"migrations": 1, "owners": 1, "private_memory": 1, "migrate_vmas": 1, "migrate_pages": 1}),
        (huge, lambda mm: split_huge_pmd(mm, 0), HUGE),
        (huge, lambda mm: set_pmd_migration_entry(mm, 0), HUGE),
        (huge_zeros, lambda mm: do_huge_zero_wp_pmd(mm, 0), HUGE | {"huge_zero_replaced": 1}),
        (anonymous, lambda mm: madvise_collapse(mm, 0, 2), HUGE | {"detached_tables": 1}),
        (huge_of_a_file, lambda mm: cpu_write(mm, 0, A), OF_A_FILE),
        (huge_of_a_file, lambda mm: change_protection(mm, 0, 2), OF_A_FILE),
    ],
    ids=["mkclean", "exclusive", "mremap", "migration", "zero_page", "split", "huge_migration", "huge_zero", "collapse", "hugetlb_wp", "hugetlb_mprotect"],
)  # fmt: skip
def test_an_old_entry_goes_with_that_of_the_page_table(
    maps: Callable[[Mm], None], changes: Callable[[Mm], object], sizes: dict[str, int]
) -> None:
    """Somebody else has put its flush off."""
    with world(**sizes, tlbs=1) as (_, mm):
        maps(mm)
        entry = mm.tlb[0].entries[0]
        entry.frame, entry.writable = mm.ptes[0].frame, mm.ptes[0].writable
        assert entry.frame is not None
        changes(mm)
        assert entry.frame is None and not entry.writable


@rule("protected", on=frame_touch)
def protected(frame: Folio, write: bool) -> None:
    """Nobody writes to the first page while its entry says that nobody may."""
    pte = mms[0].ptes[0]
    hidden = len(pte.prot_none) > 0 and pte.prot_none[0]
    require(
        not write or pte.frame is not frame or (pte.writable and not hidden), "protected", "a store where the entry allows none"
    )


def asks_what_is_written(mm: Mm) -> None:
    clear_refs_write(mm)
    looks_twice(mm)


def asks_who_uses_it(mm: Mm) -> None:
    task_numa_work(mm, 0, 1)


def looks_twice(mm: Mm) -> None:
    """A store after the flush faults: it is by a new entry."""
    with atomic:
        require(mm.tlb[0].entries[0].frame is None if len(mm.tlb) > 0 else True, "flushed", "an old entry after the flush")


@pytest.mark.parametrize("asks", [asks_what_is_written, asks_who_uses_it])
@pytest.mark.parametrize("tlbs", [0, 1])
def test_another_cpu_may_write_until_who_asks_about_pages_has_flushed(asks: Callable[[Mm], None], tlbs: int) -> None:
    with world(frames=4, pages=2, prot_none=1, anon_vmas=1, migrations=1, cow=1, vma_flags=1, tlbs=tlbs) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        threads = ((asks, (mm,)), (cpu_write, (mm, 0, B)))
        assert search(machine, *threads, rules=[protected]).verdict is (Verdict.BROKEN if tlbs else Verdict.HOLDS)
        assert search(machine, *threads, rules=[]).verdict is Verdict.HOLDS
