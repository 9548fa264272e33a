"""The timing model of flushes: against what is known of queues, and as text."""

from __future__ import annotations

import math

import pytest

from secondsight.cases import TABLES
from secondsight.cases.cost import CostColumn, CostTable, Design, simulate

AT_ONCE = Design(lambda may_wait: True, together=False)
LATER = Design(lambda may_wait: False)


def test_each_waits_for_those_before_it() -> None:
    """A queue with Poisson arrivals and one fixed time: of the callers 1 - load find nobody before them."""
    light = simulate(AT_ONCE, CostColumn(1, 1e-3), 0.5)
    assert light.latency_p50 == pytest.approx(1e-3) and light.flushes == pytest.approx(1, rel=0.05)
    half = simulate(AT_ONCE, CostColumn(100, 5e-3), 0.5)
    assert half.latency_p50 == pytest.approx(5e-3, rel=0.05) and 15e-3 < half.latency_p99 < 30e-3
    full = simulate(AT_ONCE, CostColumn(100, 20e-3), 0.5)
    assert full.overloaded and full.flushes == pytest.approx(50, rel=0.01)


@pytest.mark.parametrize(("rate", "flush"), [(100, 5e-3), (100, 20e-3), (10_000, 5e-3)])
def test_a_worker_flushes_what_has_come(rate: float, flush: float) -> None:
    """Between two flushes lies nothing, or the wait for the next invalidation, if none came meanwhile."""
    cost = simulate(LATER, CostColumn(rate, flush), 0.5)
    assert cost.flushes == pytest.approx(1 / (flush + math.exp(-rate * flush) / rate), rel=0.05)
    assert cost.latency_p99 == 0 and flush <= cost.held_p99 <= 2 * flush * 1.001


def test_a_batch_halves_the_flushes_where_they_are_short() -> None:
    assert simulate(Design(lambda may_wait: False, batch=2), CostColumn(100, 5e-6), 0.5).flushes == pytest.approx(50, rel=0.05)


def test_who_may_not_wait_waits_for_a_flush_of_all() -> None:
    told = simulate(Design(lambda may_wait: not may_wait), CostColumn(10_000, 5e-3), 0.8)
    assert told.latency_p50 == 0 and 5e-3 <= told.latency_p99 <= 10.1e-3 and told.flushes < 202


def test_the_table_has_it_as_text() -> None:
    cost = TABLES["2011-12-ib"].cost
    assert isinstance(cost, CostTable)
    lines = cost.lines()
    assert len(lines) == 3 + len(cost.loads) * len(cost.designs) and max(map(len, lines)) <= 80
    assert any("at once" in line and line.endswith("overloaded") for line in lines)
    assert set(cost.designs) <= {row.name for row in TABLES["2011-12-ib"].rows}
