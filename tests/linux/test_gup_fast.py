"""GUP's walk without a lock, step by step, beside those who take pages, page tables and permissions away; and the forms that it had before."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from linux_world import RULES, A, B, broken_rule, world

from secondsight.lang import U8, Record, Ref, atomic, require, shared
from secondsight.lang.program import Thread
from secondsight.linux import EFAULT
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.gup import FOLL_PIN, FOLL_WRITE, pin_user_pages_fast, unpin_user_page
from secondsight.linux.gup_pages import PageArray, gup_fast_fallback, unpin_user_pages
from secondsight.linux.khugepaged import madvise_collapse
from secondsight.linux.madvise import madvise_dontneed
from secondsight.linux.mm_types import Folio, Mm
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mprotect import do_mprotect_pkey
from secondsight.linux.page_alloc import frames, is_zero_page, page_folio

HUGE = {"huge": 1, "pmds": 1, "pages": 2, "frames": 8, "vma_flags": 1, "vmas": 4, "cow": 1, "detached_tables": 1, "pin_pages": 2, "gup_fast_steps": 1, "gup_walks": 1}
SMALL = {"mms": 2, "pages": 1, "frames": 6, "vmas": 4, "cow": 1, "prot_none": 1, "gup_fast_steps": 1}


class Pinned(Record):
    """The pages that were pinned, and how many threads have ended."""

    pages: PageArray
    folio: Ref[Folio]
    child: Ref[Mm]
    ended: U8


pinned = shared(Pinned)


@atomic
def ends(mm: Mm) -> None:
    """A thread has; when both have, what is pinned must be the process's own."""
    pinned.ended += 1
    folio = pinned.folio
    if pinned.ended == 2 and folio is not None:
        require(mm.ptes[len(mm.ptes) - 1].frame is folio, "pin-differs", "the page that is pinned is not the process's")
        require(page_folio(folio).pins == 1, "pin-differs", "the page is pinned another number of times")


def pins(mm: Mm, flags: int) -> None:
    """Pin the last page."""
    pfn = pin_user_pages_fast(mm, len(mm.ptes) - 1, flags)
    if pfn >= 0:
        with atomic:
            pinned.folio = frames[pfn]
    ends(mm)


def collapses(mm: Mm) -> None:
    """A huge page takes the pages' place, if nobody has one pinned."""
    madvise_collapse(mm, 0, 2)
    ends(mm)


def written(mm: Mm) -> None:
    """All pages, each by itself."""
    do_mmap(mm, 0, len(mm.ptes), None, 0, True)
    for va in range(len(mm.ptes)):
        cpu_write(mm, va, A)


def is_remapped(mm: Mm) -> None:
    """A huge page comes, and goes again; the page table behind it with it."""
    madvise_collapse(mm, 0, 2)
    madvise_dontneed(mm, 0, 2)
    ends_alone()


def is_split(mm: Mm) -> None:
    """A huge page comes, and is split: the page table behind it is in use again."""
    madvise_collapse(mm, 0, 2)
    do_mprotect_pkey(mm, 0, 1, False, 0, 2)
    ends(mm)


def is_unmapped(mm: Mm) -> None:
    """All goes, and something else comes: another page table."""
    vm_munmap(mm, 0, len(mm.ptes))
    written(mm)
    ends_alone()


def forks(mm: Mm) -> None:
    """A child has the pages too; who writes first has a copy."""
    child = pinned.child
    assert child is not None
    dup_mmap(child, mm)
    cpu_write(mm, len(mm.ptes) - 1, B)
    ends(mm)


def is_protected(mm: Mm) -> None:
    """The page may not be written for a while."""
    do_mprotect_pkey(mm, 0, len(mm.ptes), False, 0, len(mm.ptes))
    do_mprotect_pkey(mm, 0, len(mm.ptes), True, 0, len(mm.ptes))
    cpu_write(mm, len(mm.ptes) - 1, B)
    ends(mm)


@atomic
def ends_alone() -> None:
    """A thread has ended that takes the page away: what is pinned is another's."""
    folio = pinned.folio
    require(folio is None or is_zero_page(folio) or page_folio(folio).pins == 1, "pin-differs", "the page is pinned another number of times")


def pins_both(mm: Mm, flags: int) -> None:
    """Pin both pages in one call, and give the first back."""
    ret = gup_fast_fallback(mm, 0, 2, flags, pinned.pages)
    if ret == 2:
        with atomic:
            first = pinned.pages.folios[0]
            assert first is not None
            unpin_user_page(first)
            pinned.folio = pinned.pages.folios[1]
    ends(mm)


Act = Callable[..., None]


def beside(other: Act, sizes: dict[str, int], flags: int = FOLL_PIN | FOLL_WRITE, by: Act = pins, **more: int) -> str:
    """A pin beside something else: the rule that is broken, whose trace is replayed; or "holds"."""
    with world(None, **(sizes | more)) as (machine, mm):
        written(mm)
        if "mms" in sizes:
            pinned.child = mm_alloc()
        threads = Thread("pins", by, (mm, flags)), Thread("process", other, (mm,))
        return broken_rule(machine, *threads, rules=RULES) or "holds"


FIRST = {"gup_rechecks_pte_alone": 1, "collapse_does_not_wait": 1}
"""Before 70cbc3cc78a9."""
THEN = {"collapse_does_not_wait": 1}
"""Between it and 2ba99c5e0881."""


@pytest.mark.parametrize("form, expected", [({}, "holds"), ({"gup_rechecks_pte_alone": 1}, "holds"), (THEN, "holds"), (FIRST, "pin-differs")])
def test_a_pin_beside_a_collapse_is_of_the_page_that_stays(form: dict[str, int], expected: str) -> None:
    """Either the walk sees that the page table was taken out, or khugepaged waits until the pin is there to be seen."""
    assert beside(collapses, HUGE, **form) == expected


@pytest.mark.parametrize("form, expected", [({}, "holds"), (THEN, "page-table-freed")])
def test_the_page_table_of_a_collapse_is_not_freed_under_a_walk(form: dict[str, int], expected: str) -> None:
    assert beside(is_remapped, HUGE, **form) == expected


@pytest.mark.parametrize("other", [is_split, is_unmapped, is_protected])
@pytest.mark.parametrize("flags", [FOLL_PIN | FOLL_WRITE, FOLL_PIN])
def test_a_pin_beside_other_changes(other: Act, flags: int) -> None:
    assert beside(other, HUGE, flags) == "holds"


@pytest.mark.parametrize("flags", [FOLL_PIN | FOLL_WRITE, FOLL_PIN])
@pytest.mark.parametrize("form, expected", [({}, "holds"), ({"gup_passes_over_forks": 1}, "pin-differs")])
def test_a_pin_beside_a_fork_is_of_the_parents_page(flags: int, form: dict[str, int], expected: str) -> None:
    """57efa1fe5957: who looks at `write_protect_seq` sees that the fork has asked for pins already."""
    assert beside(forks, SMALL, flags, **form) == expected


@pytest.mark.parametrize("other, sizes", [(collapses, HUGE), (forks, SMALL | {"pages": 2, "frames": 8, "pin_pages": 2})])
def test_two_pages_in_one_call_are_both_had_or_neither_without_the_lock(other: Act, sizes: dict[str, int]) -> None:
    assert beside(other, sizes, by=pins_both) == "holds"


def test_by_hand_the_pages_are_those_of_the_walk_in_one_step() -> None:
    for steps in (0, 1):
        with world(None, **{**HUGE, "gup_fast_steps": steps}) as (_, mm):
            do_mmap(mm, 0, 2, None, 0, True)
            assert pin_user_pages_fast(mm, 0, FOLL_PIN) == 0  # of the zero page nothing is counted
            cpu_write(mm, 0, A)
            cpu_write(mm, 1, B)
            assert madvise_collapse(mm, 0, 2) == 0
            assert gup_fast_fallback(mm, 0, 2, FOLL_PIN | FOLL_WRITE, pinned.pages) == 2
            assert list(pinned.pages.folios) == [mm.ptes[0].frame, mm.ptes[1].frame]
            unpin_user_pages(pinned.pages, 2)
            do_mprotect_pkey(mm, 0, 2, False, 0, 2)
            assert pin_user_pages_fast(mm, 1, FOLL_PIN | FOLL_WRITE) == -EFAULT
            pfn = pin_user_pages_fast(mm, 1, FOLL_PIN)
            assert cpu_read(mm, 1) == B and frames[pfn] is mm.ptes[1].frame
            unpin_user_page(frames[pfn])
            assert all(frame.pins == 0 for frame in frames)
