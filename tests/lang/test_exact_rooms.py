"""A room for just the threads that a program has: its states are those of the program without one, and its code is kept."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from secondsight.lang import Machine, Mutex, Record, RwLock, shared, wait_until
from secondsight.lang.code import _shared
from secondsight.lang.cuts import cuts_of
from secondsight.lang.instrument import instrumented
from secondsight.lang.plain import PlainRun
from secondsight.lang.program import Program, Room, Thread, build
from secondsight.lang.reference import Reference
from secondsight.lang.source import function_tree
from secondsight.search import Request, Result, breadth_first


class Shelf(Record):
    rw: RwLock
    mutex: Mutex
    books: bool
    read: bool
    last: bool


shelf = shared(Shelf)


def reads() -> None:
    with shelf.rw.reading():
        shelf.read = shelf.books


def writes() -> None:
    with shelf.rw.writing():
        shelf.books = True


def looks() -> None:
    with shelf.mutex:
        wait_until(shelf.books)
        if (found := shelf.read) and shelf.books:
            shelf.last = found


THREADS: dict[str, tuple[Callable[[], None], ...]] = {
    "one reads": (reads, writes),
    "two read": (reads, writes, reads),
    "others": (looks, writes),
    "all": (writes, looks, reads),
}


def program(threads: tuple[Callable[[], None], ...], room: Room | None) -> Program:
    return build(Machine({}), [Thread(f"{f.__name__}{i}", f) for i, f in enumerate(threads)], room=room)


def told(made: Program) -> tuple[object, ...]:
    result: Result = breadth_first(Reference(made), Request(watch=(1, made.layout.shared_size)))
    return made.size, result.verdict, result.states, result.transitions, result.depth, result.outcomes, made.code.linked.queues


@pytest.mark.parametrize("threads", THREADS)
def test_it_costs_nothing(threads: str) -> None:
    assert told(program(THREADS[threads], Room(exact=True))) == told(program(THREADS[threads], None))


def test_a_room_for_any_number_has_queues_that_an_exact_one_does_without() -> None:
    assert program((reads, writes), Room(2)).code.linked.queues
    assert not program((reads, writes), Room(exact=True)).code.linked.queues
    assert program((reads, writes, reads), Room(exact=True)).code.linked.queues


def test_other_threads_have_other_code() -> None:
    one, two = (program(THREADS[name], Room(3, exact=True)) for name in ("one reads", "two read"))
    assert one.code is not two.code
    assert one.code.origin is not None and two.code.origin is not None
    assert one.code.origin.digest != two.code.origin.digest
    assert program((writes, reads), Room(3, exact=True)).code is not one.code
    assert program((reads, writes), Room(3, exact=True)).code is one.code


def test_what_is_known_of_it_is_kept(own_cache: Path) -> None:
    known = {}
    _shared.clear()
    for name, threads in THREADS.items():
        first = program(threads, Room(exact=True))
        known[name] = told(first)
        assert first.code.is_lowered
    for name, threads in THREADS.items():
        _shared.clear()
        again = program(threads, Room(exact=True))
        result = breadth_first(Reference(again))
        assert not again.code.is_lowered
        assert (result.states, result.transitions) == known[name][2:4]


def test_cutting_leaves_the_text_as_it_is() -> None:
    """Also where expressions are taken as they are, and where a step begins within one."""
    made = program(THREADS["all"], None)
    before = {f: ast.dump(function_tree(f), include_attributes=True) for f in cuts_of(made)}
    for _ in range(2):
        with instrumented(made):
            pass
    with PlainRun(made) as run:
        run.step(0)
    assert {f: ast.dump(function_tree(f), include_attributes=True) for f in before} == before
