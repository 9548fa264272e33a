"""Search over a program's states, and what it finds."""

from secondsight.search.bfs import breadth_first
from secondsight.search.request import Request
from secondsight.search.result import Growth, Limits, Progress, Result, Step, Trace, Verdict, Violation

__all__ = ["Growth", "Limits", "Progress", "Request", "Result", "Step", "Trace", "Verdict", "Violation", "breadth_first"]
