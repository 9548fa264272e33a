"""The sequence protocol, number by number; who is called, when; what is deferred."""

from __future__ import annotations

import pytest
from linux_world import A, Mirror, broken_rule, device_main, free_frames, load, mirror_of, search, world

from secondsight.contract.check import check
from secondsight.devices.mirror import Mirror as MirrorDriver
from secondsight.lang import U8, Errno, ModelError, Record, RuleBroken, pool, shared
from secondsight.lang.program import Thread
from secondsight.linux import EAGAIN, EOVERFLOW
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EFAULT
from secondsight.linux.exit import exit_mm
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.mm_types import Driver, Event, Finish, IntervalNotifier, Mm, MmuNotifier, Pgoff, Range, Seq, Va
from secondsight.linux.mmap import do_mmap, vm_munmap
from secondsight.linux.mmu_notifier_get import mmu_notifier_get_locked
from secondsight.linux.oom_kill import oom_reap_task_mm
from secondsight.linux.sched_mm import mmget_not_zero, mmput
from secondsight.scenario import Recorder
from secondsight.search import Verdict
from secondsight.world.model import outcomes


class Watcher(MmuNotifier):
    """An mmu notifier that counts, and can be told to refuse what it may refuse."""

    starts: U8
    ends: U8
    releases: U8
    refuse: bool

    def invalidate_range_start(self, mm: Mm, rng: Range) -> int:
        if self.refuse and not rng.blockable:
            return -EAGAIN
        self.starts += 1
        return 0

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        self.ends += 1

    def release(self, mm: Mm) -> None:
        self.releases += 1


class Unwilling(MmuNotifier):
    """An mmu notifier that can never do without sleeping; as it may fail, it has no invalidate_range_end."""

    def invalidate_range_start(self, mm: Mm, rng: Range) -> int:
        return 0 if rng.blockable else -EAGAIN


class Refuser(Mirror):
    """A mirror that can never do without sleeping."""

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        if not rng.blockable:
            return False
        return Mirror.invalidate(self, rng, seq)


def rng(start: int = 0, end: int = 1, event: Event = Event.CLEAR, blockable: bool = True) -> Range:
    return Range(start, end, event, blockable)


def test_at_rest_a_subscription_is_one_behind_and_odd() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        assert mm.subscriptions.invalidate_seq == 2
        assert mirror.notifier.invalidate_seq == 1
        assert mn.mmu_interval_read_begin(mirror.notifier) == 1
        assert not mn.mmu_interval_read_retry(mirror.notifier, 1)


def test_a_bracket_makes_the_number_odd_and_its_end_even() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        assert mm.subscriptions.invalidate_seq == 3
        assert mirror.notifier.invalidate_seq == 3
        assert mirror.calls == 1
        assert mn.mmu_interval_read_retry(mirror.notifier, 1)
        with pytest.raises(ModelError, match="wait"):
            mn.mmu_interval_read_begin(mirror.notifier)
        mn.mmu_notifier_invalidate_range_end(mm, rng())
        assert mm.subscriptions.invalidate_seq == 4
        assert mn.mmu_interval_read_begin(mirror.notifier) == 3


def test_overlapping_brackets_share_one_number() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        mn.mmu_notifier_invalidate_range_start(mm, rng(1, 2))
        assert mm.subscriptions.active_invalidate_ranges == 2
        assert mirror.calls == 2
        mn.mmu_notifier_invalidate_range_end(mm, rng())
        assert mm.subscriptions.invalidate_seq == 3
        mn.mmu_notifier_invalidate_range_end(mm, rng(1, 2))
        assert mm.subscriptions.invalidate_seq == 4


def test_a_bracket_that_nobody_watches_leaves_the_number_alone() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = machine.pool(Mirror).alloc()
        assert mn.mmu_interval_notifier_insert(mirror.notifier, mm, 1, 1) == 0
        mn.mmu_notifier_invalidate_range_start(mm, rng(0, 1))
        assert mm.subscriptions.invalidate_seq == 2
        assert mirror.calls == 0
        mn.mmu_notifier_invalidate_range_end(mm, rng(0, 1))
        assert mm.subscriptions.invalidate_seq == 2


def test_insertion_into_an_unwatched_bracket_counts_as_being_invalidated() -> None:
    with world({Mirror: 2}, subscribers=2) as (machine, mm):
        elsewhere, mirror = machine.pool(Mirror).alloc(), machine.pool(Mirror).alloc()
        assert mn.mmu_interval_notifier_insert(elsewhere.notifier, mm, 1, 1) == 0
        mn.mmu_notifier_invalidate_range_start(mm, rng(0, 1))
        assert mn.mmu_interval_notifier_insert(mirror.notifier, mm, 0, 2) == 0
        assert mirror.notifier.in_tree
        assert mirror.notifier.invalidate_seq == mm.subscriptions.invalidate_seq == 3
        mn.mmu_notifier_invalidate_range_end(mm, rng())
        assert mn.mmu_interval_read_begin(mirror.notifier) == 3


def test_insertion_into_a_watched_bracket_is_deferred_to_its_end() -> None:
    with world({Mirror: 2}, subscribers=2) as (machine, mm):
        mirror_of(machine, mm)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        late = machine.pool(Mirror).alloc()
        assert mn.mmu_interval_notifier_insert(late.notifier, mm, 0, 2) == 0
        assert not late.notifier.in_tree
        assert late.notifier.invalidate_seq == 3
        mn.mmu_notifier_invalidate_range_end(mm, rng())
        assert late.notifier.in_tree
        assert all(d is None for d in mm.subscriptions.deferred_list)


def test_removal_before_a_deferred_insertion_happened_takes_it_back_at_once() -> None:
    with world({Mirror: 2}, subscribers=2) as (machine, mm):
        mirror_of(machine, mm)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        late = machine.pool(Mirror).alloc()
        mn.mmu_interval_notifier_insert(late.notifier, mm, 0, 2)
        mn.mmu_interval_notifier_remove(late.notifier)
        mn.mmu_notifier_invalidate_range_end(mm, rng())
        assert not late.notifier.in_tree
        assert late.calls == 0


def test_removal_during_a_bracket_waits_for_its_end() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = mirror_of(machine, mm)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        with pytest.raises(ModelError, match="wait"):
            mn.mmu_interval_notifier_remove(mirror.notifier)
        assert mirror.notifier.in_tree
        mn.mmu_notifier_invalidate_range_end(mm, rng())
        assert not mirror.notifier.in_tree


def test_insertion_needs_pages_and_a_process() -> None:
    with world({Mirror: 1}) as (machine, mm):
        mirror = machine.pool(Mirror).alloc()
        assert mn.mmu_interval_notifier_insert(mirror.notifier, mm, 0, 0) == -EOVERFLOW
        exit_mm(mm)
        with pytest.raises(RuleBroken, match="mm-without-users"):
            mn.mmu_interval_notifier_insert(mirror.notifier, mm, 0, 1)


def test_a_refusal_closes_the_bracket_and_nothing_changes() -> None:
    with world({Mirror: 1, Refuser: 1}, subscribers=2) as (machine, mm):
        first = mirror_of(machine, mm)
        second = mirror_of(machine, mm, Refuser)
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        frame = mm.ptes[0].frame
        assert not oom_reap_task_mm(mm)
        assert mm.ptes[0].frame is frame
        assert (first.calls, second.calls) == (1, 0)
        assert mm.subscriptions.active_invalidate_ranges == 0
        assert mm.subscriptions.invalidate_seq == 4
        assert (first.notifier.waiting, second.notifier.waiting) == (0, 0)


def test_refusing_in_a_blockable_range_breaks_a_rule() -> None:
    class Never(Driver):
        def invalidate(self, rng: Range, seq: Seq) -> bool:
            return False

    with world({Never: 1}) as (machine, mm):
        mirror_of(machine, mm, Never)
        with pytest.raises(RuleBroken, match="notifier-failed"):
            mn.mmu_notifier_invalidate_range_start(mm, rng())


def test_mmu_notifiers_hear_start_and_end_of_everything() -> None:
    with world({Watcher: 1}, mmu_notifiers=1) as (machine, mm):
        watcher = machine.pool(Watcher).alloc()
        assert mn.mmu_notifier_register(watcher, mm) == 0
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_read(mm, 0)
        cpu_write(mm, 0, A)  # replaces the zero page: one bracket
        assert (watcher.starts, watcher.ends) == (1, 1)
        vm_munmap(mm, 0, 1)
        assert (watcher.starts, watcher.ends) == (2, 2)


def test_when_one_mmu_notifier_refuses_the_others_are_told_that_it_is_over() -> None:
    with world({Watcher: 1, Unwilling: 1}, mmu_notifiers=2) as (machine, mm):
        willing, unwilling = machine.pool(Watcher).alloc(), machine.pool(Unwilling).alloc()
        mn.mmu_notifier_register(willing, mm)
        mn.mmu_notifier_register(unwilling, mm)
        assert mn.mmu_notifier_invalidate_range_start_nonblock(mm, rng(blockable=False)) == -EAGAIN
        assert (willing.starts, willing.ends) == (1, 1)


def test_an_mmu_notifier_that_may_fail_has_no_invalidate_range_end() -> None:
    with world({Watcher: 1}, mmu_notifiers=1) as (machine, mm):
        watcher = machine.pool(Watcher).alloc()
        mn.mmu_notifier_register(watcher, mm)
        watcher.refuse = True
        with pytest.raises(RuleBroken, match="there is an invalidate_range_end"):
            mn.mmu_notifier_invalidate_range_start_nonblock(mm, rng(blockable=False))


def test_a_refusing_mmu_notifier_leaves_the_interval_notifiers_bracket_open() -> None:
    """As in Linux 6.12: nobody closes what mn_itree_invalidate() has opened, so the next reader waits for ever."""
    with world({Unwilling: 1, Mirror: 1}, mmu_notifiers=1) as (machine, mm):
        mirror, unwilling = mirror_of(machine, mm), machine.pool(Unwilling).alloc()
        mn.mmu_notifier_register(unwilling, mm)
        assert mn.mmu_notifier_invalidate_range_start_nonblock(mm, rng(blockable=False)) == -EAGAIN
        assert mm.subscriptions.active_invalidate_ranges == 1
        with pytest.raises(ModelError, match="wait"):
            mn.mmu_interval_read_begin(mirror.notifier)


def test_exit_releases_before_it_frees_and_unregistering_releases_once() -> None:
    with world({Watcher: 2, Mirror: 1}, mmu_notifiers=2) as (machine, mm):
        stays, goes = machine.pool(Watcher).alloc(), machine.pool(Watcher).alloc()
        mirror = mirror_of(machine, mm)
        mn.mmu_notifier_register(stays, mm)
        mn.mmu_notifier_register(goes, mm)
        mn.mmu_notifier_unregister(goes, mm)
        assert goes.releases == 1
        before = free_frames()
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        assert mirror.map_page(0, False) == 0
        exit_mm(mm)
        assert (stays.releases, goes.releases) == (1, 1)
        assert load(mirror, 0) == -1
        assert mirror.calls == 2  # RELEASE, then UNMAP: it is still in the tree
        assert free_frames() == before


# In which order.


class Ordered(Driver):
    """A driver that notes when it was called, after how many others."""

    turn: U8

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        calls.count += 1
        self.turn = calls.count
        mn.mmu_interval_set_seq(self.notifier, seq)
        return True


class Calls(Record):
    count: U8


calls = shared(Calls)


def test_subscriptions_are_called_by_address_and_of_equal_ones_the_first_inserted_first() -> None:
    with world({Ordered: 3}, subscribers=3) as (machine, mm):
        drivers = [machine.pool(Ordered).alloc() for _ in range(3)]
        for driver, start in zip(drivers, (1, 0, 0), strict=True):
            assert mn.mmu_interval_notifier_insert(driver.notifier, mm, start, 1) == 0
        mn.mmu_notifier_invalidate_range_start(mm, rng(0, 2))
        assert [driver.turn for driver in drivers] == [3, 1, 2]


def test_of_deferred_insertions_the_last_happens_first() -> None:
    with world({Ordered: 4}, subscribers=4) as (machine, mm):
        drivers = [machine.pool(Ordered).alloc() for _ in range(4)]
        mn.mmu_interval_notifier_insert(drivers[0].notifier, mm, 0, 2)
        mn.mmu_notifier_invalidate_range_start(mm, rng(0, 2))
        for driver in drivers[1:]:
            mn.mmu_interval_notifier_insert(driver.notifier, mm, 1, 1)
        mn.mmu_interval_notifier_remove(drivers[2].notifier)
        mn.mmu_notifier_invalidate_range_end(mm, rng(0, 2))
        mn.mmu_notifier_invalidate_range_start(mm, rng(0, 2))
        assert [driver.turn for driver in drivers] == [2, 4, 0, 3]


class OrderedNotifier(MmuNotifier):
    turn: U8

    def invalidate_range_start(self, mm: Mm, rng: Range) -> int:
        calls.count += 1
        self.turn = calls.count
        return 0


def test_mmu_notifiers_are_called_newest_first_and_the_list_closes_over_a_gap() -> None:
    with world({OrderedNotifier: 3}, mmu_notifiers=3) as (machine, mm):
        notifiers = [machine.pool(OrderedNotifier).alloc() for _ in range(3)]
        for notifier in notifiers:
            mn.mmu_notifier_register(notifier, mm)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        assert [notifier.turn for notifier in notifiers] == [3, 2, 1]
        mn.mmu_notifier_unregister(notifiers[1], mm)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        assert [notifier.turn for notifier in notifiers] == [5, 2, 4]
        mn.mmu_notifier_register(notifiers[1], mm)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        assert [notifier.turn for notifier in notifiers] == [8, 6, 7]


class TwoPasses(Driver):
    """A driver that is finished in a second pass (Linux 7.2)."""

    place: U8
    started: U8
    finished: U8

    def invalidate_start(self, rng: Range, seq: Seq) -> int:
        if not rng.blockable and self.place == 0:
            return -EAGAIN
        calls.count += 1
        self.started = calls.count
        mn.mmu_interval_set_seq(self.notifier, seq)
        return self.place

    def invalidate_finish(self, finish: Finish) -> None:
        calls.count += 1
        self.finished = calls.count


def test_all_are_started_before_the_first_is_finished() -> None:
    with world({TwoPasses: 3, Ordered: 1}, subscribers=4, finishes=2) as (machine, mm):
        drivers = [machine.pool(TwoPasses).alloc() for _ in range(3)]
        for driver, place in zip(drivers, (2, 0, 1), strict=True):
            driver.place = place
            mn.mmu_interval_notifier_insert(driver.notifier, mm, 0, 1)
        one_pass = machine.pool(Ordered).alloc()
        mn.mmu_interval_notifier_insert(one_pass.notifier, mm, 0, 1)
        mn.mmu_notifier_invalidate_range_start(mm, rng(0, 1))
        assert ([driver.started for driver in drivers], one_pass.turn) == ([1, 2, 3], 4)
        assert [driver.finished for driver in drivers] == [5, 0, 6]
        mn.mmu_notifier_invalidate_range_end(mm, rng(0, 1))
        assert mn.mmu_notifier_invalidate_range_start_nonblock(mm, rng(0, 1, blockable=False)) == -EAGAIN
        assert [driver.finished for driver in drivers] == [8, 0, 6]  # those that had begun are finished all the same
        assert mm.subscriptions.active_invalidate_ranges == 0


# What breaks the tree.


def test_inserting_twice_and_removing_twice_break_a_rule() -> None:
    with world({Mirror: 2}, subscribers=2) as (machine, mm):
        mirror, late = mirror_of(machine, mm), machine.pool(Mirror).alloc()
        with pytest.raises(RuleBroken, match="inserted-twice"):
            mn.mmu_interval_notifier_insert(mirror.notifier, mm, 0, 1)
        mn.mmu_notifier_invalidate_range_start(mm, rng())
        mn.mmu_interval_notifier_insert(late.notifier, mm, 0, 1)
        with pytest.raises(RuleBroken, match="inserted-twice"):
            mn.mmu_interval_notifier_insert(late.notifier, mm, 0, 1)
        mn.mmu_notifier_invalidate_range_end(mm, rng())
        mn.mmu_interval_notifier_remove(late.notifier)
        with pytest.raises(RuleBroken, match="removed-twice"):
            mn.mmu_interval_notifier_remove(late.notifier)


def test_unregistering_an_mmu_notifier_twice_breaks_a_rule() -> None:
    with world({Watcher: 1}, mmu_notifiers=1) as (machine, mm):
        watcher = machine.pool(Watcher).alloc()
        mn.mmu_notifier_register(watcher, mm)
        mn.mmu_notifier_unregister(watcher, mm)
        with pytest.raises(RuleBroken, match="removed-twice"):
            mn.mmu_notifier_unregister(watcher, mm)


def test_the_first_insertion_takes_the_mmap_lock_and_later_ones_do_not() -> None:
    with world({Mirror: 2}, subscribers=2) as (machine, mm):
        first, second = machine.pool(Mirror).alloc(), machine.pool(Mirror).alloc()
        mm.mmap_lock.read_lock()
        with pytest.raises(RuleBroken, match="double-lock"):
            mn.mmu_interval_notifier_insert(first.notifier, mm, 0, 1)
        mm.mmap_lock.read_unlock()
        mn.mmu_interval_notifier_insert(first.notifier, mm, 0, 1)
        mm.mmap_lock.read_lock()
        mn.mmu_interval_notifier_insert(second.notifier, mm, 0, 1)


# Every interleaving.


class Leaver(Mirror):
    """A mirror that unregisters; `gone` once that has returned."""

    gone: bool

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        assert not self.gone, "called after unregistering"
        return Mirror.invalidate(self, rng, seq)

    def leave(self) -> None:
        """Unregister."""
        mn.mmu_interval_notifier_remove(self.notifier)
        self.gone = True


def unmap_main(mm: Mm) -> None:
    vm_munmap(mm, 0, 1)
    do_mmap(mm, 0, 1, None, 0, True)
    cpu_write(mm, 0, A)


def leave_main(leaver: Leaver) -> None:
    leaver.leave()


def join_main(late: Mirror, mm: Mm) -> None:
    mn.mmu_interval_notifier_insert(late.notifier, mm, 0, 1)
    device_main(late, 0, 1)


def test_no_callback_runs_once_removal_has_returned() -> None:
    with world({Leaver: 1}, pages=1) as (machine, mm):
        leaver = mirror_of(machine, mm, Leaver)
        do_mmap(mm, 0, 1, None, 0, True)
        found = search(machine, (unmap_main, (mm,)), (leave_main, (leaver,)))
    assert found.verdict.value == "holds", found


def test_a_driver_that_joins_in_the_middle_of_an_invalidation_is_right() -> None:
    with world({Mirror: 2}, pages=1, subscribers=2) as (machine, mm):
        early = mirror_of(machine, mm)
        late = machine.pool(Mirror).alloc()
        do_mmap(mm, 0, 1, None, 0, True)
        cpu_write(mm, 0, A)
        found = search(machine, (unmap_main, (mm,)), (device_main, (early, 0, 1)), (join_main, (late, mm)))
    assert found.verdict.value == "holds", found


class Region(IntervalNotifier):
    """A subscription that lives until it has been removed."""

    def invalidate(self, rng: Range, cur_seq: Seq) -> bool:
        mn.mmu_interval_set_seq(self, cur_seq)
        return True


regions = pool(Region, "subscribers")


def remove_and_free(region: Region) -> None:
    """kfree() when the removal has returned."""
    mn.mmu_interval_notifier_remove(region)
    regions.free(region)


@pytest.mark.parametrize("form, rule", [({}, None), ({"removal_looks_unlocked": 1}, "use-after-free")])
def test_a_subscription_is_off_the_tree_when_its_removal_returns(form: dict[str, int], rule: str | None) -> None:
    """319561669a59: the number is even before what was deferred is done, for who looks at it without the lock."""
    with world(None, subscribers=1, pages=2, **form) as (machine, mm):
        do_mmap(mm, 0, 1, None, 0, True)
        region = regions.alloc()
        assert mn.mmu_interval_notifier_insert(region, mm, 0, 1) == 0
        assert broken_rule(machine, Thread("unmaps", unmap_main, (mm,)), Thread("removes", remove_and_free, (region,))) == rule


class InsertsUnderTheMmapLock(MirrorDriver):
    """Subscribes when it has looked at the mappings, under the mmap lock, as amdkfd's svm_range_add_notifier_locked() does."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        alive = mmget_not_zero(mm)
        if not alive:
            return -EFAULT
        mm.mmap_lock.write_lock()
        ret = self.insert(mm, start, length)
        mm.mmap_lock.write_unlock()
        mmput(mm)
        return ret

    def insert(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return mn.mmu_interval_notifier_insert_locked(self.notifier, mm, start, length)


class TakesTheMmapLockTwice(InsertsUnderTheMmapLock):
    """With the form that takes it."""

    def insert(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        return mn.mmu_interval_notifier_insert(self.notifier, mm, start, length)


def test_who_has_the_mmap_lock_subscribes_by_the_locked_form() -> None:
    assert {one.result.verdict for one in check(InsertsUnderTheMmapLock, ["munmap", "open"])} == {Verdict.HOLDS}
    found = [one.result for one in check(TakesTheMmapLockTwice, ["open"])]
    assert {one.violation.rule for one in found if one.violation is not None} == {"double-lock"}


@pytest.mark.parametrize("reads", [False, True])
def test_the_locked_forms_need_the_mmap_lock_for_writing(reads: bool) -> None:
    with world({Mirror: 1}, mmu_notifiers=1) as (machine, mm):
        mirror = machine.pool(Mirror).alloc()
        if reads:
            mm.mmap_lock.read_lock()
        with pytest.raises(RuleBroken, match="lock-not-held"):
            mn.mmu_interval_notifier_insert_locked(mirror.notifier, mm, 0, 1)
        with pytest.raises(RuleBroken, match="lock-not-held"):
            mn.mmu_notifier_register_locked(None, mm)
        with pytest.raises(RuleBroken, match="lock-not-held"):
            mmu_notifier_get_locked(mirror, mm)


@pytest.mark.parametrize("bounds", [{}, {"vma_locks": 1}])
def test_who_subscribes_first_waits_for_changes_that_are_under_way(bounds: dict[str, int]) -> None:
    """mm_take_all_locks(): one that holds the lock of an anon_vma, or of a vma alone, told nobody that it began, and would tell of its end. Drawn: rare, seed 1, number 252."""
    s = Recorder()
    a = s.mmap(pages=2)
    s.write(a, "a", pages=1)
    s.read(a + 1)
    gpu = s.closed_device()

    @s.thread
    def changes() -> None:
        if bounds:
            s.write(a + 1, "b", pages=1)  # a copy of the zero page
        else:
            s.move_pages(a)

    @s.thread
    def opens() -> None:
        gpu.open(into="opened")

    result, found = outcomes(s.scenario("first", ""), bounds=bounds)
    assert (result.error, found) == (None, {(("opened", "ok"),)})
