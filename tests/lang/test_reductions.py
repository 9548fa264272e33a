"""Reductions keep verdicts, rules, outcomes and shortest traces: on every kind of program, each way of getting it wrong by hand.

`SECONDSIGHT_LAW=5000` tries so many small programs.
"""

from __future__ import annotations

import ctypes
import os
import random
from functools import cache
from typing import Any

import pytest
from generated import module_of, program_of, sources
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from tiny_programs import Op, Row, random_rows, retarget, tiny, watched

from secondsight.cases import TABLES
from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices import mirror
from secondsight.lang import LangError
from secondsight.lang.errors import LeftRange
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.search import Limits, Request, Result, Verdict
from secondsight.search import executors as searches
from secondsight.search import reduced as reduced_module
from secondsight.search.auto import search
from secondsight.search.native import native_search
from secondsight.search.reduced import Reduced, reduced_search, search_both

COUNT = int(os.environ.get("SECONDSIGHT_LAW", "200"))


@cache
def executors(threads: int) -> tuple[Program, Native, Native]:
    """One compilation of the interpreter of small programs for each number of threads: with merged steps and without."""
    program = tiny([[(Op.ADD, 0, 0)]] * threads)
    return program, Native(program, Reductions(symmetry=False)), Native(program)


def both(rows: list[list[Row]], daemons: int = 0) -> tuple[Program, Native, Native]:
    program, native, plain = executors(len(rows))
    retarget(program, rows, daemons)
    for one in (native, plain):
        data = [program.machine.data[name] for name in one.rendered.tables]
        one._tables = [(ctypes.c_int64 * max(1, len(row)))(*row) for row in data]
        one.bind()
        one.initial = one._initial()
    return program, native, plain


def assert_same(plain: Native, reduced: Reduced, watch: tuple[int, int] | None, **options: Any) -> None:
    """All that a user sees is as without reductions, and the reduced search itself saw whether anything is wrong."""
    known = native_search(plain, Request(watch=watch, workers=1, **options))
    found, merged = reduced.result, reduced.merged
    assert (found.verdict, str(found.error), found.reason) == (known.verdict, str(known.error), known.reason)
    assert (found.violation is None) == (known.violation is None)
    if known.violation is not None and found.violation is not None:
        assert found.violation == known.violation
    if known.verdict is Verdict.HOLDS:
        assert found.outcomes == known.outcomes
        assert found.states <= known.states
    if merged is not None and (known.violation is None or known.violation.rule != "lock-order"):
        only_a_reason_to_look = merged.violation is not None and merged.violation.rule == "livelock"
        assert only_a_reason_to_look or (merged.verdict is Verdict.HOLDS) == (known.verdict is Verdict.HOLDS)


def compare_rows(rows: list[list[Row]], daemons: int = 0, workers: int = 1, lock_order: bool = True) -> Reduced:
    program, native, plain = both(rows, daemons)
    for watch in (None, watched(program)):
        for progress, deadlock in ((True, False), (True, True), (False, True)):
            options = {"lock_order": lock_order, "livelock": progress, "deadlock": deadlock}
            reduced = search_both(native, plain, Request(watch=watch, workers=workers, **options))
            assert_same(plain, reduced, watch, **options)
    return reduced


def alive_or_not(alive: bool, walks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have accesses count for threads that are alive only, or for all; learn from so many walks before a search."""

    def forget(native: Native, outcomes: bool) -> None:
        daemons = sum(1 << i for i, t in enumerate(native.program.threads) if t.daemon and outcomes)
        native.library.ss_forget(daemons, int(alive))

    monkeypatch.setattr(reduced_module, "_forget", forget)
    monkeypatch.setattr(reduced_module, "WALKS", walks)


@pytest.mark.parametrize("walks", [0, 200])
@pytest.mark.parametrize("alive", [False, True])
def test_thousands_of_small_programs(alive: bool, walks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alive_or_not(alive, walks, monkeypatch)
    part = 2 * alive + (walks > 0)
    for seed in range(COUNT // 4 * part, COUNT // 4 * (1 + part)):
        chance = random.Random(seed)
        rows = random_rows(chance, chance.choice([2, 2, 3]), chance.choice([0.0, 0.0, 0.1, 0.3]))
        try:
            compare_rows(rows, chance.choice([0, 0, 1, 2]), chance.choice([1, 1, 2]), chance.random() < 0.5)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {rows}") from error


@pytest.mark.parametrize("alive", [False, True])
def test_counts_of_references(alive: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others do to a count shows only between two steps that would be merged: it becomes 0, or leaves its range. Nothing is known before."""
    alive_or_not(alive, 0, monkeypatch)
    down_up_down: list[Row] = [(Op.DOWN, 0, 0), (Op.UP, 0, 0), (Op.DOWN, 0, 0)]
    zero = compare_rows([[(Op.SET_COUNT, 0, 2), (Op.SET_COUNT, 0, 1), (Op.UP, 0, 0)], down_up_down])
    assert zero.result.verdict is Verdict.HOLDS
    many = compare_rows([[(Op.SET_COUNT, 0, 5), (Op.DOWN, 0, 0), (Op.DOWN, 0, 0)], [(Op.UP, 0, 0), (Op.UP, 0, 0)]])
    assert isinstance(many.result.error, LangError) and "LeftRange" in str(many.result.error)
    counting: list[Row] = [(Op.UP, 0, 0), (Op.IS_ZERO, 0, 0), (Op.DOWN, 0, 0)]
    merged = compare_rows([[(Op.SET_COUNT, 0, 1), *counting], counting, counting]).merged
    assert merged is not None and merged.verdict is Verdict.HOLDS


SECTION: list[Row] = [(Op.LOCK, 0, 0), (Op.ADD, 0, 0), (Op.ADD, 0, 0), (Op.UNLOCK, 0, 0)]

HAND_MADE: dict[str, tuple[list[list[Row]], str | None]] = {
    "everything under one lock": ([SECTION, SECTION, SECTION], None),
    "read without the lock": ([SECTION, [(Op.READ, 0, 0)]], None),
    "a rule reads without the lock": ([SECTION, [(Op.REQUIRE, 0, 0)]], "cell"),
    "two locks taken in two orders": (
        [
            [(Op.LOCK, 0, 0), (Op.LOCK, 1, 0), (Op.UNLOCK, 1, 0), (Op.UNLOCK, 0, 0)],
            [(Op.LOCK, 1, 0), (Op.LOCK, 0, 0), (Op.UNLOCK, 0, 0), (Op.UNLOCK, 1, 0)],
        ],
        "lock-order",
    ),
    "a lock handed over": (
        [
            [(Op.LOCK, 0, 0), (Op.ADD, 0, 0), (Op.GIVE, 0, 2), (Op.ADD, 0, 0)],
            [(Op.WAIT, 0, 1), (Op.READ, 0, 0), (Op.UNLOCK, 0, 0)],
        ],
        None,
    ),
    "a lock broken": ([SECTION, [(Op.GIVE, 0, 0), (Op.ADD, 0, 0)]], "not-owner"),
    "a wait for protected state": ([[*SECTION], [(Op.WAIT, 0, 1), (Op.SET, 1, 1)]], "deadlock"),
    "trylock sees the lock": ([SECTION, [(Op.TRY, 0, 0), (Op.UNLOCK_IF, 0, 0), (Op.REQUIRE_R, 0, 1)]], "register"),
    "somebody looks at the lock": ([SECTION, [(Op.LOOK, 0, 0), (Op.REQUIRE_R, 0, 0)]], "register"),
    "somebody waits for a lock without taking it": ([SECTION, [(Op.WAIT_UNLOCKED, 0, 0), (Op.READ, 0, 0)]], None),
    "writes with the lock for reading": (
        [[(Op.READ_LOCK, 0, 0), (Op.READ, 0, 0), (Op.SET, 0, 1), (Op.READ_UNLOCK, 0, 0)]] * 2,
        None,
    ),
    "somebody looks at the readers": ([[(Op.READ_LOCK, 0, 0), (Op.READ_UNLOCK, 0, 0)], [(Op.LOOK_RW, 0, 0)]], None),
    "downgraded, then written": (
        [
            [(Op.WRITE_LOCK, 0, 0), (Op.SET, 0, 1), (Op.DOWNGRADE, 0, 0), (Op.SET, 0, 2), (Op.READ_UNLOCK, 0, 0)],
            [(Op.READ_LOCK, 0, 0), (Op.READ, 0, 0), (Op.READ_UNLOCK, 0, 0)],
        ],
        None,
    ),
    "blocked for ever by one of two choices": (
        [[(Op.CHOOSE, 0, 0), (Op.WRITE, 0, 0), (Op.WAIT, 0, 1)], [(Op.SET, 1, 1)]],
        "deadlock",
    ),
    "a flag makes the access possible after the end of the other": (
        [[(Op.SET, 0, 1), (Op.SET, 1, 1)], [(Op.WAIT, 0, 1), (Op.READ, 1, 0), (Op.REQUIRE_R, 0, 1)]],
        "register",
    ),
    "trylock that fails only inside what is merged": (
        [[(Op.TRY, 0, 0), (Op.SET, 0, 0), (Op.UNLOCK_IF, 0, 0)], [(Op.SET, 0, 1), (Op.LOCK_ADD, 0, 3), (Op.UNLOCK, 0, 0)]],
        None,
    ),
    "freed with its lock held": ([[(Op.ALLOC, 0, 0), (Op.ADD, 0, 0)], [(Op.WAIT, 0, 1), (Op.FREE, 0, 0)]], None),
    "a lock stolen between two accesses": (
        [
            [(Op.LOCK, 0, 0), (Op.SET, 2, 1), (Op.ADD, 0, 0), (Op.ADD, 0, 0), (Op.WAIT, 1, 1)],
            [(Op.WAIT, 2, 1), (Op.GIVE, 0, 2), (Op.SET, 0, 0), (Op.UNLOCK, 0, 0), (Op.SET, 1, 1)],
        ],
        None,
    ),
    "a lock that a polling thread always has, or a condition that it always spoils": (
        [
            [(Op.LOCK, 0, 0), (Op.SET, 1, 1), (Op.SET, 1, 0), (Op.READ, 0, 0), (Op.UNLOCK, 0, 0), (Op.ROUND, 0, 0)],
            [(Op.LOCK_WAIT, 0, 1), (Op.SET, 0, 1), (Op.UNLOCK, 0, 0)],
        ],
        "livelock",
    ),
    "two locks of which one is always taken": (
        [
            [(Op.LOCK, 0, 0), (Op.READ, 0, 0), (Op.UNLOCK, 0, 0), (Op.ROUND, 0, 0)],
            [(Op.LOCK, 1, 0), (Op.READ, 0, 0), (Op.UNLOCK, 1, 0), (Op.ROUND, 0, 4)],
            [(Op.LOCK_ALL, 0, 0), (Op.SET, 0, 1), (Op.UNLOCK, 0, 0), (Op.UNLOCK, 1, 0)],
        ],
        "livelock",
    ),
    "one lock that is free between two polling threads": (
        [
            [(Op.LOCK, 0, 0), (Op.READ, 0, 0), (Op.UNLOCK, 0, 0), (Op.ROUND, 0, 0)],
            [(Op.LOCK, 0, 0), (Op.READ, 0, 0), (Op.UNLOCK, 0, 0), (Op.ROUND, 0, 4)],
            [(Op.LOCK, 0, 0), (Op.SET, 0, 1), (Op.UNLOCK, 0, 0)],
        ],
        None,
    ),
    "readers that overlap, and a writer outside of the queue": (
        [
            [(Op.READ_LOCK, 0, 0), (Op.READ, 0, 0), (Op.READ_UNLOCK, 0, 0), (Op.ROUND, 0, 0)],
            [(Op.READ_LOCK, 0, 0), (Op.READ, 0, 0), (Op.READ_UNLOCK, 0, 0), (Op.ROUND, 0, 4)],
            [(Op.WRITE_LOCK_ADD, 0, 0), (Op.WRITE_UNLOCK, 0, 0)],
        ],
        "livelock",
    ),
    "readers that overlap, and a writer in the queue": (
        [
            [(Op.READ_LOCK, 0, 0), (Op.READ, 0, 0), (Op.READ_UNLOCK, 0, 0), (Op.ROUND, 0, 0)],
            [(Op.READ_LOCK, 0, 0), (Op.READ, 0, 0), (Op.READ_UNLOCK, 0, 0), (Op.ROUND, 0, 4)],
            [(Op.WRITE_LOCK, 0, 0), (Op.SET, 0, 1), (Op.WRITE_UNLOCK, 0, 0)],
        ],
        None,
    ),
    "a reader that waits for another behind a writer": (
        [
            [(Op.READ_LOCK, 0, 0), (Op.WAIT, 0, 1), (Op.READ_UNLOCK, 0, 0)],
            [(Op.READ_LOCK, 0, 0), (Op.SET, 0, 1), (Op.READ_UNLOCK, 0, 0)],
            [(Op.WRITE_LOCK, 0, 0), (Op.ADD, 1, 0), (Op.WRITE_UNLOCK, 0, 0)],
        ],
        "deadlock",
    ),
    "a trylock that sees the queue": (
        [
            [(Op.READ_LOCK, 0, 0), (Op.ADD, 1, 0), (Op.READ_UNLOCK, 0, 0)],
            [(Op.WRITE_LOCK, 0, 0), (Op.SET, 0, 1), (Op.WRITE_UNLOCK, 0, 0)],
            [(Op.READ_TRY, 0, 0), (Op.READ_UNLOCK_IF, 0, 0), (Op.WRITE, 2, 0), (Op.READ, 0, 0), (Op.REQUIRE, 2, 1)],
        ],
        "cell",
    ),
    "goes round for ever": ([[(Op.LOAD, 0, 1), (Op.ADD, 0, 0), (Op.JUMP_IF, 0, 1)], [(Op.REQUIRE, 0, 0)]], "cell"),
}


@pytest.mark.parametrize("walks", [0, pytest.param(200, marks=pytest.mark.wide)])
@pytest.mark.parametrize("alive", [False, True])
@pytest.mark.parametrize("name", HAND_MADE)
def test_programs_that_break_a_careless_reduction(name: str, alive: bool, walks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alive_or_not(alive, walks, monkeypatch)
    rows, rule = HAND_MADE[name]
    compare_rows(rows, lock_order=False)
    reduced = compare_rows(rows)
    if rule == "livelock":
        _, native, plain = both(rows)
        reduced = search_both(native, plain, Request(livelock=True, lock_order=False))
    if rule is not None:
        assert reduced.result.violation is not None and reduced.result.violation.rule == rule


@pytest.mark.parametrize("name", ["one lock that is free between two polling threads", "readers that overlap, and a writer in the queue"])
def test_threads_that_poll_under_one_lock_are_no_reason_to_look(name: str) -> None:
    """They end by the rules of fairness, and the search with merged steps can tell: no search without them is begun."""
    _, native, plain = both(HAND_MADE[name][0])
    reduced = search_both(native, plain, Request(livelock=True))
    assert reduced.merged is not None
    assert (reduced.merged.verdict, reduced.result) == (Verdict.HOLDS, reduced.merged)


def test_sections_are_one_step() -> None:
    rows = [SECTION, SECTION, SECTION]
    _, _, plain = both(rows)
    assert compare_rows(rows).result.states * 3 < native_search(plain).states


def test_a_trace_of_merged_steps_is_expanded() -> None:
    rows = [[*SECTION, *SECTION, (Op.CHOOSE, 0, 0), (Op.WRITE, 1, 0)], [(Op.READ, 1, 0), (Op.REQUIRE_R, 0, 0)]]
    _, native, plain = both(rows)
    reduced = search_both(native, plain, by=_short_without_reductions)
    assert reduced.note and reduced.result.violation is not None
    trace, state = reduced.result.violation.trace, plain.initial
    for i, step in enumerate(trace.steps):
        way = next(w for w in plain.thread_successors(state, step.thread) if w.choices == step.choices)
        assert way.state == (trace.states[i] if i < len(trace.states) else None)
        state = way.state or b""


def _short_without_reductions(native: Native, request: Request) -> Result:
    return native_search(native, request if native.reductions.merge else request.but(states=2))


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], derandomize=True)
@given(sources())
def test_generated_programs(text: str) -> None:
    with module_of(text) as module:
        program = program_of(module)
        try:
            plain = Native(program)
        except LangError:
            assume(False)
        watch = (1, program.layout.shared_size)
        limits = Limits(states=20000)
        if native_search(plain, Request(limits=limits, workers=1)).reason != "states":
            assert_same(plain, reduced_search(program, Request(watch=watch, workers=1)), watch)


@settings(
    max_examples=COUNT // 25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
    derandomize="SECONDSIGHT_LAW" not in os.environ,
)  # fmt: skip
@given(sources(), st.sampled_from([3, 10, 50]), st.sampled_from([0, 2]), st.sampled_from([0, 4]))
def test_generated_programs_that_are_reduced_after_few_states(text: str, few: int, narrowing: int, shrinking: int) -> None:
    """The search that begins without reductions, whatever it had found by then, and the one after it, against the reference executor."""
    with module_of(text) as module, pytest.MonkeyPatch.context() as changed:
        program = program_of(module)
        for name, times in (("FEW", 1), ("NARROWING", narrowing), ("SHRINKING", shrinking)):
            changed.setattr(searches, name, few * times)
        asked = Request(watch=(1, program.layout.shared_size), livelock=True, workers=1)
        try:
            known = search(program, asked.but(executor="reference", states=20_000))
            assume(known.reason != "states")
            found = search(program, asked.but(executor="native"))
        except LangError:
            assume(False)
        assert (found.verdict, str(found.error), found.reason) == (known.verdict, str(known.error), known.reason)
        if known.violation is not None and known.violation.rule != "livelock":
            assert found.violation == known.violation
        elif known.violation is not None:
            assert found.violation is not None and found.violation.rule == "livelock"
        else:
            assert found.violation is None and found.outcomes == known.outcomes


@pytest.mark.parametrize(
    "adversary, which, driver", [("munmap", 0, "Mirror"), ("exit", 2, "Mirror"), ("munmap", 0, "MirrorWithoutTest")]
)
def test_drivers(adversary: str, which: int, driver: str) -> None:
    program = driver_program(getattr(mirror, driver), ADVERSARIES[adversary].scenarios[which])
    assert_same(Native(program), reduced_search(program, Request(workers=1)), None)


EACH = 2 if os.environ.get("SECONDSIGHT_REDUCTIONS") == "all" else 1
"""Cells of each table."""


@pytest.mark.wide
def test_cells_of_tables() -> None:
    for table in list(TABLES.values())[:: 3 - EACH]:
        cells = [p for p in (table.program(r, c) for r, c in list(table.cells())[::9]) if p is not None]
        compared = 0
        for program in cells:
            plain = Native(program)
            seen = native_search(plain, Request(workers=1, limits=Limits(states=300_000)))
            if seen.reason == "states" or isinstance(seen.error, LeftRange):  # counts for ever: no error where numbers are renamed
                continue
            assert_same(plain, reduced_search(program, Request(workers=1)), None)
            compared += 1
            if compared == EACH:
                break
        assert compared == EACH, table.name
