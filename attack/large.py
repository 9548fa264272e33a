"""Searches that are larger than those of generated programs: tables grow, frontiers are cut, a trace is long. What must come is known."""

from __future__ import annotations

import random

from attack.compare import Unequal, equal
from attack.victim import METHODS, program_of, search_of
from secondsight.lang import Machine, Mutex, Record, shared
from secondsight.lang.plain import replay
from secondsight.lang.program import Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Limits, Verdict, breadth_first

__all__ = ["check_large", "check_two_locks"]


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


def check_large(chance: random.Random, method: str | None = None) -> None:
    """Three threads count to a number: every state is a triple, and the last one breaks a rule, or does not."""
    method = method or chance.choice([m for m in METHODS if m not in ("reference", "auto")])
    size, right = chance.choice([12, 31, 40]), chance.random() < 0.5
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
    steps = replay(program, [(s.thread, s.choices) for s in trace.steps], trace.states)
    equal(law, "all", getattr(steps[-1].error, "rule", "nothing"), "the trace ends with")
