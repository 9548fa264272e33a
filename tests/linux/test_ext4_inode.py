"""An ordinary file: its pages are read, written to, written back, dropped and read again; and what a pin or a reference to one means meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from linux_world import A, B, C, mirror_of, search, world
from linux_world import Mirror as Counting

from secondsight.contract import rules_for
from secondsight.contract.adversaries import ADVERSARIES
from secondsight.contract.check import check_scenario, driver_program
from secondsight.contract.writeback import saved_before_it_is_dropped
from secondsight.devices.mirror import Mirror
from secondsight.devices.small import MarksNoFile, Pins
from secondsight.lang import Char, Machine, atomic, require
from secondsight.lang.errors import RuleBroken
from secondsight.linux import EFAULT, ENOMEM, SIGBUS
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.ext4_inode import Ext4Inode, ext4_create, ext4_sync_file, filemap_read, generic_fadvise_dontneed
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import (
    FOLL_LONGTERM,
    FOLL_PIN,
    FOLL_WRITE,
    pin_user_pages_fast,
    unpin_folio,
    unpin_user_page_range_dirty_lock,
)
from secondsight.linux.madvise import madvise_dontneed, madvise_pageout
from secondsight.linux.madvise_remove import madvise_remove
from secondsight.linux.migrate import move_page
from secondsight.linux.mm_flags import MAP_PRIVATE
from secondsight.linux.mm_types import Flags, Folio, Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.mremap import mremap_to
from secondsight.linux.msync import msync
from secondsight.linux.page_alloc import frames, get_page, put_page, zone
from secondsight.linux.page_writeback import set_page_dirty_lock
from secondsight.scenario import Recorder
from secondsight.scenario.ops import ScenarioError
from secondsight.search import Verdict
from secondsight.world.model import only_outcome, outcomes

LONG: Flags = FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM
SHORT: Flags = FOLL_PIN | FOLL_WRITE

SIZES = {"frames": 6, "pages": 3, "anon_vmas": 1, "writes_back": 1, "ext4_inodes": 1, "file_pages": 2, "swap_slots": 1, "migrations": 1}


@contextmanager
def a_file(**more: int) -> Iterator[tuple[Machine, Mm, Ext4Inode]]:
    """A process that has mapped a file of two pages, and has written `A` to the first, which is on the disk."""
    with world(None, **SIZES | more) as (machine, mm):
        inode = ext4_create(2)
        do_mmap(mm, 0, 2, inode, 0, True)
        cpu_write(mm, 0, A)
        msync(mm, 0, 1)
        yield machine, mm, inode


def page_of(inode: Ext4Inode, pgoff: int = 0) -> Folio:
    """The file's page, which is in memory."""
    folio = inode.pages[pgoff]
    assert folio is not None
    return folio


def test_what_is_written_is_on_the_disk_when_it_has_been_synced_and_the_next_write_faults() -> None:
    with a_file() as (_, mm, inode):
        folio, pte = page_of(inode), mm.ptes[0]
        assert inode.blocks[0] == A and not folio.dirty and not folio.writeback and not folio.locked and folio.refcount == 2
        assert pte.frame is folio and not pte.writable and not pte.dirty
        assert cpu_read(mm, 0) == A and not pte.writable
        assert cpu_write(mm, 0, B) == 0 and pte.writable and folio.dirty and inode.blocks[0] == A
        ext4_sync_file(inode, 0, 2)
        assert inode.blocks[0] == B and not pte.writable and not folio.dirty
        assert mm.mmap_lock.owner == 0 and mm.mmap_lock.readers == 0 and inode.invalidate_lock.owner == 0 and inode.i_mmap_rwsem.owner == 0


def test_a_page_that_is_read_is_read_only_until_it_is_written() -> None:
    with a_file() as (_, mm, inode):
        assert cpu_read(mm, 1) == 0 and not mm.ptes[1].writable and not page_of(inode, 1).dirty and not inode.buffers[1]
        assert cpu_write(mm, 1, B) == 0 and mm.ptes[1].writable and inode.buffers[1]
        assert msync(mm, 0, 3) == -ENOMEM and list(inode.blocks) == [A, B], "what is mapped is synced all the same"
        do_mmap(mm, 2, 1, inode, 2, True)
        assert cpu_read(mm, 2) == -SIGBUS


def test_a_private_mapping_has_a_copy_of_its_own_which_nobody_writes_back() -> None:
    with a_file(cow=1, vma_flags=1) as (_, mm, inode):
        do_mmap(mm, 2, 1, inode, 0, True, MAP_PRIVATE)
        assert cpu_read(mm, 2) == A and cpu_write(mm, 2, B) == 0 and cpu_read(mm, 2) == B
        msync(mm, 0, 3)
        assert inode.blocks[0] == A and page_of(inode).contents == A and mm.ptes[2].writable


def test_two_mappings_of_a_page_are_both_cleaned() -> None:
    with a_file() as (_, mm, inode):
        do_mmap(mm, 2, 1, inode, 0, True)
        cpu_write(mm, 0, B)
        cpu_write(mm, 2, C)
        ext4_sync_file(inode, 0, 2)
        assert inode.blocks[0] == C and not mm.ptes[0].writable and not mm.ptes[2].writable


def test_a_clean_page_is_dropped_and_read_again() -> None:
    with a_file() as (_, mm, inode):
        free = zone.nr_free
        madvise_pageout(mm, 0, 1)
        assert inode.pages[0] is None and mm.ptes[0].frame is None and zone.nr_free == free + 1
        assert filemap_read(inode, 0) == A and cpu_read(mm, 0) == A and page_of(inode).refcount == 2
        cpu_write(mm, 0, B)
        madvise_pageout(mm, 0, 1)
        folio = page_of(inode)
        assert folio.dirty and mm.ptes[0].frame is None and folio.contents == B and not folio.locked, "reclaim does not write it"
        assert inode.buffers[0]


def test_advice_writes_first_and_drops_what_nobody_maps_or_holds() -> None:
    with a_file() as (_, mm, inode):
        cpu_write(mm, 0, B)
        generic_fadvise_dontneed(inode, 0, 2)
        assert inode.blocks[0] == B and inode.pages[0] is not None, "mapped"
        madvise_dontneed(mm, 0, 1)
        get_page(page_of(inode))
        generic_fadvise_dontneed(inode, 0, 2)
        assert inode.pages[0] is not None, "held"
        put_page(page_of(inode))
        generic_fadvise_dontneed(inode, 0, 2)
        assert inode.pages[0] is None and cpu_read(mm, 0) == B


def test_what_a_device_writes_to_a_pinned_page_after_it_was_cleaned_is_lost_unless_it_is_marked() -> None:
    with a_file() as (machine, mm, inode):
        machine.rules = [saved_before_it_is_dropped]
        for marks in (True, False):
            pfn = pin_user_pages_fast(mm, 0, SHORT)
            folio = frames[pfn]
            assert folio is page_of(inode) and folio.dirty and mm.ptes[0].writable
            ext4_sync_file(inode, 0, 2)
            assert not folio.dirty and folio.pins == 1
            folio.contents = B if marks else C
            if marks:
                unpin_user_page_range_dirty_lock(folio)
                assert folio.dirty
                ext4_sync_file(inode, 0, 2)
                assert inode.blocks[0] == B
            else:
                unpin_folio(folio)
        vm_munmap(mm, 0, 2)
        with pytest.raises(RuleBroken, match="lost-write"):
            generic_fadvise_dontneed(inode, 0, 1)


def test_a_pin_for_long_that_writes_is_refused_where_the_file_is_shared() -> None:
    with a_file(cow=1, vma_flags=1) as (_, mm, inode):
        cpu_write(mm, 0, B)
        assert pin_user_pages_fast(mm, 0, LONG) == -EFAULT and page_of(inode).pins == 0, "not without the lock either"
        assert pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_LONGTERM) >= 0, "for reading"
        do_mmap(mm, 2, 1, inode, 0, True, MAP_PRIVATE)
        pfn = pin_user_pages_fast(mm, 2, LONG)
        assert pfn >= 0 and frames[pfn] is not page_of(inode), "a copy"
    with a_file(longterm_pins_write_files=1) as (_, mm, inode):
        assert frames[pin_user_pages_fast(mm, 0, LONG)] is page_of(inode), "before Linux 6.5"


def test_reclaim_takes_the_buffers_of_a_page_that_is_held_by_a_reference_and_not_of_one_that_is_pinned() -> None:
    """The report behind pin_user_pages(): a page is marked dirty that its file system does not expect to be written."""
    with a_file() as (_, mm, inode):
        folio = frames[pin_user_pages_fast(mm, 0, SHORT)]
        ext4_sync_file(inode, 0, 2)
        madvise_pageout(mm, 0, 1)
        assert inode.pages[0] is folio and inode.buffers[0] and mm.ptes[0].frame is None
        unpin_user_page_range_dirty_lock(folio)
        assert folio.dirty
        ext4_sync_file(inode, 0, 2)
        cpu_read(mm, 0)
        folio = frames[pin_user_pages_fast(mm, 0, FOLL_WRITE)]
        ext4_sync_file(inode, 0, 2)
        madvise_pageout(mm, 0, 1)
        assert inode.pages[0] is folio and not inode.buffers[0]
        with pytest.raises(RuleBroken, match="no-buffers"):
            set_page_dirty_lock(folio)


def test_a_hole_takes_the_page_from_who_has_pinned_it() -> None:
    with a_file() as (_, mm, inode):
        folio = frames[pin_user_pages_fast(mm, 0, SHORT)]
        assert madvise_remove(mm, 0, 1) == 0
        assert inode.pages[0] is None and inode.blocks[0] == 0 and folio.refcount == 1 and folio.mapping is None and not folio.dirty
        assert cpu_read(mm, 0) == 0 and mm.ptes[0].frame is not folio
        folio.contents = B
        unpin_user_page_range_dirty_lock(folio)
        assert cpu_read(mm, 0) == 0 and inode.i_rwsem.owner == 0 and inode.invalidate_lock.owner == 0


@pytest.mark.parametrize(("older", "dirty", "calls"), [(0, True, 1), (1, True, 2), (0, False, 1), (1, False, 1)])
def test_older_releases_write_back_first_what_goes_with_a_hole(older: int, dirty: bool, calls: int) -> None:
    """Seen on a real 6.1 (drawn forced runs): who mirrors the page hears of its being cleaned, and then of its going."""
    with world({Counting: 1}, **SIZES | {"hole_is_written_back": older}) as (machine, mm):
        inode = ext4_create(2)
        do_mmap(mm, 0, 2, inode, 0, True)
        cpu_write(mm, 0, A)
        if not dirty:
            ext4_sync_file(inode, 0, 2)
        mirror = mirror_of(machine, mm, Counting)
        assert madvise_remove(mm, 0, 1) == 0 and mirror.calls == calls
        assert inode.blocks[0] == 0 and inode.pages[0] is None and cpu_read(mm, 0) == 0


def test_a_release_that_writes_back_first_shows_it_only_to_who_is_told() -> None:
    s = Recorder()
    file = s.disk_file(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    s.disk_file_punch_hole(file, page=0, into="hole")
    s.read(a, into="last")
    recorded = s.scenario("a_dirty_hole", "")
    assert only_outcome(recorded) == only_outcome(recorded, release="6.1") and dict(only_outcome(recorded))["last"] == "\0"


class MayNotBeCalled(Mirror):
    """Nothing is said to it."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        """It breaks a rule."""
        with atomic:
            require(False, "test", "the callback runs")
        return True


@pytest.mark.parametrize("page, verdict", [(0, Verdict.BROKEN), (1, Verdict.HOLDS)])
def test_of_a_hole_behind_the_end_nobody_is_told(page: int, verdict: Verdict) -> None:
    """Seen on a real 6.12 (drawn scenario forced_3_1804)."""
    s = Recorder()
    a = s.mmap(s.disk_file(pages=1), pages=2)
    s.read(a)
    s.device()

    @s.thread
    def hole() -> None:
        s.madvise_remove(a + page, pages=2 - page, into="hole")

    found, _ = outcomes(s.scenario("behind_the_end", ""), MayNotBeCalled)
    assert found.verdict is verdict


@pytest.mark.parametrize("asks", ["fault", "first write", "hole"])
def test_who_waits_for_a_page_keeps_it_from_being_moved(asks: str) -> None:
    s = Recorder()
    file = s.disk_file(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    s.msync(a)
    b = s.mmap(file)

    @s.thread
    def moves() -> None:
        s.move_pages(a, into="moved")

    @s.thread
    def waits() -> None:
        if asks == "hole":
            s.disk_file_punch_hole(file, page=0)
        elif asks == "fault":
            s.read(b, into="b")
        else:
            s.write(a, "b")

    _, seen = outcomes(s.scenario("a_page_is_moved", ""))
    assert {dict(one)["moved"] for one in seen} >= {"ok", "-EAGAIN"}


def test_an_entry_becomes_writable_again_only_if_its_page_is_dirty() -> None:
    with a_file() as (_, mm, inode):
        for value, dirty in ((None, False), (B, True)):
            if value is not None:
                cpu_write(mm, 0, value)
            do_mprotect_pkey(mm, 0, 2, False, 0, 2)
            do_mprotect_pkey(mm, 0, 2, True, 0, 2)
            assert mm.ptes[0].writable == dirty == page_of(inode).dirty
        do_mprotect_pkey(mm, 0, 2, False, 0, 2)
        ext4_sync_file(inode, 0, 2)
        do_mprotect_pkey(mm, 0, 2, True, 0, 2)
        assert not mm.ptes[0].writable and not mm.ptes[0].dirty, "cleaned meanwhile, though no entry might write"


def test_a_page_that_moves_to_another_frame_or_address_stays_dirty() -> None:
    with a_file(pages=4, vmas=4) as (_, mm, inode):
        cpu_write(mm, 0, B)
        old = page_of(inode)
        assert move_page(mm, 0) == 0 and page_of(inode) is not old and page_of(inode).dirty and inode.buffers[0] and mm.ptes[0].writable
        assert mremap_to(mm, 0, 2, 2, 0, 2) == 2
        assert mm.ptes[2].dirty and mm.ptes[2].writable and not mm.ptes[0].dirty
        ext4_sync_file(inode, 0, 2)
        assert inode.blocks[0] == B and not mm.ptes[2].writable


def writes_and_syncs(mm: Mm, value: Char) -> None:
    """A store and msync(): it is on the disk."""
    cpu_write(mm, 0, value)
    msync(mm, 0, 1)


def drops(mm: Mm, inode: Ext4Inode) -> None:
    """The page is taken out of memory, if it can be, and read again."""
    madvise_pageout(mm, 0, 1)
    generic_fadvise_dontneed(inode, 0, 1)
    found = cpu_read(mm, 0)
    with atomic:
        require(found in (A, B, C), "test", "what was there is lost")


def test_stores_writeback_and_dropping_beside_each_other_lose_nothing() -> None:
    with a_file(pages=2, frames=5) as (machine, mm, inode):
        found = search(machine, (writes_and_syncs, (mm, B)), (drops, (mm, inode)), rules=[saved_before_it_is_dropped])
        assert found.verdict is Verdict.HOLDS and found.states > 500, found.violation
        found = search(machine, (cpu_write, (mm, 0, B)), (ext4_sync_file, (inode, 0, 1)), (ext4_sync_file, (inode, 0, 1)), rules=[saved_before_it_is_dropped])
        assert found.verdict is Verdict.HOLDS, found.violation


def test_holes_beside_writeback_faults_and_unmapping() -> None:
    with a_file(pages=2, frames=5) as (machine, mm, inode):
        hole = (madvise_remove, (mm, 0, 1))
        for other in ((ext4_sync_file, (inode, 0, 1)), (vm_munmap, (mm, 0, 1)), (madvise_pageout, (mm, 0, 1))):
            found = search(machine, hole, (cpu_write, (mm, 0, B)), other, rules=[saved_before_it_is_dropped])
            assert found.verdict is Verdict.HOLDS, found.violation


def test_a_scenario_in_plain_system_calls() -> None:
    s = Recorder()
    file = s.disk_file(pages=1)
    a = s.mmap(file)
    s.write(a, "A")
    s.msync(a)

    @s.thread
    def writer() -> None:
        s.write(a, "B")
        s.fsync(file, into="synced")

    @s.thread
    def dropper() -> None:
        s.fadvise_dontneed(file, page=0)
        s.pread(file, page=0, into="read")

    with s.after():
        s.munmap(a)
        s.fadvise_dontneed(file, page=0)
        s.pread(file, page=0, into="last")
    found, seen = outcomes(s.scenario("file", ""))
    assert found.verdict is Verdict.HOLDS
    assert {(dict(one)["read"], dict(one)["last"]) for one in seen} == {("A", "B"), ("B", "B")}


def test_a_scenario_of_a_pin() -> None:
    s = Recorder()
    file = s.disk_file(pages=1)
    a = s.mmap(file)
    s.pin(a, longterm=True, into="long")
    pin = s.pin(a)
    s.fsync(file)
    pin.write(0, "D")
    pin.unpin()
    s.disk_file_punch_hole(file, page=0, into="hole")
    s.pread(file, page=0, into="read")
    assert dict(only_outcome(s.scenario("pin", ""))) == {"long": "-EFAULT", "hole": "ok", "read": "\0"}


def test_blocks_have_no_halves() -> None:
    s = Recorder()
    a = s.mmap(s.disk_file(pages=1))
    s.write_half(a, "B")
    with pytest.raises(ScenarioError, match="a block has no halves"):
        only_outcome(s.scenario("halves", ""))


@pytest.mark.parametrize("adversary, name", [("munmap", "munmap: writes"), ("punch-hole", "punch-hole: writes")])
def test_where_no_file_is_written_back_there_is_nothing_of_it(adversary: str, name: str) -> None:
    one = next(s for s in ADVERSARIES[adversary].scenarios if s.name == name)
    written = driver_program(Mirror, one, rules_for(Mirror), {}, False).layout.written
    assert written is not None and written
    assert not any(record.endswith("Ext4Inode") for record, _ in written)
    assert {field for _, field in written}.isdisjoint({"dirty", "buffers", "blocks", "writeback", "index"})


@pytest.mark.parametrize("driver, bounds, rule", [(Pins, {}, None), (Pins, {"longterm_pins_write_files": 1}, "lost-write"), (MarksNoFile, {}, "lost-write")])
def test_who_pins_for_long_loses_what_is_written_unless_it_is_refused(driver: type[Pins], bounds: dict[str, int], rule: str | None) -> None:
    """As before Linux 6.5, whatever the driver says of the page when it pins it: it has the page for longer than it is dirty."""
    one = next(s for s in ADVERSARIES["writeback"].scenarios if "then closes" in s.name)
    result = check_scenario(driver, "writeback", one, rules_for(driver), bounds=bounds).result
    assert result.verdict.value == ("holds" if rule is None else "broken"), result.violation
    assert result.violation is None or result.violation.rule == rule
