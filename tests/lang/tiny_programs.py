"""Small concurrent programs as data: one machine, one interpreter, a row of tables for each statement.

Thousands of programs run on one compilation. The statements are those that a reduction can get wrong: locks of every kind,
taken, tried, handed over by hand, freed with their record; reads and writes with and without them; waits; choices; jumps.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import IntEnum
from typing import Annotated, Literal

from secondsight.lang import (
    Array,
    Bounds,
    Machine,
    Mutex,
    Record,
    RwLock,
    SpinLock,
    atomic,
    choose,
    const,
    pool,
    require,
    shared,
    wait_until,
)
from secondsight.lang.program import Program, Thread, build

__all__ = ["Op", "Row", "random_rows", "retarget", "tiny", "watched"]

Small = Annotated[int, Bounds(0, 3)]
Row_ = Annotated[int, Bounds(0, 60)]


class Op(IntEnum):
    """What a statement does; `a` and `b` are its numbers, `r` the thread's own register."""

    READ = 0  # r = cells[a]
    WRITE = 1  # cells[a] = r
    SET = 2  # cells[a] = b
    ADD = 3  # cells[a] = (cells[a] + 1) % 4
    LOAD = 4  # r = b
    LOCK = 5
    UNLOCK = 6
    TRY = 7  # r = trylock
    UNLOCK_IF = 8  # if r: unlock
    READ_LOCK = 9
    READ_UNLOCK = 10
    WRITE_LOCK = 11
    WRITE_UNLOCK = 12
    DOWNGRADE = 13
    WAIT = 14  # wait until cells[a] == b
    CHOOSE = 15  # r = choose(2)
    REQUIRE = 16  # cells[a] == b
    REQUIRE_R = 17  # r == b
    JUMP_IF = 18  # if r: the row b
    GIVE = 19  # mutexes[a].owner = b
    LOOK = 20  # r = whether somebody has mutex a
    LOOK_RW = 21  # r = readers of rw a, at most 3
    BOTH = 22  # atomically: lock mutex a, cells[b] += 1, unlock
    ALLOC = 23
    FREE = 24
    SPIN = 25
    UNSPIN = 26
    WAIT_UNLOCKED = 27  # wait until nobody has mutex a
    LOCK_ADD = 28  # atomically: lock mutex a and cells[b] += 1
    ADD_UNLOCK = 29  # atomically: cells[b] += 1 and unlock mutex a
    MINE = 30  # r = mutexes[a].held_by_me()
    AGAIN = 31  # while cells[a] == r: the row b
    ROUND = 32  # while r == a: the row b
    READ_TRY = 33  # r = read_trylock
    READ_UNLOCK_IF = 34
    WRITE_TRY = 35
    WRITE_UNLOCK_IF = 36
    MINE_RW = 37  # r = rws[a].held_by_me()
    LOCK_WAIT = 38  # atomically: lock mutex a, and wait until cells[b] == 0
    LOCK_ALL = 39  # atomically: lock all mutexes
    WRITE_LOCK_ADD = 40  # atomically: take rw a for writing and cells[b] += 1
    UP = 41  # r = whether counts[a] is not 0; then it is one more
    DOWN = 42  # if counts[a] is not 0 it is one less; r = whether it is 0 then
    IS_ZERO = 43  # r = whether counts[a] is 0
    WAIT_ZERO = 44
    SET_COUNT = 45  # counts[a] = b
    READ_COUNT = 46  # r = counts[a], at most 3


Row = tuple[Op, int, int]


class Node(Record):
    lock: Mutex
    value: Small


class World(Record):
    cells: Array[Small, Literal[4]]
    counts: Array[Annotated[int, Bounds(0, 6)], Literal[4]]
    mutexes: Array[Mutex, Literal[2]]
    rws: Array[RwLock, Literal[1]]
    spin: SpinLock


class Seen(Record):
    values: Array[Small, Literal[4]]


world = shared(World)
nodes = pool(Node, "nodes")
seen = shared(Seen)

op = const("op", Op)
first_number = const("a")
second_number = const("b")


def run(first: Row_, end: Row_, me: Small) -> None:
    """One thread: the rows `first` to before `end`."""
    seen.values[me] = 1
    i: Row_ = first
    r: Small = 0
    left: Annotated[int, Bounds(0, 3)] = 3
    while i < end:
        if op[i] == Op.JUMP_IF:
            if r != 0 and left > 0:
                left -= 1
                i = second_number[i]
            else:
                i += 1
        elif op[i] == Op.AGAIN:
            again = world.cells[first_number[i]] == r
            i = second_number[i] if again else i + 1
        elif op[i] == Op.ROUND:
            i = second_number[i] if first_number[i] == r else i + 1
        else:
            r = statement(i, r)
            i += 1
    seen.values[me] = r


def statement(i: Row_, r: Small) -> Small:
    """One row; the register afterwards."""
    a = first_number[i]
    b = second_number[i]
    if op[i] <= Op.LOAD:
        return data(i, r)
    if op[i] >= Op.UP:
        return counts(i)
    if op[i] == Op.LOCK:
        world.mutexes[a].lock()
    elif op[i] == Op.UNLOCK:
        world.mutexes[a].unlock()
    elif op[i] == Op.TRY:
        got = world.mutexes[a].trylock()
        return 1 if got else 0
    elif op[i] == Op.UNLOCK_IF:
        if r != 0:
            world.mutexes[a].unlock()
    elif op[i] <= Op.DOWNGRADE:
        rw(i)
    elif op[i] == Op.WAIT:
        wait_until(world.cells[a] == b)
    elif op[i] == Op.CHOOSE:
        return choose(2)
    elif op[i] == Op.REQUIRE:
        require(world.cells[a] == b, "cell", "a cell is not what it should be")
    elif op[i] == Op.REQUIRE_R:
        require(r == b, "register", "the register is not what it should be")
    else:
        return more(i, r)
    return r


def data(i: Row_, r: Small) -> Small:
    """Reads and writes."""
    a = first_number[i]
    b = second_number[i]
    if op[i] == Op.READ:
        return world.cells[a]
    if op[i] == Op.WRITE:
        world.cells[a] = r
    elif op[i] == Op.SET:
        world.cells[a] = b
    elif op[i] == Op.ADD:
        world.cells[a] = (world.cells[a] + 1) % 4
    else:
        return b
    return r


def counts(i: Row_) -> Small:
    """Counts of references; the register afterwards."""
    a = first_number[i]
    if op[i] == Op.WAIT_ZERO:
        wait_until(world.counts[a] == 0)
        return 1
    with atomic:
        if op[i] == Op.UP:
            if world.counts[a] == 0:
                return 0
            world.counts[a] += 1
            return 1
        if op[i] == Op.DOWN:
            if world.counts[a] != 0:
                world.counts[a] -= 1
        if op[i] == Op.SET_COUNT:
            world.counts[a] = second_number[i]
        if op[i] == Op.READ_COUNT:
            return min(3, world.counts[a])
        return 1 if world.counts[a] == 0 else 0


def rw(i: Row_) -> None:
    """The reader-writer lock."""
    a = first_number[i]
    if op[i] == Op.READ_LOCK:
        world.rws[a].read_lock()
    elif op[i] == Op.READ_UNLOCK:
        world.rws[a].read_unlock()
    elif op[i] == Op.WRITE_LOCK:
        world.rws[a].write_lock()
    elif op[i] == Op.WRITE_UNLOCK:
        world.rws[a].write_unlock()
    else:
        world.rws[a].write_downgrade()


def more(i: Row_, r: Small) -> Small:
    """What is done to locks by hand, and several things in one step."""
    a = first_number[i]
    b = second_number[i]
    if op[i] == Op.GIVE:
        world.mutexes[a].owner = b
    elif op[i] == Op.LOOK:
        return 1 if world.mutexes[a].owner != 0 else 0
    elif op[i] == Op.LOOK_RW:
        return min(3, world.rws[a].readers)
    elif op[i] == Op.BOTH:
        with atomic:
            world.mutexes[a].lock()
            world.cells[b] = (world.cells[b] + 1) % 4
            world.mutexes[a].unlock()
    elif op[i] == Op.ALLOC:
        with atomic:
            node = nodes.alloc()
            node.value = 1
            node.lock.lock()
    elif op[i] == Op.FREE:
        nodes.free(nodes[a])
    elif op[i] == Op.SPIN:
        world.spin.lock()
    elif op[i] == Op.UNSPIN:
        world.spin.unlock()
    elif op[i] == Op.WAIT_UNLOCKED:
        wait_until(world.mutexes[a].owner == 0)
    elif op[i] == Op.LOCK_ADD:
        with atomic:
            world.mutexes[a].lock()
            world.cells[b] = (world.cells[b] + 1) % 4
    elif op[i] == Op.ADD_UNLOCK:
        with atomic:
            world.cells[b] = (world.cells[b] + 1) % 4
            world.mutexes[a].unlock()
    elif op[i] == Op.MINE:
        mine = world.mutexes[a].held_by_me()
        return 1 if mine else 0
    elif op[i] <= Op.MINE_RW:
        return tries(i, r)
    elif op[i] == Op.LOCK_WAIT:
        with atomic:
            world.mutexes[a].lock()
            wait_until(world.cells[b] == 0)
    elif op[i] == Op.LOCK_ALL:
        with atomic:
            world.mutexes[0].lock()
            world.mutexes[1].lock()
    else:
        with atomic:
            world.rws[a].write_lock()
            world.cells[b] = (world.cells[b] + 1) % 4
    return r


def tries(i: Row_, r: Small) -> Small:
    """The reader-writer lock, if it can be had."""
    a = first_number[i]
    if op[i] == Op.READ_TRY:
        got = world.rws[a].read_trylock()
        return 1 if got else 0
    if op[i] == Op.WRITE_TRY:
        alone = world.rws[a].write_trylock()
        return 1 if alone else 0
    if op[i] == Op.MINE_RW:
        mine = world.rws[a].held_by_me()
        return 1 if mine else 0
    if r != 0:
        if op[i] == Op.READ_UNLOCK_IF:
            world.rws[a].read_unlock()
        else:
            world.rws[a].write_unlock()
    return r


def tiny(threads: Sequence[Sequence[Row]], daemons: int = 0) -> Program:
    """The program of some threads, each a list of rows; the last `daemons` of them are daemons."""
    rows = [row for rows in threads for row in rows]
    tables = {"op": [int(r[0]) for r in rows], "a": [r[1] for r in rows], "b": [r[2] for r in rows]}
    machine = Machine({"nodes": 2}, data=tables)
    started, at = [], 0
    for i, own in enumerate(threads):
        started.append(Thread(f"t{i}", run, (at, at + len(own), i), daemon=i >= len(threads) - daemons))
        at += len(own)
    return build(machine, started)


def watched(program: Program) -> tuple[int, int]:
    """The whole shared state: what final states are compared by."""
    return 1, program.layout.shared_size


_COUNTS = [Op.UP, Op.UP, Op.DOWN, Op.IS_ZERO, Op.SET_COUNT, Op.SET_COUNT, Op.READ_COUNT, Op.WAIT_ZERO]
_PLAIN = [Op.READ, Op.WRITE, Op.SET, Op.ADD, Op.LOAD, Op.REQUIRE, Op.WAIT, Op.CHOOSE, Op.REQUIRE_R, Op.JUMP_IF, Op.AGAIN]
_HAND = [Op.GIVE, Op.LOOK, Op.LOOK_RW, Op.ALLOC, Op.FREE, Op.WAIT_UNLOCKED, Op.MINE]
_PAIRS = [
    (Op.LOCK, Op.UNLOCK), (Op.TRY, Op.UNLOCK_IF), (Op.READ_LOCK, Op.READ_UNLOCK), (Op.WRITE_LOCK, Op.WRITE_UNLOCK),
    (Op.SPIN, Op.UNSPIN), (Op.LOCK_ADD, Op.UNLOCK), (Op.LOCK, Op.ADD_UNLOCK), (Op.LOCK_ADD, Op.ADD_UNLOCK),
    (Op.READ_TRY, Op.READ_UNLOCK_IF), (Op.WRITE_TRY, Op.WRITE_UNLOCK_IF), (Op.READ_LOCK, Op.READ_UNLOCK),
    (Op.WRITE_LOCK_ADD, Op.WRITE_UNLOCK), (Op.LOCK_WAIT, Op.UNLOCK), (Op.LOCK_ALL, Op.UNLOCK),
]  # fmt: skip
_MUTEX = (Op.LOCK, Op.TRY, Op.LOCK_ADD, Op.LOCK_WAIT, Op.LOCK_ALL)
_TRIES = {Op.TRY: Op.MINE, Op.READ_TRY: Op.MINE_RW, Op.WRITE_TRY: Op.MINE_RW}


def random_rows(chance: random.Random, count: int, wild: float) -> list[list[Row]]:
    """The rows of `count` threads; `wild`: how often a statement is one that breaks the discipline of locks."""
    threads: list[list[Row]] = []
    at = 0
    for _ in range(count):
        writer = _Writer(chance, wild, at)
        for _ in range(chance.randint(1, 4)):
            writer.tops.append(len(writer.rows))
            writer.piece(2)
        threads.append(writer.rows[: 18 if count == 2 else 12] or [(Op.ADD, 0, 0)])
        at += len(threads[-1])
    return threads


class _Writer:
    """Writes one thread, mostly without misusing its locks."""

    def __init__(self, chance: random.Random, wild: float, at: int) -> None:
        self.chance, self.wild, self.at = chance, wild, at
        self.rows: list[Row] = []
        self.tops: list[int] = []
        self.held: list[tuple[str, int]] = []

    def piece(self, depth: int) -> None:
        """A critical section or a single statement."""
        if self.chance.random() < 0.55 and depth:
            self.section(depth)
        else:
            self.single()

    def section(self, depth: int) -> None:
        """Something between taking a lock and giving it back."""
        chance = self.chance
        take, give = chance.choice(_PAIRS)
        kind = "m" if take in _MUTEX else "s" if take is Op.SPIN else "rw"
        lock = chance.randint(0, 1) if kind == "m" else 0
        locks = [("m", 0), ("m", 1)] if take is Op.LOCK_ALL else [(kind, lock)]
        asleep = ("s", 0) in self.held and take not in _TRIES
        if (any(one in self.held for one in locks) or asleep) and chance.random() > self.wild / 4:
            return self.single()
        top = self.at + len(self.rows)
        self.held += locks
        self.rows.append((take, lock, chance.randint(0, 3)))
        for _ in range(chance.randint(0, 3)):
            self.piece(depth - 1)
        if chance.random() < 0.2:
            self.polls()
        if take in (Op.LOCK, Op.READ_LOCK, Op.WRITE_LOCK) and depth == 2 and chance.random() < 0.3:
            return self.goes_round(give, lock, top)
        if take is Op.WRITE_LOCK and chance.random() < 0.3:
            self.rows.append((Op.DOWNGRADE, 0, 0))
            give = Op.READ_UNLOCK
        if take in _TRIES:
            self.rows.append((_TRIES[take], lock, 0))
        for _, one in locks:
            if chance.random() > self.wild / 5:
                self.rows.append((give, one, chance.randint(0, 3)))
        for held in locks:
            self.held.remove(held)
        return None

    def polls(self) -> None:
        """Looks again and again at a cell, with the locks held that are."""
        self.rows.append((Op.READ, self.chance.randint(0, 3), 0))
        self.rows.append((Op.ROUND, self.chance.randint(0, 1), self.at + len(self.rows) - 1))

    def goes_round(self, give: Op, lock: int, top: int) -> None:
        """The section again and again, until a cell that is read at its end is another."""
        self.rows.append((Op.READ, self.chance.randint(0, 3), 0))
        self.rows.append((give, lock, 0))
        self.rows.append((Op.ROUND, self.chance.randint(0, 1), top))
        self.held.pop()

    def single(self) -> None:
        """One statement."""
        chance = self.chance
        kind = chance.choice(_HAND if chance.random() < self.wild else _COUNTS if chance.random() < 0.15 else [*_PLAIN, Op.BOTH])
        if kind in (Op.REQUIRE, Op.REQUIRE_R) and chance.random() < 0.8:
            kind = Op.ADD
        a = chance.randint(0, 3)
        if kind in _HAND or kind is Op.BOTH:
            a = 0 if kind is Op.LOOK_RW else chance.randint(0, 1)
        sleeps = kind in (Op.WAIT, Op.BOTH, Op.WAIT_UNLOCKED, Op.WAIT_ZERO) and ("s", 0) in self.held
        again = kind is Op.BOTH and ("m", a) in self.held
        if (sleeps or again) and chance.random() > self.wild / 4:
            return
        b = chance.randint(0, 3)
        if kind in (Op.JUMP_IF, Op.AGAIN):
            if self.held:
                return
            b = self.at + chance.choice(self.tops)
        if kind is Op.GIVE:
            b = chance.randint(0, 2)
        self.rows.append((kind, a, b))


def retarget(program: Program, threads: Sequence[Sequence[Row]], daemons: int = 0) -> None:
    """Make a program of as many threads run other rows: its text stays the same."""
    rows = [row for own in threads for row in own]
    program.machine.data.update(op=[int(r[0]) for r in rows], a=[r[1] for r in rows], b=[r[2] for r in rows])
    at = 0
    for i, own in enumerate(threads):
        root, _ = program.roots[i]
        program.roots[i] = (root, [at, at + len(own), i])
        program.threads[i] = Thread(f"t{i}", run, (at, at + len(own), i), daemon=i >= len(threads) - daemons)
        at += len(own)
