"""A file system's memory that processes map: a hole waits for those who use a page, and the other way round nobody may hold one for long."""

from __future__ import annotations

import pytest
from linux_world import RULES, A, Mirror, device_main, mirror_of, search, world

from secondsight.lang.errors import RuleBroken
from secondsight.linux import ENODEV, EOPNOTSUPP, SIGBUS
from secondsight.linux.dax import dax_mmap, dev_dax_probe
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.fs_dax import FsDaxFile, ext4_fallocate_punch_hole, ext4_punch_hole, fs_dax_create
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, pin_user_pages_fast, unpin_user_page
from secondsight.linux.madvise_remove import madvise_remove
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import ZERO_PFN, frame_touch, frames, zone
from secondsight.scenario import Recorder
from secondsight.search import Verdict
from secondsight.world.model import only_outcome, outcomes
from secondsight.world.settled import ForcedModel

SIZES = {"pages": 2, "file_pages": 1, "fs_dax_files": 1, "frames": 4}


def test_a_mapping_holds_no_reference_and_a_hole_takes_the_block() -> None:
    with world(**SIZES) as (_, mm):
        file = fs_dax_create(1)
        assert do_mmap(mm, 0, 2, file, 0, True) == 0
        assert cpu_write(mm, 0, A) == 0 and cpu_read(mm, 0) == A and cpu_read(mm, 1) == -SIGBUS
        page, free = file.blocks[0], zone.nr_free
        assert page is not None and mm.ptes[0].frame is page and page.refcount == 1
        ext4_fallocate_punch_hole(file, 0, 2)
        assert mm.ptes[0].frame is None and zone.nr_free == free + 1
        assert cpu_read(mm, 0) == 0 and mm.ptes[0].frame is frames[ZERO_PFN], "no block is needed to read zeros"
        assert cpu_write(mm, 0, A) == 0 and zone.nr_free == free and mm.ptes[0].frame is file.blocks[0]


def test_it_is_a_regular_file_into_which_advice_punches_a_hole() -> None:
    """MADV_REMOVE goes the way of fallocate(): it waits for who holds the page, and gives the block back. A device's own memory is no regular file."""
    with world(**SIZES, pagemaps=1, dax_devices=1) as (machine, mm):
        file = fs_dax_create(1)
        do_mmap(mm, 0, 1, file, 0, True)
        cpu_write(mm, 0, A)
        free = zone.nr_free
        assert search(machine, (uses_for_a_moment, (mm,)), (madvise_remove, (mm, 0, 1))).verdict is Verdict.HOLDS
        assert madvise_remove(mm, 0, 1) == 0 and zone.nr_free == free + 1 and file.blocks[0] is None
        assert cpu_read(mm, 0) == 0
        dax_mmap(dev_dax_probe(1), mm, 1, 1, 0, True)
        assert madvise_remove(mm, 1, 1) == -ENODEV


def test_it_is_pinned_for_a_moment_alone() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, fs_dax_create(1), 0, True)
        assert pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM) == -EOPNOTSUPP
        pfn = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)
        assert frames[pfn].refcount == 2 and frames[pfn] is mm.ptes[0].frame


def test_it_is_pinned_without_the_mmap_lock_if_it_is_there_and_not_for_long() -> None:
    """gup_fast_pte_range() takes an entry that is pte_devmap; what is asked for for long goes the slow way, which takes the lock."""
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, fs_dax_create(1), 0, True)
        cpu_write(mm, 0, A)
        mm.mmap_lock.write_lock()
        pfn = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)
        assert frames[pfn] is mm.ptes[0].frame and frames[pfn].refcount == 2
        with pytest.raises(RuleBroken, match="double-lock"):
            pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM)


def test_what_is_special_and_no_file_systems_goes_the_slow_way() -> None:
    """A device's own memory, beside a file of a file system's."""
    with world(**SIZES, pagemaps=1, dax_devices=1) as (_, mm):
        fs_dax_create(1)
        dax_mmap(dev_dax_probe(1), mm, 0, 1, 0, True)
        cpu_write(mm, 0, A)
        mm.mmap_lock.write_lock()
        with pytest.raises(RuleBroken, match="double-lock"):
            pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)


def uses_for_a_moment(mm: Mm) -> None:
    """Direct I/O: pin, use, unpin."""
    pfn = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)
    if pfn >= 0:
        frame_touch(frames[pfn], True)
        unpin_user_page(frames[pfn])


def keeps(mm: Mm) -> None:
    """A driver that does not say FOLL_LONGTERM, and never gives the page back."""
    pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)


def punches_at_once(file: FsDaxFile) -> None:
    """A file system that waits for nobody, as before there were layout breaks."""
    file.invalidate_lock.write_lock()
    ext4_punch_hole(file, 0, 1)
    file.invalidate_lock.write_unlock()


def test_a_hole_waits_for_who_uses_the_page() -> None:
    with world(**SIZES) as (machine, mm):
        file = fs_dax_create(1)
        do_mmap(mm, 0, 1, file, 0, True)
        punch = (ext4_fallocate_punch_hole, (file, 0, 1))
        assert search(machine, (uses_for_a_moment, (mm,)), punch, (cpu_write, (mm, 0, A))).verdict is Verdict.HOLDS
        found = search(machine, (uses_for_a_moment, (mm,)), (punches_at_once, (file,)))
        assert found.verdict is Verdict.BROKEN and found.violation is not None and found.violation.rule == "dax-page-is-free"
        found = search(machine, (keeps, (mm,)), punch)
        assert found.verdict is Verdict.BROKEN and found.violation is not None and found.violation.rule == "deadlock"


def test_a_mirror_lets_go_when_it_is_told() -> None:
    with world({Mirror: 1}, **SIZES) as (machine, mm):
        file = fs_dax_create(1)
        do_mmap(mm, 0, 1, file, 0, True)
        mirror = mirror_of(machine, mm)
        assert search(machine, (device_main, (mirror, 0, 1)), (ext4_fallocate_punch_hole, (file, 0, 1)), rules=RULES).verdict is Verdict.HOLDS


def test_a_scenario() -> None:
    """What is read from a disk comes before the hole, or after it; a pin for long is refused."""
    s = Recorder()
    file = s.fs_dax(pages=1)
    a = s.mmap(file)
    s.pin(a, longterm=True, into="pinned")

    @s.thread
    def disk() -> None:
        s.direct_read(a, "d", into="read")

    @s.thread
    def other() -> None:
        s.fs_dax_punch_hole(file, page=0, into="hole")

    with s.after():
        s.read_half(a, into="last")
    found, seen = outcomes(s.scenario("fs_dax", ""))
    assert found.verdict is Verdict.HOLDS
    assert {(dict(one)["read"], dict(one)["hole"], dict(one)["last"]) for one in seen} == {("ok", "ok", "d"), ("ok", "ok", "\0")}
    assert all(dict(one)["pinned"] == "-EOPNOTSUPP" for one in seen)


def test_who_reads_a_hole_has_the_zero_page_until_somebody_writes() -> None:
    """Every mapping's entry of it goes then, and subscribers are told; an entry that came by a read hears of the first write, and nobody is told."""
    with world(**{**SIZES, "pages": 3}) as (_, mm):
        file = fs_dax_create(1)
        do_mmap(mm, 0, 1, file, 0, True)
        do_mmap(mm, 2, 1, file, 0, True)
        ext4_fallocate_punch_hole(file, 0, 1)
        assert cpu_read(mm, 0) == 0 and cpu_read(mm, 2) == 0 and mm.ptes[2].frame is frames[ZERO_PFN]
        pfn = pin_user_pages_fast(mm, 2, FOLL_PIN)
        assert frames[pfn] is frames[ZERO_PFN]
        assert cpu_write(mm, 0, A) == 0 and mm.ptes[2].frame is None and cpu_read(mm, 2) == A
        assert mm.ptes[0].writable and not mm.ptes[2].writable
        assert cpu_write(mm, 2, A) == 0 and mm.ptes[2].writable and mm.ptes[2].frame is mm.ptes[0].frame
        ext4_fallocate_punch_hole(file, 0, 1)


def test_a_forks_child_has_no_entries_of_it() -> None:
    """vma_needs_copy(): only a PFN mapping's, and what may be a private page."""
    with world(**SIZES, mms=2, vmas=4) as (_, mm):
        do_mmap(mm, 0, 1, fs_dax_create(1), 0, True)
        assert cpu_write(mm, 0, A) == 0
        child = mm_alloc()
        dup_mmap(child, mm)
        assert mm.ptes[0].frame is not None and child.ptes[0].frame is None and cpu_read(child, 0) == A


@pytest.mark.parametrize(("older", "write", "calls"), [(0, True, 2), (1, True, 3), (0, False, 2), (1, False, 2)])
def test_older_releases_write_back_first_what_goes_with_a_hole(older: int, write: bool, calls: int) -> None:
    """Seen on a real 6.1 (drawn forced runs): who mirrors the page hears of its being cleaned, and then of its going, when users are looked for and when it goes."""
    with world({Mirror: 1}, **SIZES | {"dax_tags": older}) as (machine, mm):
        file = fs_dax_create(1)
        do_mmap(mm, 0, 1, file, 0, True)
        assert (cpu_write(mm, 0, A) if write else cpu_read(mm, 0)) == 0
        mirror = mirror_of(machine, mm)
        ext4_fallocate_punch_hole(file, 0, 1)
        assert mirror.calls == calls and mm.ptes[0].frame is None
        assert cpu_read(mm, 0) == 0 and file.blocks[0] is frames[ZERO_PFN]


def test_who_faults_while_a_page_is_written_back_waits() -> None:
    """And may write it afterwards: the hole comes before, or after, and nobody waits for ever."""
    with world({Mirror: 1}, **SIZES | {"dax_tags": 1}) as (machine, mm):
        file = fs_dax_create(1)
        do_mmap(mm, 0, 1, file, 0, True)
        assert cpu_write(mm, 0, A) == 0
        mirror = mirror_of(machine, mm)
        hole = (ext4_fallocate_punch_hole, (file, 0, 1))
        assert search(machine, (device_main, (mirror, 0, 1)), hole, (cpu_write, (mm, 0, A)), rules=RULES).verdict is Verdict.HOLDS


def test_a_release_that_writes_back_first_asks_subscribers_once_more() -> None:
    """A forced run stops the hole at each call: three on Linux 6.1, two later."""
    s = Recorder()
    file = s.fs_dax(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    s.device()

    @s.thread
    def hole() -> None:
        s.fs_dax_punch_hole(file, page=0)

    for release, calls in (("6.1", 3), ("6.12", 2)):
        model = ForcedModel(s.scenario("a_dirty_hole", ""), release=release)
        (node,), entered = model.start().settled, 0
        while model.held(node):
            (node,) = model.release(node, "hole").settled
            entered += model.places_of(node)["hole"] == "invalidate_enter"
        assert entered == calls


@pytest.mark.parametrize("release", [None, "6.1.192", "7.2.13"])
def test_nobody_pins_it_for_long_on_any_release(release: str | None) -> None:
    """Nor where the mapping may only be read. Drawn: sequential, seed 1, number 12494 on Linux 6.1."""
    s = Recorder()
    a = s.mmap(s.fs_dax(pages=1), pages=1)
    s.pin(a, longterm=True, write=True)
    s.mprotect(a, write=False)
    s.pin(a, longterm=True, write=True)
    answers = [value for name, value in only_outcome(s.scenario("pinned", ""), release) if name.endswith("pin")]
    assert answers == ["-EOPNOTSUPP", "-EOPNOTSUPP"]
