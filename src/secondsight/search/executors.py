"""The searches that can be made for one request: by the reference executor, by native code, on a cluster. `auto` decides which."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from secondsight.lang.ahead import Ahead
from secondsight.lang.errors import LeftRange
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.lang.sequences import sequences_of
from secondsight.search.bfs import breadth_first
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search
from secondsight.search.request import Request
from secondsight.search.result import Limits, Progress, Result, Verdict
from secondsight.search.strategy import Preemptions, RandomWalks

__all__ = ["Searches"]

FEW = 100_000
"""States of a search that is over before merging and renaming would save what it takes to find out what may be merged and renamed."""

NARROWING = 200_000
"""The same of one whose levels hardly grow any more by then: about half of its states were seen."""

SHRINKING = 400_000
"""The same of one whose levels shrink by then: most of its states were seen."""

LONG = 20_000_000
"""States of one shape that are searched by code which was compiled in haste: some five seconds, one of which care would have saved."""


class Searches:
    """One request's searches, one after the other: what is told of them, and their time, is that of all together."""

    total: ClassVar[int] = 0
    """States that the reference has searched in this process."""

    def __init__(self, program: Program, asked: Request) -> None:
        self.program, self.asked = program, asked
        self.begun = time.perf_counter()
        self._spent, self._seen = 0.0, 0  # the time of the searches before the present one, the states that the reference saw

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.perf_counter() - self.begun

    def left(self, states: int | None) -> Limits:
        """So many states, and what is left of the other limits."""
        seconds = self.asked.limits.seconds
        return replace(self.asked.limits, seconds=None if seconds is None else max(1e-3, seconds - self.seconds), states=states)

    def by_reference(self, within: Limits, until: Callable[[int], bool] | None = None) -> Result:
        """By the reference executor; `until`: see `breadth_first`."""
        result = breadth_first(Reference(self.program), self.asked.but(limits=within), until=until)
        self.program.code.searched += result.states
        self.program.code.searches += self.asked.weight
        Searches.total += result.states
        self._spent, self._seen = self.seconds, result.states
        return result

    def by_native_code(self, within: Limits, reductions: Reductions | None = None, hasty: bool = False) -> Result:
        """By native code, with the reductions that were asked for, or others; `hasty`: it may be compiled without much care."""
        asked = self.asked
        livelock = asked.livelock and not isinstance(asked.strategy, RandomWalks | Preemptions)
        wanted = asked.but(limits=within, livelock=livelock, on_progress=self._tell, reductions=reductions or asked.reductions)
        result = reduced_search(self.program, wanted, hasty=hasty and not self._has_better()).result
        self._spent = self.seconds
        self.program.code.hurried += result.states if hasty else 0
        if asked.livelock and not livelock and result.verdict is Verdict.HOLDS:
            said = "all states were seen; livelocks are not looked for with a bound on preemptions"
            note = "; ".join(n for n in (result.note, said) if n)
            return replace(result, verdict=Verdict.NOT_FINISHED, reason="livelock", note=note)
        return result

    def _has_better(self) -> bool:
        """Whether code that was compiled with care is there: where much is searched it is made, beside that."""
        code = self.program.code
        if code.hurried < LONG:
            return False
        better: Ahead = code.keep("better", lambda: Ahead(self.program, hasty=False))
        return better.is_there

    def of_few_states(self, within: Limits) -> Result | None:
        """Of a program that has few states, by native code without reductions, in half of the time; None: it has many, or runs out of numbers."""
        states, seconds = within.states, within.seconds
        most = FEW if states is None else min(FEW, states)
        limits = replace(within, states=most, seconds=None if seconds is None else seconds / 2)
        # by one worker: who is large shall not depend on how several share a level
        asked = self.asked.but(limits=limits, workers=1, on_progress=self._tell, reductions=Reductions.none())
        native = Native(self.program, hasty=not self._has_better())
        narrowing, shrinking = (0 if states is not None and states <= least else least for least in (NARROWING, SHRINKING))
        result = native_search(native, asked, narrowing=narrowing, shrinking=shrinking)
        self._spent = self.seconds
        self.program.code.hurried += result.states if native.hasty else 0
        is_large = result.reason == "states" and (states is None or result.states < states)
        return None if is_large or self.is_out_of_numbers(result) else result

    def may_end_reduced(self, result: Result) -> bool:
        """Whether a search without reductions had too little memory, or time, and there is some left for one with them."""
        seconds = self.asked.limits.seconds
        return result.reason in ("memory", "seconds") and (seconds is None or self.seconds < seconds)

    def of_many_states(self, within: Limits) -> Result:
        """On the cluster, if there is one; else by native code."""
        if self.asked.cluster is None:
            return self.by_native_code(within)
        from secondsight.search.cluster import reduced_cluster_search

        return reduced_cluster_search(self.program, self.asked.cluster, self.asked.but(limits=within, on_progress=self._tell))

    def is_out_of_numbers(self, result: Result) -> bool:
        """Whether a search may have ended only because it tells sequence numbers apart: a search that renames them goes on."""
        if not isinstance(result.error, LeftRange) or not self.asked.reductions.symmetry:
            return False
        return result.error.value == result.error.high + 1 and sequences_of(self.program, self.asked.watch)[0] is not None

    def _tell(self, done: Progress) -> None:
        """How far the present search is, once it is further than the reference was."""
        if self.asked.on_progress is not None and done.states > self._seen:
            self.asked.on_progress(replace(done, seconds=done.seconds + self._spent))
