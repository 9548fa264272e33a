"""Livelock on generated programs that go round: by the definition itself, by the reference, by the native engine.

Each program is compiled, so few are tried by default; `SECONDSIGHT_LAW=2000` makes a campaign of it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from generated import module_of
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from law import graph_of
from loop_programs import LoopWriter

from secondsight.lang import Machine
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.errors import LangError
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference, Successor
from secondsight.search import Request, Verdict, Violation, breadth_first
from secondsight.search.native import native_search
from secondsight.search.progress import lock_steps
from secondsight.search.reduced import search_both

CAMPAIGN = int(os.environ.get("SECONDSIGHT_LAW", "0"))
STATES = 250

try:
    compiler()
    NATIVE = True
except CompilerMissing:
    NATIVE = False


def is_livelocked(reference: Reference, graph: dict[bytes, list[Successor]], start: bytes) -> bool:
    """Whether a fair way leads from a state back to itself, a thread other than a daemon being alive: every way is tried."""
    program = reference.program
    alive = [t for t in range(len(program.threads)) if reference.counter(start, t)]
    if all(program.threads[t].daemon for t in alive):
        return False
    locks = lock_steps(program)
    nothing: frozenset[int] = frozenset()
    todo = [(start, nothing, frozenset(alive), nothing)]  # who took a step, who could in every state so far, who in some state
    seen = set(todo)
    for state, moved, always, ever in todo:
        can = frozenset(s.thread for s in graph[state])
        for taken in graph[state]:
            assert taken.state is not None
            now = (taken.state, moved | {taken.thread}, always & can, ever | can)
            if taken.state == start and all(
                t in now[1] or (t not in now[3] if reference.counter(start, t) in locks else t not in now[2]) for t in alive
            ):
                return True
            if now not in seen:
                seen.add(now)
                todo.append(now)
    return False


def assert_round(program: Program, found: Violation) -> None:
    """The trace replays in plain execution and ends in a loop, which is fair."""
    trace, reference = found.trace, Reference(program)
    assert found.loop > 0
    trace.replay(program)
    states = [reference.initial, *trace.states][-found.loop - 1 :]
    assert states[0] == states[-1]
    assert not reference.finished(states[0])
    moved = {s.thread for s in trace.steps[-found.loop :]}
    for thread in range(len(program.threads)):
        if thread not in moved and reference.counter(states[0], thread):
            able = [any(s.thread == thread for s in reference.successors(state)) for state in states]
            at_lock = reference.counter(states[0], thread) in lock_steps(program)
            assert not any(able) if at_lock else not all(able), f"thread {thread} is left out"


law = settings(
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink] if CAMPAIGN else [Phase.explicit, Phase.generate],
    derandomize=not CAMPAIGN,
)


@settings(law, max_examples=10 * CAMPAIGN or 90)
@given(st.data())
def test_livelocks_of_the_reference_are_those_of_the_definition(data: st.DataObject) -> None:
    check(lambda n: data.draw(st.integers(0, n - 1)), native=False)


@pytest.mark.skipif(not NATIVE, reason="no C compiler")
@settings(law, max_examples=CAMPAIGN or 8)
@given(st.data())
def test_livelocks_of_the_native_engine_are_those_of_the_definition(data: st.DataObject) -> None:
    check(lambda n: data.draw(st.integers(0, n - 1)), native=True)


def test_the_generated_programs_are_of_all_kinds() -> None:
    random = Random(1)
    found = Counter(check(random.randrange, native=False) for _ in range(40))
    assert min(found["holds"], found["livelock"], found["deadlock"]) >= 5


def check(draw: Callable[[int], int], native: bool) -> str:
    """One program; what it came to."""
    count = 2 + (draw(3) == 0)
    text = LoopWriter(draw).program(count)
    daemons = [False, *(draw(4) == 0 for _ in range(count - 1))]
    with module_of(text) as module:
        try:
            program = build(Machine({}), [Thread(f"t{i}", getattr(module, f"thread{i}"), (), daemons[i]) for i in range(count)])
        except LangError:
            return "refused"
        reference = Reference(program)
        plain = breadth_first(reference, Request(lock_order=False))
        found = breadth_first(reference, Request(lock_order=False, livelock=True))
        if native:
            compiled = Native(program)
            for exact in (False, True):
                fast = native_search(compiled, Request(lock_order=False, livelock=True, exact=exact, workers=1 + exact))
                assert (fast.verdict, fast.violation, fast.reason) == (found.verdict, found.violation, found.reason)
                kept = native_search(compiled, Request(lock_order=False, livelock=True, exact=exact, workers=2 - exact), log_edges=False)
                assert (kept.verdict, kept.violation, kept.reason) == (found.verdict, found.violation, found.reason)
            merged = search_both(Native(program, Reductions(symmetry=False)), compiled, Request(lock_order=False, livelock=True, workers=1)).result
            assert (merged.verdict, merged.violation, merged.reason) == (found.verdict, found.violation, found.reason)
        if plain.verdict is not Verdict.HOLDS:
            assert found.violation == plain.violation
            return plain.violation.rule if plain.violation else "error"
        graph, _, whole = graph_of(reference, STATES)
        if not whole:
            return f"large, {found.verdict.value}"
        first = next((state for state in graph if is_livelocked(reference, graph, state)), None)
        if first is None:
            assert found.verdict is Verdict.HOLDS
            return "holds"
        assert found.violation is not None
        assert found.violation.rule == "livelock"
        assert_round(program, found.violation)
        assert [reference.initial, *found.violation.trace.states][-1 - found.violation.loop] == first
        return "livelock"
