"""Files that are cut and that grow: what is behind the end, seals, and faults that race with it."""

from __future__ import annotations

import pytest
from linux_world import A, B, C, Mirror, free_frames, mirror_of, search, world

from secondsight import Machine as HandMachine
from secondsight.agree.generate import DrawnKind, scenario_of
from secondsight.contract import check
from secondsight.devices.device import Device
from secondsight.devices.small import MirrorInParts, RemembersFailures, RemembersTheEnd
from secondsight.lang import LangError, require
from secondsight.linux.errno import EINVAL, ENOSPC, EPERM, SIGBUS
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.gup import memfd_pin_folio, unpin_folio
from secondsight.linux.hugetlb import HugetlbFile, hugetlb_file_setup, hugetlbfs_fallocate, hugetlbfs_setattr
from secondsight.linux.hugetlb_pool import hstates, set_max_huge_pages
from secondsight.linux.memfd import memfd_create
from secondsight.linux.memory_zap import unmap_mapping_range
from secondsight.linux.mm_flags import MAP_PRIVATE
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.shmem import (
    F_SEAL_GROW,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    ShmemFile,
    shmem_fallocate_punch_hole,
    shmem_undo_range,
)
from secondsight.linux.shmem_size import i_size_write, shmem_fallocate, shmem_setattr
from secondsight.scenario import Recorder, Scenario, ScenarioError, scenario
from secondsight.search import Verdict
from secondsight.world.encoder import Encoder
from secondsight.world.model import only_outcome, outcomes, program

SIZES = {"resizes": 1, "files": 1, "file_pages": 3, "fallocated_pages": 3}
HUGE = {"resizes": 1, "huge": 1, "pmds": 2, "pages": 4, "vmas": 6, "file_pages": 4, "hugetlb_files": 1, "hugetlb_pages": 2, "frames": 8}


def test_what_is_behind_the_end_is_gone_and_comes_back_as_a_hole() -> None:
    with world({Mirror: 1}, pages=2, subscribers=1, **SIZES) as (machine, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True)
        for va in range(2):
            cpu_write(mm, va, A)
        mirror, before = mirror_of(machine, mm), free_frames()
        assert shmem_setattr(file, 1) == 0
        assert (file.nr_pages, file.pages[1], free_frames()) == (1, None, before + 1)
        assert mirror.calls == 2, "unmapped twice: before the pages go, and after"
        assert (cpu_read(mm, 0), cpu_read(mm, 1), cpu_write(mm, 1, B)) == (A, -SIGBUS, -SIGBUS)
        assert shmem_setattr(file, 3) == 0 and mirror.calls == 2
        assert (cpu_read(mm, 1), cpu_read(mm, 0)) == (0, A)


def test_copies_of_private_mappings_go_with_the_end_and_stay_beside_a_hole() -> None:
    with world(pages=2, cow=1, vma_flags=1, frames=8, **SIZES) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True, MAP_PRIVATE)
        for va in range(2):
            cpu_write(mm, va, A)
        assert shmem_fallocate_punch_hole(file, 0, 2) == 0
        assert (cpu_read(mm, 0), cpu_read(mm, 1)) == (A, A)
        assert shmem_setattr(file, 1) == 0
        assert (cpu_read(mm, 0), cpu_read(mm, 1)) == (A, -SIGBUS)


@pytest.mark.parametrize(
    ("seals", "smaller", "same", "larger"),
    [(0, 0, 0, 0), (F_SEAL_SHRINK, -EPERM, 0, 0), (F_SEAL_GROW, 0, 0, -EPERM), (F_SEAL_SHRINK | F_SEAL_GROW, -EPERM, 0, -EPERM), (F_SEAL_WRITE, 0, 0, 0)],
)
def test_seals_forbid_what_they_are_named_after(seals: int, smaller: int, same: int, larger: int) -> None:
    for size, answer in ((1, smaller), (2, same), (3, larger)):
        with world(**SIZES):
            file = memfd_create(2, seals)
            assert shmem_setattr(file, size) == answer
            assert file.nr_pages == (size if answer == 0 else 2)
    for keep in (False, True):
        with world(**SIZES):
            file = memfd_create(2, seals)
            assert shmem_fallocate(file, 1, 2, keep) == larger
            assert file.nr_pages == (3 if larger == 0 and not keep else 2)
            assert shmem_fallocate(file, 0, 2, keep) == 0


def test_pages_kept_behind_the_end_are_no_memory_and_go_when_the_size_is_set_to_what_it_is() -> None:
    with world(pages=3, **SIZES) as (_, mm):
        file = memfd_create(1, 0)
        do_mmap(mm, 0, 3, file, 0, True)
        before = free_frames()
        assert shmem_fallocate(file, 0, 3, True) == 0 and free_frames() == before - 3
        assert (cpu_read(mm, 0), cpu_read(mm, 1), file.nr_pages) == (0, -SIGBUS, 1)
        assert shmem_setattr(file, 1) == 0 and free_frames() == before - 1
        assert list(file.fallocated) == [False] * 3


def test_what_fallocate_adds_is_zeroed_when_it_is_asked_for_and_not_mapped_in_passing() -> None:
    with world(pages=2, **SIZES) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True)
        assert shmem_fallocate(file, 0, 2, False) == 0 and list(file.fallocated) == [True, True, False]
        assert cpu_read(mm, 0) == 0
        assert (file.fallocated[0], file.fallocated[1], mm.ptes[1].frame) == (False, True, None)
        assert shmem_fallocate(file, 1, 1, False) == 0 and not file.fallocated[1]


def test_a_pinned_page_leaves_the_file_that_is_cut_and_lives_on() -> None:
    with world(pages=2, **SIZES) as (_, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True)
        cpu_write(mm, 1, A)
        pinned = memfd_pin_folio(file, 1)
        assert shmem_setattr(file, 0) == 0
        assert (pinned.refcount, pinned.pins, pinned.contents) == (1, 1, A)
        unpin_folio(pinned)
        assert pinned.refcount == 0


# Every interleaving.


def cut(file: ShmemFile, mm: Mm) -> None:
    require(shmem_setattr(file, 1) == 0, "cut", "the file was not cut")
    require(file.pages[1] is None, "gone", "a page is in the file behind its end")
    require(mm.ptes[1].frame is None, "unmapped", "a page behind the end is mapped")


def use(mm: Mm, write: bool) -> None:
    if write:
        got = cpu_write(mm, 1, B)
    else:
        got = cpu_read(mm, 1)
    require(got == -SIGBUS or got == (0 if write else A), "value", "neither what was there nor SIGBUS")


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("write", [False, True])
def test_no_fault_leaves_anything_behind_the_end(private: bool, write: bool) -> None:
    """A fault that has looked at the size before the cut may map the page after the first unmapping, or a copy of it."""
    with world(pages=2, cow=1, vma_flags=1, frames=8, **SIZES) as (machine, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True, MAP_PRIVATE if private else 0)
        page = memfd_pin_folio(file, 1)
        page.contents = A
        unpin_folio(page)
        found = search(machine, (cut, (file, mm)), (use, (mm, write)))
    assert found.verdict is Verdict.HOLDS


def test_a_copy_that_is_made_beside_the_cut_would_stay_without_the_second_unmapping() -> None:
    """Why truncation unmaps twice (mm/shmem.c: "unmap again to remove racily COWed private pages")."""
    with world(pages=2, cow=1, vma_flags=1, frames=8, **SIZES) as (machine, mm):
        file = memfd_create(2, 0)
        do_mmap(mm, 0, 2, file, 0, True, MAP_PRIVATE)
        memfd_pin_folio(file, 1)
        found = search(machine, (cut_unmapping_once, (file, mm)), (use, (mm, True)))
    assert found.verdict is Verdict.BROKEN and found.violation is not None and found.violation.rule == "unmapped"


def cut_unmapping_once(file: ShmemFile, mm: Mm) -> None:
    file.i_rwsem.write_lock()
    i_size_write(file, 1)
    unmap_mapping_range(file, 1, 15, True)
    shmem_undo_range(file, 1, 2)
    file.i_rwsem.write_unlock()
    require(mm.ptes[1].frame is None, "unmapped", "a page behind the end is mapped")


def test_who_was_about_to_map_a_page_maps_it_although_another_was_refused_already() -> None:
    """The fault has looked at the size before it was written: the page that it finds it maps, until truncation comes to it."""

    @scenario
    def late(s: Recorder) -> None:
        fd = s.memfd_create(pages=2)
        a, told = s.mmap(fd), s.mmap(pages=1)
        s.write(a, "a", pages=2)
        s.madvise_dontneed(a, pages=2)

        @s.thread
        def cuts() -> None:
            s.ftruncate(fd, 1)

        @s.thread
        def writes() -> None:
            s.write(a + 1, "b", into="late")
            s.read(told, into="was_told")
            s.read(a + 1, into="found")

        @s.thread
        def tries() -> None:
            s.read(a + 1, into="refused")
            s.write(told, "t")

    seen = {(d["late"], d["refused"], d["was_told"], d["found"]) for d in map(dict, outcomes(late)[1])}
    assert ("ok", "SIGBUS", "t", "b") in seen


# Files of huge pages.


def mapped(mm: Mm, seals: int = 0) -> HugetlbFile:
    """A file of two huge pages with its mapping, written."""
    file = hugetlb_file_setup(4, seals)
    do_mmap(mm, 0, 4, file, 0, True)
    for va in range(4):
        assert cpu_write(mm, va, A) == 0
    return file


def test_a_file_of_huge_pages_is_cut_between_them() -> None:
    with world(**HUGE) as (_, mm):
        file, before = mapped(mm), free_frames()
        assert [hugetlbfs_setattr(file, size) for size in (1, 3, 5)] == [-EINVAL] * 3
        assert hugetlbfs_setattr(file, 2) == 0 and free_frames() == before + 2
        assert (cpu_read(mm, 1), cpu_read(mm, 2)) == (A, -SIGBUS)
        assert hugetlbfs_setattr(file, 4) == 0 and cpu_read(mm, 3) == 0
    for seals, size in ((F_SEAL_SHRINK, 2), (F_SEAL_GROW, 6)):
        with world(**HUGE):
            assert hugetlbfs_setattr(hugetlb_file_setup(4, seals), size) == -EPERM


def test_a_mapping_that_may_write_makes_a_file_of_huge_pages_larger_whatever_its_seals_say() -> None:
    with world(**HUGE) as (_, mm):
        file = hugetlb_file_setup(2, F_SEAL_GROW)
        do_mmap(mm, 0, 4, file, 0, False)
        assert file.nr_pages == 2 and cpu_read(mm, 2) == -SIGBUS
        vm_munmap(mm, 0, 4)
        do_mmap(mm, 0, 4, file, 0, True)
        assert file.nr_pages == 4 and cpu_read(mm, 2) == 0


def test_a_huge_page_that_is_kept_behind_the_end_is_memory() -> None:
    with world(**HUGE) as (_, mm):
        file = hugetlb_file_setup(2, 0)
        do_mmap(mm, 0, 4, file, 0, False)
        assert hugetlbfs_fallocate(file, 2, 1, True) == 0
        assert (file.nr_pages, cpu_read(mm, 3), file.has_page(3)) == (2, 0, True)
        assert hugetlbfs_setattr(file, 2) == 0 and cpu_read(mm, 3) == -SIGBUS
        assert hugetlbfs_fallocate(file, 2, 1, False) == 0 and file.nr_pages == 3


def test_what_is_reserved_behind_the_end_is_given_back() -> None:
    with world(**HUGE, hugetlb_pool=1, hugetlb_regions=2) as (_, mm):
        set_max_huge_pages(2)
        file = hugetlb_file_setup(4, 0)
        do_mmap(mm, 0, 4, file, 0, True)
        assert hstates[0].resv_huge_pages == 2 and cpu_write(mm, 2, C) == 0
        assert hugetlbfs_setattr(file, 0) == 0
        assert (hstates[0].resv_huge_pages, hstates[0].free_huge_pages) == (0, 2)
        set_max_huge_pages(1)
        assert hugetlbfs_fallocate(file, 0, 4, False) == -ENOSPC
        assert file.pages[0] is not None and file.nr_pages == 0


# Scenarios, and drivers.


def test_a_scenario_that_changes_no_size_has_nothing_of_it() -> None:
    @scenario
    def punches(s: Recorder) -> None:
        fd = s.memfd_create(pages=1)
        s.mmap(fd)
        s.fallocate_punch_hole(fd, page=0)

    @scenario
    def cuts(s: Recorder) -> None:
        fd = s.memfd_create(pages=1)
        s.mmap(fd)
        s.ftruncate(fd, 0)

    def sizes(of: Scenario) -> dict[str, int]:
        return {name: number for name, number in Encoder(of).bounds(None, {}).items() if name in ("resizes", "fallocated_pages")}

    assert sizes(punches) == {"resizes": 0, "fallocated_pages": 0}
    assert sizes(cuts) == {"resizes": 1, "fallocated_pages": 0}
    assert program(punches).size < program(cuts).size


def test_a_file_that_has_grown_may_be_used_to_its_new_end() -> None:
    @scenario
    def grows(s: Recorder) -> None:
        fd = s.memfd_create(pages=1)
        s.fallocate(fd, page=1, pages=2)
        assert fd.pages == 3
        a = s.mmap(fd)
        s.write(a + 2, "c")
        s.fallocate_punch_hole(fd, page=2)
        s.read(a + 2, into="hole")

    assert dict(only_outcome(grows)) == {"hole": "\0"}


def test_a_size_that_no_file_can_have_is_refused() -> None:
    s = Recorder()
    fd = s.memfd_create(pages=1)
    with pytest.raises(ScenarioError, match="pages: 16 is not a number of pages that a file is to have"):
        s.ftruncate(fd, 16)
    with pytest.raises(ScenarioError, match="pages: -1 is not"):
        s.ftruncate(fd, -1)
    s.fallocate(fd, page=14, pages=4)
    with pytest.raises(LangError, match="file_pages"):
        only_outcome(s.scenario("too_large", ""))


def test_by_hand() -> None:
    machine = HandMachine(frames=12)
    p = machine.process()
    fd = p.memfd_create(2)
    a = p.mmap(fd, pages=3)
    assert [p.write(a, "a", pages=2), p.ftruncate(fd, 1), p.read(a + 1), p.read(a)] == ["ok", "ok", "SIGBUS", "a"]
    assert [p.fallocate(fd, page=1, pages=2), p.write(a + 2, "c", pages=1), p.read(a + 1)] == ["ok", "ok", "0"]
    with pytest.raises(LangError, match="file_pages"):
        p.ftruncate(fd, 15)


def test_drawn_scenarios_change_sizes_of_every_kind_of_memfd() -> None:
    kinds: tuple[DrawnKind, ...] = ("sequential", "free", "forced")
    for kind in kinds:
        drawn = [{place.op.kind for place in scenario_of(kind, 1, index).places()} for index in range(200)]
        assert {"ftruncate", "fallocate"} <= set().union(*drawn)
        assert any({"ftruncate", "memfd_create_hugetlb"} <= names for names in drawn)


@pytest.mark.parametrize("driver", [MirrorInParts, RemembersFailures])
def test_drivers_that_forget_what_they_failed_survive_a_file_that_is_cut(driver: type[Device]) -> None:
    assert {c.result.verdict for c in check(driver, ["truncate"])} == {Verdict.HOLDS}


def test_a_driver_that_remembers_the_end_of_a_file_is_caught() -> None:
    found = [c.result for c in check(RemembersTheEnd, ["truncate"])]
    assert {r.violation.rule for r in found if r.violation is not None} == {"as-if-cpu"}
