"""Search by several machines, its members in this process: the same as on one, however the states are shared out.

With Ray, on nodes that fail: test_cluster_ray.py.
"""

from __future__ import annotations

import itertools
import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import pytest
from bench.mirror import CONFIGURATIONS, mirror
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from sampled import some
from secondsight.lang import Bounds, LangError, Machine, Mutex, Record, atomic, choose, require, shared_array, wait_until
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.symmetry import symmetry_of
from secondsight.scenario import load_scenarios
from secondsight.search import Limits, Progress, Request, Result, Verdict
from secondsight.search.auto import search
from secondsight.search.cluster import job_of, search_by
from secondsight.search.cluster_levels import Levels, LocalHosts, Lost, MemberAnswer
from secondsight.search.cluster_ray import hosts_at
from secondsight.search.native import native_search
from secondsight.search.strategy import DepthFirst
from secondsight.world.model import program, watched

HOUSE = Path(__file__).parents[2]
sys.path.append(str(HOUSE / "tests" / "lang"))

from generated import module_of, sources  # noqa: E402
from generated import program_of as generated_program  # noqa: E402

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)

CAMPAIGN = int(os.environ.get("SECONDSIGHT_LAW", "0"))
Small = Annotated[int, Bounds(0, 60)]


def by_members(
    native: Native, members: int, workers: int = 1, batch: int = 1 << 16, hosts: type[LocalHosts] = LocalHosts,
    request: Request | None = None, **more: Any,
) -> Result:
    """A search by so many members with so many threads each, in this process."""
    patience = more.pop("patience", 120.0)
    made = hosts(members, workers)
    try:
        return search_by(made, native, request or Request(**more), batch, patience)[0]
    finally:
        made.end()


def told(result: Result) -> tuple[object, ...]:
    """What must be the same: counts where everything was seen; of a broken rule its name, and how long the trace is."""
    found = result.violation
    whole = (result.states, result.transitions, result.depth, result.outcomes) if result.verdict is Verdict.HOLDS else None
    return result.verdict, whole, result.reason, str(result.error), found and (found.rule, len(found.trace))


def assert_same(native: Native, watch: tuple[int, int] | None = None, **more: Any) -> Result:
    """Two and three members, with one and two threads, with batches of a few records and of many, are as one machine."""
    one = native_search(native, Request(watch=watch, workers=1))
    for members, workers, batch in ((1, 2, 1000), (2, 1, 300), (3, 2, 1 << 20)):
        found = by_members(native, members, workers, batch, watch=watch, **more)
        assert told(found) == told(one)
        assert_replays(native, found)
    return one


def assert_replays(native: Native, found: Result) -> None:
    """Every trace happens in plain execution."""
    for trace in [v.trace for v in found.violations] + [t for t in [found.error_trace] if t]:
        trace.replay(native.program)


# What the repo has.


@pytest.mark.parametrize("exact", [False, True])
def test_the_mirror_protocol_has_the_known_counts(exact: bool) -> None:
    found = by_members(mirror_a(True), 2, 2, 4 << 20, exact=exact)
    assert (found.verdict, found.states, found.transitions) == (Verdict.HOLDS, *CONFIGURATIONS["A"][5:])
    assert found.exact is exact
    assert (found.missed == 0) is exact


def test_the_mirror_protocol_without_its_test_is_broken() -> None:
    assert assert_same(mirror_a(False)).verdict is Verdict.BROKEN


@cache
def mirror_a(right: bool) -> Native:
    return Native(mirror(*CONFIGURATIONS["A"][:5], right))


@pytest.mark.parametrize("file", some(sorted(HOUSE.glob("scenarios/*.py"))[::4], every=2), ids=lambda f: f.stem)
def test_scenarios(file: Path) -> None:
    made = program(load_scenarios(file)[0])
    assert_same(Native(made), watched(made))


def test_interchangeable_records_stay_so() -> None:
    made = mirror(*CONFIGURATIONS["A"][:5])
    symmetry, why = symmetry_of(made, None)
    assert symmetry is not None, why
    native = Native(made, symmetry=symmetry)
    one, found = native_search(native, Request(workers=1)), by_members(native, 3, 1, 5000)
    assert one.states < CONFIGURATIONS["A"][5]
    assert (found.verdict, found.states, found.transitions) == (one.verdict, one.states, one.transitions)


# Every way to end, on small programs.


class Cell(Record):
    lock: Mutex
    value: Small


cells = shared_array(Cell, "cells")


def adds(n: Small) -> None:
    for _ in range(n):
        cell = choose(cells)
        with cell.lock:
            seen = cell.value
            cell.value = (seen + 1) % 60


def loses(n: Small) -> None:
    """Updates are lost, which two rules forbid: the second of them later."""
    for _ in range(n):
        seen = cells[0].value
        cells[0].value = seen + 1
        require(cells[0].value != 3, "no-three", "there are three")
        require(cells[0].value != 5, "no-five", "there are five")


def overflows() -> None:
    for _ in range(9):
        cells[0].value = cells[0].value + 7


def waits() -> None:
    wait_until(cells[0].value == 7)


def first_then_second(n: Small) -> None:
    with cells[0].lock:
        with cells[1].lock:
            cells[0].value = n


def second_then_first() -> None:
    wait_until(cells[0].value == 1)
    with cells[1].lock:
        with cells[0].lock:
            cells[0].value = 2


def program_of(*functions: tuple[Any, ...]) -> Program:
    return build(Machine({"cells": 2}), [Thread(f"t{i}", f[0], f[1:]) for i, f in enumerate(functions)])


@cache
def holding() -> Native:
    return Native(program_of((adds, 3), (adds, 3), (adds, 2)))


ENDS: list[tuple[list[tuple[Any, ...]], str | None]] = [
    ([(loses, 3), (loses, 3)], "no-three"),
    ([(overflows,), (overflows,)], "error"),
    ([(waits,), (adds, 2)], "deadlock"),
    ([(first_then_second, 1), (second_then_first,)], "lock-order"),
    ([(adds, 2), (adds, 2)], None),
]


@pytest.mark.parametrize("functions, ends", ENDS)
def test_every_end(functions: list[tuple[Any, ...]], ends: str | None) -> None:
    one = assert_same(Native(program_of(*functions)))
    assert (one.violation.rule if one.violation else one.reason) == ends


def test_what_is_not_asked_for_is_not_looked_for() -> None:
    assert by_members(Native(program_of((waits,))), 2, deadlock=False).verdict is Verdict.HOLDS
    locks = Native(program_of((first_then_second, 1), (second_then_first,)))
    assert by_members(locks, 2, lock_order=False).verdict is Verdict.HOLDS


def test_all_broken_rules_are_collected_when_asked_for() -> None:
    native = Native(program_of((loses, 4), (loses, 4)))
    found = by_members(native, 3, collect=True)
    assert found.verdict is Verdict.BROKEN
    assert [v.rule for v in found.violations] == ["no-three", "no-five"]
    assert [len(v.trace) for v in found.violations] == [
        len(v.trace) for v in native_search(native, Request(collect=True, workers=1)).violations
    ]


@pytest.mark.parametrize("limit", [1, 300, 20_000])
def test_a_limit_of_states_is_kept(limit: int) -> None:
    found = by_members(holding(), 3, limits=Limits(states=limit), batch=1 << 20)
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "states")
    assert limit <= found.states <= limit * 1.3 + 1000


def test_limits_of_time_and_memory_are_kept() -> None:
    found = by_members(holding(), 2, limits=Limits(seconds=1e-6))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "seconds")
    whole = by_members(holding(), 2).peak
    for part in (0, 0.5, 0.86, 0.97):
        memory = max(1, int(part * whole))
        found = by_members(holding(), 2, limits=Limits(memory=memory))
        assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "memory")
        assert found.peak <= memory


def test_ctrl_c_gives_what_was_seen() -> None:
    class Interrupted(LocalHosts):
        def answer(self, seconds: float) -> MemberAnswer | None:
            answer = super().answer(seconds)
            if answer is not None and answer.value[0].states > 500:
                raise KeyboardInterrupt
            return answer

    found = by_members(holding(), 2, hosts=Interrupted)
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "interrupted")
    assert 500 < found.states < native_search(holding()).states


def test_progress_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Progress] = []
    ticks = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(ticks))
    by_members(holding(), 2, on_progress=seen.append, patience=1e9)
    assert [p.states for p in seen] == sorted(p.states for p in seen)
    assert seen[-1].frontier < max(p.frontier for p in seen)


# What goes wrong.


class Silent(LocalHosts):
    """Member 1 never answers."""

    def ask(self, member: int, method: str, *arguments: Any) -> None:
        if member == 0:
            super().ask(member, method, *arguments)


class Gone(LocalHosts):
    """Member 1 is lost in the fifth level."""

    def ask(self, member: int, method: str, *arguments: Any) -> None:
        if member == 1 and arguments[0] == 5:
            raise Lost("lost node 1")
        super().ask(member, method, *arguments)


def test_a_member_that_is_lost_or_silent_ends_the_search_and_nothing_is_said_to_hold() -> None:
    found = by_members(holding(), 2, hosts=Silent, patience=0.2)
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "member 1 has not answered for 0 s")
    found = by_members(holding(), 2, hosts=Gone)
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "lost node 1")
    assert found.states > 5


def test_a_batch_that_gets_lost_is_noticed() -> None:
    class Loses(LocalHosts):
        lost = 0

        def ask(self, member: int, method: str, *arguments: Any) -> None:
            if method == "turn" and any(arguments[-1]) and not self.lost:
                self.lost += 1
                arguments = (arguments[0], (), *arguments[2:-1], ())
            super().ask(member, method, *arguments)

    found = by_members(holding(), 2, hosts=Loses)
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "unknown")


def test_batches_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    answered = Levels._answered

    def watched(self: Levels, answer: MemberAnswer) -> None:
        nonlocal most
        answered(self, answer)
        most = max(most, self.waiting)

    monkeypatch.setattr(Levels, "_answered", watched)
    batch = 3000
    whole = by_members(holding(), 3, batch=batch)
    assert whole.states == native_search(holding()).states
    # what is allowed, and a turn of each member beyond it
    assert batch < most <= 4 * 9 * batch + 3 * 2 * 2 * batch


def test_a_batch_that_belongs_to_another_is_refused() -> None:
    hosts = LocalHosts(2)
    hosts.open(job_of(holding(), Request(), 1 << 16))
    first = next(m for m in hosts.members if m.turn(0, [], 0, 1.0, b"", [])[0].left)
    _, out = first.turn(0, [], 1, 1.0, b"", [])
    while not any(out):
        first.turn(first.level + 1, [], 0, 1.0, b"", [])
        _, out = first.turn(first.level, [], 1000, 1.0, b"", [])
    batch = next(b for b in out if b)
    with pytest.raises(ValueError, match="does not belong to member"):
        first.turn(first.level, [0], 0, 1.0, b"", [batch])
    with pytest.raises(ValueError, match="does not belong to member"):
        hosts.members[1 - first.me].turn(0, [first.me], 0, 1.0, b"", [batch[:-1]])
    hosts.end()


def spins() -> None:
    """Goes round for ever once the other has put the value there."""
    while True:
        with atomic:
            if cells[0].value == 0:
                break


def stays() -> None:
    cells[0].value = 1


def test_a_livelock_is_found_whoever_has_its_states() -> None:
    native = Native(program_of((spins,), (stays,)))
    for members in range(1, 9):
        found = by_members(native, members, livelock=True)
        assert found.violation is not None
        assert found.violation.rule == "livelock"


@pytest.mark.parametrize("members, batch", [(1, 1000), (2, 30), (3, 1 << 20)])
def test_livelock(members: int, batch: int) -> None:
    assert by_members(holding(), members, 1, batch, livelock=True).verdict is Verdict.HOLDS
    native = Native(program_of((spins,), (stays,), (adds, 2)))
    assert by_members(native, members, 2, batch).verdict is Verdict.HOLDS
    one, found = native_search(native, Request(livelock=True, workers=1)), by_members(native, members, 2, batch, livelock=True)
    assert one.violation is not None
    assert found.violation is not None
    assert (found.violation.rule, found.violation.loop) == ("livelock", one.violation.loop)
    assert len(found.violation.trace) == len(one.violation.trace)
    trace, loop = found.violation.trace, found.violation.loop
    assert trace.states[-1] == trace.states[-1 - loop]
    assert_replays(native, found)


def test_what_a_cluster_cannot_do_is_refused() -> None:
    for how in (Request(executor="reference", cluster="auto"), Request(executor="native", strategy=DepthFirst(), cluster="auto")):
        with pytest.raises(LangError, match="a cluster searches breadth first, with the native executor"):
            search(holding().program, how)


def test_a_small_search_does_without_the_cluster() -> None:
    assert search(program_of((adds, 1), (adds, 1)), Request(cluster="nowhere:1")).verdict is Verdict.HOLDS


def test_without_ray_there_is_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LangError, match=r"pip install 'secondsight\[cluster\]'"):
        hosts_at("auto")


@pytest.mark.parametrize(
    "address, said", [("there", "is no address"), ("127.0.0.1:1", "no cluster at"), ("h:x", "is no address")]
)
def test_an_address_where_nobody_is(address: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(LangError, match=said):
        hosts_at(address)


@settings(
    max_examples=CAMPAIGN or 5,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink] if CAMPAIGN else [Phase.explicit, Phase.generate],
    derandomize=not CAMPAIGN,
)
@given(sources(), st.integers(1, 5), st.integers(1, 3), st.integers(1, 5000), st.booleans())
def test_generated_programs(text: str, members: int, workers: int, batch: int, exact: bool) -> None:
    with module_of(text) as module:
        try:
            native = Native(generated_program(module))
        except LangError:
            assume(False)
        one = native_search(native, Request(limits=Limits(states=3000), workers=1, livelock=True))
        assume(one.reason != "states")
        found = by_members(native, members, workers, batch, exact=exact, livelock=True, limits=Limits(states=100_000))
        if one.verdict is Verdict.HOLDS or found.verdict is Verdict.HOLDS:
            assert told(found) == told(one)
        else:  # several things may be wrong in one level, and which comes first is not said
            assert found.verdict is Verdict.BROKEN or found.reason == "error"
            assert_replays(native, found)
            first, also = one.violation, found.violation
            if first is not None and also is not None:
                assert len(first.trace) - 1 <= len(also.trace) <= len(first.trace) + (also.rule != "deadlock")
