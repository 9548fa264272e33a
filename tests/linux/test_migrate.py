"""Migration of one folio: by hand and under search."""

from __future__ import annotations

import pytest
from linux_world import A, B, Mirror, mirror_of, search, world

from secondsight.lang import require
from secondsight.linux import EACCES, EAGAIN, EFAULT, ENOENT, SIGSEGV
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.madvise import madvise_dontneed, madvise_pageout
from secondsight.linux.memfd import memfd_create
from secondsight.linux.migrate import migrate_folio, move_page
from secondsight.linux.mm_types import Mm, PteKind
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.page_alloc import get_page, put_page, zone
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.swapops import swap_slots
from secondsight.scenario import Recorder
from secondsight.world.model import outcomes

MOVES = {"frames": 5, "pages": 2, "anon_vmas": 1, "migrations": 2}


def test_a_page_moves_unless_somebody_holds_it() -> None:
    with world(**MOVES) as (_, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        assert move_page(mm, 0) == -ENOENT
        cpu_read(mm, 0)
        assert move_page(mm, 0) == -EFAULT, "the zero page"
        cpu_write(mm, 0, A)
        before, free = mm.ptes[0].frame, zone.nr_free
        assert before is not None
        assert move_page(mm, 0) == 0
        after = mm.ptes[0].frame
        assert after is not None and after is not before and before.refcount == 0 and zone.nr_free == free
        assert mm.ptes[0].writable and cpu_read(mm, 0) == A and after.refcount == 1
        get_page(after)
        assert move_page(mm, 0) == -EAGAIN
        assert mm.ptes[0].frame is after and mm.ptes[0].kind == PteKind.PRESENT and mm.ptes[0].writable
        put_page(after)
        after.pins, after.refcount = 1, 2
        assert move_page(mm, 0) == -EAGAIN
        after.pins, after.refcount = 0, 1
        vm_munmap(mm, 0, 2)
        assert zone.nr_free == free + 1


def test_a_files_page_moves_in_every_mapping_and_in_the_file() -> None:
    with world(**MOVES, files=1, file_pages=1) as (_, mm):
        file = memfd_create(1, 0)
        do_mmap(mm, 0, 1, file, 0, True)
        do_mmap(mm, 1, 1, file, 0, True)
        cpu_write(mm, 0, A)
        cpu_write(mm, 1, B)
        before = file.pages[0]
        assert before is not None and move_page(mm, 1) == -EACCES, "without MPOL_MF_MOVE_ALL"
        assert folio_isolate_lru(before) and migrate_folio(before) == 0, "as compaction does"
        after = file.pages[0]
        assert after is not None and after is not before and mm.ptes[0].frame is mm.ptes[1].frame is after
        assert cpu_read(mm, 0) == B and after.refcount == 3


@pytest.mark.parametrize("passes", [0, 1, 2])
@pytest.mark.parametrize("mapped", [True, False])
def test_of_a_page_that_nothing_maps_nobody_is_told(mapped: bool, passes: int) -> None:
    """A file's page that is in memory, and whose mapping nobody has touched yet: migrate_folio_unmap() does not come to try_to_migrate()."""
    with world({Mirror: 1}, **MOVES, files=1, file_pages=1, migration_passes=passes) as (machine, mm):
        file = memfd_create(1, 0)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        if not mapped:
            madvise_dontneed(mm, 0, 1)
        mirror = mirror_of(machine, mm)
        before = file.pages[0]
        assert before is not None and folio_isolate_lru(before) and migrate_folio(before) == 0
        assert file.pages[0] is not before and mirror.calls == int(mapped) and cpu_read(mm, 0) == A


def test_nobody_hears_of_a_move_of_what_nothing_maps() -> None:
    """PAGE_WAS_MAPPED: nobody walks over such a page's vmas, neither before it moves nor after, and nobody waits for their lock."""
    with world({Mirror: 1}, **MOVES, files=1, file_pages=1, subscribers=1) as (machine, mm):
        mirror = machine.pool(Mirror).alloc()
        mn.mmu_interval_notifier_insert(mirror.notifier, mm, 0, 1)
        file = memfd_create(1, 0)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        madvise_dontneed(mm, 0, 1)
        calls, before = mirror.calls, file.pages[0]
        assert before is not None and folio_isolate_lru(before)
        file.i_mmap_rwsem.write_lock()
        assert migrate_folio(before) == 0 and file.pages[0] is not before and mirror.calls == calls
        file.i_mmap_rwsem.write_unlock()
        assert cpu_read(mm, 0) == A
        cpu_write(mm, 0, B)
        before = file.pages[0]
        assert before is not None and folio_isolate_lru(before) and migrate_folio(before) == 0 and mirror.calls == calls + 1


def test_what_nothing_maps_goes_back_without_a_walk_where_somebody_holds_it() -> None:
    """migrate_folio_undo_src(): only of what was mapped are entries looked for, and the lock of their vmas taken."""
    with world({Mirror: 1}, **MOVES, files=1, file_pages=1) as (_, mm):
        file = memfd_create(1, 0)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        madvise_dontneed(mm, 0, 1)
        held = file.pages[0]
        assert held is not None and folio_isolate_lru(held)
        get_page(held)
        file.i_mmap_rwsem.write_lock()
        assert migrate_folio(held) == -EAGAIN and file.pages[0] is held and not held.isolated
        file.i_mmap_rwsem.write_unlock()


def test_a_page_of_the_swap_cache_keeps_its_slot() -> None:
    with world(**MOVES, swap_slots=1) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        madvise_pageout(mm, 0, 1)
        cpu_read(mm, 0)
        assert move_page(mm, 0) == 0 and swap_slots[0].cache is mm.ptes[0].frame
        assert madvise_pageout(mm, 0, 1) == 0 and cpu_read(mm, 0) == A


def test_migration_beside_accesses_and_whatever_takes_the_page_away() -> None:
    with world(**MOVES) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (move_page, (mm, 0, False, 0)), (cpu_write, (mm, 0, B)), (madvise_dontneed, (mm, 0, 1)), rules=[])
        assert found.verdict.value == "holds"
    with world(**MOVES, swap_slots=2) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (move_page, (mm, 0, False, 0)), (madvise_pageout, (mm, 0, 1)), (vm_munmap, (mm, 0, 1)), rules=[])
        assert found.verdict.value == "holds"


def test_an_entry_that_is_made_read_only_meanwhile_comes_back_so() -> None:
    with world(**MOVES) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (move_page, (mm, 0, False, 0)), (protect_and_write, (mm,)), rules=[])
        assert found.verdict.value == "holds"


def protect_and_write(mm: Mm) -> None:
    """Make both pages read-only: a store is refused."""
    do_mprotect_pkey(mm, 0, 2, False, 0, 2)
    ret = cpu_write(mm, 0, B)
    require(ret == -SIGSEGV, "read-only", "a store went through")


def two_movers() -> Recorder:
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def one() -> None:
        s.move_pages(a, into="one")

    @s.thread
    def other() -> None:
        s.move_pages(a, into="other")

    return s


@pytest.mark.parametrize(("release", "both_fail"), [(None, False), ("6.1", True)])
def test_a_mover_may_find_the_last_reference_of_another(release: str | None, both_fail: bool) -> None:
    """Seen on a real 6.12 (drawn scenario free_1_222): the page has been moved, is unlocked, and held for a moment more. In 6.1 who finds that
    the page is taken has held it."""
    _, seen = outcomes(two_movers().scenario("two_movers", ""), release=release)
    results = {(dict(one)["one"], dict(one)["other"]) for one in seen}
    assert {("ok", "ok"), ("ok", "-EAGAIN"), ("-EAGAIN", "ok"), ("ok", "-EBUSY"), ("ok", "-ENOENT")} <= results
    assert (("-EAGAIN", "-EBUSY") in results) is both_fail


@pytest.mark.parametrize(("written", "moved"), [(False, "-ENOENT"), (True, "-EACCES")])
def test_a_fork_leaves_to_faults_what_was_never_written(written: bool, moved: str) -> None:
    """vma_needs_copy() (mm/memory.c): a vma without an anon_vma gives its child no entries. A kernel saw it: number 7027 of seed 1."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "A") if written else s.read(a)
    child = s.fork()
    with child:
        s.move_pages(a, into="moved")
    assert [dict(one)["moved"] for one in outcomes(s.scenario("a_child_moves", ""))[1]] == [moved]
