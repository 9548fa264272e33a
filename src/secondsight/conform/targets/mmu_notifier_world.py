"""The world in which mm/mmu_notifier.c is compared, in the language: subscribers, and what a thread does."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

from secondsight.lang import U8, Array, Bounds, Record, Ref, atomic, const, shared
from secondsight.linux import EAGAIN
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import AddressSpace, Driver, Event, Finish, Mm, MmuNotifier, Range, Seq, Va, VaEnd
from secondsight.linux.mmu_notifier_get import mmu_notifier_get, mmu_notifier_put, mmu_notifier_synchronize, srcu_work
from secondsight.linux.mmu_notifier_young import mmu_notifier_clear_flush_young, mmu_notifier_clear_young, mmu_notifier_test_young

__all__ = [
    "ALWAYS_REFUSES", "ASKS_FOR_SECOND", "BOTH", "BothEnds", "Call", "CLEARS", "FLUSHES", "FLUSHES_YOUNG", "Flushes", "NOTIFIERS", "OnlyStart", "Op", "PAGES",
    "REFUSES", "SHARED", "SUBS", "SharedOne", "Sub", "TELLS_YOUNG", "TESTS", "THREADS", "TWO_PASSES", "TellsYoung", "TwoPassSub", "results", "script", "world",
]  # fmt: skip

SUBS, NOTIFIERS, PAGES, THREADS = 4, 3, 4, 4

REFUSES, ALWAYS_REFUSES = 1, 2
TWO_PASSES, ASKS_FOR_SECOND = 10, 20
BOTH = 10
FLUSHES = 20
TELLS_YOUNG = 30
SHARED = 40
FLUSHES_YOUNG, CLEARS, TESTS = 1, 2, 3
"""Who asks whether a page is young: clear_flush_young, clear_young, test_young."""


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
    FLUSH = 8
    GET = 9
    PUT = 10
    WORK = 11
    SYNCHRONIZE = 12
    YOUNG = 13


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


class Getter(Driver):
    """A driver whose users share an mmu notifier, of which there are a few."""

    @atomic
    def alloc_notifier(self, mm: Mm) -> Ref[MmuNotifier]:
        world.turn += 1
        for i in range(NOTIFIERS):
            one = world.shared[i]
            if one is not None and not one.used:
                one.used = True
                return one
        return None


class World(Record):
    """How many calls there were; how often a thread was between the ends of two brackets; the file whose lock is a reverse map's; what can be shared, by number,
    and which of them, from 1, each thread's last mmu_notifier_get() gave it."""

    turn: U8
    brackets: U8
    file: AddressSpace
    getter: Getter
    shared: Array[Ref[SharedOne], Literal[3]]
    got: Array[Small, Literal[4]]


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


class Flushes(OnlyStart):
    """An mmu notifier that is told of flushes; there are no brackets beside it (and it would have no invalidate_range_start)."""

    def arch_invalidate_secondary_tlbs(self, mm: Mm, start: Va, end: VaEnd) -> None:
        called(self.start, Range(start, end, Event.CLEAR, True), 0)


class TellsYoung(OnlyStart):
    """An mmu notifier that says of every page what `refuses` is; there are no brackets beside it."""

    def clear_flush_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        called(self.start, Range(start, end, Event.CLEAR, True), FLUSHES_YOUNG)
        return self.refuses > 0

    def clear_young(self, mm: Mm, start: Va, end: VaEnd) -> bool:
        called(self.start, Range(start, end, Event.CLEAR, True), CLEARS)
        return self.refuses > 0

    def test_young(self, mm: Mm, address: Va) -> bool:
        called(self.start, Range(address, address + 1, Event.CLEAR, True), TESTS)
        return self.refuses > 0


class SharedOne(OnlyStart):
    """What the users of the driver share. `used`: alloc_notifier() has given it."""

    used: bool

    @atomic
    def free_notifier(self) -> None:
        world.turn += 1
        self.used = False


def get(mm: Mm, thread: Index) -> int:
    """mmu_notifier_get(); the number of what it gave, from 1, or 0."""
    subscription = mmu_notifier_get(world.getter, mm)
    with atomic:
        world.got[thread] = 0
        for i in range(NOTIFIERS):
            if subscription is not None and world.shared[i] is subscription:
                world.got[thread] = i + 1
        return world.got[thread]


def put(mm: Mm, thread: Index) -> int:
    """mmu_notifier_put() of what the thread got last; -1: nothing."""
    with atomic:
        if world.got[thread] == 0:
            return -1
        subscription = world.shared[world.got[thread] - 1]
        assert subscription is not None
        mmu_notifier_put(subscription, mm)
    return 0


@atomic
def asks_young(mm: Mm, start: Va, end: VaEnd, by: Value) -> int:
    """With the page-table lock held."""
    if by == FLUSHES_YOUNG:
        young = mmu_notifier_clear_flush_young(mm, start, end)
    elif by == CLEARS:
        young = mmu_notifier_clear_young(mm, start, end)
    else:
        young = mmu_notifier_test_young(mm, start)
    return 1 if young else 0


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
        world.file.i_mmap_rwsem.read_lock()
    ret = invalidate_start(mm, rng)
    if ret == 0:
        if nested:
            world.brackets += 1
            inner = invalidate_start(mm, rng)
            if inner == 0:
                mn.mmu_notifier_invalidate_range_end(mm, rng)
            world.brackets += 1
        mn.mmu_notifier_invalidate_range_end(mm, rng)
    if way == 0:
        mm.mmap_lock.read_unlock()
    else:
        world.file.i_mmap_rwsem.read_unlock()
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
                s0.notifier if a == 0 else s1.notifier if a == 1 else s2.notifier if a == 2 else s3.notifier, mm, second[at], third[at]
            )
        elif op == Op.REMOVE:
            mn.mmu_interval_notifier_remove(s0.notifier if a == 0 else s1.notifier if a == 1 else s2.notifier if a == 2 else s3.notifier)
        elif op == Op.REGISTER:
            ret = mn.mmu_notifier_register(h0 if a == 0 else h1 if a == 1 else h2, mm)
        elif op == Op.UNREGISTER:
            mn.mmu_notifier_unregister(h0 if a == 0 else h1 if a == 1 else h2, mm)
        elif op == Op.EXIT:
            leave(mm)
        elif op == Op.FLUSH:
            mn.mmu_notifier_arch_invalidate_secondary_tlbs(mm, a, second[at])
        elif op == Op.GET:
            ret = get(mm, thread)
        elif op == Op.PUT:
            ret = put(mm, thread)
        elif op == Op.WORK:
            srcu_work(mm)
        elif op == Op.SYNCHRONIZE:
            mmu_notifier_synchronize(mm)
        elif op == Op.YOUNG:
            ret = asks_young(mm, a, second[at], third[at])
        else:
            rng = Range(a, second[at], Event.CLEAR if fourth[at] == 1 else Event.UNMAP, third[at] == 1)
            ret = bracket(mm, rng, fifth[at], op == Op.NESTED)
        results.of[thread] = ret
        at += 1
