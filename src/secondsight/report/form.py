"""How a trace is set: a mail's width and every line of it, or what fits a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from secondsight.report.columns import WIDTH

__all__ = ["MAIL", "WIDEST", "Form"]

WIDEST = 132
"""What of a wide terminal is used: a line that is longer is hard to follow."""


@dataclass(frozen=True, slots=True)
class Form:
    """How wide the lines are, and whether long runs of one thread are folded."""

    width: int = WIDTH
    folded: bool = False


MAIL = Form()
