"""lib/percpu-refcount.c beside `linux.percpu_refcount`: see c/percpu_refcount.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from enum import IntEnum
from itertools import product
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Crossing, Stop
from secondsight.conform.target import Configuration, Scene, StateDifference, Target, TargetOperation
from secondsight.conform.targets.percpu_refcount_mutants import EQUIVALENT, EQUIVALENT_MODEL
from secondsight.lang import Array, Bounds, Machine, Record, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import bounds
from secondsight.linux.mm_types import Count
from secondsight.linux.percpu_refcount import (
    PercpuRef,
    percpu_ref_init,
    percpu_ref_is_zero_wait,
    percpu_ref_kill,
    percpu_ref_put,
    percpu_ref_tryget_live,
)

__all__ = ["PercpuRefcountFile"]

THREADS = 4

KINDS = USUAL, ATOMIC, _REUSED = range(3)
"""How the C's count is made: the model knows one kind. Atomic from the start; for use again after its end."""


class Op(IntEnum):
    """What a thread does; the numbers are those of c/percpu_refcount.c."""

    TRYGET = 0
    PUT = 1
    KILL = 2
    WAIT = 3


Number = Annotated[int, Bounds(0, 100)]

operation = const("conform.operation", Op)


class World(Record):
    """The count, and what each thread's last operation returned."""

    ref: PercpuRef
    of: Array[Count, Literal[4]]


world = shared(World)


def script(thread: Count, at: Number, end: Number) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    ref = world.ref
    while at < end:
        op = operation[at]
        ret: Count = 0
        if op == Op.TRYGET:
            got = percpu_ref_tryget_live(ref)
            ret = 1 if got else 0
        elif op == Op.PUT:
            percpu_ref_put(ref)
        elif op == Op.KILL:
            percpu_ref_kill(ref)
        else:
            percpu_ref_is_zero_wait(ref)
        world.of[thread] = ret
        at += 1


class PercpuRefcountFile(Target):
    """lib/percpu-refcount.c."""

    file = "lib/percpu-refcount.c"
    model = "percpu_refcount.py"
    c = "percpu_refcount.c"
    functions = (
        "percpu_ref_init", "percpu_ref_kill_and_confirm", "__percpu_ref_switch_mode", "__percpu_ref_switch_to_atomic",
        "percpu_ref_switch_to_atomic_rcu", "percpu_ref_call_confirm_rcu",
    )  # fmt: skip
    model_functions = ("percpu_ref_init", "percpu_ref_tryget_live", "percpu_ref_put", "percpu_ref_kill", "percpu_ref_is_zero_wait")
    boundaries = (
        Crossing("script", "world.of[thread] = ret", Stop("result")),
        Crossing("script", "got = percpu_ref_tryget_live(", Stop("one")),
        Crossing("script", "percpu_ref_put(", Stop("one")),
        Crossing("script", "percpu_ref_kill(", Stop("one")),
        Crossing("percpu_ref_is_zero_wait", "wait_until(", Stop("wait")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("spin_lock", "percpu_ref_kill_and_confirm"): "nothing is done before it, and it is held for one step",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "refcount": ("undefined",),
        "refcount at script: percpu_ref_kill(": ("warning",),
    }
    differences = (
        StateDifference(
            "the grace period of the switch",
            "call_rcu() runs what it is given at once: the model has killing and switching in one step. In the kernel the end of the count "
            "is noticed only after a grace period, when nobody can still be about to take a reference by the CPU's own counter",
            "neither",
        ),
        StateDifference("counters of several CPUs", "one CPU: the sum of the counters is what the model has", "neither"),
        StateDifference(
            "dropping a reference that nobody holds",
            "the kernel does not notice while the counters are each CPU's own. The model breaks the rule `refcount`",
            "neither",
        ),
    )

    equivalent: ClassVar[Mapping[str, str]] = EQUIVALENT
    equivalent_model: ClassVar[Mapping[str, str]] = EQUIVALENT_MODEL

    def draw(self, source: random.Random, release: str) -> Configuration:
        held = source.randint(0, 3)
        threads: list[tuple[TargetOperation, ...]] = []
        for _ in range(source.randint(2, THREADS)):
            mine, operations = 0, []
            if held and source.random() < 0.6:
                mine, held = 1, held - 1
            first = mine
            for _ in range(source.randint(1, 3)):
                kind = source.choice([Op.TRYGET, Op.TRYGET, Op.PUT, Op.PUT, Op.WAIT])
                if kind == Op.PUT and not mine and source.random() < 0.95:
                    kind = Op.TRYGET
                if kind == Op.WAIT and (mine or source.random() < 0.7):
                    continue
                mine -= kind == Op.PUT
                operations.append(kind)
            operations += [Op.PUT] * (mine if first else 0)
            threads.append(tuple(task(op) for op in operations or [Op.TRYGET]))
        for _ in range(2 if source.random() < 0.1 else 1):
            number = source.randrange(len(threads))
            at = source.randint(0, len(threads[number]))
            threads[number] = (*threads[number][:at], task(Op.KILL), *threads[number][at:])
        return Configuration((source.randint(0, 3), source.choice(KINDS), source.randrange(2)), tuple(threads))

    def bounded(self, release: str) -> Iterator[Configuration]:
        tryget, put, kill, wait = (task(op) for op in Op)
        worlds = (
            (2, ((kill, wait), (put, tryget), (tryget, put), (wait,))),
            (1, ((kill,), (kill,), (put,), (wait, tryget))),
            (2, ((put, tryget), (put, tryget), (kill, wait), (tryget,))),
            (3, ((put, put), (put, tryget), (tryget, kill, wait))),
        )
        for (held, threads), kind, confirms in product(worlds, KINDS, (0, 1)):
            yield Configuration((held, kind, confirms), threads)

    def scene(self, configuration: Configuration) -> Scene:
        tasks = [task for thread in configuration.threads for task in thread]
        machine = Machine(bounds=bounds(), data={"conform.operation": [Op(task.code) for task in tasks]})
        with machine:
            percpu_ref_init(world.ref)
            for _ in range(configuration.setup[0]):
                percpu_ref_tryget_live(world.ref)
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                threads.append(Thread(f"thread {number}", script, (number, at, at + len(thread))))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, configuration))


def task(op: Op) -> TargetOperation:
    """An operation of a thread."""
    return TargetOperation(op, op.name.lower())


def _look(program: Program, configuration: Configuration) -> Callable[[bytes], str]:
    """The look that c/percpu_refcount.c has. What the model has not follows from whether the count was killed: whether the one
    counter is used, whether the others' memory was given back, whether the killer was told."""
    eyes = Eyes(program)
    of, count, dying = eyes.array(world, "of")[: len(configuration.threads)], eyes.field(world.ref, "count"), eyes.field(world.ref, "dying")
    _, kind, confirms = configuration.setup

    def look(state: bytes) -> str:
        killed = dying(state)
        text = "".join(f"{read(state)} " for read in of) + f"count={count(state)} dying={killed} zero={int(count(state) == 0)} "
        return text + f"atomic={int(killed or kind == ATOMIC)} freed={int(killed and kind == USUAL)} confirmed={killed and confirms}"

    return look
