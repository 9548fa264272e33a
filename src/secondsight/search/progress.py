"""Progress: from every state some schedule lets every thread end.

A search that wants to know keeps the edges it saw (`Edges`). When no rule was broken, a backward look finds the states
from which no final state can be reached, whatever the scheduler does: a thread goes round for ever there. (A deadlock is a
state without any step at all; the search reports it when it sees it.) A loop that a fair scheduler would leave is not
found by this: it *can* be left.
"""

from __future__ import annotations

from array import array

__all__ = ["Edges"]


class Edges:
    """The graph that a search saw, states by their numbers in order of discovery."""

    def __init__(self) -> None:
        self.targets = array("L")
        self.starts = array("L")
        self.final: list[int] = []

    def stuck(self) -> int | None:
        """The first state, in order of discovery, from which no final state can be reached; None if there is none."""
        count = len(self.starts)
        starts, targets = [*self.starts, len(self.targets)], self.targets
        ends = bytearray(count)
        for number in self.final:
            ends[number] = 1
        changed = True
        while changed:  # nearly all edges lead to later states, so few rounds from the back suffice
            changed = False
            for number in range(count - 1, -1, -1):
                if not ends[number] and any(ends[t] for t in targets[starts[number] : starts[number + 1]]):
                    ends[number] = 1
                    changed = True
        stuck = ends.find(0)
        return None if stuck < 0 else stuck
