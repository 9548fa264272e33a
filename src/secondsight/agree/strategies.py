"""Hypothesis strategies of scenarios, for property tests: the generator, driven by Hypothesis's choices instead of a seed.

    @given(scenarios("sequential"))
    def test_something(drawn: Scenario) -> None: ...

Hypothesis is not needed to run campaigns; this file is imported by tests (the `dev` extra installs it).
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from secondsight.agree.generate import DrawnKind, generate
from secondsight.scenario import Scenario

__all__ = ["scenarios"]


class _Drawn:
    """`Draw` by Hypothesis: what fails is shrunk towards low numbers."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw

    def integer(self, low: int, high: int) -> int:
        """Any integer from `low` to `high`, both included."""
        return int(self._draw(st.integers(low, high)))


@st.composite
def scenarios(draw: Any, kind: DrawnKind = "sequential") -> Scenario:
    """Any scenario that a campaign of that kind could draw."""
    several = draw(st.booleans())
    return generate(kind, _Drawn(draw), several=several)
