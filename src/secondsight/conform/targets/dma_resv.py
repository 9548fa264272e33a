"""drivers/dma-buf/dma-resv.c beside `linux.dma_resv`, linked with drivers/dma-buf/dma-fence.c, beside `linux.dma_fence`: see
c/dma_resv.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.lang import U8, Array, Bounds, Machine, Record, atomic, const, shared, shared_array
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.dma_fence import (
    DmaFence,
    DmaFenceCb,
    dma_fence_add_callback,
    dma_fence_init,
    dma_fence_put,
    dma_fence_remove_callback,
    dma_fence_signal,
    dma_fence_wait,
)
from secondsight.linux.dma_resv import (
    DmaResv,
    DmaResvUsage,
    dma_resv_add_fence,
    dma_resv_lock,
    dma_resv_replace_fences,
    dma_resv_reserve_fences,
    dma_resv_test_signaled,
    dma_resv_unlock,
    dma_resv_wait_timeout,
)
from secondsight.linux.mm_types import Count

__all__ = ["DmaResvFile"]

FENCES, CALLBACKS, THREADS = 3, 3, 3
ENTRIES = 12

PLAIN, ASKED, OVER = range(3)
"""What a fence does when somebody begins to wait: nothing; it is asked; it says that it is over."""


class Op(IntEnum):
    """What a thread does; the numbers are those of c/dma_resv.c."""

    LOCK = 0
    UNLOCK = 1
    RESERVE = 2
    ADD = 3
    REPLACE = 4
    TEST = 5
    WAIT = 6
    SIGNAL = 7
    CALLBACK = 8
    TAKE_BACK = 9
    WAIT_ONE = 10
    PUT = 11


Number = Annotated[int, Bounds(0, 100)]
Value = Annotated[int, Bounds(-200, 200)]

operation = const("conform.operation", Op)
first = const("conform.first", Number)
usage = const("conform.usage", DmaResvUsage)
second = const("conform.second", Number)


class OneFence(DmaFence):
    """A fence that notes who begins to wait, and that it was freed."""

    kind: U8
    asked: Number
    freed: bool

    def enable_signaling(self) -> bool:
        """dma_fence_ops.enable_signaling, of those kinds that have it."""
        if self.kind == PLAIN:
            return True
        self.asked += 1
        return self.kind == ASKED

    def release(self) -> None:
        """Notes that it is freed."""
        self.freed = True


class OneCallback(DmaFenceCb):
    """A callback that notes when it was called."""

    turn: Number

    def func(self, fence: DmaFence) -> None:
        """It is called."""
        world.turn += 1
        self.turn = world.turn


class World(Record):
    """The reservation object, what each thread's last operation returned, and how many callbacks there were."""

    resv: DmaResv
    of: Array[Value, Literal[3]]
    turn: Number


world = shared(World)
fences = shared_array(OneFence, FENCES)
callbacks = shared_array(OneCallback, CALLBACKS)


def script(thread: Count, at: Number, end: Number) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    resv = world.resv
    while at < end:
        op = operation[at]
        ret: Value = 0
        if op == Op.LOCK:
            dma_resv_lock(resv)
        elif op == Op.UNLOCK:
            dma_resv_unlock(resv)
        elif op == Op.RESERVE:
            dma_resv_reserve_fences(resv, first[at])
        elif op == Op.ADD:
            dma_resv_add_fence(resv, fences[first[at]], usage[at])
        elif op == Op.REPLACE:
            replace(resv, fences[first[at]], usage[at])
        elif op == Op.TEST:
            done = dma_resv_test_signaled(resv, usage[at])
            ret = 1 if done else 0
        elif op == Op.WAIT:
            dma_resv_wait_timeout(resv, usage[at])
        elif op == Op.SIGNAL:
            ret = dma_fence_signal(fences[first[at]])
        elif op == Op.CALLBACK:
            ret = dma_fence_add_callback(fences[first[at]], callbacks[second[at]])
        elif op == Op.TAKE_BACK:
            listed = dma_fence_remove_callback(fences[first[at]], callbacks[second[at]])
            ret = 1 if listed else 0
        elif op == Op.WAIT_ONE:
            dma_fence_wait(fences[first[at]])
        else:
            dma_fence_put(fences[first[at]])
        world.of[thread] = ret
        at += 1


@atomic
def replace(resv: DmaResv, fence: DmaFence, usage: DmaResvUsage) -> None:
    """Put a fence in the place of those of its context."""
    dma_resv_replace_fences(resv, fence.context, fence, usage)


ONE = Stop("one")
SLEEPS, WALKS_ON = Stop("schedule_timeout", "dma_fence_default_wait"), Stop("rcu_read_lock", "dma_resv_iter_next_unlocked")


class DmaResvFile(Target):
    """drivers/dma-buf/dma-resv.c, with drivers/dma-buf/dma-fence.c."""

    file = "drivers/dma-buf/dma-resv.c"
    model = "dma_resv.py"
    parts = ("dma_fence.py",)
    c = "dma_resv.c"
    linked = ("drivers/dma-buf/dma-fence.c", "lib/list_debug.c")
    releases = ("6.1", "6.12", "7.2")
    functions = (
        "dma_resv_reserve_fences", "dma_resv_reset_max_fences", "dma_resv_add_fence", "dma_resv_replace_fences", "dma_resv_wait_timeout",
        "dma_resv_test_signaled", "dma_resv_iter_first_unlocked", "dma_resv_iter_next_unlocked", "dma_resv_iter_walk_unlocked",
        "dma_resv_iter_restart_unlocked", "dma_resv_list_entry", "dma_resv_list_set", "dma_resv_list_alloc",
    )  # fmt: skip
    boundaries = (
        Crossing("script", "world.of[thread] = ret", Stop("result")),
        Crossing("dma_resv_lock", "obj.lock()", Stop("resv_lock")),
        Crossing("dma_resv_unlock", "with atomic:", ONE),
        Crossing("dma_resv_reserve_fences", "make_room(", ONE),
        *(
            Crossing("script", text, ONE)
            for text in (
                "dma_resv_add_fence(", "replace(", "done = dma_resv_test_signaled(", "ret = dma_fence_signal(",
                "ret = dma_fence_add_callback(", "listed = dma_fence_remove_callback(", "dma_fence_put(",
            )
        ),
        Crossing("dma_resv_wait_timeout", "with atomic: array =", Stop("rcu_read_lock", "dma_resv_iter_first_unlocked")),
        Crossing("dma_resv_wait_timeout", "with atomic: dma_fence_put(", WALKS_ON),
        Crossing("dma_fence_wait", "dma_fence_enable_sw_signaling(", Stop("spin_lock", "dma_fence_enable_sw_signaling")),
        Crossing("dma_fence_wait", "wait_until(", SLEEPS, (WALKS_ON, Stop("result"))),
    )  # fmt: skip
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("spin_lock", "dma_fence_signal"): "nothing is done before it, and it is held for one step",
        Stop("spin_lock", "dma_fence_check_and_signal"): "the same (Linux 7.2)",
        Stop("spin_lock", "dma_fence_add_callback"): "before it there is only a look at a flag that never goes back, which is looked at again under it",
        Stop("spin_lock", "dma_fence_remove_callback"): "nothing is done before it, and it is held for one step",
        Stop("spin_lock", "dma_fence_default_wait"): "it looks whether the fence is signalled, and sleeps until it is: whoever comes between is seen",
        Stop("spin_lock", "dma_fence_release"): "a fence that is freed and not signalled: a warning came before it",
        Stop("rcu_read_lock", "dma_resv_iter_first_unlocked"): "the test whether all are signalled: one look",
        **{
            Stop("rcu_read_lock", function): "around a look at the operations of a fence, which nobody here changes (Linux 7.2)"
            for function in (
                "dma_resv_reserve_fences", "dma_resv_add_fence", "dma_resv_iter_walk_unlocked", "dma_fence_is_signaled", "dma_fence_is_later",
                "dma_fence_is_later_or_same", "dma_fence_wait_timeout", "__dma_fence_enable_signaling", "dma_fence_release",
            )
        },
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "refcount": ("undefined",),
        "use-after-free": ("undefined",),
        "double-add": ("undefined",),
        "another-fence": ("undefined",),
        "lock-not-held": ("undefined",),
        "double-lock": ("undefined",),
        "not-owner": ("undefined",),
        "lock-held-at-exit": ("undefined",),
        "no-fences": ("warning",),
        "not-reserved": ("BUG_ON",),
        "fence-never-signaled": ("warning",),
    }
    differences = (
        StateDifference(
            "CONFIG_DEBUG_MUTEXES",
            "the packaged kernels are built without it; the file as it is compiled here has it, so that dropping the lock takes away what was "
            "reserved and not used",
            "may raise a false alarm",
        ),
        StateDifference("the size that kmalloc() gives", "an array has no more slots than were asked for", "may raise a false alarm"),
        StateDifference("timeouts, signals, failing allocations, dma_fence_ops.signaled and .wait, containers", "not run", "may hide"),
        StateDifference(
            "dma_fence_signal() of Linux 7.2",
            "returns nothing; dma_fence_check_and_signal() is called in its place, which says whether it was signalled before",
            "neither",
        ),
    )

    def definitions(self, release: str) -> tuple[str, ...]:
        return ("CONFIG_DEBUG_MUTEXES=1",)

    def draw(self, source: random.Random, release: str) -> Configuration:
        setup: list[int] = []
        for _ in range(FENCES):
            setup += [source.choice((1, 1, 2)), source.randint(1, 3), source.choice((PLAIN, PLAIN, ASKED, OVER))]
        there = source.random() < 0.5
        setup.append(int(there))
        threads, room = [], ENTRIES
        for _ in range(source.randint(2, THREADS)):
            does: list[TargetOperation] = []
            for _ in range(source.randint(1, 3)):
                one = source.randrange(FENCES)
                what = source.random()
                if what < 0.5 and room > 1:
                    room -= 2
                    adds = [task(Op.RESERVE, source.randint(1, 3))] if not there or source.random() < 0.95 else []
                    for _ in range(source.randint(1, 2)):
                        adds.append(task(source.choice((Op.ADD, Op.ADD, Op.ADD, Op.REPLACE)), source.randrange(FENCES), source.randrange(4)))
                    if source.random() < 0.2:
                        adds.append(task(Op.WAIT, source.randrange(4)))
                    does += [task(Op.LOCK), *adds, task(Op.UNLOCK)]
                elif what < 0.65:
                    does.append(task(Op.WAIT, source.randrange(4)))
                elif what < 0.8:
                    does.append(task(Op.SIGNAL, one))
                else:
                    kind = source.choice((Op.CALLBACK, Op.CALLBACK, Op.TAKE_BACK, Op.TEST, Op.WAIT_ONE, Op.PUT))
                    if kind == Op.PUT and source.random() < 0.7:
                        kind = Op.SIGNAL
                    if kind in (Op.WAIT_ONE, Op.PUT):  # who waits has a reference, so nobody drops the last
                        one = 2 if kind == Op.PUT else source.randrange(2)
                    does.append(task(kind, source.randrange(4) if kind == Op.TEST else one, source.randrange(CALLBACKS)))
            threads.append(tuple(does))
        return Configuration(tuple(setup), tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        def adds(reserves: int, *which: tuple[int, int]) -> tuple[TargetOperation, ...]:
            return (task(Op.LOCK), task(Op.RESERVE, reserves), *(task(Op.ADD, *one) for one in which), task(Op.UNLOCK))

        one_context, apart = (1, 1, PLAIN, 1, 2, PLAIN, 2, 1, ASKED, 0), (1, 1, PLAIN, 2, 1, OVER, 3, 1, ASKED, 1)
        waits = tuple((task(Op.WAIT, usage),) for usage in (0, 1, 2, 3))
        signals = tuple(task(Op.SIGNAL, which) for which in range(FENCES))
        for setup in (one_context, apart):
            yield Configuration(setup, (adds(2, (0, 3), (2, 2)) + adds(1, (1, 3)), waits[3], (signals[0], signals[1])))
            yield Configuration(setup, (adds(2, (0, 1), (1, 1)) + adds(1, (2, 0)), waits[1] + waits[0], signals))
            yield Configuration(setup, ((task(Op.CALLBACK, 0, 0), task(Op.CALLBACK, 0, 1), task(Op.TAKE_BACK, 0, 0)), (task(Op.WAIT_ONE, 0),), signals[:1] * 2))
            yield Configuration(setup, (adds(1, (0, 2)) + adds(1, (0, 3)), (*adds(1, (1, 2)), task(Op.TEST, 2)), (signals[0], task(Op.TEST, 3))))
            yield Configuration(
                setup, ((task(Op.LOCK), task(Op.RESERVE, 3), task(Op.ADD, 0, 3), task(Op.ADD, 2, 1), task(Op.REPLACE, 1, 0), task(Op.UNLOCK)), waits[3], signals)
            )

    def scene(self, configuration: Configuration) -> Scene:
        tasks = [task for thread in configuration.threads for task in thread]
        given = [(*one.arguments, 0, 0) for one in tasks]
        of_usage = {Op.TEST: 0, Op.WAIT: 0, Op.ADD: 1, Op.REPLACE: 1}
        data: dict[str, list[int]] = {
            "conform.operation": [Op(one.code) for one in tasks],
            "conform.first": [a[0] for a in given],
            "conform.second": [a[1] for a in given],
            "conform.usage": [DmaResvUsage(a[of_usage[Op(one.code)]] if one.code in of_usage else 0) for one, a in zip(tasks, given, strict=True)],
        }
        machine = Machine(bounds=bounds(resv_fences=ENTRIES), data=data)
        with machine:
            for i, one in enumerate(fences):
                context, seqno, one.kind = configuration.setup[i * 3 : i * 3 + 3]
                dma_fence_init(one, context, seqno)
            if configuration.setup[FENCES * 3]:
                dma_resv_lock(world.resv)
                dma_resv_reserve_fences(world.resv, 1)
                dma_resv_unlock(world.resv)
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, len(threads)))


def task(op: Op, *arguments: int) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower(), (*arguments, 0, 0)[:2])


def _look(program: Program, threads: int) -> Callable[[bytes], str]:
    """The look that c/dma_resv.c has."""
    eyes = Eyes(program)
    of = eyes.array(world, "of")[:threads]
    owner, array, most = (eyes.field(world.resv, name) for name in ("owner", "array", "max_fences"))
    entries = [(eyes.field(one, "fence"), eyes.field(one, "usage")) for one in world.resv.fences]
    fence_at = {eyes.offset(one): i for i, one in enumerate(fences)}
    callback_at = {eyes.offset(one): i for i, one in enumerate(callbacks)}
    each = [tuple(eyes.field(one, name) for name in ("refcount", "signaled", "enabled", "asked", "freed", "cb_list")) for one in fences]
    nodes = [tuple(eyes.field(one, name) for name in ("node", "turn", "listed")) for one in callbacks]

    def listed(state: bytes, at: int) -> str:
        text = ""
        while at:
            text += f"<{callback_at[at]}"
            at = nodes[callback_at[at]][0](state)
        return text

    def look(state: bytes) -> str:
        text = "".join(f"{read(state)} " for read in of) + f"resv={int(owner(state) != 0)} array={array(state)} max={most(state)} fences="
        text += "".join(f"{fence_at[fence(state)]}:{usage(state)};" for fence, usage in entries if fence(state))
        for refcount, signaled, enabled, asked, freed, first_of in each:
            text += " fence="
            if freed(state):
                text += "freed"
            else:
                flags = ("s" if signaled(state) else "-") + ("e" if enabled(state) else "-")
                text += f"{refcount(state)}{flags}{asked(state)}{listed(state, first_of(state))}"
        return text + " turns=" + "".join(f"{turn(state)}{'+' if is_listed(state) else '-'}" for _, turn, is_listed in nodes)

    return look
