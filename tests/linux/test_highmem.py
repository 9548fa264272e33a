"""Contents by half page: both halves go where the page goes, and each user keeps to its own."""

from __future__ import annotations

import pytest
from linux_world import A, B, C, world

from secondsight.lang.program import Thread, build
from secondsight.linux.bio import blkdev_direct_read
from secondsight.linux.errno import EFAULT
from secondsight.linux.fault import cpu_read, cpu_read_half, cpu_write, cpu_write_half
from secondsight.linux.fork import mm_alloc
from secondsight.linux.fork_dup import dup_mmap
from secondsight.linux.gup import FOLL_PIN, FOLL_WRITE, pin_user_pages_fast
from secondsight.linux.madvise import madvise_dontneed, madvise_pageout
from secondsight.linux.migrate import move_page
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import frames
from secondsight.linux.swapops import is_swap_entry
from secondsight.scenario import Recorder
from secondsight.world.model import outcomes

SIZES = {"pages": 2, "frames": 8, "mms": 2, "vmas": 4, "cow": 1, "halves": 1, "anon_vmas": 2, "migrations": 1, "swap_slots": 2}


def halves(mm: Mm) -> tuple[int, int]:
    return cpu_read(mm, 0), cpu_read_half(mm, 0)


def test_both_halves_go_where_the_page_goes() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        assert halves(mm) == (0, 0)
        cpu_write_half(mm, 0, B)  # the zero page is replaced
        assert halves(mm) == (0, B)
        cpu_write(mm, 0, A)
        before = mm.ptes[0].frame
        assert move_page(mm, 0) == 0 and mm.ptes[0].frame is not before and halves(mm) == (A, B)
        assert madvise_pageout(mm, 0, 1) == 0 and is_swap_entry(mm.ptes[0]) and halves(mm) == (A, B)
        child = mm_alloc()
        dup_mmap(child, mm)
        cpu_write(mm, 0, C)
        assert halves(mm) == (C, B) and halves(child) == (A, B)
        pfn = pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)
        frames[pfn].second[0] = A
        madvise_dontneed(child, 0, 1)
        assert halves(child) == (0, 0) and halves(mm) == (C, A)


def test_a_pinned_page_is_copied_for_the_child_with_both_halves() -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        cpu_write_half(mm, 0, B)
        pin_user_pages_fast(mm, 0, FOLL_PIN | FOLL_WRITE)
        child = mm_alloc()
        dup_mmap(child, mm)
        assert child.ptes[0].frame is not mm.ptes[0].frame and halves(child) == (A, B)


@pytest.mark.parametrize("by_reference", [False, True])
def test_a_direct_read(by_reference: bool) -> None:
    with world(**SIZES) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        assert blkdev_direct_read(mm, 0, B, by_reference) == 0 and halves(mm) == (A, B)
        folio = mm.ptes[0].frame
        assert folio is not None and (folio.refcount, folio.pins, folio.dirty) == (1, 0, True)
        assert blkdev_direct_read(mm, 1, B, by_reference) == -EFAULT


def direct_read_beside_fork() -> Recorder:
    s = Recorder()
    a = s.mmap(pages=1)

    @s.thread
    def disk() -> None:
        s.direct_read(a, "d")

    @s.thread
    def cpu() -> None:
        s.fork()
        s.write(a, "b")

    with s.after():
        s.read_half(a, into="second")
    return s


@pytest.mark.parametrize(("release", "possible"), [(None, {"d"}), ("6.1", {"d", "\0"})])
def test_what_was_read_beside_a_fork_is_lost_where_references_are_all(release: str | None, possible: set[str]) -> None:
    """It was seen on a real 6.1, 11 times in 2,000, and on no 6.12."""
    _, seen = outcomes(direct_read_beside_fork().scenario("beside_fork", ""), release=release)
    assert {dict(outcome)["second"] for outcome in seen} == possible


def test_halves_cost_nothing_where_nobody_asks() -> None:
    """The bytes of a state."""
    sizes = []
    for halves in (0, 1):
        with world(**SIZES | {"halves": halves}) as (machine, mm):
            sizes.append(len(build(machine, [Thread("t", cpu_read, (mm, 0))]).initial_shared))
    assert sizes[1] - sizes[0] == SIZES["frames"] + SIZES["swap_slots"]
