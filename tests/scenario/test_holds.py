"""The table of hold points: one name, one number, one C symbol each."""

from __future__ import annotations

import pytest

from secondsight.scenario.holds import HOLDS, by_number, hold


def test_names_numbers_and_symbols_are_each_given_once() -> None:
    points = list(HOLDS.values())
    for taken in ([p.name for p in points], [p.number for p in points], [p.symbol for p in points]):
        assert len(set(taken)) == len(taken)
    assert all(p.symbol.isidentifier() and 0 < p.number < 64 for p in points)


def test_a_point_is_found_by_its_name_and_its_number() -> None:
    assert all(hold(p.name) is p and by_number(p.number) is p for p in HOLDS.values())


def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(KeyError, match="there is no hold point nowhere; there are op, read_begun"):
        hold("nowhere")
    with pytest.raises(KeyError, match="number 99"):
        by_number(99)
