"""A shortest way to each outcome of a scenario: it ends there, and plain execution takes it."""

from __future__ import annotations

from secondsight.report.trace import tell_way
from secondsight.scenario.shipped import scenarios_of
from secondsight.world.model import outcomes, read_outcome, watched
from secondsight.world.reach import ways_to


def test_each_outcome_has_a_way_that_ends_in_it_and_can_be_told() -> None:
    _, (scenario, *_) = scenarios_of("two_processes")
    _, possible = outcomes(scenario)
    made, ways = ways_to(scenario, possible)
    low, high = watched(made)
    assert set(ways) == set(possible) and len(possible) > 1
    for outcome, way in ways.items():
        assert read_outcome(scenario, way.states[-1][low:high]) == outcome
        told = tell_way("a way", made, way)  # it is replayed, and every state compared
        assert len(told.steps) == len(way) and not any(entry.mark == "broken" for entry in told.entries)


def test_what_is_too_far_away_has_none() -> None:
    _, (scenario, *_) = scenarios_of("two_processes")
    _, possible = outcomes(scenario)
    assert ways_to(scenario, possible, most=10)[1] == {}
