"""Locks of several buffers under a context: by hand, and two threads that take two in opposite orders."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from secondsight.lang import U8, Machine, Record, shared
from secondsight.lang.errors import ModelError, RuleBroken
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.render_c import render_c
from secondsight.linux import bounds
from secondsight.linux.dma_resv import DmaResv, dma_resv_lock, dma_resv_lock_slow, dma_resv_unlock
from secondsight.linux.errno import EALREADY, EDEADLK
from secondsight.linux.ww_mutex import (
    WwAcquireCtx,
    ww_acquire_ctxs,
    ww_acquire_done,
    ww_acquire_fini,
    ww_acquire_init,
    ww_mutex_trylock,
)
from secondsight.search import Request, Result, Verdict, breadth_first
from secondsight.search.native import native_search


class World(Record):
    """Two reservation objects, and what they protect together."""

    a: DmaResv
    b: DmaResv
    both: U8


world = shared(World)


def without_a_context(first: DmaResv, second: DmaResv) -> None:
    """Wrong: takes both in the order that it likes."""
    dma_resv_lock(first)
    dma_resv_lock(second)
    dma_resv_unlock(second)
    dma_resv_unlock(first)


def lock_both(first: DmaResv, second: DmaResv, ctx: WwAcquireCtx) -> None:
    """Right: backs off until it has both."""
    dma_resv_lock(first, ctx)
    ret = dma_resv_lock(second, ctx)
    held = first
    wanted = second
    while ret == -EDEADLK:
        dma_resv_unlock(held)
        dma_resv_lock_slow(wanted, ctx)
        other = held
        held = wanted
        wanted = other
        ret = dma_resv_lock(wanted, ctx)


def backs_off_with(first: DmaResv, second: DmaResv, wound_wait: bool) -> None:
    """Has both, and nobody else has one meanwhile."""
    with ww_acquire_ctxs.on_stack() as ctx:
        ww_acquire_init(ctx, wound_wait)
        lock_both(first, second, ctx)
        ww_acquire_done(ctx)
        assert world.both == 0
        world.both = 1
        world.both = 0
        dma_resv_unlock(first)
        dma_resv_unlock(second)
        ww_acquire_fini(ctx)


def backs_off(first: DmaResv, second: DmaResv) -> None:
    """When it meets an older one."""
    backs_off_with(first, second, False)


def backs_off_when_wounded(first: DmaResv, second: DmaResv) -> None:
    """When an older one wants what it has."""
    backs_off_with(first, second, True)


def keeps_the_others_with(first: DmaResv, second: DmaResv, wound_wait: bool) -> None:
    """Wrong: waits for the lock with the other one held."""
    with ww_acquire_ctxs.on_stack() as ctx:
        ww_acquire_init(ctx, wound_wait)
        dma_resv_lock(first, ctx)
        ret = dma_resv_lock(second, ctx)
        if ret == -EDEADLK:
            dma_resv_lock_slow(second, ctx)
        dma_resv_unlock(first)
        dma_resv_unlock(second)
        ww_acquire_fini(ctx)


def keeps_the_others(first: DmaResv, second: DmaResv) -> None:
    """When it meets an older one."""
    keeps_the_others_with(first, second, False)


def keeps_the_others_when_wounded(first: DmaResv, second: DmaResv) -> None:
    """When an older one wants what it has."""
    keeps_the_others_with(first, second, True)


def never_backs_off(first: DmaResv, second: DmaResv, wound_wait: bool) -> None:
    """Wrong: takes both, and thinks that nobody tells it to give one back."""
    with ww_acquire_ctxs.on_stack() as ctx:
        ww_acquire_init(ctx, wound_wait)
        assert dma_resv_lock(first, ctx) == 0
        assert dma_resv_lock(second, ctx) == 0
        dma_resv_unlock(first)
        dma_resv_unlock(second)
        ww_acquire_fini(ctx)


def program(does: Callable[[DmaResv, DmaResv], None], other: Callable[[DmaResv, DmaResv], None] | None = None, wounds: int = 0) -> Program:
    """Two threads that take the two locks in opposite orders."""
    contexts = 0 if does is without_a_context else 2
    machine = Machine(bounds=bounds(ww_contexts=contexts, ww_locks=min(contexts, 1), ww_wounds=wounds))
    with machine:
        a, b = world.a, world.b
    return build(machine, [Thread("one", does, (a, b)), Thread("two", other or does, (b, a))])


def result(of: Program, **asked: bool) -> Result:
    return breadth_first(Reference(of), Request(livelock=True, **asked))


def test_without_a_context_two_orders_deadlock() -> None:
    found = result(program(without_a_context), lock_order=False)
    assert found.violation is not None and found.violation.rule == "deadlock"
    found = result(program(without_a_context))
    assert found.violation is not None and found.violation.rule == "lock-order"


def test_who_backs_off_gets_both_in_the_end_on_every_executor() -> None:
    built = program(backs_off)
    found = result(built)
    assert found.verdict is Verdict.HOLDS, found.violation
    native = native_search(Native(built), Request(livelock=True))
    assert (native.verdict, native.states) == (found.verdict, found.states)


def test_who_keeps_its_locks_and_waits_breaks_the_protocol() -> None:
    found = result(program(keeps_the_others))
    assert found.violation is not None and found.violation.rule == "ww-mutex"
    assert "with others held" in found.violation.message


def forgets_its_context(first: DmaResv, second: DmaResv) -> None:
    """Wrong: gives its locks back and is gone."""
    with ww_acquire_ctxs.on_stack() as ctx:
        ww_acquire_init(ctx)
        lock_both(first, second, ctx)
        dma_resv_unlock(first)
        dma_resv_unlock(second)


def forgets_it_for_ever(first: DmaResv, second: DmaResv) -> None:
    """Wrong: the same, again and again."""
    while True:
        forgets_its_context(first, second)


@pytest.mark.parametrize(("does", "rule"), [(forgets_its_context, "lock-held-at-exit"), (forgets_it_for_ever, "ww-mutex")])
def test_a_context_that_is_never_ended_is_held_for_ever(does: Callable[[DmaResv, DmaResv], None], rule: str) -> None:
    built = program(does)
    found = result(built)
    assert found.violation is not None and found.violation.rule == rule
    native = native_search(Native(built), Request(livelock=True))
    assert native.violation is not None and native.violation.rule == rule


def test_one_without_a_context_is_waited_for_and_the_two_deadlock() -> None:
    found = result(program(backs_off, without_a_context), lock_order=False)
    assert found.violation is not None and found.violation.rule == "deadlock"


def context() -> WwAcquireCtx:
    """A new one, the youngest."""
    made = ww_acquire_ctxs.alloc()
    ww_acquire_init(made)
    return made


def test_the_younger_one_dies_and_the_older_one_gets_the_lock_as_soon_as_it_is_free() -> None:
    with Machine(bounds=bounds(ww_contexts=2, ww_locks=1)):
        old, young = context(), context()
        assert (old.stamp, young.stamp) == (1, 2)
        assert dma_resv_lock(world.a, old) == 0
        assert dma_resv_lock(world.a, old) == -EALREADY
        assert dma_resv_lock(world.b, young) == 0
        assert dma_resv_lock(world.a, young) == -EDEADLK
        assert not ww_mutex_trylock(world.b, old)
        with pytest.raises(RuleBroken, match="with others held"):
            dma_resv_lock(world.a, young)
        dma_resv_unlock(world.b)
        assert (young.acquired, young.contending_lock) == (0, world.a)
        with pytest.raises(RuleBroken, match="another lock than the one"):
            dma_resv_lock(world.b, young)


def test_a_context_ends_without_locks_and_the_younger_ones_move_up() -> None:
    with Machine(bounds=bounds(ww_contexts=2, ww_locks=1)):
        old, young = context(), context()
        dma_resv_lock(world.a, old)
        with pytest.raises(RuleBroken, match="ends a context that has locks"):
            ww_acquire_fini(old)
        with pytest.raises(RuleBroken, match="was not told to wait for"):
            dma_resv_lock_slow(world.b, old)
        ww_acquire_done(old)
        with pytest.raises(RuleBroken, match="takes no more"):
            dma_resv_lock(world.b, old)
        with pytest.raises(RuleBroken, match="says twice"):
            ww_acquire_done(old)
    with Machine(bounds=bounds(ww_contexts=2, ww_locks=1)):
        old, young = context(), context()
        ww_acquire_fini(old)
        assert young.stamp == 1


# Wound-wait.


def test_who_is_wounded_backs_off_and_both_get_theirs_in_the_end() -> None:
    built = program(backs_off_when_wounded, wounds=1)
    found = result(built)
    assert found.verdict is Verdict.HOLDS, found.violation
    native = native_search(Native(built), Request(livelock=True))
    assert (native.verdict, native.states) == (found.verdict, found.states)


def test_who_is_wounded_and_keeps_its_locks_breaks_the_protocol() -> None:
    found = result(program(keeps_the_others_when_wounded, wounds=1))
    assert found.violation is not None and found.violation.rule == "ww-mutex"


def test_the_older_one_wounds_and_waits_and_the_younger_one_dies_when_it_would_wait() -> None:
    with Machine(bounds=bounds(ww_contexts=2, ww_locks=1, ww_wounds=1)):
        old, young = ww_acquire_ctxs.alloc(), ww_acquire_ctxs.alloc()
        ww_acquire_init(old, True)
        ww_acquire_init(young, True)
        assert dma_resv_lock(world.a, old) == 0
        assert dma_resv_lock(world.b, young) == 0
        with pytest.raises(ModelError, match="would wait for ever"):
            dma_resv_lock(world.b, old)
        assert (young.wound[0].wounded, old.wound[0].wounded) == (True, False)
        assert dma_resv_lock(world.a, young) == -EDEADLK
        dma_resv_unlock(world.b)
        assert young.wound[0].wounded
        assert dma_resv_lock(world.b, old) == 0


def test_the_younger_one_waits_for_the_older_one_and_does_not_die() -> None:
    with Machine(bounds=bounds(ww_contexts=2, ww_locks=1, ww_wounds=1)):
        old, young = ww_acquire_ctxs.alloc(), ww_acquire_ctxs.alloc()
        ww_acquire_init(old, True)
        ww_acquire_init(young, True)
        dma_resv_lock(world.a, old)
        dma_resv_lock(world.b, young)
        with pytest.raises(ModelError, match="would wait for ever"):
            dma_resv_lock(world.a, young)
        assert not old.wound[0].wounded and not young.wound[0].wounded


def test_who_has_nothing_wounds_nobody() -> None:
    with Machine(bounds=bounds(ww_contexts=2, ww_locks=1, ww_wounds=1)):
        old, young = ww_acquire_ctxs.alloc(), ww_acquire_ctxs.alloc()
        ww_acquire_init(old, True)
        ww_acquire_init(young, True)
        dma_resv_lock(world.b, young)
        with pytest.raises(ModelError, match="would wait for ever"):
            dma_resv_lock(world.b, old)
        assert not young.wound[0].wounded


def test_who_takes_a_lock_that_an_older_one_waits_for_is_wounded() -> None:
    with Machine(bounds=bounds(ww_contexts=3, ww_locks=1, ww_wounds=1)):
        old, young, youngest = ww_acquire_ctxs.alloc(), ww_acquire_ctxs.alloc(), ww_acquire_ctxs.alloc()
        for ctx in (old, young, youngest):
            ww_acquire_init(ctx, True)
        dma_resv_lock(world.a, old)
        dma_resv_lock(world.b, young)
        with pytest.raises(ModelError, match="would wait for ever"):
            dma_resv_lock(world.b, old)
        dma_resv_unlock(world.b)
        assert ww_mutex_trylock(world.b, youngest)
        assert youngest.wound[0].wounded


def test_a_wounded_one_that_never_has_to_wait_goes_on() -> None:
    with Machine(bounds=bounds(ww_contexts=1, ww_locks=1, ww_wounds=1)):
        ctx = ww_acquire_ctxs.alloc()
        ww_acquire_init(ctx, True)
        assert dma_resv_lock(world.a, ctx) == 0
        ctx.wound[0].wounded = True
        assert dma_resv_lock(world.b, ctx) == 0


@pytest.mark.parametrize("wound_wait", [False, True])
def test_who_never_backs_off_is_told_to_in_both_classes(wound_wait: bool) -> None:
    """By its own wait, or by an older one's."""
    machine = Machine(bounds=bounds(ww_contexts=2, ww_locks=1, ww_wounds=1))
    with machine:
        a, b = world.a, world.b
    found = result(build(machine, [Thread("one", never_backs_off, (a, b, wound_wait)), Thread("two", backs_off_with, (b, a, wound_wait))]))
    assert found.violation is not None and found.violation.rule == "assertion"


def test_contexts_of_wait_die_have_nothing_of_the_other_class() -> None:
    assert "ww_mutex_wound" not in render_c(program(backs_off)).text
    with Machine(bounds=bounds(ww_contexts=1, ww_locks=1)), pytest.raises(RuleBroken, match="ww_wounds"):
        ww_acquire_init(ww_acquire_ctxs.alloc(), True)
