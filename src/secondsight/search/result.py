"""What a search found: the verdict, how much was seen, and a trace that can be replayed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from secondsight.lang.errors import LangError, ModelError, Position
from secondsight.search.trace import Step, Trace

if TYPE_CHECKING:
    from secondsight.lang.reference import Reference

__all__ = ["Growth", "Limits", "Progress", "Result", "Step", "Trace", "Verdict", "Violation", "reported"]


class Verdict(Enum):
    """*holds*: every state was seen and no rule is broken. *broken*: a trace shows it. *not finished*: a bound was hit."""

    HOLDS = "holds"
    BROKEN = "broken"
    NOT_FINISHED = "not finished"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: its name, what went wrong, where in the source, and the trace that leads there.

    `loop`: of a livelock, how many steps at the end of the trace go round for ever; 0 for everything else.
    """

    rule: str
    message: str
    where: Position | None
    trace: Trace
    loop: int = 0

    def untangle(self, reference: Reference) -> Violation:
        """The same violation, its trace in an order of fewer switches; see `Trace.untangle`."""
        return replace(self, trace=self.trace.untangle(reference, self.loop))


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop short: states seen, seconds, bytes of memory. None: no limit."""

    states: int | None = None
    seconds: float | None = None
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is: states and transitions seen, states of the present level still to expand, depth, seconds."""

    states: int
    transitions: int
    frontier: int
    depth: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Growth:
    """A number that goes on taking new values: its path, how many it took, in how many states."""

    path: str
    values: int
    states: int

    def __str__(self) -> str:
        return (
            f"the states grow with {self.path}, which goes on taking new values: every state is there once for each. Leave it out if it only "
            "counts, or let it stop at a small number"
        )


def reported(rules: Iterable[str]) -> str:
    """Which of several rules that are broken in one level of a search breadth first is reported, the same for every executor.

    A deadlock, as its trace is a step shorter; else the first in the order of their names.
    """
    return min(rules, key=lambda rule: (rule != "deadlock", rule))


@dataclass(frozen=True, slots=True)
class Result:
    """A search's result.

    `reason` says, when the verdict is *not finished*, which bound was hit (`states`, `seconds`, `memory`, `interrupted`)
    or which error of the model stopped it (`error`: then `error_trace` leads to it). A search that is *broken* has one too
    where Ctrl-C ended it, or where all broken rules were wanted and there may be more. `outcomes` are the distinct values of
    the watched part of the state in all final states seen. `exact`: whole states were compared, so no state can have been
    missed; otherwise `missed` is the number of states expected to have been taken for another. `violations`: where a
    search goes on after the first broken rule, one for each rule. `peak`: bytes of memory that the search took (0: unknown).
    `reduced`: the reductions that were made, `merge` and `symmetry` (see `search.reduced`): states, transitions and depth are
    then those of the reduced graph. `note`: for people, why a reduction was not made, or what a trace is the shortest of.
    `preemptions`: of a search that did not finish, no schedule with so many preemptions breaks a rule (None: that is not known; see
    `strategy.Preemptions`). `shortest`: no trace to any broken rule has fewer steps. Of several rules that are broken after so many steps
    `reported` says which is `violation`; any of them counts more than an error of the model at that depth.
    `kept`: an earlier search found this, of the same program, asked the same (see `search.kept`); `seconds` is what that one took.
    """

    verdict: Verdict
    states: int
    transitions: int
    depth: int
    seconds: float
    violation: Violation | None = None
    reason: str | None = None
    error: LangError | None = None
    outcomes: frozenset[bytes] = field(default_factory=frozenset)
    exact: bool = True
    error_trace: Trace | None = None
    missed: float = 0.0
    violations: tuple[Violation, ...] = ()
    peak: int = 0
    reduced: tuple[str, ...] = ()
    note: str = ""
    shortest: bool = True
    preemptions: int | None = None
    kept: bool = False

    @property
    def broken(self) -> tuple[Violation, ...]:
        """Every violation that was found, the first one first."""
        return self.violations or ((self.violation,) if self.violation is not None else ())

    @property
    def stopped(self) -> Violation | None:
        """The error of the model that stopped the search, with the trace that leads there, in the form of a violation; None: there is none."""
        if not isinstance(self.error, ModelError) or self.error_trace is None:
            return None
        return Violation(self.error.rule, self.error.message, self.error.where, self.error_trace)
