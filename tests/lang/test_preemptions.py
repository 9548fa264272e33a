"""Searches bounded by preemptions, against a plain Python count of them; what they say, and what they do not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Annotated, Any

import pytest
from generated import module_of
from loop_programs import LoopWriter

from secondsight.lang import Bounds, LangError, Machine, Mutex, Record, shared, wait_until
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Limits, Request, Result, Verdict, breadth_first
from secondsight.search.auto import search
from secondsight.search.native import native_search
from secondsight.search.strategy import Preemptions

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)

Small = Annotated[int, Bounds(0, 40)]


class Desk(Record):
    lock: Mutex
    count: Small
    flag: bool
    done: Small


desk = shared(Desk)


def adds() -> None:
    seen = desk.count
    desk.count = seen + 1


def adds_twice() -> None:
    adds()
    adds()


def adds_under_lock() -> None:
    for _ in range(3):
        with desk.lock:
            adds()


def sets() -> None:
    desk.flag = True


def waits() -> None:
    wait_until(desk.flag)
    desk.done = 1


def takes_turns(n: Small) -> None:
    """Needs to be left, and come back to, n times before it sees what is wrong."""
    for i in range(n):
        assert desk.done < 30
        if desk.count != i:
            return
        desk.flag = True
        if not desk.flag:
            desk.count = i + 1
    assert desk.count < n


def clears(n: Small) -> None:
    for _ in range(n):
        desk.flag = False


def program_of(*threads: Any) -> Program:
    rows = [t if isinstance(t, tuple) else (t,) for t in threads]
    return build(Machine({}), [Thread(f"t{i}", row[0], row[1:]) for i, row in enumerate(rows)])


def bounded(program: Program, most: int, **options: Any) -> Result:
    return native_search(Native(program), Request(strategy=Preemptions(most), **{"workers": 1} | options))


def fewest(program: Program, most: int = 1000) -> tuple[int | None, dict[int, int]]:
    """By the definition: with how few preemptions something breaks; how many states are reached with how few."""
    reference = Reference(program)
    todo: deque[tuple[bytes, int, int]] = deque([(reference.initial, -1, 0)])
    seen: dict[tuple[bytes, int], int] = {}
    least: dict[bytes, int] = {}
    broken: list[int] = []
    while todo:
        state, last, spent = todo.popleft()
        if seen.get((state, last), most + 1) <= spent or spent > most:
            continue
        seen[state, last] = spent
        least[state] = min(spent, least.get(state, spent))
        ways = reference.successors(state)
        goes_on = any(w.thread == last for w in ways)
        if not ways and not reference.finished(state):
            broken.append(spent)
        for way in ways:
            cost = spent + (goes_on and way.thread != last)
            if way.state is None:
                broken.append(cost)
            elif cost == spent:
                todo.appendleft((way.state, way.thread, cost))
            else:
                todo.append((way.state, way.thread, cost))
    counts = {k: sum(v <= k for v in least.values()) for k in range(max(least.values()) + 1)}
    return min((b for b in broken if b <= most), default=None), counts


def preempted(program: Program, result: Result) -> int:
    """The preemptions of a trace."""
    assert result.violation is not None
    reference, trace, found = Reference(program), result.violation.trace, 0
    trace.replay(program)
    states = [reference.initial, *trace.states]
    for before, (one, other) in zip(states[1:], zip(trace.steps, trace.steps[1:], strict=False), strict=False):
        found += one.thread != other.thread and any(w.thread == one.thread for w in reference.successors(before))
    return found


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_what_breaks_is_found_with_the_fewest_preemptions(rounds: int) -> None:
    program = program_of((takes_turns, rounds), (clears, rounds))
    least, _ = fewest(program)
    assert least is not None and least >= rounds
    for most in range(least):
        found = bounded(program, most)
        assert (found.verdict, found.reason, found.preemptions) == (Verdict.NOT_FINISHED, "preemptions", most)
    for workers in (1, 2):
        found = bounded(program, least + 3, workers=workers)
        assert found.verdict is Verdict.BROKEN and found.preemptions is None and not found.shortest
        assert preempted(program, found) == least


def test_a_search_that_leaves_nothing_out_holds() -> None:
    for threads in ((adds_twice, adds), (adds_under_lock, adds_under_lock), (waits, sets, adds)):
        program = program_of(*threads)
        whole = native_search(Native(program), Request(workers=1, watch=(0, program.layout.shared_size)))
        found = bounded(program, 1000, watch=(0, program.layout.shared_size))
        assert (found.verdict, found.reason, found.preemptions) == (Verdict.HOLDS, None, None)
        assert found.outcomes == whole.outcomes


def test_a_deadlock_needs_its_preemption() -> None:
    program = program_of(waits, adds)
    assert bounded(program, 0).violation is not None  # nobody is left who could go on: no preemption


@pytest.mark.parametrize("seed", range(8))
def test_generated_programs(seed: int) -> None:
    random = Random(seed)
    while True:
        count = 2 + seed % 2
        text = LoopWriter(random.randrange).program(count)
        with module_of(text) as module:
            try:
                program = build(Machine({}), [Thread(f"t{i}", getattr(module, f"thread{i}"), ()) for i in range(count)])
            except LangError:
                continue
            size = breadth_first(Reference(program), Request(limits=Limits(states=1_000), lock_order=False))
            if size.states < 30 or size.reason == "states" or (seed < 4 and size.verdict is Verdict.HOLDS):
                continue
            least, _ = fewest(program, 6)
            for most in range(4):
                found = bounded(program, most, lock_order=False, workers=1 + most % 2)
                assert (found.verdict is Verdict.BROKEN or found.error is not None) == (least is not None and least <= most)
                if found.verdict is Verdict.BROKEN:
                    assert preempted(program, found) == least
            return


def test_limits_leave_what_is_known() -> None:
    program = program_of(*[(adds_under_lock,)] * 3)
    whole = bounded(program, 1000)
    counts = [bounded(program, k).states for k in range(2)]
    assert counts[0] < counts[1] < whole.states
    found = bounded(program, 1000, limits=Limits(states=counts[1] + 20))
    assert (found.verdict, found.reason, found.preemptions) == (Verdict.NOT_FINISHED, "states", 1)
    # by the definition: each state that is reached with so few preemptions was seen, and there are no others
    least, states = fewest(program)
    assert least is None and len(states) == 3 and states[2] == native_search(Native(program)).states


def test_it_says_nothing_of_livelocks_and_does_not_pretend_to() -> None:
    program = program_of(adds, sets)
    found = search(program, Request(strategy=Preemptions(), livelock=True))
    assert (found.verdict, found.reason) == (Verdict.NOT_FINISHED, "livelock")
    assert "livelocks are not looked for" in found.note
    assert search(program, Request(strategy=Preemptions())).verdict is Verdict.HOLDS


@pytest.mark.parametrize(
    ("ask", "wrong"),
    [
        (lambda p: native_search(Native(p, Reductions(symmetry=False)), Request(strategy=Preemptions())), "hides preemptions"),
        (lambda p: bounded(p, 1, exact=True), "without `exact`"),
        (lambda p: bounded(p, 1, livelock=True), "find no livelock"),
        (lambda _: Preemptions(-1), "is not between"),
    ],
)
def test_what_does_not_go_together(ask: Callable[[Program], object], wrong: str) -> None:
    with pytest.raises(LangError, match=wrong):
        ask(program_of(adds, sets))
