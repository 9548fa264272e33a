"""The timing model of flushes: against what is known of queues, and as text."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from secondsight.cases import TABLES
from secondsight.cases.cost import CostColumn, CostTable, Design, recorded, simulate, time_words
from secondsight.cli.site import _plots
from secondsight.lang import LangError
from secondsight.report.plot import line_plot

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


def test_recorded_invalidations(tmp_path: Path) -> None:
    """Four, of which the device's flush takes as long as lies between them: each waits for its own, or those that may not wait do."""
    file = tmp_path / "seen.txt"
    file.write_text("# seconds\n10.000 waits\n10.005\n\n10.010 waits  # swap-out\n10.020\n")
    cost = TABLES["2011-12-ib"].cost
    assert isinstance(cost, CostTable)
    under = cost.of_recorded(recorded(file))
    assert under.may_wait == 0.5 and [load.flush for load in under.loads] == [5e-6, 5e-3, 20e-3] and under.lines()[0].startswith("cost, if 50% of the 4 recorded")
    slow = under.cells()["at once", under.loads[2].name]
    assert slow.latency_p99 == pytest.approx(0.08 - 0.02)
    told = under.cells()["by a hint", under.loads[1].name]
    assert told.latency_p50 > 0 and simulate(LATER, under.loads[1], 0.5, arrivals=under.arrivals).latency_p99 == 0


@pytest.mark.parametrize(
    ("text", "why"),
    [("1\nx\n", "seen.txt:2: 'x' is no invalidation"), ("2\n1\n", "seen.txt:2: 1 s is before"), ("1\n", "has 1 invalidations"), ("1\n2 maybe\n", ":2: ")],
)
def test_what_is_no_record_is_told_with_its_line(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "seen.txt").write_text(text)
    with pytest.raises(LangError, match=why):
        recorded(tmp_path / "seen.txt")


def test_the_plots_have_a_line_for_each_design() -> None:
    cost = TABLES["2011-12-ib"].cost
    assert isinstance(cost, CostTable)
    flushes, rates = [1e-6, 1e-4, 1e-2], {load.rate for load in cost.loads}
    picture = line_plot("p99", flushes, {n: [c.latency_p99 for c in costs] for n, costs in cost.curves(100, flushes, 200).items()}, time_words, time_words, "a flush")
    assert picture.count("<polyline") == 2 and "later: 0" in picture  # who never waits has no line on this scale
    pages = _plots(replace(cost, count=200))
    assert sum(part.count("<svg") for part in pages) == 3 * len(rates) and "style=" not in "".join(pages)
