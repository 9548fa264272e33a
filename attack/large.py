"""Searches that are larger than those of generated programs: tables grow, frontiers are cut, a trace is long. What must come is known."""

from __future__ import annotations

import random

from attack.compare import Unequal, equal
from attack.victim import METHODS, program_of, search_of
from secondsight.lang import U16, Machine, Mutex, Record, require, shared
from secondsight.lang.native import Native
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Limits, Request, Verdict, breadth_first
from secondsight.search.native import native_search

__all__ = ["GROWS", "check_collected", "check_large", "check_two_locks"]

GROWS = 50
"""Threads that count so far have more states than the engine's first table has room for."""


class Pair(Record):
    """Two locks and no others."""

    first: Mutex
    second: Mutex


pair = shared(Pair)


def both_orders() -> None:
    """One thread takes them in one order, then in the other."""
    with pair.first:
        with pair.second:
            pass
    with pair.second:
        with pair.first:
            pass


def check_two_locks() -> None:
    """Two orders of two locks are told where there are no other locks."""
    machine = Machine({})
    with machine:
        assert pair.first.owner == 0
    found = breadth_first(Reference(build(machine, [Thread("both", both_orders)]))).violation
    equal("two locks", "lock-order", found.rule if found is not None else "nothing")


class Count(Record):
    """How far a thread is."""

    n: U16


progress = shared(Count)


def count_then_fail() -> None:
    """A rule is broken at the end."""
    for _ in range(100):
        progress.n += 1
    require(False, "late", "everything was counted")


def fail_always() -> None:
    """Another rule is broken whatever the count."""
    require(progress.n > 100, "early", "it is early")


def check_collected() -> None:
    """A rule that a hundred states break leaves room for another."""
    machine = Machine({})
    with machine:
        progress.n = 0
    program = build(machine, [Thread("count", count_then_fail), Thread("fail", fail_always)])
    for workers in (1, 2):
        result = native_search(Native(program), Request(workers=workers, collect=True, lock_order=False))
        equal("large, all collected", ["early", "late"], sorted(v.rule for v in result.violations), "rules:")


def check_large(chance: random.Random, method: str | None = None, size: int = 0) -> None:
    """Three threads count to a number: every state is a triple, and the last one breaks a rule, or does not.

    `size`: that number, for a right program; 0: draw both.
    """
    method = method or chance.choice([m for m in METHODS if m not in ("reference", "auto")])
    size, right = (size, True) if size else (chance.choice([12, 31, 40]), chance.random() < 0.5)
    program = program_of(size, right)
    law = f"large, {method}"
    result = search_of(method, program, Limits())
    if right:
        equal(law, Verdict.HOLDS, result.verdict, "the verdict:")
        if not result.reduced:
            equal(law, (size + 1) ** 3, result.states, "states:")
            equal(law, 3 * size * (size + 1) ** 2, result.transitions, "transitions:")
        return
    if result.violation is None:
        raise Unequal(law, f"the last state breaks a rule, but it is {result.verdict.value} ({result.reason})")
    trace = result.violation.trace
    equal(law, 3 * size, len(trace), "steps of the trace:")
    steps = trace.replay(program)
    equal(law, "all", getattr(steps[-1].error, "rule", "nothing"), "the trace ends with")
