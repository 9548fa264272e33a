"""A memfd's pages in swap: how they go, who brings them back, and what is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from linux_world import A, B, search, world

from secondsight.contract import rules_for
from secondsight.contract.adversaries import ADVERSARIES
from secondsight.contract.check import check_scenario, driver_program
from secondsight.contract.coherence import is_there
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror, MirrorNeverMarksDirty
from secondsight.devices.rdma_mr import RdmaMr, RdmaMrMarksNothing
from secondsight.devices.small import AllocatesBeforeItsLock, AllocatesUnderItsLock
from secondsight.lang import Char, Machine, atomic, require
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import memfd_pin_folio, unpin_folio
from secondsight.linux.madvise import madvise_dontneed, madvise_pageout
from secondsight.linux.memfd import memfd_create
from secondsight.linux.memory import FAULT_FLAG_WRITE, handle_mm_fault
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.page_alloc import get_page, put_page, zone
from secondsight.linux.page_alloc_slowpath import FS, GFP_KERNEL, GFP_NOFS, GFP_NOIO, IO, Gfp, direct_reclaim
from secondsight.linux.shmem import ShmemFile, shmem_fallocate_punch_hole
from secondsight.linux.shmem_size import shmem_fallocate_folio, shmem_setattr
from secondsight.linux.swapops import swap_slots
from secondsight.linux.vmscan_direct import try_to_free_pages
from secondsight.scenario import Recorder, scenario


@contextmanager
def a_page_of_a_memfd(written: bool = True, mirrors: int = 0, **more: int) -> Iterator[tuple[Machine, Mm, ShmemFile]]:
    """A process that has mapped a memfd of two pages, and has read the first or written `A` there; room for mirrors."""
    sizes = {"frames": 6, "pages": 2, "anon_vmas": 1, "swap_slots": 2, "files": 1, "file_pages": 2, "swapped_pages": 2, "shmem_swap": 1, "resizes": 1}
    with world({Mirror: mirrors}, **sizes | more) as (machine, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True)
        if written:
            cpu_write(mm, 0, A)
        else:
            cpu_read(mm, 0)
        yield machine, mm, file


def slots_are_free() -> bool:
    """Nobody stands for any slot, and none is cached."""
    return all(slot.cache is None and slot.count == 0 and slot.contents == 0 for slot in swap_slots)


def reclaims(mm: Mm, file: ShmemFile, stays: bool, in_swap: bool, value: Char) -> None:
    """Direct reclaim of the only page, and what has become of it."""
    try_to_free_pages()
    with atomic:
        require(mm.ptes[0].frame is None, "test", "it is mapped")
        require((file.pages[0] is not None) == stays, "test", "it is in the file, or not, the other way round")
        require((file.swapped[0] != 0) == in_swap, "test", "it is in swap, or not, the other way round")
    read = cpu_read(mm, 0)
    require(read == value, "test", "it does not hold what it held")


@pytest.mark.parametrize("write", [False, True])
def test_an_entry_that_is_made_for_a_write_is_dirty_before_anybody_writes(write: bool) -> None:
    sizes = {"frames": 6, "pages": 1, "anon_vmas": 1, "swap_slots": 1, "files": 1, "file_pages": 1, "shmem_swap": 1}
    with world({}, **sizes) as (_, mm):
        do_mmap(mm, 0, 1, memfd_create(1, 0), 0, True)
        mm.mmap_lock.read_lock()
        assert handle_mm_fault(mm, 0, FAULT_FLAG_WRITE if write else 0) == 0
        assert mm.ptes[0].writable and mm.ptes[0].dirty == write


def test_a_page_that_was_written_goes_to_swap_and_comes_back_dirty() -> None:
    with a_page_of_a_memfd() as (_, mm, file):
        free = zone.nr_free
        assert madvise_pageout(mm, 0, 1) == 0
        assert zone.nr_free == free + 1 and file.pages[0] is None and file.swapped[0] == 1
        assert swap_slots[0].contents == A and swap_slots[0].count == 1 and swap_slots[0].cache is None
        assert cpu_read(mm, 0) == A and slots_are_free() and file.swapped[0] == 0
        folio = file.pages[0]
        assert folio is not None and folio.dirty and folio.refcount == 2 and folio is mm.ptes[0].frame
        madvise_pageout(mm, 0, 1)
        assert swap_slots[0].contents == A, "dirty: it is written again, though nobody has written to it"


def test_a_page_that_nobody_has_written_leaves_a_hole() -> None:
    with a_page_of_a_memfd(written=False) as (_, mm, file):
        free = zone.nr_free
        madvise_pageout(mm, 0, 1)
        assert zone.nr_free == free + 1 and file.pages[0] is None and file.swapped[0] == 0 and slots_are_free()
        assert cpu_read(mm, 0) == 0


def test_an_entry_that_was_dirty_makes_the_page_dirty_when_it_goes() -> None:
    with a_page_of_a_memfd(written=False) as (_, mm, file):
        cpu_write(mm, 0, A)
        assert mm.ptes[0].dirty, "a store through an entry that may be written"
        madvise_dontneed(mm, 0, 1)
        cpu_read(mm, 0)
        madvise_pageout(mm, 0, 1)
        assert file.swapped[0] == 1 and cpu_read(mm, 0) == A


def test_a_page_that_is_mapped_twice_stays() -> None:
    with a_page_of_a_memfd(pages=3) as (_, mm, file):
        do_mmap(mm, 2, 1, file, 0, True)
        cpu_read(mm, 2)
        madvise_pageout(mm, 0, 3)
        assert file.pages[0] is not None and mm.ptes[0].frame is file.pages[0] and mm.ptes[2].frame is file.pages[0]


def test_a_page_that_somebody_holds_is_unmapped_and_stays_in_the_file() -> None:
    with a_page_of_a_memfd() as (_, mm, file):
        folio = file.pages[0]
        assert folio is not None
        get_page(folio)
        madvise_pageout(mm, 0, 1)
        assert mm.ptes[0].frame is None and file.pages[0] is folio and folio.dirty
        put_page(folio)
        assert cpu_read(mm, 0) == A
        madvise_pageout(mm, 0, 1)
        assert file.swapped[0] == 1


def test_a_pin_brings_the_page_back_and_keeps_it() -> None:
    with a_page_of_a_memfd() as (_, mm, file):
        madvise_pageout(mm, 0, 1)
        folio = memfd_pin_folio(file, 0)
        assert folio is file.pages[0] and folio.contents == A and slots_are_free()
        assert cpu_read(mm, 0) == A
        madvise_pageout(mm, 0, 1)
        assert file.pages[0] is folio and mm.ptes[0].frame is None, "unmapped, and no more"
        unpin_folio(folio)


def test_what_is_in_swap_goes_with_the_hole_or_the_end_of_the_file() -> None:
    with a_page_of_a_memfd() as (_, mm, file):
        madvise_pageout(mm, 0, 1)
        assert shmem_fallocate_punch_hole(file, 0, 1) == 0 and slots_are_free() and cpu_read(mm, 0) == 0
        cpu_write(mm, 0, B)
        madvise_pageout(mm, 0, 1)
        assert shmem_setattr(file, 0) == 0 and slots_are_free()
        assert shmem_setattr(file, 2) == 0 and cpu_read(mm, 0) == 0


def test_fallocate_finds_the_page_in_swap() -> None:
    with a_page_of_a_memfd(fallocated_pages=2) as (_, mm, file):
        madvise_pageout(mm, 0, 1)
        shmem_fallocate_folio(file, 0)
        assert not file.fallocated[0] and file.pages[0] is not None and cpu_read(mm, 0) == A
        shmem_fallocate_folio(file, 1)
        assert cpu_read(mm, 1) == 0
        madvise_pageout(mm, 1, 1)
        assert file.swapped[1] != 0, "what fallocate() has added is dirty"


def test_swapping_out_beside_stores_holes_and_unmapping() -> None:
    with a_page_of_a_memfd() as (machine, mm, file):
        found = search(machine, (madvise_pageout, (mm, 0, 1)), (cpu_write, (mm, 0, B)), (shmem_fallocate_punch_hole, (file, 0, 1)), rules=[])
        assert found.verdict.value == "holds", found.violation
    with a_page_of_a_memfd() as (machine, mm, file):
        found = search(machine, (madvise_pageout, (mm, 0, 1)), (shmem_setattr, (file, 0)), (vm_munmap, (mm, 0, 1)), rules=[])
        assert found.verdict.value == "holds", found.violation


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("flags", [GFP_KERNEL, GFP_NOFS, GFP_NOIO])
def test_direct_reclaim_writes_a_files_page_only_where_it_may_enter_file_systems(flags: Gfp, written: bool) -> None:
    with a_page_of_a_memfd(written, direct_reclaim=1) as (machine, mm, file):
        direct_reclaim[0].io, direct_reclaim[0].fs = flags & IO != 0, flags & FS != 0
        found = search(machine, (reclaims, (mm, file, written and flags != GFP_KERNEL, written and flags == GFP_KERNEL, A if written else 0)), rules=[])
        assert found.verdict.value == "holds" and found.states > 1, found.violation


@pytest.mark.parametrize(
    "adversary, driver, rule",
    [
        ("swap", Mirror, None),
        ("swap", MirrorNeverMarksDirty, "lost-write"),
        ("direct-reclaim", AllocatesBeforeItsLock, None),
        ("direct-reclaim", AllocatesUnderItsLock, "deadlock"),
    ],
)
def test_reclaim_of_a_memfd_is_asked_of_drivers(adversary: str, driver: type[Device], rule: str | None) -> None:
    one = next(s for s in ADVERSARIES[adversary].scenarios if "memfd" in s.name)
    result = check_scenario(driver, adversary, one, rules_for(driver)).result
    assert result.verdict.value == ("holds" if rule is None else "broken"), result.violation
    assert result.violation is None or result.violation.rule == rule


@scenario
def written_by_dma(s: Recorder) -> None:
    """A device writes a memfd's page that nobody has written to, and is closed; then the page is taken."""
    pages = s.mmap(s.memfd_create(pages=1), pages=1)
    s.read(pages)
    gpu = s.device()

    @s.thread
    def device() -> None:
        gpu.write(pages, "D", into="written")
        gpu.close()

    with s.after():
        s.madvise_pageout(pages)
        s.read(pages)


@pytest.mark.parametrize("driver, rule", [(RdmaMr, None), (RdmaMrMarksNothing, "lost-write")])
def test_what_a_pinned_device_writes_and_does_not_mark_is_lost(driver: type[Device], rule: str | None) -> None:
    result = check_scenario(driver, "swap", written_by_dma, rules_for(driver)).result
    assert result.verdict.value == ("holds" if rule is None else "broken"), result.violation
    assert result.violation is None or result.violation.rule == rule


def test_where_nothing_is_reclaimed_a_memfd_has_nothing_of_swap() -> None:
    one = next(s for s in ADVERSARIES["punch-hole"].scenarios if s.name == "punch-hole: writes")
    written = driver_program(Mirror, one, rules_for(Mirror), {}, False).layout.written
    assert written is not None and written
    kept = {name for record, name in written if record.endswith(("Folio", "SwapSlot", "ShmemFile"))}
    assert kept.isdisjoint({"dirty", "swap", "swapcache", "swapped", "count", "cache", "writeback"})


def test_a_pinned_page_that_reclaim_unmaps_is_the_one_that_a_fault_would_find_and_no_other_is() -> None:
    with a_page_of_a_memfd(mirrors=1) as (machine, mm, file):
        device = machine.pool(Mirror).alloc()
        folio = memfd_pin_folio(file, 0)
        madvise_pageout(mm, 0, 1)
        assert mm.ptes[0].frame is None and file.pages[0] is folio
        assert is_there(device, mm, 0, folio)
        unpin_folio(folio)
        assert not is_there(device, mm, 0, folio)
