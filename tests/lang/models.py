"""Helpers of the tests: a model from a few lines of source text, and what the search says about it."""

from __future__ import annotations

import textwrap
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from generated import module_of

from secondsight.lang import Machine
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Request, Result, breadth_first

PRELUDE = """
from __future__ import annotations
from enum import IntEnum, IntFlag
from typing import Annotated, Literal
from secondsight.lang import *

class Kind(IntEnum):
    A = 0
    B = 1
    GAP = 5

class Flags(IntFlag):
    R = 1
    W = 2
    X = 4

class Item(Record):
    SIZE = 3
    n: U8
    kind: Kind
    flags: Flags
    on: bool
    next: Ref[Item]
    lock: Mutex
    small: Annotated[int, Bounds(-2, 3)]
    row: Array[U8, 3]
    wide: U16

    def get(self) -> int:
        return self.n

    @atomic
    def take(self) -> U8:
        self.n = self.n + 1
        return self.n

class Other(Record):
    n: U8

class Special(Item):
    SIZE = 4
    extra: U8

    def get(self) -> int:
        return self.n + 100

class World(Record):
    n: U8
    log: Array[I16, 8]
    spin: SpinLock
    lock: Mutex
    rw: RwLock
    item: Ref[Item]
    special: Ref[Special]

class Span(Value):
    start: U8
    end: U8 = 4

world = shared(World)
items = shared_array(Item, "items")
specials = shared_array(Special, 1)
others = shared_array(Other, 1)
none = shared_array(Item, "nothing")
jobs = pool(Item, "jobs")
table = const("table", U8)
text = "a text"
real = 1.5

def plain(n: U8) -> U8:
    world.n = n
    return n

@tracepoint
def event(item: Item, n: U8) -> None: ...
"""
FIRST = PRELUDE.count("\n") + 1
"""The line that a model's own text starts at."""


@contextmanager
def model(text: str, *names: str, rules: tuple[str, ...] = (), **more: Any) -> Iterator[Program]:
    """The program whose threads are the functions `names` of a text (one called `main` if none are named)."""
    with module_of(PRELUDE + textwrap.dedent(text).lstrip("\n")) as module:
        yield program(module, names or ("main",), rules, **more)


def program(
    module: types.ModuleType, names: tuple[str, ...], rules: tuple[str, ...] = (), daemons: int = 0, holds: bool = False
) -> Program:
    machine = Machine({"items": 2, "jobs": 1, "nothing": 0}, data={"table": [4, 5]})
    threads = [Thread(name, getattr(module, name), (), i >= len(names) - daemons) for i, name in enumerate(names)]
    return build(machine, threads, [getattr(module, r) for r in rules], holds)


def verdict(text: str, *names: str, rules: tuple[str, ...] = (), **more: Any) -> Result:
    """What the search says; a trace is replayed in plain execution, which must end the same way."""
    daemons = more.pop("daemons", 0)
    with model(text, *names, rules=rules, daemons=daemons) as made:
        found = breadth_first(Reference(made), Request(**more))
        trace = found.violation.trace if found.violation else found.error_trace
        if trace is not None:
            last = trace.replay(made)[-1]
            if len(trace.states) < len(trace):
                rule = found.violation.rule if found.violation else getattr(found.error, "rule", "")
                assert getattr(last.error, "rule", None) == rule
        return found


def broken(text: str, *names: str, rules: tuple[str, ...] = (), **more: Any) -> tuple[str, int]:
    """The rule that is broken, or the error of the model, and the line of the model's own text."""
    found = verdict(text, *names, rules=rules, **more)
    if found.violation is not None:
        where = found.violation.where
        return found.violation.rule, where.line - FIRST + 1 if where is not None and "generated" in where.file else 0
    assert found.error is not None, found
    where = getattr(found.error, "where", None)
    return getattr(found.error, "rule", "?"), where.line - FIRST + 1 if where is not None else 0


def holds(text: str, *names: str, rules: tuple[str, ...] = (), **more: Any) -> Result:
    found = verdict(text, *names, rules=rules, **more)
    assert found.verdict.value == "holds", found.violation or found.error
    return found
