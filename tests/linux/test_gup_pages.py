"""Several pages pinned in one call: by hand, and what a driver makes of fewer than it asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from linux_world import A, search, world

from secondsight.contract.check import check
from secondsight.devices.small.pinning import KeepsAPartOfItsPages, Pins, PinsAllOrNothing, PinsSeveral, TakesAShortCountForAll
from secondsight.lang import Record, shared
from secondsight.lang.errors import RuleBroken
from secondsight.linux import EFAULT, EINVAL, ENOMEM
from secondsight.linux.fault import cpu_write
from secondsight.linux.gup import FOLL_LONGTERM, FOLL_PIN, FOLL_WRITE, get_user_page_vma_remote, pin_user_pages_fast
from secondsight.linux.gup_pages import (
    PageArray,
    get_user_pages,
    get_user_pages_fast_only,
    get_user_pages_unlocked,
    gup_fast_fallback,
    pin_user_pages,
    pin_user_pages_unlocked,
    unpin_user_pages,
)
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mmzone import in_pageblock
from secondsight.linux.page_alloc import frames, get_page

WRITE, LONG = FOLL_PIN | FOLL_WRITE, FOLL_PIN | FOLL_WRITE | FOLL_LONGTERM


class Asks(Record):
    """Who asks for pages."""

    pages: PageArray


asks = shared(Asks)


@contextmanager
def memory(mapped: int = 3, **more: int) -> Iterator[Mm]:
    """A process with so many private pages from 0 on, of three that it has room for; the first is there."""
    with world(None, **({"frames": 6, "pages": 3, "pin_pages": 3} | more)) as (_, mm):
        do_mmap(mm, 0, mapped, None, 0, True)
        cpu_write(mm, 0, A)
        yield mm


def given() -> list[int]:
    """How often each page of the array is pinned."""
    return [folio.pins for folio in asks.pages.folios if folio is not None]


def test_pages_that_are_there_come_without_a_lock_and_the_rest_is_faulted_in() -> None:
    with memory() as mm:
        assert gup_fast_fallback(mm, 0, 3, WRITE, asks.pages) == 3
        assert given() == [1, 1, 1]
        assert [mm.ptes[va].frame for va in range(3)] == list(asks.pages.folios)
        unpin_user_pages(asks.pages, 3)
        assert given() == [0, 0, 0]


@pytest.mark.parametrize("mapped", [1, 2])
def test_the_error_of_a_later_page_is_not_told_and_those_before_it_stay_pinned(mapped: int) -> None:
    with memory(mapped) as mm:
        assert gup_fast_fallback(mm, 0, 3, WRITE, asks.pages) == mapped
        assert given() == [1] * mapped
        unpin_user_pages(asks.pages, mapped)
        mm.mmap_lock.read_lock()
        assert pin_user_pages(mm, 0, 3, FOLL_WRITE, asks.pages) == mapped
        assert get_user_pages(mm, 0, 3, 0, asks.pages) == mapped
        mm.mmap_lock.read_unlock()
        assert given() == [1] * mapped


def test_the_error_of_the_first_page_is_and_so_is_that_behind_the_end() -> None:
    with memory() as mm:
        vm_munmap(mm, 0, 1)
        assert gup_fast_fallback(mm, 0, 3, WRITE, asks.pages) == -EFAULT
        assert gup_fast_fallback(mm, 2, 3, WRITE, asks.pages) == 1


BLOCK = {"frames": 8, "pageblocks": 1, "pageblock_frames": 2, "migrations": 2, "anon_vmas": 1}


def test_one_page_that_must_move_takes_all_others_with_it_and_all_are_pinned_again() -> None:
    with memory(**BLOCK) as mm:
        assert in_pageblock(mm.ptes[0].frame)
        assert gup_fast_fallback(mm, 0, 3, LONG, asks.pages) == 3
        assert given() == [1, 1, 1]
        assert not any(in_pageblock(mm.ptes[va].frame) for va in range(3))
        assert [mm.ptes[va].frame for va in range(3)] == list(asks.pages.folios)


def test_one_page_that_does_not_move_leaves_none_pinned() -> None:
    with memory(**BLOCK) as mm:
        cpu_write(mm, 1, A)
        cpu_write(mm, 2, A)
        folio = mm.ptes[1].frame
        assert folio is not None and in_pageblock(folio) and not in_pageblock(mm.ptes[2].frame)
        get_page(folio)
        assert gup_fast_fallback(mm, 0, 3, LONG, asks.pages) == -ENOMEM
        assert given() == [] and all(frame.pins == 0 for frame in frames)


def test_what_was_had_without_a_lock_stays_where_the_rest_does_not_move() -> None:
    with memory(**BLOCK) as mm:
        assert pin_user_pages_fast(mm, 0, LONG) >= 0  # moved out of the block
        assert not in_pageblock(mm.ptes[0].frame)
        cpu_write(mm, 1, A)
        folio = mm.ptes[1].frame
        assert folio is not None and in_pageblock(folio)
        get_page(folio)
        assert gup_fast_fallback(mm, 0, 2, LONG, asks.pages) == 1
        assert given() == [2]


def test_a_page_that_goes_meanwhile_makes_the_count_short_and_never_a_pin_too_many() -> None:
    def pins(mm: Mm) -> None:
        ret = gup_fast_fallback(mm, 0, 2, WRITE, asks.pages)
        assert ret in (1, 2)
        unpin_user_pages(asks.pages, ret)

    def unmaps(mm: Mm) -> None:
        vm_munmap(mm, 1, 1)

    with world(None, frames=6, pages=2, pin_pages=2) as (machine, mm):
        do_mmap(mm, 0, 2, None, 0, True)
        result = search(machine, (pins, (mm,)), (unmaps, (mm,)))
    assert result.violation is None


@pytest.mark.parametrize(
    ("wrong", "right", "rule"),
    [(TakesAShortCountForAll, PinsSeveral, "assertion"), (KeepsAPartOfItsPages, PinsAllOrNothing, "balance")],
)
def test_a_short_count_is_no_error_and_not_all(wrong: type[Pins], right: type[Pins], rule: str) -> None:
    def broken(driver: type[Pins]) -> set[str]:
        return {one.result.violation.rule for one in check(driver, ["part"]) if one.result.violation is not None}

    assert (broken(wrong), broken(right)) == ({rule}, set())


def test_for_long_pages_are_pinned_and_not_referenced() -> None:
    with memory() as mm:
        assert pin_user_pages_fast(mm, 0, FOLL_WRITE | FOLL_LONGTERM) == -EINVAL
        assert gup_fast_fallback(mm, 0, 2, FOLL_LONGTERM, asks.pages) == -EINVAL
        mm.mmap_lock.read_lock()
        assert get_user_page_vma_remote(mm, 0, FOLL_LONGTERM) == -EINVAL
        assert get_user_pages(mm, 0, 2, FOLL_LONGTERM, asks.pages) == -EINVAL
        assert pin_user_pages(mm, 0, 2, FOLL_WRITE | FOLL_LONGTERM, asks.pages) == 2
        mm.mmap_lock.read_unlock()
        assert given() == [1, 1]


@pytest.mark.parametrize("marks", [True, False])
def test_all_but_pin_user_pages_mark_what_is_to_be_written(marks: bool) -> None:
    with world(None, frames=6, pages=2, pin_pages=2, swap_slots=2) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        folio = mm.ptes[0].frame
        assert folio is not None
        mm.ptes[0].dirty = False  # as after a migration of a clean page: it may be written, and was not
        mm.mmap_lock.read_lock()
        assert (get_user_pages if marks else pin_user_pages)(mm, 0, 1, FOLL_WRITE, asks.pages) == 1
        mm.mmap_lock.read_unlock()
        assert folio.dirty == marks


def test_who_does_not_hold_the_mmap_lock_asks_the_unlocked_forms() -> None:
    with memory() as mm:
        assert get_user_pages_fast_only(mm, 0, 3, FOLL_WRITE, asks.pages) == 1  # no fault
        assert given() == [0]
        assert pin_user_pages_unlocked(mm, 0, 3, FOLL_WRITE, asks.pages) == 3
        assert given() == [1, 1, 1]
        assert get_user_pages_unlocked(mm, 0, 3, FOLL_WRITE, asks.pages) == 3
        assert given() == [1, 1, 1] and mm.mmap_lock.readers == 0


def test_flags_of_its_own_and_such_as_are_not_modelled_are_refused() -> None:
    touch, force = 16, 32
    with memory() as mm:
        assert pin_user_pages_fast(mm, 0, WRITE | touch) == -EINVAL
        assert get_user_pages_unlocked(mm, 0, 1, touch, asks.pages) == -EINVAL
        assert get_user_pages_fast_only(mm, 0, 1, FOLL_LONGTERM, asks.pages) == -EINVAL
        assert pin_user_pages_unlocked(mm, 0, 1, touch, asks.pages) == pin_user_pages(mm, 0, 1, touch, asks.pages) == 0
        for asked in (
            lambda: pin_user_pages_fast(mm, 0, WRITE | force),
            lambda: gup_fast_fallback(mm, 0, 1, WRITE | force, asks.pages),
            lambda: get_user_page_vma_remote(mm, 0, force),
        ):
            with pytest.raises(RuleBroken, match="left-out: asks for pages with a flag that is not modelled"):
                asked()


def test_pages_that_are_there_are_not_had_without_the_mmap_lock_either() -> None:
    """mmap_assert_locked(), whether a fault is needed or not."""
    with memory() as mm:
        for asked in (
            lambda: get_user_page_vma_remote(mm, 0, FOLL_WRITE),
            lambda: pin_user_pages(mm, 0, 1, FOLL_WRITE, asks.pages),
            lambda: get_user_pages(mm, 0, 1, 0, asks.pages),
        ):
            with pytest.raises(RuleBroken, match="lock-not-held: get_user_pages without the mmap lock"):
                asked()
