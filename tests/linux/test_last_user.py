"""The last user of an address space tears it down, whoever that is."""

from __future__ import annotations

import pytest
from linux_world import A, free_frames, search, world

from secondsight.lang import Record, RuleBroken, SpinLock, require, shared
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_write
from secondsight.linux.mm_types import Mm
from secondsight.linux.mmap import do_mmap
from secondsight.linux.page_alloc import zone
from secondsight.linux.sched_mm import mmget_not_zero, mmput, mmput_async


def exits(mm: Mm) -> None:
    exit_mm(mm)


def looks(mm: Mm) -> None:
    """A user that sees the page as long as it is one, and nothing of it when it was the last."""
    alive = mmget_not_zero(mm)
    if not alive:
        return
    require(mm.ptes[0].frame is not None, "there", "the page has gone while somebody is a user")
    mmput(mm)
    require(mm.users > 0 or mm.mmap_lock.owner != 0 or mm.ptes[0].frame is None or zone.nr_free < 3, "gone", "nobody tears it down")


def looks_locked(mm: Mm) -> None:
    alive = mmget_not_zero(mm)
    if not alive:
        return
    mm.mmap_lock.read_lock()
    mmput(mm)
    mm.mmap_lock.read_unlock()


def leaves_later(mm: Mm) -> None:
    alive = mmget_not_zero(mm)
    if alive:
        mmput_async(mm)


def ends(mm: Mm) -> None:
    """The process exits beside a user that leaves later; then everything has gone."""
    exit_mm(mm)
    require(mm.users == 0 and mm.ptes[0].frame is None, "gone", "nobody tears it down")


def test_the_last_user_tears_down() -> None:
    with world(frames=4) as (_, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        before = free_frames()
        assert mmget_not_zero(mm)
        exit_mm(mm)
        assert mm.ptes[0].frame is not None
        mmput(mm)
        assert mm.ptes[0].frame is None
        assert free_frames() == before + 1
        assert not mmget_not_zero(mm)
        with pytest.raises(RuleBroken, match="drops an mm that has no users"):
            mmput(mm)


@pytest.mark.parametrize(("user", "verdict"), [(looks, "holds"), (looks_locked, "double-lock")])
def test_in_every_order_and_not_with_a_lock_of_the_mm(user, verdict: str) -> None:  # type: ignore[no-untyped-def]
    with world(frames=4) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (exits, (mm,)), (user, (mm,)))
        assert (found.verdict.value if found.violation is None else found.violation.rule) == verdict


def test_a_worker_tears_down_for_who_may_not_sleep() -> None:
    with world(frames=4, async_puts=1) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        assert search(machine, (ends, (mm,)), (leaves_later, (mm,))).verdict.value == "holds"


class Held(Record):
    lock: SpinLock


held = shared(Held)


def leaves_under_a_spinlock(mm: Mm) -> None:
    with held.lock:
        mmput(mm)


def test_who_leaves_may_sleep_whether_it_is_the_last_or_not() -> None:
    with world(frames=4) as (machine, mm):
        assert mmget_not_zero(mm)
        found = search(machine, (leaves_under_a_spinlock, (mm,)))
        assert mm.users == 2 and found.violation is not None and found.violation.rule == "sleep-in-atomic"
