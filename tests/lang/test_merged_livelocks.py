"""Livelocks that merged steps once lost: one verdict by default, without merged steps, by the reference and by the user's own functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import pytest
from law import graph_of, outcome
from test_livelock_law import is_livelocked

from secondsight.lang import Bounds, Machine, Mutex, Record, RwLock, atomic, shared, wait_until
from secondsight.lang.compiler import CompilerMissing, compiler
from secondsight.lang.movers import Reductions
from secondsight.lang.plain import PlainRun, WouldBlock, compare
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Request, auto, executors
from secondsight.search.auto import search

try:
    compiler()
except CompilerMissing:
    pytest.skip("no C compiler", allow_module_level=True)

Far = Annotated[int, Bounds(0, 20)]


class Desk(Record):
    rw: RwLock
    lock: Mutex
    busy: bool
    done: bool
    near: Far
    far: Far


desk = shared(Desk)


def reads_till_done() -> None:
    while True:
        with desk.rw.reading():
            if desk.done:
                return


def writes_done() -> None:
    with desk.rw.writing():
        desk.done = True


def writes_done_outside_of_the_queue() -> None:
    with atomic:
        desk.rw.write_lock()
        desk.done = True
    desk.rw.write_unlock()


def is_busy_till_done() -> None:
    while True:
        with desk.lock:
            desk.busy = True
            desk.busy = False
            if desk.done:
                return


def ends_it_when_nobody_is_busy() -> None:
    with atomic:
        desk.lock.lock()
        wait_until(not desk.busy)
    desk.done = True
    desk.lock.unlock()


def ends_it() -> None:
    with desk.lock:
        desk.done = True


def counts() -> None:
    for _ in range(20):
        desk.near += 1


def counts_too() -> None:
    for _ in range(20):
        desk.far += 1


PROGRAMS: dict[str, tuple[list[Callable[[], None]], str]] = {
    "readers that overlap": ([reads_till_done, reads_till_done, writes_done], "holds"),
    "readers that overlap, and a writer outside of the queue": (
        [reads_till_done, reads_till_done, writes_done_outside_of_the_queue], "livelock",
    ),
    "a condition under the lock that the poller has": ([is_busy_till_done, ends_it_when_nobody_is_busy], "livelock"),
    "a lock that the poller has": ([is_busy_till_done, ends_it], "holds"),
}  # fmt: skip


def program_of(functions: list[Callable[[], None]]) -> Program:
    return build(Machine({}), [Thread(f"{f.__name__} {i}", f) for i, f in enumerate(functions)])


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("beside", [False, True])
def test_every_executor_tells_the_same(name: str, beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`beside`: two threads count, and the search is a large one, as one of millions of states is by default."""
    functions, rule = PROGRAMS[name]
    program = program_of([*functions, counts, counts_too] if beside else functions)
    monkeypatch.setattr(auto, "SWITCH", 500)
    monkeypatch.setattr(executors, "FEW", 500)
    monkeypatch.setattr(executors, "NARROWING", 500)
    for reductions in (Reductions(), Reductions(merge=False), Reductions(symmetry=False), Reductions.none()):
        for by in ("auto", "native"):
            found = search(program, Request(executor=by, livelock=True, reductions=reductions))
            assert (found.violation.rule if found.violation else found.verdict.value) == rule, (reductions, by)
            if beside and rule == "holds":
                assert ("merge" in found.reduced) == reductions.merge
            if found.violation is not None:
                trace = found.violation.trace
                trace.replay(program)
    found = search(program, Request(executor="reference", livelock=True))
    assert (found.violation.rule if found.violation else found.verdict.value) == rule


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_users_own_functions_go_the_same_ways(name: str) -> None:
    """Every step of the graph that is judged is one of plain execution, and what cannot be taken there blocks."""
    functions, rule = PROGRAMS[name]
    program = program_of(functions)
    reference = Reference(program)
    graph, _, whole = graph_of(reference, 500)
    assert whole
    ways: dict[bytes, list[tuple[int, tuple[int, ...]]]] = {reference.initial: []}
    for state, successors in graph.items():
        for thread in range(len(functions)):
            if reference.counter(state, thread):
                [step] = [s for s in successors if s.thread == thread] or [None]
                with PlainRun(program) as run:
                    for known in ways[state]:
                        run.step(*known)
                    compare(run, state)
                    try:
                        done = run.step(thread, ())
                    except WouldBlock:
                        assert step is None
                        continue
                    assert step is not None
                    assert outcome(done.error) == outcome(step.error)
                    assert step.state is not None
                    compare(run, step.state)
                ways.setdefault(step.state, [*ways[state], (thread, ())])
    assert any(is_livelocked(reference, graph, state) for state in graph) == (rule == "livelock")
