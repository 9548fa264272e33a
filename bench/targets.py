"""What is to be reached, and what was: each target's ratio from the figures of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.table import SHORT, Measured, find

__all__ = ["HEADS", "Target", "judged"]

HEADS = ("target", "to reach", "size", "found", "by cpu", "reached")
"""`by cpu`: the same ratio by processor time, for one thread; what else the machine was doing matters less to it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target at one size: what was found, and whether that is enough. `short`: a run in it was too short to count."""

    what: str
    wanted: str
    size: str
    found: str
    reached: bool
    short: bool = False
    by_cpu: float | None = None

    def cells(self) -> dict[str, str]:
        """The row of the table."""
        said = ("yes" if self.reached else "no") + (f" (run under {SHORT:.0f} s)" if self.short else "")
        by_cpu = "" if self.by_cpu is None else f"{self.by_cpu:.3g}"
        return dict(zip(HEADS, (self.what, self.wanted, self.size, self.found, by_cpu, said), strict=True))


def judged(rows: Sequence[Measured], load: Mapping[str, Mapping[str, float]], mutants: Mapping[str, float]) -> list[Target]:
    """Every target for which there are figures. `mutants`: size to seconds."""
    found: list[Target] = []
    for size in dict.fromkeys(r.size.name for r in rows):
        found += _ratios(rows, size)
    if load:
        name, times = list(load.items())[-1]
        whole, cached = times["in all"], times["all from the cache"]
        found.append(Target(f"{name}: front end, compile and load", "1 s", "", f"{whole:.2f} s", whole < 1))
        found.append(Target(f"{name}: all of it from the cache", "30 ms", "", f"{cached * 1000:.0f} ms", cached < 0.03))
    for size, seconds in mutants.items():
        found.append(Target("mutant: command to printed trace, compiler included", "1 s", size, f"{seconds:.2f} s", seconds < 1))
    return found


def _ratios(rows: Sequence[Measured], size: str) -> list[Target]:
    def get(label: str, reduction: str, threads: int) -> Measured | None:
        return find(rows, size, label, reduction, threads)

    def better(reduction: str) -> Measured | None:
        both = [m for m in (get(f"Spin {way} first", reduction, 2) for way in ("depth", "breadth")) if m is not None]
        return max(both, key=lambda m: m.rate, default=None)

    found: list[Target] = []

    def ratio(what: str, wanted: float, ours: Measured | None, theirs: Measured | None, verdict: bool = False) -> None:
        """Of states a second, or (`verdict`) of times to the verdict, where only their run must be long."""
        if ours is None or theirs is None:
            return
        states = 1.0 if verdict else ours.runs[0].states / theirs.runs[0].states
        value, by_cpu = states * theirs.seconds / ours.seconds, None
        if ours.cpu and theirs.cpu and ours.checker.threads == theirs.checker.threads == 1:
            by_cpu = states * theirs.cpu / ours.cpu
        short = min(theirs.seconds, theirs.seconds if verdict else ours.seconds) < SHORT
        found.append(Target(what, f"{wanted:g}", size, f"{value:.3g}", value >= wanted, short, by_cpu))

    one, two = get("native", "none", 1), get("native", "none", 2)
    ratio("states a second, Spin -DNOREDUCE, one thread", 5, one, get("Spin depth first", "none", 1))
    ratio(
        "time to verdict, everything on, Spin with everything on, one thread", 50, get("native", "all", 1),
        get("Spin depth first", "partial order", 1), verdict=True,
    )  # fmt: skip
    ratio("states a second, Spin's better 2-core mode, two threads", 6, two, better("none"))
    ratio("states a second, Rumur without symmetry, one thread", 25, one, get("Rumur", "none", 1))
    ratio("states a second, Rumur with symmetry, one thread", 25, get("native", "frames", 1), get("Rumur", "frames", 1))
    ratio("two threads against one", 1.7, two, one)
    if one is not None and one.size.states >= 1_000_000:
        found.append(Target("bytes a state, all in", "24", size, f"{one.bytes:.0f}", one.bytes <= 24, one.seconds < SHORT))
    return found
