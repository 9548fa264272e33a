"""container_of: the record that another is a field of, in every executor."""

from __future__ import annotations

from typing import Literal

import pytest

from secondsight.lang import (
    U8,
    Array,
    LangError,
    Machine,
    ModelError,
    Record,
    Ref,
    atomic,
    choose,
    container_of,
    pool,
    require,
    shared,
    shared_array,
)
from secondsight.lang.native import Native
from secondsight.lang.plain import replay
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Request, Verdict, breadth_first
from secondsight.search.native import native_search


class Work(Record):
    n: U8

    def run(self) -> None:
        """What is done; by default, what the device it belongs to does."""
        container_of(self, Engine, "work").work_runs(self.n)


class Own(Work):
    """Work with a function of its own."""

    done: bool

    def run(self) -> None:
        """Remember."""
        self.done = True


class Engine(Record):
    seen: U8
    work: Work
    own: Own

    def work_runs(self, n: U8) -> None:
        """Note the number."""
        self.seen = n


class Twice(Engine):
    more: Array[Work, Literal[2]]

    def work_runs(self, n: U8) -> None:
        """Note twice the number."""
        self.seen = n + n


class Queue(Record):
    items: Array[Ref[Work], Literal[4]]


queue = shared(Queue)
engines = shared_array(Engine, "engines")
doubles = pool(Twice, "doubles")


def run_all() -> None:
    for i in range(4):
        work = queue.items[i]
        if work is not None:
            work.run()
    with atomic:
        require(engines[1].seen == 7 and not engines[0].own.done, "seen", "the engine that the work lies in has not run it")


def run_any() -> None:
    work = queue.items[choose(4)]
    if work is not None:
        work.run()


def machine() -> Machine:
    made = Machine({"engines": 2, "doubles": 1})
    with made:
        engines[1].work.n = 7
        double = doubles.alloc()
        double.work.n = 4
        queue.items[0] = engines[1].work
        queue.items[1] = engines[1].own
        queue.items[2] = double.work
    return made


def agree(program: Program) -> Verdict:
    """The verdict of every executor, each trace replayed in plain execution."""
    by_reference, by_native = breadth_first(Reference(program)), native_search(Native(program), Request(workers=1))
    assert (by_reference.verdict, by_reference.states) == (by_native.verdict, by_native.states)
    for violation in (by_reference.violation, by_native.violation):
        if violation is not None:
            replay(program, violation.trace)
    return by_reference.verdict


def test_a_callback_finds_what_its_record_lies_in() -> None:
    assert agree(build(machine(), [Thread("a", run_all), Thread("b", run_any)])) is Verdict.HOLDS
    with machine():
        run_all()
        assert (engines[0].seen, engines[1].seen, doubles[0].seen, bool(engines[1].own.done)) == (0, 7, 8, True)


def stray() -> None:
    """A record that lies in an array of one."""
    doubles[0].more[1].run()


def test_a_record_that_is_no_such_field_is_an_error_everywhere() -> None:
    program = build(machine(), [Thread("a", stray)])
    for error in (breadth_first(Reference(program)).error, native_search(Native(program), Request(workers=1)).error):
        assert isinstance(error, ModelError) and "self is a record of another class" in str(error)
    with machine(), pytest.raises(ModelError, match="is not the `work` of a Engine"):
        stray()


def no_class() -> None:
    of = container_of(engines[0].work, "Engine", "work")  # type: ignore[arg-type]
    of.seen = 1


def no_field() -> None:
    of = container_of(engines[0].work, Engine, "seen")
    of.seen = 1


def other_record() -> None:
    of = container_of(engines[0], Engine, "work")
    of.seen = 1


def unused() -> None:
    container_of(engines[0].work, Engine, "work")


@pytest.mark.parametrize(
    "function, said",
    [(unused, "a value that nothing uses"), (no_class, "a class of records"), (no_field, '"work", "own"'), (other_record, "a Work record")],
)
def test_what_cannot_be_one_is_refused(function: object, said: str) -> None:
    with pytest.raises(LangError, match=said):
        build(machine(), [Thread("a", function)])  # type: ignore[arg-type]
