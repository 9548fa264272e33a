"""Device-exclusive entries and pages taken by address, by hand: what becomes of an entry, of its reference, and who is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from linux_world import A, B, free_frames, mirror_of, world

from secondsight.lang import U8, Machine, Ref, atomic
from secondsight.linux import EBUSY, EFAULT, EOPNOTSUPP
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import (
    FOLL_LONGTERM,
    FOLL_PIN,
    FOLL_WRITE,
    get_user_page_vma_remote,
    pin_user_pages_fast,
    unpin_user_page,
)
from secondsight.linux.hmm import hmm_range_fault, hmm_range_snapshot
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.memfd import memfd_create
from secondsight.linux.migrate import migrate_folio
from secondsight.linux.mm_types import Driver, Event, Mm, Pfn, PteKind, Range, Seq
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.linux.page_alloc import ZERO_PFN, frames
from secondsight.linux.pgtable import folio_kept_by, folio_mapcount, pte_none
from secondsight.linux.rmap_exclusive import make_device_exclusive, make_device_exclusive_range, unlock_and_put
from secondsight.linux.sched_mm import mmput
from secondsight.linux.shmem import F_SEAL_SHRINK
from secondsight.linux.swap import folio_isolate_lru
from secondsight.linux.vmscan import reclaim_folio
from secondsight.scenario import Recorder
from secondsight.world.model import only_outcome


class Listener(Driver):
    """Counts calls by event: those of its own marking, of another's or nobody's, and CLEAR."""

    own: U8
    foreign: U8
    clears: U8

    @atomic
    def invalidate(self, rng: Range, seq: Seq) -> bool:
        mn.mmu_interval_set_seq(self.notifier, seq)
        if rng.event == Event.EXCLUSIVE and mn.is_owner(self, rng):
            self.own += 1
        elif rng.event == Event.EXCLUSIVE:
            self.foreign += 1
        elif rng.event == Event.CLEAR:
            self.clears += 1
        return True


@contextmanager
def listened(**wanted: int) -> Iterator[tuple[Machine, Mm, Listener]]:
    """One process with one page that holds A, and somebody who listens."""
    with world({Listener: 1}, **({"pages": 2, "subscribers": 1, "owners": 1, "frames": 6} | wanted)) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        yield machine, mm, mirror_of(machine, mm, Listener)


def marked(mm: Mm, owner: Ref[mn.Owner] = None, reworked: bool = False) -> Pfn:
    """The page at 0, taken from the CPU by one of the two forms."""
    with mm.mmap_lock.reading():
        return (make_device_exclusive if reworked else make_device_exclusive_range)(mm, 0, owner)


@pytest.mark.parametrize("reworked", [False, True])
def test_a_page_goes_to_the_device_and_back(reworked: bool) -> None:
    with listened() as (_, mm, listener):
        before = mm.ptes[0].frame
        pfn = marked(mm, mn.owner_of(listener), reworked)
        assert frames[pfn] is before and frames[pfn].locked and frames[pfn].refcount == 2
        assert mm.ptes[0].kind == PteKind.DEVICE_EXCLUSIVE and folio_kept_by(mm.ptes[0]) is before
        assert (listener.own, listener.foreign) == (1, 0)
        unlock_and_put(pfn)
        assert cpu_read(mm, 0) == A and mm.ptes[0].kind == PteKind.PRESENT and mm.ptes[0].writable
        assert (listener.own, listener.foreign, listener.clears) == (1, 1, 0)
        assert frames[pfn].refcount == 1 and not frames[pfn].locked


def test_a_page_goes_back_with_clear_where_that_is_the_form() -> None:
    with listened(restores_by_clear=1) as (_, mm, listener):
        unlock_and_put(marked(mm, mn.owner_of(listener)))
        assert cpu_write(mm, 0, B) == 0
        assert (listener.own, listener.foreign, listener.clears) == (1, 0, 1)


def test_marking_again_gives_the_page_back_first() -> None:
    with listened() as (_, mm, listener):
        for _ in range(2):
            unlock_and_put(marked(mm, mn.owner_of(listener)))
        assert (listener.own, listener.foreign) == (2, 1)


def test_a_driver_faults_an_exclusive_page_in_and_a_snapshot_finds_nothing() -> None:
    with listened() as (_, mm, listener):
        unlock_and_put(marked(mm))
        assert hmm_range_snapshot(listener.notifier, 0) < 0
        assert mm.ptes[0].kind == PteKind.DEVICE_EXCLUSIVE
        assert hmm_range_fault(listener.notifier, 0, True) == -EBUSY  # the call by which it goes back is one of the range
        assert frames[hmm_range_fault(listener.notifier, 0, True)] is mm.ptes[0].frame


@pytest.mark.parametrize("how", ["munmap", "dontneed", "exit", "reaped"])
def test_what_takes_memory_away_takes_an_exclusive_page_and_its_reference(how: str) -> None:
    with listened() as (_, mm, _listener):
        free = free_frames()
        pfn = marked(mm)
        unlock_and_put(pfn)
        if how == "munmap":
            vm_munmap(mm, 0, 1)
        elif how == "dontneed":
            madvise_dontneed(mm, 0, 1)
        elif how == "reaped":
            assert oom_reap_task_mm(mm)
        else:
            exit_mm(mm)
        assert pte_none(mm.ptes[0]) and frames[pfn].refcount == 0 and free_frames() == free + 1


def test_a_page_made_read_only_meanwhile_comes_back_read_only() -> None:
    with listened(vmas=4, vma_flags=1) as (_, mm, _listener):
        unlock_and_put(marked(mm))
        assert do_mprotect_pkey(mm, 0, 1, False, 0, 1) == 0
        assert cpu_read(mm, 0) == A and not mm.ptes[0].writable


# Since 6.15 the entry is a mapping of the folio, and says of the page only that it is there.


@pytest.mark.parametrize("mapped", [0, 1])
def test_reclaim_takes_what_a_device_has_where_that_counts_as_mapped(mapped: int) -> None:
    with listened(exclusive_is_mapped=mapped, restores_by_clear=mapped, swap_slots=2, anon_vmas=1) as (_, mm, listener):
        pfn = marked(mm, mn.owner_of(listener), bool(mapped))
        folio = frames[pfn]
        unlock_and_put(pfn)
        assert folio_mapcount(folio) == mapped
        assert folio_isolate_lru(folio)
        reclaim_folio(folio)
        assert listener.clears == mapped
        assert mm.ptes[0].kind == (PteKind.SWAP if mapped else PteKind.DEVICE_EXCLUSIVE) and folio.refcount == (0 if mapped else 2)
        assert cpu_read(mm, 0) == A


@pytest.mark.parametrize("mapped", [0, 1])
def test_compaction_moves_what_a_device_has_where_that_counts_as_mapped(mapped: int) -> None:
    """It comes back as a page of the process's alone, which may be written only after a fault, as of an entry that says nothing of writing."""
    with listened(exclusive_is_mapped=mapped, restores_by_clear=mapped, migrations=1, anon_vmas=1) as (_, mm, listener):
        pfn = marked(mm, mn.owner_of(listener), bool(mapped))
        unlock_and_put(pfn)
        assert folio_isolate_lru(frames[pfn])
        migrate_folio(frames[pfn], False)
        pte = mm.ptes[0]
        assert (pte.frame is not frames[pfn]) == bool(mapped) and listener.clears == mapped
        assert pte.kind == (PteKind.PRESENT if mapped else PteKind.DEVICE_EXCLUSIVE)
        if mapped:
            assert not pte.writable
        assert cpu_read(mm, 0) == A and cpu_write(mm, 0, B) == 0 and pte.writable


@pytest.mark.parametrize("mapped", [0, 1])
def test_protection_that_comes_and_goes_leaves_a_newer_entry_as_it_is(mapped: int) -> None:
    with listened(exclusive_is_mapped=mapped, vmas=4, vma_flags=1, swap_slots=2, anon_vmas=1) as (_, mm, _listener):
        unlock_and_put(marked(mm, None, bool(mapped)))
        assert do_mprotect_pkey(mm, 0, 1, False, 0, 1) == 0 and do_mprotect_pkey(mm, 0, 1, True, 0, 1) == 0
        assert cpu_read(mm, 0) == A and mm.ptes[0].writable == bool(mapped)


def test_a_newer_entry_goes_back_dirty_if_the_page_is() -> None:
    for dirty in (False, True):
        with listened(exclusive_is_mapped=1, restores_by_clear=1, swap_slots=2, anon_vmas=1) as (_, mm, _listener):
            pfn = marked(mm, None, True)
            unlock_and_put(pfn)
            assert not mm.ptes[0].dirty and frames[pfn].dirty, "who asks for it has it marked"
            frames[pfn].dirty = dirty
            assert cpu_read(mm, 0) == A and mm.ptes[0].writable and mm.ptes[0].dirty == dirty


def test_a_release_has_its_own_form() -> None:
    """Linux 7.2 waits for the folio lock, and says of what is no private memory another error than 6.12."""
    s = Recorder()
    s.make_device_exclusive(s.mmap(s.memfd_create(pages=1)), into="a_files")
    recorded = s.scenario("a_files_page", "")
    assert only_outcome(recorded, release="6.12") == only_outcome(recorded) == (("a_files", "-EBUSY"),)
    assert only_outcome(recorded, release="7.2") == (("a_files", "-EOPNOTSUPP"),)


def test_who_cannot_have_it() -> None:
    with listened(pages=3, files=1, file_pages=1) as (_, mm, _listener):
        file = memfd_create(1, F_SEAL_SHRINK)
        do_mmap(mm, 1, 1, file, 0, True)
        with mm.mmap_lock.reading():
            assert make_device_exclusive_range(mm, 1, None) == -EBUSY  # the kernel counts a page that it does not give
            assert make_device_exclusive(mm, 1, None) == -EOPNOTSUPP
            assert make_device_exclusive_range(mm, 2, None) == make_device_exclusive(mm, 2, None) == -EFAULT
            frame = mm.ptes[0].frame
            assert frame is not None
            frame.locked = True
            assert make_device_exclusive_range(mm, 0, None) == -EBUSY
            assert frame.refcount == 1


def test_two_owners_are_told_apart() -> None:
    with world({Listener: 2}, pages=2, subscribers=2, owners=2) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        first, second = mirror_of(machine, mm, Listener), mirror_of(machine, mm, Listener)
        unlock_and_put(marked(mm, mn.owner_of(first)))
        assert (first.own, first.foreign, second.own, second.foreign) == (1, 0, 0, 1)
        assert mn.owner_of(first) is mn.owner_of(first) is not mn.owner_of(second)


# Pages by address.


def test_a_page_is_faulted_in_as_it_is_asked_for() -> None:
    with world(pages=2) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        with mm.mmap_lock.reading():
            assert get_user_page_vma_remote(mm, 0, 0) == ZERO_PFN and frames[ZERO_PFN].refcount == 1
            pfn = get_user_page_vma_remote(mm, 0, FOLL_WRITE)
            assert get_user_page_vma_remote(mm, 1, 0) == -EFAULT
        assert frames[pfn].refcount == 2 and frames[pfn].pins == 0 and mm.ptes[0].writable


@pytest.mark.parametrize(("flags", "own"), [(0, False), (FOLL_LONGTERM, True), (FOLL_WRITE, True), (FOLL_WRITE | FOLL_LONGTERM, True)])
def test_a_pin_for_long_is_of_a_page_of_ones_own(flags: int, own: bool) -> None:
    with world(pages=1) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        assert cpu_read(mm, 0) == 0
        pfn = pin_user_pages_fast(mm, 0, flags | FOLL_PIN)
        assert (pfn != ZERO_PFN) is own
        assert frames[pfn].pins == int(own)
        assert cpu_write(mm, 0, B) == 0
        assert frames[pfn].contents == (B if own else 0)
        unpin_user_page(frames[pfn])
        assert frames[pfn].pins == 0 and frames[pfn].refcount == 1
        mmput(mm)


def test_nothing_is_pinned_where_nothing_can_be_written() -> None:
    with world(pages=2) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, False)
        assert pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE) == pin_user_pages_fast(mm, 1, FOLL_PIN) == -EFAULT
        assert pin_user_pages_fast(mm, 0, FOLL_PIN) == ZERO_PFN
        assert not mm.mmap_lock.held_by_me()
