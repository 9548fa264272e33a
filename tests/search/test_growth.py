"""A number that makes the states grow is named: while the search runs, and where it does not finish."""

from __future__ import annotations

import pytest

from secondsight import Va
from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices import Device, Mirror
from secondsight.lang import U16, Machine, Mutex, Record, shared
from secondsight.lang.program import Program, Thread, build
from secondsight.search import Growth, Limits, Request, Verdict
from secondsight.search.auto import search
from secondsight.search.growth import growth


class Counts(Device):
    """Asks again and again, and counts how often."""

    asked: U16

    def fault(self, va: Va, write: bool) -> int:
        self.asked += 1
        return 0


class Wheel(Record):
    place: U16
    turning: U16
    lock: Mutex


wheel = shared(Wheel)


def counts_in_a_local() -> None:
    turns: U16 = 0
    while wheel.turning == 0:
        turns += 1


def turns_round() -> None:
    """A number of few values, for ever."""
    while wheel.turning == 0:
        wheel.place = (wheel.place + 1) % 9


def stops() -> None:
    wheel.turning = 1


def counting(driver: type[Device] = Counts) -> Program:
    return driver_program(driver, ADVERSARIES["munmap"].scenarios[0])


def spinning(body: object) -> Program:
    return build(Machine({}), [Thread("spins", body), Thread("stops", stops)])  # type: ignore[arg-type]


def test_a_counter_of_a_driver_is_named() -> None:
    grows = growth(counting())
    assert grows is not None and grows.path == "Counts[0].asked" and grows.values > 100


def test_a_local_is_named_with_its_function() -> None:
    grows = growth(spinning(counts_in_a_local))
    assert grows is not None and grows.path == "turns in counts_in_a_local()"


@pytest.mark.parametrize("program", [counting(Mirror), spinning(turns_round)], ids=["mirror", "few values"])
def test_what_comes_to_an_end_does_not_grow(program: Program) -> None:
    assert growth(program) is None


@pytest.mark.parametrize("limit", [Limits(states=20_000), Limits(seconds=0.2)])
def test_a_search_that_does_not_finish_says_so(limit: Limits) -> None:
    result = search(counting(), Request(limits=limit, executor="reference"))
    assert result.verdict is Verdict.NOT_FINISHED
    assert "the states grow with Counts[0].asked" in result.note


def test_a_range_that_was_left_by_counting_says_so() -> None:
    result = search(spinning(counts_in_a_local), Request(executor="reference", limits=Limits(states=400_000)))
    assert result.reason == "error" and "turns in counts_in_a_local()" in result.note


def test_it_is_said_once_while_the_search_runs() -> None:
    told: list[Growth] = []
    search(counting(), Request(limits=Limits(states=200_000), executor="reference", on_growth=told.append))
    assert [one.path for one in told] == ["Counts[0].asked"]


def test_nothing_is_said_of_a_search_that_ends() -> None:
    told: list[Growth] = []
    result = search(counting(Mirror), Request(executor="reference", on_growth=told.append))
    assert result.verdict is Verdict.HOLDS and told == [] and "grow" not in result.note
