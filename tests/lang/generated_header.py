"""What every generated program begins with: its records, locks, rule and tables."""

from __future__ import annotations

from generated_forms import BY_NUMBER

__all__ = ["HEADER"]

HEADER = """
from __future__ import annotations
from enum import IntEnum, IntFlag
from typing import Annotated, Literal
from secondsight.lang import *

class Kind(IntEnum):
    A = 0
    B = 1
    C = 2

class Flags(IntFlag):
    R = 1
    W = 2
    X = 4

Small = Annotated[int, Bounds(-2, 5)]
Wide = Annotated[int, Bounds(-300, 1000)]

Smalls = Annotated[list[Small], Most(3)]

class Slot(Record):
    n: U8
    kind: Kind
    on: bool

class Node(Record):
    BONUS = 1
    small: Small
    wide: Wide = 7
    flags: Flags
    marks: Bits[3]
    next: Ref[Node]
    slot: Slot
    slots: Array[Slot, 2]
    numbers: Array[Small, 3]
    lock: Mutex

    def bump(self, by: Small) -> Small:
        self.small = (self.small + by) % 4
        return self.small

    @atomic
    def poke(self, by: Small) -> Wide:
        self.wide = (self.wide + by) % 50
        return self.wide - self.BONUS

class Fast(Node):
    BONUS = 2
    extra: U8

    def bump(self, by: Small) -> Small:
        self.extra = (self.extra + 1) % 3
        old = Node.bump(self, by)
        self.flags |= Flags.X
        return old

class Job(Record):
    owner: Ref[Node]
    left: Small

class World(Record):
    total: Wide
    turn: U8
    first: Ref[Node]
    rw: RwLock
    lock: Mutex
    spin: SpinLock

class Span(Value):
    start: Small
    end: Small
    kind: Kind

world = shared(World)
nodes = shared_array(Node, "nodes")
fasts = shared_array(Fast, 1)
jobs = pool(Job, "jobs")
table = const("table", Small)
LIMIT = 3

@tracepoint
def seen(node: Node, n: Small) -> None: ...

@rule("seen-small", on=seen)
def seen_small(node: Node, n: Small) -> None:
    require(n < 4 or node.small < 3, "seen-small", "too big")
""" + BY_NUMBER
