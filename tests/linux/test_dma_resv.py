"""Fences and reservation objects: by hand, against a second telling, and under search."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secondsight.lang import U8, Errno, Machine, Mutex, Record, Ref, shared, wait_until
from secondsight.lang.errors import RuleBroken
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.linux import EINVAL, ENOENT, bounds
from secondsight.linux.dma_buf import DmaBuf, DmaBufAttachment, dma_buf_attach, dma_buf_attach_revocable, dma_buf_map_attachment
from secondsight.linux.dma_fence import (
    DmaFence,
    DmaFenceCb,
    dma_fence_add_callback,
    dma_fence_get,
    dma_fence_init,
    dma_fence_put,
    dma_fence_remove_callback,
    dma_fence_signal,
    dma_fence_wait,
    dma_fences,
)
from secondsight.linux.dma_resv import (
    DmaResv,
    DmaResvUsage,
    dma_resv_add_fence,
    dma_resv_lock,
    dma_resv_replace_fences,
    dma_resv_reserve_fences,
    dma_resv_test_signaled,
    dma_resv_trylock,
    dma_resv_unlock,
    dma_resv_usage_rw,
    dma_resv_wait_timeout,
)
from secondsight.linux.mm_types import Driver
from secondsight.linux.page_alloc import frames, mem_init
from secondsight.search import Request, Result, Verdict, breadth_first

KERNEL, WRITE, READ, BOOKKEEP = DmaResvUsage


class World(Record):
    """A reservation object, two fences that somebody waits for, and what the callbacks did."""

    resv: DmaResv
    first: Ref[DmaFence]
    second: Ref[DmaFence]
    mutex: Mutex
    calls: U8
    done: U8


world = shared(World)


class Notes(DmaFenceCb):
    """Notes that it was called, and after how many others."""

    turn: U8

    def func(self, fence: DmaFence) -> None:
        world.calls += 1
        self.turn = world.calls


class Sleeps(DmaFenceCb):
    """Wants to sleep where it must not."""

    def func(self, fence: DmaFence) -> None:
        world.mutex.lock()
        world.mutex.unlock()


class OnDemand(DmaFence):
    """A fence that is signalled as soon as somebody waits: `refuses` says that it was already."""

    refuses: bool
    asked: U8

    def enable_signaling(self) -> bool:
        self.asked += 1
        return not self.refuses

    def release(self) -> None:
        """It has a pool of its own, from which nobody takes a second one."""


@contextmanager
def fences(number: int = 4, **pools: int) -> Iterator[Machine]:
    """A machine with so many fences."""
    kinds = {"notes": Notes, "sleeps": Sleeps, "on_demand": OnDemand}
    machine = Machine(bounds=bounds(dma_fences=number, resv_fences=number), pools={kinds[name]: count for name, count in pools.items()})
    with machine:
        yield machine


def fence(context: int = 1, seqno: int = 0) -> DmaFence:
    """A new fence."""
    made = dma_fences.alloc()
    dma_fence_init(made, context, seqno)
    return made


def entries() -> list[tuple[DmaFence, DmaResvUsage]]:
    """What the reservation object has."""
    return [(e.fence, e.usage) for e in world.resv.fences if e.fence is not None]


# By hand.


def test_a_fence_is_signalled_once_and_calls_who_waits_in_order() -> None:
    with fences(notes=3) as machine:
        one = fence()
        a, b, late = (machine.pool(Notes).alloc() for _ in range(3))
        assert [dma_fence_add_callback(one, cb) for cb in (a, b)] == [0, 0]
        assert dma_fence_signal(one) == 0
        assert (a.turn, b.turn, a.listed) == (1, 2, False)
        assert dma_fence_signal(one) == -EINVAL
        assert dma_fence_add_callback(one, late) == -ENOENT
        assert world.calls == 2
        dma_fence_wait(one)


def test_a_callback_that_was_taken_back_is_not_called() -> None:
    with fences(notes=3) as machine:
        one = fence()
        a, b, c = (machine.pool(Notes).alloc() for _ in range(3))
        for cb in (a, b, c):
            dma_fence_add_callback(one, cb)
        assert dma_fence_remove_callback(one, b) and not dma_fence_remove_callback(one, b)
        dma_fence_signal(one)
        assert (a.turn, b.turn, c.turn) == (1, 0, 2)


def test_who_waits_first_enables_the_signal_and_a_fence_may_say_that_it_is_over() -> None:
    with fences(on_demand=1, notes=2) as machine:
        one = machine.pool(OnDemand).alloc()
        dma_fence_init(one, 1, 0)
        a, b = (machine.pool(Notes).alloc() for _ in range(2))
        assert [dma_fence_add_callback(one, cb) for cb in (a, b)] == [0, 0]
        assert one.asked == 1
        assert not one.signaled
    with fences(on_demand=1, notes=1) as machine:
        one = machine.pool(OnDemand).alloc()
        dma_fence_init(one, 1, 0)
        one.refuses = True
        dma_fence_wait(one)
        assert one.signaled and one.asked == 1
        assert dma_fence_add_callback(one, machine.pool(Notes).alloc()) == -ENOENT


def test_the_last_reference_frees_a_fence_that_must_be_signalled_if_somebody_waits() -> None:
    with fences(number=1, notes=1) as machine:
        one = fence()
        dma_fence_get(one)
        dma_fence_put(one)
        assert dma_fences.is_used(one)
        dma_fence_put(one)
        assert not dma_fences.is_used(one)
        one = fence()
        dma_fence_add_callback(one, machine.pool(Notes).alloc())
        with pytest.raises(RuleBroken, match="never signalled"):
            dma_fence_put(one)


def test_who_asks_for_a_usage_gets_those_below() -> None:
    with fences():
        made = {usage: fence(int(usage) + 1) for usage in DmaResvUsage}
        dma_resv_lock(world.resv)
        dma_resv_reserve_fences(world.resv, 4)
        for usage, one in made.items():
            dma_resv_add_fence(world.resv, one, usage)
        dma_resv_unlock(world.resv)
        done = []
        for one in made.values():
            done.append([dma_resv_test_signaled(world.resv, asked) for asked in DmaResvUsage])
            dma_fence_signal(one)
        assert done == [[False] * 4, [True, False, False, False], [True, True, False, False], [True, True, True, False]]
        assert dma_resv_test_signaled(world.resv, BOOKKEEP)
        assert (dma_resv_usage_rw(True), dma_resv_usage_rw(False)) == (READ, WRITE)


def test_what_was_reserved_is_gone_when_the_lock_is_dropped() -> None:
    with fences():
        one = fence()
        with pytest.raises(RuleBroken, match="without the reservation lock"):
            dma_resv_add_fence(world.resv, one, READ)
        dma_resv_lock(world.resv)
        assert not dma_resv_trylock(world.resv)
        dma_resv_reserve_fences(world.resv, 1)
        dma_resv_unlock(world.resv)
        dma_resv_lock(world.resv)
        with pytest.raises(RuleBroken, match="no room"):
            dma_resv_add_fence(world.resv, one, READ)


# A second telling: a list of (fence, usage).

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 3), st.sampled_from(list(DmaResvUsage))),
        st.tuples(st.just("signal"), st.integers(0, 3), st.just(KERNEL)),
        st.tuples(st.just("reserve"), st.integers(1, 3), st.just(KERNEL)),
        st.tuples(st.just("replace"), st.integers(0, 3), st.sampled_from(list(DmaResvUsage))),
    ),
    max_size=12,
)


GROWN = [("add", 0, KERNEL), ("signal", 1, KERNEL), ("add", 0, WRITE), ("add", 0, READ), ("add", 2, KERNEL), ("add", 1, KERNEL), ("add", 0, KERNEL)]
"""The list has grown before it is full again."""


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
@example(steps=GROWN)
def test_the_list_of_fences_is_what_a_list_of_python_says(steps: list[tuple[str, int, DmaResvUsage]]) -> None:
    """Fences 0 and 1 are of one context, in this order; 2 and 3 are of others. Whoever adds has reserved."""
    with fences(4):
        made = [fence(context, seqno) for context, seqno in ((1, 1), (1, 2), (2, 1), (3, 1))]
        told: list[tuple[int, DmaResvUsage]] = []
        done: set[int] = set()
        dma_resv_lock(world.resv)
        for what, which, usage in steps:
            if what == "signal":
                dma_fence_signal(made[which])
                done.add(which)
            elif what == "reserve":
                before = int(world.resv.max_fences)
                dma_resv_reserve_fences(world.resv, which)
                if before < len(told) + which:
                    told = [entry for entry in told if entry[0] not in done]
                assert world.resv.max_fences >= len(told) + which
            elif what == "replace":
                dma_resv_replace_fences(world.resv, made[which].context, made[which], usage)
                same = {0: (0, 1), 1: (0, 1), 2: (2,), 3: (3,)}[which]
                told = [(which, usage) if entry[0] in same else entry for entry in told]
            else:
                before = int(world.resv.max_fences)
                dma_resv_reserve_fences(world.resv, 1)
                if before < len(told) + 1:  # it had to grow
                    told = [entry for entry in told if entry[0] not in done]
                for place, (old, old_usage) in enumerate(told):
                    is_later = old == which or (old == 0 and which == 1)
                    if old in done or (is_later and old_usage >= usage):
                        told[place] = which, usage
                        break
                else:
                    if len(told) == 4:
                        return  # more than this machine has room for
                    told.append((which, usage))
                dma_resv_add_fence(world.resv, made[which], usage)
            assert entries() == [(made[number], usage) for number, usage in told]
            for number, one in enumerate(made):
                assert one.refcount == 1 + sum(1 for other, _ in told if other == number)


# Under search.


def waits(usage: DmaResvUsage) -> None:
    dma_resv_wait_timeout(world.resv, usage)
    world.done += 1


def signals() -> None:
    """The engine, which is done with the first job, and then with the second."""
    first = world.first
    assert first is not None
    dma_fence_signal(first)
    second = world.second
    if second is not None:
        dma_fence_signal(second)


def waits_and_looks(usage: DmaResvUsage) -> None:
    """Nobody adds one: when the wait is over, so is everything."""
    dma_resv_wait_timeout(world.resv, usage)
    done = dma_resv_test_signaled(world.resv, usage)
    assert done, "a fence is left"


def adds_again(context: int) -> None:
    """A second fence, in the place of the first if it is of its context, or as the last."""
    second = world.second
    assert second is not None
    dma_resv_lock(world.resv)
    dma_resv_reserve_fences(world.resv, 1)
    dma_resv_add_fence(world.resv, second, BOOKKEEP)
    dma_resv_unlock(world.resv)


def signals_when_somebody_waited() -> None:
    """Never, if the waiter waits for it."""
    first = world.first
    assert first is not None
    dma_fence_signal(first)
    wait_until(world.done == 1)
    second = world.second
    assert second is not None
    dma_fence_signal(second)


def searched(number: int, prepare: Callable[[], None], threads: list[Thread]) -> Result:
    with fences(number) as machine:
        prepare()
        return breadth_first(Reference(build(machine, threads)), Request(livelock=True))


def two(second_context: int, both: bool) -> Callable[[], None]:
    """One fence is added, or both."""

    def prepare() -> None:
        world.first, world.second = fence(1, 1), fence(second_context, 2)
        dma_resv_lock(world.resv)
        dma_resv_reserve_fences(world.resv, 2)
        dma_resv_add_fence(world.resv, world.first, BOOKKEEP)
        if both:
            dma_resv_add_fence(world.resv, world.second, BOOKKEEP)
        dma_resv_unlock(world.resv)

    return prepare


def test_a_wait_ends_when_all_fences_are_signalled() -> None:
    threads = [Thread("waiter", waits_and_looks, (BOOKKEEP,)), Thread("engine", signals)]
    result = searched(3, two(2, both=True), threads)
    assert result.verdict is Verdict.HOLDS, result.violation


def test_a_wait_without_the_lock_need_not_see_a_fence_that_came_into_a_place_that_it_had_passed() -> None:
    """The second fence is of the same context and takes the first one's place: after the first wait it may be there, and not looked at.
    It may also be there before, and then it is waited for, in vain."""
    threads = [Thread("waiter", waits, (BOOKKEEP,)), Thread("engine", signals_when_somebody_waited), Thread("other", adds_again, (1,))]
    result = searched(3, two(1, both=False), threads)
    assert result.violation is not None and result.violation.rule == "deadlock"
    alone = searched(3, two(1, both=False), threads[:2])
    assert alone.verdict is Verdict.HOLDS


def puts_while_it_waits() -> None:
    """Drops the reference that somebody else relies on."""
    first = world.first
    assert first is not None
    dma_fence_signal(first)
    dma_fence_put(first)


def waits_for_the_first() -> None:
    first = world.first
    assert first is not None
    dma_fence_wait(first)


def test_who_waits_for_a_fence_needs_a_reference() -> None:
    def prepare() -> None:
        world.first = fence()

    result = searched(1, prepare, [Thread("waiter", waits_for_the_first), Thread("engine", puts_while_it_waits)])
    assert result.violation is not None and result.violation.rule == "use-after-free"


def calls_what_sleeps(cb: Sleeps) -> None:
    first = world.first
    assert first is not None
    dma_fence_add_callback(first, cb)
    dma_fence_signal(first)


def holds_the_mutex() -> None:
    world.mutex.lock()
    world.done += 1
    world.mutex.unlock()


def test_a_callback_must_not_sleep() -> None:
    with fences(1, sleeps=1) as machine:
        world.first = fence()
        sleeps = machine.pool(Sleeps).alloc()
        made = build(machine, [Thread("engine", calls_what_sleeps, (sleeps,)), Thread("other", holds_the_mutex)])
        result = breadth_first(Reference(made))
    assert result.violation is not None and result.violation.rule == "sleep-in-atomic"


# Who maps without looking at fences.


class Fixed(DmaBuf):
    """An exporter that does not move its buffer, of one page."""

    def map_dma_buf(self, attach: DmaBufAttachment) -> Errno:
        attach.sgt[0] = frames[1]
        return 0


class Static(Driver):
    """An importer without move_notify."""


def maps(buffer: Fixed, importer: Static, attach: DmaBufAttachment) -> None:
    dma_resv_lock(buffer.resv)
    dma_buf_map_attachment(buffer, attach)
    dma_resv_unlock(buffer.resv)


@pytest.mark.parametrize(("usage", "waits_for_it"), [(KERNEL, True), (WRITE, False)])
def test_an_importer_that_is_not_dynamic_gets_its_mapping_when_moves_are_over(usage: DmaResvUsage, waits_for_it: bool) -> None:
    """__map_dma_buf() (drivers/dma-buf/dma-buf.c, Linux 6.12)."""
    machine = Machine(bounds=bounds(dma_fences=1, resv_fences=1, attachments=1, dmabuf_pages=1), pools={Fixed: 1, Static: 1})
    with machine:
        mem_init()
        buffer, importer = machine.pool(Fixed).alloc(), machine.pool(Static).alloc()
        attach = dma_buf_attach(buffer, importer)
        assert attach is not None and not dma_buf_attach_revocable(attach)
        world.first = fence()
        dma_resv_lock(buffer.resv)
        dma_resv_reserve_fences(buffer.resv, 1)
        dma_resv_add_fence(buffer.resv, world.first, usage)
        dma_resv_unlock(buffer.resv)
        threads = [Thread("importer", maps, (buffer, importer, attach)), Thread("engine", signals)]
        assert breadth_first(Reference(build(machine, threads))).verdict is Verdict.HOLDS
        alone = breadth_first(Reference(build(machine, threads[:1])))
    assert (alone.verdict is Verdict.BROKEN) == waits_for_it
