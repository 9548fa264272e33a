"""The native engine: on what the repo has, the same as the reference; on all cores, with every option, within its limits."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import pytest

from sampled import some
from secondsight.cases import TABLES
from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices import mirror as mirrors
from secondsight.lang import (
    Bounds,
    LangError,
    LeftRange,
    Machine,
    Mutex,
    Record,
    atomic,
    choose,
    require,
    shared_array,
    wait_until,
)
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.scenario import load_scenarios
from secondsight.search import Limits, Request, Result, Verdict, breadth_first
from secondsight.search import native as native_module
from secondsight.search.lock_order import LockOrder
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search
from secondsight.search.strategy import BreadthFirst, DepthFirst, RandomWalks, Strategy
from secondsight.world.model import program, watched

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)

HOUSE = Path(__file__).parents[2]
Small = Annotated[int, Bounds(0, 60)]


def told(result: Result) -> tuple[object, ...]:
    """What a search says; its counts only if it saw everything."""
    whole = (result.states, result.transitions, result.depth) if result.verdict is Verdict.HOLDS else None
    found = result.violation
    broken = found and (found.rule, found.where, found.trace, found.rule == "deadlock" or found.message)
    return result.verdict, whole, str(result.error), result.reason, result.error_trace, broken, result.outcomes


def assert_same(made: Program, watch: tuple[int, int] | None = None) -> Result:
    """Native with one and with two workers is as the reference; a violation's trace replays in plain execution."""
    slow = breadth_first(Reference(made), Request(watch=watch))
    native = Native(made)
    for workers in (1, 2):
        assert told(native_search(native, Request(watch=watch, workers=workers))) == told(slow)
    if slow.violation is not None:
        trace = slow.violation.trace
        trace.replay(made)
    return slow


FILES = [pytest.param(f, marks=[pytest.mark.wide] * (number % 5 > 0), id=f.stem) for number, f in enumerate(sorted(HOUSE.glob("scenarios/*.py")))]


@pytest.mark.parametrize("file", FILES)
def test_scenarios(file: Path) -> None:
    for scenario in load_scenarios(file)[:1]:
        made = program(scenario)
        assert_same(made, watched(made))


@pytest.mark.parametrize("driver", ["Mirror", "MirrorWithoutTest"])
@pytest.mark.parametrize("adversary", ["munmap", "exit"])
def test_drivers(driver: str, adversary: str) -> None:
    for scenario in ADVERSARIES[adversary].scenarios[:1]:
        assert_same(driver_program(getattr(mirrors, driver), scenario))


SMALL = 10_000


@pytest.mark.parametrize("table", some(sorted(TABLES), every=2))
def test_cells_of_the_tables(table: str) -> None:
    """Of two small ones; `make tables` searches all."""
    cells = (TABLES[table].program(*cell) for cell in list(TABLES[table].cells())[::13])
    small = (c for c in cells if c is not None and native_search(Native(c), Request(workers=1, limits=Limits(states=SMALL))).reason != "states")
    compared = [assert_same(made) for made in islice(small, 2)]
    assert compared


# The options, on a small program whose graph is known: two counters, a lock, an order of locks.


class Cell(Record):
    lock: Mutex
    value: Small
    total: Small


cells = shared_array(Cell, "cells")


def adds(n: Small) -> None:
    """Adds to every cell, in an order of its own choice."""
    for _ in range(n):
        cell = choose(cells)
        with cell.lock:
            seen = cell.value
            cell.value = seen + 1
        cell.total = (cell.total + 1) % 60


def loses(n: Small) -> None:
    """An update is lost; at the end the cell must have all."""
    for _ in range(n):
        seen = cells[0].value
        cells[0].value = seen + 1
        cells[0].total = cells[0].total + 1
    with atomic:
        wait_until(cells[0].total == 2 * n)
        require(cells[0].value > n, "many-lost", "many updates were lost")
        require(cells[0].value == 2 * n, "lost-update", "an update was lost")


def spins() -> None:
    """Goes round for ever once the other has taken the lock."""
    if cells[0].lock.held_by_me():
        return
    while True:
        with atomic:
            if cells[0].value == 0:
                break


def stays() -> None:
    """Never puts the value back."""
    cells[0].value = 1


def first_then_second() -> None:
    with cells[0].lock:
        with cells[1].lock:
            cells[0].value = 1


def second_then_first() -> None:
    wait_until(cells[0].value == 1)
    with cells[1].lock:
        with cells[0].lock:
            cells[0].value = 2


def program_of(*functions: tuple[Any, ...]) -> Program:
    machine = Machine({"cells": 2})
    return build(machine, [Thread(f"t{i}", f[0], f[1:]) for i, f in enumerate(functions)])


@cache
def holding() -> Native:
    return Native(program_of((adds, 3), (adds, 3), (adds, 2)))


@cache
def broken() -> Native:
    return Native(program_of((loses, 3), (loses, 3)))


def counts(result: Result) -> tuple[object, ...]:
    return result.verdict, result.states, result.transitions


def test_one_and_two_workers_and_whole_states_see_the_same() -> None:
    slow = breadth_first(Reference(holding().program))
    assert slow.states > 1 << 15  # so that the second worker joins in
    for workers in (1, 2, 3):
        for exact in (False, True):
            found = native_search(holding(), Request(workers=workers, exact=exact))
            assert told(found) == told(slow)
            assert found.exact is exact
            assert (found.missed == 0) is exact
    assert native_search(holding()).missed == pytest.approx(slow.states**2 / 2**65)


@pytest.mark.parametrize("limit", [1, 10, 300, 40_000])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_limit_of_states_is_kept(limit: int, workers: int) -> None:
    found = native_search(holding(), Request(limits=Limits(states=limit), workers=workers))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "states")
    assert limit <= found.states <= limit + 32 * workers


def test_a_limit_that_is_the_whole_graph_is_no_limit() -> None:
    assert native_search(holding(), Request(limits=Limits(states=native_search(holding()).states + 1))).verdict is Verdict.HOLDS


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("memory", [1, 1_000_000, 1_700_000])
def test_a_limit_of_memory_is_kept(memory: int, exact: bool) -> None:
    found = native_search(holding(), Request(limits=Limits(memory=memory), workers=2, exact=exact))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "memory")
    assert found.peak <= memory


@pytest.mark.parametrize("exact", [False, True])
def test_the_table_grows_as_far_as_memory_goes(exact: bool) -> None:
    large = Native(program_of((adds, 6), (adds, 6), (adds, 4)))
    whole = native_search(large, Request(workers=2, exact=exact))
    assert whole.states > 1_000_000
    enough = native_search(large, Request(limits=Limits(memory=whole.peak * 97 // 100), workers=2, exact=exact))
    assert counts(enough) == counts(whole)
    short = native_search(large, Request(limits=Limits(memory=whole.peak * 4 // 10), workers=2, exact=exact))
    assert (short.verdict, short.reason) == (Verdict.NOT_FINISHED, "memory")
    assert whole.states // 2 < short.states < whole.states


def test_a_limit_of_time_is_kept() -> None:
    found = native_search(holding(), Request(limits=Limits(seconds=1e-6)))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "seconds")


def test_the_way_to_an_error_is_gone_once_more_only_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    counts_on, lost = Native(program_of((adds, 60), (adds, 1), (adds, 0))), native_search(broken(), Request(workers=1))
    found = native_search(counts_on)
    assert isinstance(found.error, LeftRange) and found.error_trace is not None
    monkeypatch.setattr("secondsight.search.native._Search.seconds_left", lambda self: 0.0)
    late = native_search(counts_on)
    assert (str(late.error), late.error_trace) == (str(found.error), None)
    assert native_search(broken(), Request(workers=1)).violation == lost.violation  # it is nothing without its trace


def test_what_only_a_search_without_reductions_can_tell_is_not_told_after_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = program_of((spins,), (stays,))
    monkeypatch.setattr("secondsight.search.reduced._Searches.seconds_left", lambda self: 0.0)
    monkeypatch.setattr("secondsight.search.reduced._Searches.search", lambda self, native, **changes: native_search(native, Request(livelock=True)))
    found = reduced_search(made)
    assert found.merged is not None and found.merged.violation is not None
    assert (found.result.verdict, found.result.reason, found.result.violation) == (Verdict.NOT_FINISHED, "seconds", None)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_frontier_too_large_for_memory_goes_to_a_file(workers: int, tmp_path: Path) -> None:
    found = native_search(holding(), Request(workers=workers, frontier=1, folder=tmp_path))
    assert counts(found) == counts(native_search(holding(), Request(workers=1)))
    assert not list(tmp_path.iterdir())
    with pytest.raises(LangError, match="No such file"):
        native_search(holding(), Request(folder=tmp_path / "nowhere"))


def test_a_file_that_cannot_grow_ends_the_search(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        found = native_search(holding(), Request(frontier=1, folder=tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "disk")


def test_the_engine_and_its_caller_number_steps_alike() -> None:
    text = Path(native_module.__file__).with_name("engine_bounds.c").read_text()
    assert f"enum {{ THREAD_SHIFT = {native_module.THREAD_SHIFT}, MOST_BOUNDED = {native_module.MOST_BOUNDED} }};" in text


def test_a_search_cut_short_writes_nowhere_else(tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no cc")
    libraries = [subprocess.check_output(["cc", f"-print-file-name={name}"], text=True).strip() for name in ("libasan.so", "libstdc++.so.6")]
    if not all(os.path.isabs(name) for name in libraries):
        pytest.skip("the compiler has no address sanitizer")
    env = os.environ | {"SECONDSIGHT_SANITIZE": "1", "ASAN_OPTIONS": "detect_leaks=0", "LD_PRELOAD": " ".join(libraries)}
    command = [sys.executable, str(Path(__file__).with_name("cut_short.py")), str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:3000]
    assert done.stdout.split() == ["disk"] * 2 + ["memory"] * 3


def test_ctrl_c_gives_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    native, limits = Native(program_of((adds, 20), (adds, 20), (adds, 20))), Limits(seconds=20)
    found = native_search(native, Request(limits=limits, on_progress=interrupt, workers=2))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "interrupted")
    assert found.states > 1

    found = native_search(native, Request(limits=limits, on_progress=lambda progress: signal.raise_signal(signal.SIGINT), workers=2))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "interrupted")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def fails(progress: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        native_search(native, Request(limits=limits, on_progress=fails))


def test_what_goes_wrong_with_the_order_of_locks_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def note(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(LockOrder, "note", note)
    with pytest.raises(MemoryError):
        native_search(Native(program_of((first_then_second,))))


def early() -> None:
    require(cells[0].value > 50, "early", "it is too early")


@pytest.mark.parametrize("reductions", [Reductions(), Reductions.none()], ids=str)
@pytest.mark.parametrize("strategy", [BreadthFirst(), DepthFirst()])
def test_ctrl_c_is_told_beside_a_broken_rule(reductions: Reductions, strategy: Strategy) -> None:
    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    made = program_of((early,), (adds, 20), (adds, 20), (adds, 20))
    found = reduced_search(made, Request(reductions=reductions, limits=Limits(seconds=60), on_progress=interrupt, workers=2, strategy=strategy, collect=True)).result
    assert (found.verdict, found.reason) == (Verdict.BROKEN, "interrupted")
    assert found.seconds < 20
    cut = reduced_search(made, Request(reductions=reductions, limits=Limits(states=5000), strategy=strategy, collect=True)).result
    assert (cut.verdict, cut.reason) == (Verdict.BROKEN, "states")
    assert reduced_search(program_of((early,), (adds, 1)), Request(reductions=reductions, strategy=strategy, collect=True)).result.reason is None


def test_depth_first_sees_everything_or_says_that_it_was_cut() -> None:
    whole = native_search(holding(), Request(strategy=DepthFirst()))
    assert counts(whole) == counts(native_search(holding()))
    cut = native_search(holding(), Request(strategy=DepthFirst(depth=12)))
    assert (cut.verdict, cut.reason) == (Verdict.NOT_FINISHED, "depth")
    assert cut.depth < 12
    assert cut.states < whole.states


@pytest.mark.parametrize("strategy", [DepthFirst(), RandomWalks(seed=1), RandomWalks(seed=2)])
def test_what_other_strategies_find_replays(strategy: Strategy) -> None:
    found = native_search(broken(), Request(strategy=strategy))
    assert found.violation is not None
    assert found.violation.rule in ("lost-update", "many-lost")
    trace = found.violation.trace
    trace.replay(broken().program)
    again = native_search(broken(), Request(strategy=strategy))
    assert again.violation == found.violation


def test_random_walks_never_say_holds() -> None:
    found = native_search(holding(), Request(strategy=RandomWalks(walks=5, seed=3)))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "walks")


def test_all_broken_rules_are_collected_when_asked_for() -> None:
    assert len(native_search(broken()).violations) == 1
    for workers in (1, 2):
        found = native_search(broken(), Request(collect=True, workers=workers))
        assert found.verdict is Verdict.BROKEN
        assert sorted(v.rule for v in found.violations) == ["lost-update", "many-lost"]
        for violation in found.violations:
            trace = violation.trace
            trace.replay(broken().program)


@pytest.mark.parametrize("exact", [False, True])
def test_livelock(exact: bool) -> None:
    assert native_search(holding(), Request(livelock=True, exact=exact)).verdict is Verdict.HOLDS
    native = Native(program_of((spins,), (stays,)))
    assert native_search(native).verdict is Verdict.HOLDS
    found = native_search(native, Request(livelock=True, exact=exact))
    assert found.violation is not None
    assert found.violation.rule == "livelock"
    assert "lets t0 end" in found.violation.message
    trace, loop = found.violation.trace, found.violation.loop
    assert loop > 0
    assert trace.states[-1] == trace.states[-1 - loop]
    slow = breadth_first(Reference(native.program), Request(livelock=True)).violation
    assert slow is not None
    assert (slow.rule, slow.message) == (found.violation.rule, found.violation.message)
    assert slow.trace.steps[:2] == trace.steps[: len(slow.trace.steps)][:2]
    trace.replay(native.program)


def test_the_order_of_locks() -> None:
    made = program_of((first_then_second,), (second_then_first,))
    found = assert_same(made)
    assert found.violation is not None
    assert found.violation.rule == "lock-order"
    assert native_search(Native(made), Request(lock_order=False)).verdict is Verdict.HOLDS
