"""mm/mmu_notifier.c beside `linux.mmu_notifier`: see c/mmu_notifier.c, which has the same world."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from enum import IntEnum
from typing import Annotated, ClassVar, Literal

from secondsight.conform.eyes import Eyes
from secondsight.conform.place import Boundary, Stop
from secondsight.conform.target import Configuration, Difference, Operation, Scene, Target
from secondsight.lang import U8, Array, Bounds, Machine, Record, atomic, const, shared
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.linux import EAGAIN, bounds
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.fork import mm_alloc
from secondsight.linux.mm_types import AddressSpace, Driver, Event, Finish, Mm, MmuNotifier, Range, Seq, VmaState
from secondsight.linux.releases import differs

__all__ = ["MmuNotifierFile"]

SUBS, NOTIFIERS, PAGES, THREADS = 4, 3, 4, 4

REFUSES, ALWAYS_REFUSES = 1, 2
TWO_PASSES, ASKS_FOR_SECOND = 10, 20
BOTH = 10


class Op(IntEnum):
    """What a thread does; the numbers are those of c/mmu_notifier.c."""

    READ = 0
    INSERT = 1
    REMOVE = 2
    BRACKET = 3
    NESTED = 4
    REGISTER = 5
    UNREGISTER = 6
    EXIT = 7


Small = Annotated[int, Bounds(-1, 254)]
Value = Annotated[int, Bounds(-200, 1000)]
Index = Annotated[int, Bounds(0, 200)]

operation = const("conform.operation", Op)
first = const("conform.first", Value)
second = const("conform.second", Value)
third = const("conform.third", Value)
fourth = const("conform.fourth", Value)
fifth = const("conform.fifth", Value)


class Call(Record):
    """What a subscriber was last called with, and when."""

    count: Small = 0
    turn: Small = 0
    start: Small = 0
    end: Small = 0
    event: Small = 0
    blockable: Small = 0
    seq: Small = 0


class World(Record):
    """How many calls and inner brackets there were, and the file whose lock is that of a reverse map."""

    turn: U8
    brackets: U8
    file: AddressSpace


world = shared(World)


class Results(Record):
    """What each thread's last operation returned."""

    of: Array[Value, Literal[4]]


results = shared(Results)


@atomic
def called(call: Call, rng: Range, seq: Seq) -> None:
    """Note a call."""
    world.turn += 1
    call.count += 1
    call.turn = world.turn
    call.start = rng.start
    call.end = -1 if rng.event == Event.RELEASE else rng.end
    call.event = rng.event
    call.blockable = 1 if rng.blockable else 0
    call.seq = seq


class Sub(Driver):
    """A driver that notes its calls."""

    call: Call
    refuses: U8
    finished: Value = 0

    def invalidate(self, rng: Range, seq: Seq) -> bool:
        with atomic:
            called(self.call, rng, seq)
            done = self.refuses < ALWAYS_REFUSES if rng.blockable else self.refuses == 0
            if done:
                mn.mmu_interval_set_seq(self.notifier, seq)
        return done


class TwoPassSub(Sub):
    """A driver with two passes; `place`: the structure that it asks for the second with, counted from 1, or 0."""

    place: U8

    def invalidate_start(self, rng: Range, seq: Seq) -> int:
        with atomic:
            called(self.call, rng, seq)
            ret = 0 if rng.blockable or self.refuses == 0 else -EAGAIN
            if ret == 0:
                mn.mmu_interval_set_seq(self.notifier, seq)
                if self.place > 0 and self.finished >= 0:
                    self.finished = -1 - self.finished
                    ret = self.place
        return ret

    def invalidate_finish(self, finish: Finish) -> None:
        with atomic:
            world.turn += 1
            self.call.turn = world.turn
            self.finished = -self.finished


class OnlyStart(MmuNotifier):
    """An mmu notifier without an invalidate_range_end."""

    start: Call
    end: Call
    refuses: U8
    releases: U8

    def invalidate_range_start(self, mm: Mm, rng: Range) -> int:
        with atomic:
            called(self.start, rng, 0)
            return -EAGAIN if self.refuses >= (ALWAYS_REFUSES if rng.blockable else REFUSES) else 0

    def release(self, mm: Mm) -> None:
        with atomic:
            self.releases += 1
            world.turn += 1


class BothEnds(OnlyStart):
    """An mmu notifier with one."""

    def invalidate_range_end(self, mm: Mm, rng: Range) -> None:
        called(self.end, rng, 0)


def read(sub: Sub) -> int:
    """Twice the sequence number, and 1 for a collision."""
    seq = mn.mmu_interval_read_begin(sub.notifier)
    retry = mn.mmu_interval_read_retry(sub.notifier, seq)
    return seq * 2 + (1 if retry else 0)


def invalidate_start(mm: Mm, rng: Range) -> int:
    """Whichever form the range asks for."""
    if rng.blockable:
        mn.mmu_notifier_invalidate_range_start(mm, rng)
        return 0
    return mn.mmu_notifier_invalidate_range_start_nonblock(mm, rng)


def bracket(mm: Mm, rng: Range, way: int, nested: bool) -> int:
    """Invalidate a range, with the mmap lock held for reading or that of the reverse map."""
    if way == 0:
        mm.mmap_lock.read_lock()
    else:
        world.file.i_mmap.read_lock()
    ret = invalidate_start(mm, rng)
    if ret == 0:
        if nested:
            inner = invalidate_start(mm, rng)
            if inner == 0:
                mn.mmu_notifier_invalidate_range_end(mm, rng)
            world.brackets += 1
        mn.mmu_notifier_invalidate_range_end(mm, rng)
    if way == 0:
        mm.mmap_lock.read_unlock()
    else:
        world.file.i_mmap.read_unlock()
    return ret


def leave(mm: Mm) -> None:
    """The process ends."""
    mm.users = 0
    mn.mmu_notifier_release(mm)


def script(
    mm: Mm,
    thread: Index,
    at: Index,
    end: Index,
    s0: Sub,
    s1: Sub,
    s2: Sub,
    s3: Sub,
    h0: MmuNotifier,
    h1: MmuNotifier,
    h2: MmuNotifier,
) -> None:
    """What a thread does: the operations from `at` to before `end`."""
    while at < end:
        op = operation[at]
        a = first[at]
        ret: Value = 0
        if op == Op.READ:
            ret = read(s0 if a == 0 else s1 if a == 1 else s2 if a == 2 else s3)
        elif op == Op.INSERT:
            ret = mn.mmu_interval_notifier_insert(
                s0 if a == 0 else s1 if a == 1 else s2 if a == 2 else s3, mm, second[at], third[at]
            )
        elif op == Op.REMOVE:
            mn.mmu_interval_notifier_remove(s0 if a == 0 else s1 if a == 1 else s2 if a == 2 else s3)
        elif op == Op.REGISTER:
            ret = mn.mmu_notifier_register(h0 if a == 0 else h1 if a == 1 else h2, mm)
        elif op == Op.UNREGISTER:
            mn.mmu_notifier_unregister(h0 if a == 0 else h1 if a == 1 else h2, mm)
        elif op == Op.EXIT:
            leave(mm)
        else:
            rng = Range(a, second[at], Event.CLEAR if fourth[at] == 1 else Event.UNMAP, third[at] == 1)
            ret = bracket(mm, rng, fifth[at], op == Op.NESTED)
        results.of[thread] = ret
        at += 1


ITREE_START = Stop("spin_lock", "mn_itree_inv_start_range")
ITREE_END = Stop("spin_lock", "mn_itree_inv_end")
INSERTING = Stop("spin_lock", "__mmu_interval_notifier_insert")
HLIST_START = Stop("srcu_read_lock", "mn_hlist_invalidate_range_start")
HLIST_END = Stop("srcu_read_lock", "mn_hlist_invalidate_end")
HLIST_RELEASE = Stop("srcu_read_lock", "mn_hlist_release")
ENDED = Stop("ended_bracket")


# Why some mutants of the C cannot be told from it.
INDEPENDENT = "two statements that do not depend on each other"
ONE_STEP = "nobody can run between giving a spinlock back, or taking it, and what stands beside it: one CPU"
WHOLE_PAGES = "ranges are whole pages: a byte less hits the same"
WARNED = "the model's run ends where the kernel warns"
ONLY_SAYS = "it only prints, or checks what the configurations never do wrong"
ZEROED = "the memory is zeroed already, and the stubs have no more to make"
NEVER_FAILS = "mm_take_all_locks() never fails here"
LEFT_OUT = "mm_count, and the fields that mmu_notifier_put() alone uses, are not compared"
NOT_ASKED = "removing what is not inserted is a broken rule of the model; the C is not asked"
NEVER_ONE = "the number that it then waits for to change is never 1"


class MmuNotifierFile(Target):
    """mm/mmu_notifier.c."""

    file = "mm/mmu_notifier.c"
    model = "mmu_notifier.py"
    c = "mmu_notifier.c"
    linked = ("lib/interval_tree.c", "lib/rbtree.c", "lib/llist.c")
    functions = (
        "mmu_interval_read_begin", "mmu_interval_read_retry", "mmu_interval_notifier_insert", "mmu_interval_notifier_remove",
        "mn_itree_inv_start_range", "mn_itree_inv_next", "mn_itree_inv_end", "mn_itree_invalidate", "mn_itree_release",
        "mn_itree_finish_pass", "mn_hlist_invalidate_range_start", "mn_hlist_invalidate_end", "mn_hlist_release",
        "__mmu_notifier_invalidate_range_start", "__mmu_notifier_invalidate_range_end", "__mmu_notifier_release",
        "__mmu_notifier_register", "mmu_notifier_register", "mmu_notifier_unregister",
    )  # fmt: skip
    model_functions = (
        *functions, "interval_notifier_insert", "interval_tree_insert", "interval_tree_remove", "deferred_add", "deferred_del",
        "mn_itree_is_invalidating", "hits", "finish_add", "hlist_first", "subscriber_of", "next_with_range_end", "hlist_add", "hlist_node",
        "hlist_del_init", "mm_take_all_locks", "mmu_interval_set_seq", "mmu_notifier_invalidate_range_start",
        "mmu_notifier_invalidate_range_start_nonblock", "mmu_notifier_invalidate_range_end", "mmu_notifier_release",
    )  # fmt: skip
    boundaries = (
        Boundary("script", "results.of[thread] = ret", Stop("result")),
        # The reader's side.
        Boundary("mmu_interval_read_begin", "with atomic:", Stop("spin_lock", "mmu_interval_read_begin")),
        Boundary("mmu_interval_read_begin", "wait_until(", Stop("schedule", "mmu_interval_read_begin")),
        Boundary("mmu_interval_read_retry", "retry = ", Stop("retry")),
        # Interval notifiers come and go.
        Boundary("mmu_interval_notifier_insert", "with atomic:", Stop("insert")),
        Boundary("mmu_interval_notifier_insert", "ret = interval_notifier_insert(", INSERTING, (Stop("result"),)),
        Boundary("mmu_interval_notifier_remove", "with atomic:", Stop("spin_lock", "mmu_interval_notifier_remove")),
        Boundary("mmu_interval_notifier_remove", "wait_until(", Stop("schedule", "mmu_interval_notifier_remove")),
        Boundary("mmu_interval_notifier_remove", "is_unregistered(", Stop("removed")),
        # Brackets.
        Boundary("bracket", "mm.mmap_lock.read_lock()", Stop("down_read")),
        Boundary("bracket", "world.file.i_mmap.read_lock()", Stop("down_read")),
        Boundary("bracket", "world.brackets += 1", Stop("between")),
        Boundary("bracket", "mm.mmap_lock.read_unlock()", Stop("up_read")),
        Boundary("bracket", "world.file.i_mmap.read_unlock()", Stop("up_read")),
        Boundary("mn_itree_invalidate", "with atomic: sub = mn_itree_inv_start_range", Stop("start"), (ITREE_START,)),
        Boundary("mn_itree_invalidate", "with atomic: leave_callback", Stop("invalidated")),
        Boundary("mn_itree_invalidate", "mn_itree_inv_end(subs)", ITREE_END),
        Boundary("Sub.invalidate", "with atomic:", Stop("invalidate")),
        Boundary("TwoPassSub.invalidate_start", "with atomic:", Stop("invalidate")),
        Boundary("mn_itree_finish_pass", "with atomic:", None, (Stop("finish"),)),
        Boundary("TwoPassSub.invalidate_finish", "with atomic:", Stop("finish")),
        Boundary("mmu_notifier_invalidate_range_end", "mn_itree_inv_end(", ITREE_END, (HLIST_END, ENDED)),
        Boundary("mmu_notifier_release", "with atomic:", Stop("start")),
        Boundary("mn_itree_release", "with atomic: mn_itree_inv_end(", ITREE_END, (HLIST_RELEASE, ENDED)),
        # mmu notifiers.
        Boundary("mn_hlist_invalidate_range_start", "with atomic: if subs.list == 0", HLIST_START, (Stop("started"),)),
        Boundary("mn_hlist_invalidate_range_start", "with atomic: leave_callback", Stop("range_started")),
        Boundary("mn_hlist_invalidate_range_start", "sub = subscriber_of(node)", None, (Stop("range_end"),)),
        Boundary("mn_hlist_invalidate_range_start", "node = next_with_range_end(", Stop("range_ended")),
        Boundary(
            "mn_hlist_invalidate_range_start", "srcu_read_unlock(", Stop("srcu_read_unlock", "mn_hlist_invalidate_range_start")
        ),
        Boundary("OnlyStart.invalidate_range_start", "with atomic:", Stop("range_start")),
        Boundary("BothEnds.invalidate_range_start", "with atomic:", Stop("range_start")),
        Boundary("BothEnds.invalidate_range_end", "called(", Stop("range_end")),
        Boundary("mn_hlist_invalidate_end", "with atomic: if subs.list == 0", HLIST_END, (ENDED,)),
        Boundary("mn_hlist_invalidate_end", "with atomic: leave_callback", Stop("range_ended")),
        Boundary("mn_hlist_invalidate_end", "srcu_read_unlock(", Stop("srcu_read_unlock", "mn_hlist_invalidate_end")),
        Boundary("leave", "mm.users = 0", Stop("exit")),
        Boundary("mn_hlist_release", "with atomic: idx = srcu_read_lock()", HLIST_RELEASE),
        Boundary("mn_hlist_release", "with atomic: assert node", Stop("released_one")),
        Boundary("mn_hlist_release", "with atomic: while subs.list", Stop("spin_lock", "mn_hlist_release")),
        Boundary("mn_hlist_release", "srcu_read_unlock(", Stop("srcu_read_unlock", "mn_hlist_release")),
        Boundary("OnlyStart.release", "with atomic:", Stop("release")),
        Boundary("BothEnds.release", "with atomic:", Stop("release")),
        Boundary("mmu_notifier_register", "mm.mmap_lock.write_lock()", Stop("down_write")),
        Boundary("mmu_notifier_register", "require(mm.users", Stop("mm_take_all_locks", "__mmu_notifier_register")),
        Boundary("mmu_notifier_register", "with atomic:", Stop("all_locks", "__mmu_notifier_register")),
        Boundary("mmu_notifier_register", "mm.mmap_lock.write_unlock()", Stop("up_write")),
        Boundary("mmu_notifier_unregister", "with atomic: node = hlist_node(", Stop("unregister")),
        Boundary("mmu_notifier_unregister", "idx = srcu_read_lock()", Stop("srcu_read_lock", "mmu_notifier_unregister")),
        Boundary("mmu_notifier_unregister", "srcu_read_unlock(", Stop("srcu_read_unlock", "mmu_notifier_unregister")),
        Boundary("mmu_notifier_unregister", "hlist_del_init(", Stop("spin_lock", "mmu_notifier_unregister")),
        Boundary("mmu_notifier_unregister", "with atomic: node.subscription", Stop("unregistered")),
        Boundary("synchronize_srcu", "with atomic: srcu.grace_period.lock()", Stop("srcu_begin")),
        Boundary("synchronize_srcu", "with atomic: wait_until(srcu.readers[old]", Stop("srcu_end")),
    )
    merged: ClassVar[Mapping[Stop, str]] = {
        Stop("started"): "where our own caller is when the kernel's function has returned",
        ENDED: "the same, of the end",
        ITREE_START: "before it there is only a look at has_itree, which nobody can change then",
        ITREE_END: "after a callback that could not: nothing happens between it and the lock",
        INSERTING: "before it there is only a look at has_itree, which never goes back",
        Stop("spin_lock", "__mmu_notifier_register"): "with every lock of the mm held; only an unregistration could come here",
        Stop(
            "spin_lock", "mmu_interval_seq_released"
        ): "woken, it looks again under the lock; what it waits for does not come back",
        Stop("released_one", "mmu_notifier_unregister"): "where our own callback returns; the way from there to SRCU is empty",
        HLIST_START: "the look at the list and the first step into it: between them it can only become shorter",
        HLIST_END: "the same",
        Stop(
            "srcu_read_unlock", "mn_hlist_invalidate_range_start"
        ): "the list became empty after the look at it: nobody is called",
        Stop("srcu_read_unlock", "mn_hlist_invalidate_end"): "the same",
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "notifier-failed": ("warning",),
        "mm-without-users": ("warning", "BUG_ON", "all_locks"),
        "mm-without-users at mmu_interval_notifier_insert: ret = interval_notifier_insert(": ("warning", "no warning"),
        "inserted-twice": ("undefined",),
        "removed-twice": ("undefined",),
        "assertion": ("undefined",),
    }
    differences = (
        Difference(
            "inserting an interval notifier twice, or removing one twice",
            "the kernel does not look: the tree becomes a circle, or the list is written through a poisoned pointer. The model breaks "
            "the rule `inserted-twice` or `removed-twice` instead",
            "neither",
        ),
        Difference(
            "the last user goes while mmu_interval_notifier_insert() waits for the spinlock",
            "the kernel has looked at mm_users before, once and without a lock, and inserts. The model breaks the rule `mm-without-users`: "
            "the caller had to be a user",
            "neither",
        ),
        Difference(
            "mm_take_all_locks()",
            "a stub that waits for the lock of one file's reverse map: mm/vma.c takes each lock in turn. A thread that holds one "
            "and waits for another is not seen",
            "may hide",
        ),
        Difference(
            "SRCU",
            "a stub with two counters, as kernel/rcu/srcutree.c has them; readers of both sides are counted alike",
            "neither",
        ),
    )

    equivalent: ClassVar[Mapping[str, str]] = {
        "mn_itree_inv_start_range: swap 2": INDEPENDENT,
        "__mmu_notifier_register: swap 1": INDEPENDENT,
        "__mmu_notifier_register: swap 2": INDEPENDENT,
        "__mmu_notifier_register: swap 3": INDEPENDENT,
        "__mmu_notifier_register: swap 4": INDEPENDENT,
        "__mmu_notifier_register: swap 5": INDEPENDENT,
        "__mmu_notifier_register: swap 6": INDEPENDENT,
        "mmu_interval_notifier_remove: swap 2": INDEPENDENT,
        "mn_hlist_invalidate_range_start: swap 3": INDEPENDENT,
        "mn_hlist_invalidate_range_start: swap 4": INDEPENDENT,
        "mn_itree_inv_start_range: swap 4": ONE_STEP,
        "mn_itree_inv_end: swap 2": ONE_STEP,
        "mmu_interval_read_begin: swap 3": ONE_STEP,
        "__mmu_notifier_register: swap 7": ONE_STEP,
        "__mmu_notifier_register: swap 8": ONE_STEP,
        "mmu_notifier_unregister: swap 4": ONE_STEP,
        "mn_itree_inv_start_range: off by one 2": WHOLE_PAGES,
        "mn_itree_inv_next: off by one 1": WHOLE_PAGES,
        "mn_itree_release: off by one 1": WHOLE_PAGES,
        "mn_itree_invalidate: drop 2": WARNED,
        "mn_hlist_invalidate_range_start: drop 5": ONLY_SAYS,
        "__mmu_notifier_invalidate_range_end: swap 1": ONLY_SAYS,
        "__mmu_notifier_register: drop 1": ONLY_SAYS,
        "mmu_interval_notifier_remove: drop 1": ONLY_SAYS,
        "mmu_interval_notifier_remove: swap 1": ONLY_SAYS,
        "__mmu_notifier_register: drop 3": ZEROED,
        "__mmu_notifier_register: drop 5": ZEROED,
        "__mmu_notifier_register: drop 6": ZEROED,
        "__mmu_notifier_register: drop 8": NEVER_FAILS,
        "__mmu_notifier_register: drop 18": NEVER_FAILS,
        "__mmu_notifier_register: drop 10": LEFT_OUT,
        "__mmu_notifier_register: drop 11": LEFT_OUT,
        "__mmu_notifier_register: drop 12": LEFT_OUT,
        "__mmu_notifier_register: off by one 3": LEFT_OUT,
        "mmu_notifier_unregister: drop 8": LEFT_OUT,
        "mmu_notifier_unregister: off by one 1": LEFT_OUT,
        "mmu_notifier_unregister: off by one 2": LEFT_OUT,
        "mmu_interval_notifier_remove: drop 12": LEFT_OUT,
        "mmu_interval_notifier_remove: swap 6": LEFT_OUT,
        "mmu_interval_notifier_remove: drop 6": NOT_ASKED,
        "mmu_interval_notifier_remove: swap 3": NOT_ASKED,
        "mmu_interval_notifier_remove: off by one 1": NEVER_ONE,
    }

    def draw(self, source: random.Random, release: str) -> Configuration:
        return _draw(source, two_passes(release))

    def bounded(self, release: str) -> Iterator[Configuration]:
        return _bounded(two_passes(release))

    def smaller(self, configuration: Configuration) -> Iterator[Configuration]:
        yield from super().smaller(configuration)
        for at in (*range(2, SUBS * 3, 3), *range(SUBS * 3 + 1, SUBS * 3 + NOTIFIERS * 2, 2)):  # who is there from the start
            if configuration.setup[at]:
                setup = [*configuration.setup]
                setup[at] = 0
                yield replace(configuration, setup=tuple(setup))

    def definitions(self, release: str) -> tuple[str, ...]:
        return ("SS_TWO_PASSES",) if two_passes(release) else ()

    def scene(self, configuration: Configuration) -> Scene:
        setup = configuration.setup
        kinds = [setup[i * 3 : i * 3 + 3] for i in range(SUBS)]
        listeners = [setup[SUBS * 3 + i * 2 : SUBS * 3 + i * 2 + 2] for i in range(NOTIFIERS)]
        second_passes = any(kind >= TWO_PASSES for kind, _, _ in kinds)
        of_sub: type[Sub] = TwoPassSub if second_passes else Sub
        pools: dict[type[Record], int] = {of_sub: SUBS, OnlyStart: NOTIFIERS, BothEnds: NOTIFIERS}
        tasks = [task for thread in configuration.threads for task in thread]
        columns = [[*([0] * 5)] for _ in tasks]
        for column, task in zip(columns, tasks, strict=True):
            column[: len(task.arguments)] = task.arguments
        data = {"conform.operation": [Op(task.code) for task in tasks]} | {
            f"conform.{name}": [column[i] for column in columns]
            for i, name in enumerate(("first", "second", "third", "fourth", "fifth"))
        }
        sizes = bounds(
            pages=PAGES, subscribers=SUBS, mmu_notifiers=NOTIFIERS, finishes=SUBS if second_passes else 0, non_blocks=THREADS
        )
        machine = Machine(bounds=sizes, pools=pools, data=data)
        with machine:
            mm = mm_alloc()
            mm.vmas[0].state = VmaState.MAPPED
            mm.vmas[0].file = world.file
            subs, hears = [], []
            for number, (kind, start, length) in enumerate(kinds):
                sub = machine.pool(of_sub).alloc()
                sub.refuses = kind % 10
                if isinstance(sub, TwoPassSub):
                    sub.place = number + 1 if kind >= ASKS_FOR_SECOND else 0
                subs.append(sub)
                if length:
                    mn.mmu_interval_notifier_insert(sub, mm, start, length)
            for kind, registered in listeners:
                one = machine.pool(BothEnds if kind >= BOTH else OnlyStart).alloc()
                one.refuses = kind % 10
                hears.append(one)
                if registered:
                    mn.mmu_notifier_register(one, mm)
            threads, at = [], 0
            for number, thread in enumerate(configuration.threads):
                arguments = (mm, number, at, at + len(thread), *subs, *hears)
                threads.append(Thread(f"thread {number}", script, arguments))
                at += len(thread)
            program = build(machine, threads, room=Room(THREADS, (script,)))
            return Scene(program, _look(program, mm, subs, hears, len(threads)))


def two_passes(release: str) -> bool:
    """Whether a release has two-pass interval notifiers."""
    return not differs("two-pass-interval-notifiers", release)


def _draw(source: random.Random, second_passes: bool) -> Configuration:
    """Up to four threads; most subscribers are there from the start, some come and go, each by one thread."""
    setup: list[int] = []
    style = second_passes and source.random() < 0.7
    present, registered = [], []
    for _ in range(SUBS):
        kind = source.choice([0, 0, 0, REFUSES, REFUSES, 0])
        if source.random() < 0.03 and not style:
            kind = ALWAYS_REFUSES
        if style:
            kind += source.choice([0, TWO_PASSES, ASKS_FOR_SECOND, ASKS_FOR_SECOND])
        present.append(source.random() < 0.6)
        start = source.randrange(PAGES)
        setup += [kind, start, source.randint(1, PAGES - start) if present[-1] else 0]
    for _ in range(NOTIFIERS):
        both = source.random() < 0.5
        registered.append(source.random() < 0.5)
        setup += [(BOTH if both else 0) + (source.random() < (0.05 if both else 0.3)), int(registered[-1])]
    threads: list[list[Operation]] = [[] for _ in range(source.randint(2, THREADS))]
    there_first = [i for i in range(SUBS) if present[i]]
    for number, operations in enumerate(threads):
        mine = [i for i in range(SUBS) if i % len(threads) == number]
        heard = [i for i in range(NOTIFIERS) if i % len(threads) == number]
        readable = list(there_first)
        for _ in range(source.randint(1, 4)):
            if source.random() < 0.02:  # somebody else's, which may break a rule
                mine, heard = list(range(SUBS)), list(range(NOTIFIERS))
            operations.append(_draw_operation(source, present, registered, mine, heard, readable))
    if source.random() < 0.3:
        threads[0] = [*threads[0][:2], task(Op.EXIT)]
    return Configuration(tuple(setup), tuple(tuple(operations) for operations in threads))


def _draw_operation(
    source: random.Random, present: list[bool], registered: list[bool], mine: list[int], heard: list[int], readable: list[int]
) -> Operation:
    """One operation that has a meaning when it is drawn. `mine`, `heard`: which a thread may add and remove."""
    kind = source.choice(["read", "read", "bracket", "bracket", "bracket", "nested", "sub", "sub", "notifier"])
    if kind == "read" and readable:
        return task(Op.READ, source.choice(readable))
    if kind == "sub" and mine:
        which = source.choice(mine)
        if present[which] and which in readable:
            present[which] = False
            return task(Op.REMOVE, which)
        start = source.randrange(PAGES)
        length = 0 if source.random() < 0.05 else source.randint(1, PAGES - start)
        present[which] = length > 0
        if length:
            readable.append(which)
        return task(Op.INSERT, which, start, length)
    if kind == "notifier" and heard:
        which = source.choice(heard)
        registered[which] = not registered[which]
        return task(Op.REGISTER if registered[which] else Op.UNREGISTER, which)
    start = source.randrange(PAGES)
    op = Op.NESTED if kind == "nested" else Op.BRACKET
    return task(
        op, start, source.randint(start + 1, PAGES), int(source.random() < 0.6), source.randint(0, 1), source.randint(0, 1)
    )


def task(op: Op, *arguments: int) -> Operation:
    """An operation of a thread."""
    return Operation(op, op.name.lower(), arguments)


NOBODY = (0, 0, 0) * SUBS
SILENT = (0, 0) * NOTIFIERS


def _bounded(second_passes: bool) -> Iterator[Configuration]:
    """Small worlds of each kind, of which every transition is tried."""
    everything, low, high = (0, PAGES, 1, 1, 0), (0, 1, 1, 1, 0), (2, PAGES, 1, 1, 1)
    one, two = (0, 0, PAGES, *NOBODY[3:]), (0, 1, 2, 0, 0, 2, *NOBODY[6:])
    weak = (REFUSES, 1, 2, 0, 0, 2, *NOBODY[6:])
    try_low = (0, 2, 0, 0, 0)
    yield Configuration(
        (*one, *SILENT), ((task(Op.READ, 0), task(Op.READ, 0)), (task(Op.BRACKET, *everything),), (task(Op.BRACKET, *low),))
    )
    yield Configuration((*two, *SILENT), ((task(Op.READ, 1),), (task(Op.BRACKET, *low),), (task(Op.BRACKET, *high),)))
    yield Configuration(
        (*NOBODY, *SILENT), ((task(Op.INSERT, 0, 0, 2), task(Op.READ, 0)), (task(Op.INSERT, 1, 1, 2),), (task(Op.BRACKET, *low),))
    )
    yield Configuration(
        (*one, *SILENT), ((task(Op.INSERT, 1, 0, 2), task(Op.REMOVE, 1)), (task(Op.INSERT, 2, 0, 1),), (task(Op.BRACKET, *low),))
    )
    yield Configuration(
        (*two, *SILENT), ((task(Op.REMOVE, 0), task(Op.INSERT, 0, 0, 1)), (task(Op.REMOVE, 1),), (task(Op.BRACKET, *everything),))
    )
    yield Configuration((*weak, *SILENT), ((task(Op.BRACKET, *try_low),), (task(Op.READ, 0),), (task(Op.BRACKET, *everything),)))
    yield Configuration((*one, *SILENT), ((task(Op.NESTED, *everything),), (task(Op.READ, 0),), (task(Op.INSERT, 1, 0, 1),)))
    yield Configuration(
        (*NOBODY, BOTH, 1, 0, 1, 0, 0), ((task(Op.BRACKET, *low),), (task(Op.UNREGISTER, 0),), (task(Op.UNREGISTER, 1),))
    )
    yield Configuration((*NOBODY, BOTH, 1, REFUSES, 1, 0, 0), ((task(Op.BRACKET, *try_low),), (task(Op.BRACKET, *low),)))
    yield Configuration(
        (*NOBODY, BOTH, 1, 0, 0, 0, 0), ((task(Op.REGISTER, 1),), (task(Op.UNREGISTER, 0),), (task(Op.BRACKET, *high),))
    )
    yield Configuration((*NOBODY, BOTH, 1, 0, 1, 0, 0), ((task(Op.EXIT),), (task(Op.UNREGISTER, 1),), (task(Op.UNREGISTER, 0),)))
    yield Configuration((*two, BOTH, 1, 0, 0, 0, 0), ((task(Op.EXIT),), (task(Op.READ, 0),), (task(Op.REMOVE, 1),)))
    never = (ALWAYS_REFUSES, 0, 2, 0, 0, 2, *NOBODY[6:])
    yield Configuration((*never, *SILENT), ((task(Op.EXIT),), (task(Op.READ, 1),)))
    yield Configuration((*never[:3], *NOBODY[3:], *SILENT), ((task(Op.EXIT),), (task(Op.READ, 0),)))
    yield Configuration((*NOBODY, ALWAYS_REFUSES, 1, 0, 1, 0, 0), ((task(Op.BRACKET, *low),), (task(Op.BRACKET, *try_low),)))
    yield Configuration((*never, *SILENT), ((task(Op.BRACKET, *low),), (task(Op.READ, 1),)))
    if second_passes:
        both = (ASKS_FOR_SECOND, 0, 2, ASKS_FOR_SECOND + REFUSES, 1, 2, 0, 0, 1, *NOBODY[9:])
        yield Configuration((*both, *SILENT), ((task(Op.BRACKET, *everything),), (task(Op.READ, 0),), (task(Op.BRACKET, *low),)))
        yield Configuration(
            (*both, *SILENT), ((task(Op.BRACKET, *try_low),), (task(Op.REMOVE, 1),), (task(Op.BRACKET, *everything),))
        )


def _look(program: Program, mm: Mm, subs: list[Sub], hears: list[OnlyStart], threads: int) -> Callable[[bytes], str]:
    """The look that c/mmu_notifier.c has."""
    eyes = Eyes(program)
    mmap, rmap = eyes.semaphore(mm.mmap_lock), eyes.semaphore(world.file.i_mmap)
    s = mm.subscriptions
    users, seq, active, has_itree = (
        eyes.field(mm, "users"),
        *(eyes.field(s, n) for n in ("invalidate_seq", "active_invalidate_ranges", "has_itree")),
    )
    itree, deferred, head = eyes.array(s, "itree"), eyes.array(s, "deferred_list"), eyes.field(s, "list")
    nodes = [tuple(eyes.field(node, name) for name in ("subscription", "next", "hashed")) for node in s.nodes]
    node_at = {eyes.offset(node): i for i, node in enumerate(s.nodes)}
    sub_at = {eyes.offset(sub): str(i) for i, sub in enumerate(subs)} | {0: ""}
    hears_at = {eyes.offset(one): str(i) for i, one in enumerate(hears)} | {0: ""}
    idx, readers = eyes.field(mn.srcu, "idx"), eyes.array(mn.srcu, "readers")
    turn = eyes.field(world, "turn")
    of = eyes.array(results, "of")[:threads]
    notifiers = [[eyes.field(sub.notifier, n) for n in ("invalidate_seq", "in_tree", "start", "end")] for sub in subs]
    each_sub = [
        (eyes.offset(sub), reads, _call(eyes, sub.call), eyes.field(sub, "finished"))
        for sub, reads in zip(subs, notifiers, strict=True)
    ]
    each_one = [(eyes.offset(one), _call(eyes, one.start), _call(eyes, one.end), eyes.field(one, "releases")) for one in hears]

    def look(state: bytes) -> str:
        listed, at, hashed = "", head(state) - 1, set()
        while at >= 0:
            offset = nodes[at][0](state)
            listed += hears_at[offset]
            at = node_at.get(nodes[at][1](state), -1)
        for subscription, _, is_hashed in nodes:
            if is_hashed(state):
                hashed.add(subscription(state))
        parts = [
            "".join(f"{read(state)} " for read in of) + f"mmap={mmap(state)} rmap={rmap(state)} users={users(state)} seq={seq(state)} "
            f"active={active(state)} has_itree={has_itree(state)} itree={''.join(sub_at[r(state)] for r in itree)} "
            f"deferred={''.join(sub_at[r(state)] for r in reversed(deferred))} list={listed} "
            f"srcu={idx(state)}:{readers[0](state)}:{readers[1](state)} turn={turn(state)}"
        ]  # fmt: skip
        waiting = {read(state) for read in deferred}
        for offset, (number, in_tree, start, end), call, finished in each_sub:
            where = "in" if in_tree(state) else "out"
            pages = f"{start(state)}-{end(state)}" if in_tree(state) or offset in waiting else ""
            parts.append(f"sub={number(state)}:{where}:{pages}:{call(state)}:{finished(state)}")
        for offset, began, ended, released in each_one:
            parts.append(f"hears={'in' if offset in hashed else 'out'}:{began(state)}:{ended(state)}:{released(state)}")
        return " ".join(parts)

    return look


def _call(eyes: Eyes, call: Call) -> Callable[[bytes], str]:
    """What a subscriber was last called with."""
    reads = [eyes.field(call, name) for name in ("count", "turn", "start", "end", "event", "blockable", "seq")]
    return lambda state: ",".join(str(read(state)) for read in reads)
