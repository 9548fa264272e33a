"""What is asked of a search: one object, handed down from the command line to the engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from secondsight.lang.errors import LangError
from secondsight.lang.movers import Reductions
from secondsight.search.result import Growth, Limits, Progress
from secondsight.search.strategy import BreadthFirst, Strategy

__all__ = ["ExecutorName", "Request"]

ExecutorName = Literal["auto", "reference", "native"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of a search, by a user or by a caller.

    What is looked for: `deadlock`: a state in which nobody can go on although a thread has not ended is a broken rule.
    `lock_order`: so is taking locks in two orders (see `search.lock_order`). `livelock`: so is a way to go on for ever although
    every thread is scheduled fairly (see `search.progress`); random walks and bounded
    searches do not look for it. `watch`: the part of the state,
    from and to, whose values in final states are collected as outcomes (a state is final when every thread but the daemons has
    ended). `collect`: go on after a broken rule, and return the first violation of each rule.

    How: `executor`: see `search.auto`. `strategy`: the way through the states. `workers`: threads of the native executor (None:
    one for each core). `exact`: compare whole states, not fingerprints. `reductions`: see `search.reduced`; the reference executor
    sees every state. `cluster`: the address of a Ray cluster for what grows large (see `search.cluster`). `frontier`: bytes of the
    frontier that stay in memory (None: an eighth of it); the rest goes to a file in `folder` (None: the system's folder for
    temporary files). `kept`: what was kept of the same search may answer, where it held (see `search.kept`). `coming`: how many searches of the same shape will probably be asked for, this one among
    them, and `weight`: each as many times as it is expected to be larger than the least, as this one is by its weight. They decide when native code is worth compiling. `limits`: when to stop short. `on_progress` is called every so often;
    `on_growth` once, if a number is seen to make the states grow while a search runs (see `search.growth`).

    The reference executor searches breadth first, up to the first broken rule; it has no use for `workers`, `exact`, `frontier`.
    """

    limits: Limits = field(default_factory=Limits)
    deadlock: bool = True
    lock_order: bool = True
    livelock: bool = False
    watch: tuple[int, int] | None = None
    collect: bool = False
    executor: ExecutorName = "auto"
    strategy: Strategy = field(default_factory=BreadthFirst)
    workers: int | None = None
    exact: bool = False
    reductions: Reductions = field(default_factory=Reductions)
    cluster: str | None = None
    frontier: int | None = None
    kept: bool = False
    coming: Callable[[], int] | None = None
    weight: int = 1
    folder: Path | None = None
    on_progress: Callable[[Progress], None] | None = None
    on_growth: Callable[[Growth], None] | None = None

    def __post_init__(self) -> None:
        for name, kinds in (("limits", Limits), ("strategy", Strategy), ("reductions", Reductions)):
            if not isinstance(getattr(self, name), kinds):
                raise TypeError(f"{name}={getattr(self, name)!r}: leave it out, or give one of the module's own")
        if self.executor not in get_args(ExecutorName):
            raise LangError(f"executor {self.executor!r}: one of {', '.join(get_args(ExecutorName))} is wanted")

    @property
    def in_levels(self) -> bool:
        """Whether states are visited breadth first."""
        return isinstance(self.strategy, BreadthFirst)

    def but(self, **changes: Any) -> Request:
        """This request with some fields changed; a field of `Limits` may be given as one of its own."""
        limits = {name: changes.pop(name) for name in ("states", "seconds", "memory") if name in changes}
        if limits:
            changes["limits"] = replace(changes.get("limits", self.limits), **limits)
        return replace(self, **changes)
