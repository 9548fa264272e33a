"""What a design costs in time: a small model of flushes, beside the verdicts on whether it is right.

Invalidations come at random (a Poisson process), a share of them of causes that may wait. A flush of the device takes `flush` seconds, and
there is one at a time. How long the caller of the callback waits is *added latency*: the process that unmaps, or reclaim. How long a page
is *held* is from the callback until its flush has ended: so long it cannot be freed.

    at once     each invalidation has a flush of its own; its caller waits for those before it, and for it
    later       the caller does not wait; a worker flushes what has come, all together, whenever something has
    batch       the same, but it waits until so many have come
    where told  those that may wait are put off; the caller of another waits for a flush, which takes all that was put off along

Instead of at random they may come as they were recorded (`recorded`). Not modelled: the device's own traffic, the time to take a reference,
flushes by range.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from secondsight.lang.errors import LangError

__all__ = ["Arrivals", "Cost", "CostColumn", "CostTable", "Design", "recorded", "simulate", "time_words"]

Arrivals = Sequence[tuple[float, bool]]
"""When each invalidation comes, in seconds, and whether it may wait."""


@dataclass(frozen=True, slots=True)
class Design:
    """When a driver flushes. `waits`: of an invalidation that may wait (true), or may not, whether its caller waits for the flush.
    `batch`: how many that nobody waits for are worth a flush."""

    waits: Callable[[bool], bool]
    batch: int = 1
    together: bool = True
    """Whether one flush is for all that have come by then; else each has its own."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What came of it: flushes a second, the added latency of half and of 99 in 100 invalidations, how long pages are held (99 in 100).

    `overloaded`: more comes than can be flushed; the times only say for how long it was looked at.
    """

    flushes: float
    latency_p50: float
    latency_p99: float
    held_p99: float
    overloaded: bool = False


@dataclass(frozen=True, slots=True)
class CostColumn:
    """A load: how many invalidations come in a second, and how long a flush takes."""

    rate: float
    flush: float

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.rate:,.0f}/s, {time_words(self.flush)}"


@dataclass(frozen=True, slots=True)
class CostTable:
    """The designs of a table, by the names of its rows, under some loads. `may_wait`: the share of invalidations that may wait."""

    designs: dict[str, Design]
    loads: tuple[CostColumn, ...]
    may_wait: float
    count: int = 20_000
    seed: int = 2011
    arrivals: Arrivals = ()
    """Not empty: as they were recorded. Then of a load the flush alone is used."""
    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)

    def cells(self) -> dict[tuple[str, str], Cost]:
        """All costs, by row and column."""
        if not self.costs:
            for name, design in self.designs.items():
                for load in self.loads:
                    self.costs[name, load.name] = simulate(design, load, self.may_wait, self.count, self.seed, self.arrivals)
        return self.costs

    def data(self) -> list[dict[str, Any]]:
        """As data (docs/json.md)."""
        return [
            {"row": row, "invalidations_per_second": load.rate, "flush_seconds": load.flush, **asdict(self.cells()[row, load.name])}
            for load in self.loads for row in self.designs
        ]  # fmt: skip

    def of_recorded(self, arrivals: Arrivals) -> CostTable:
        """The same designs under invalidations that were recorded, with each flush time of this table's loads."""
        rate = len(arrivals) / max(arrivals[-1][0] - arrivals[0][0], 1e-9)
        flushes = dict.fromkeys(load.flush for load in self.loads)
        loads = tuple(CostColumn(rate, flush) for flush in flushes)
        share = sum(may_wait for _, may_wait in arrivals) / len(arrivals)
        return replace(self, loads=loads, may_wait=share, arrivals=arrivals, costs={})

    def curves(self, rate: float, flushes: Sequence[float], count: int = 4_000) -> dict[str, list[Cost]]:
        """What each design costs at one rate, over the time that a flush takes."""
        return {
            name: [simulate(design, CostColumn(rate, flush), self.may_wait, count, self.seed, self.arrivals) for flush in flushes]
            for name, design in self.designs.items()
        }

    def lines(self) -> list[str]:
        """As text: for each load a row for each design."""
        what = f"the {len(self.arrivals):,} recorded" if self.arrivals else "the"
        lines = [f"cost, if {self.may_wait:.0%} of {what} invalidations may wait", ""]
        head = ("invalidations, flush", "design", "flushes/s", "latency p50", "p99", "held p99")
        rows: list[tuple[str, ...]] = [head]
        for load in self.loads:
            for number, name in enumerate(self.designs):
                cost = self.cells()[name, load.name]
                times = ("overloaded", "", "") if cost.overloaded else tuple(map(time_words, (cost.latency_p50, cost.latency_p99, cost.held_p99)))
                rows.append((load.name if number == 0 else "", name, f"{cost.flushes:,.0f}", *times))
        widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
        for row in rows:
            texts = [text.ljust(width) if k < 2 else text.rjust(width) for k, (text, width) in enumerate(zip(row, widths, strict=True))]
            lines.append("  ".join(texts).rstrip())
        return lines


def time_words(seconds: float) -> str:
    """A time in few words.

    >>> time_words(0.000005), time_words(0.02), time_words(0), time_words(1.5)
    ('5 us', '20 ms', '0', '1.5 s')
    """
    if seconds <= 0:
        return "0"
    for unit, one in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= one * 0.9995:
            return f"{seconds / one:.3g} {unit}"
    return f"{seconds / 1e-9:.2g} ns"


def recorded(path: Path) -> Arrivals:
    """Invalidations that were recorded: a line each, its time in seconds, and `waits` where its cause may wait (swap-out, migration). Lines
    that are empty or begin with # are left out. Raises `LangError` with the line for anything else."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LangError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    found: list[tuple[float, bool]] = []
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            at = float(words[0])
        except ValueError:
            at = math.nan
        if not math.isfinite(at) or words[1:] not in ([], ["waits"]):
            raise LangError(f"{path}:{number}: {line.strip()!r} is no invalidation\n  write its time in seconds, then `waits` if its cause may wait")
        if found and at < found[-1][0]:
            raise LangError(f"{path}:{number}: {at:g} s is before the line above\n  sort the lines by their times")
        found.append((at, len(words) == 2))
    if len(found) < 2:
        raise LangError(f"{path}: has {len(found)} invalidations\n  give two or more, a line each")
    return found


def simulate(
    design: Design, load: CostColumn, may_wait: float, count: int = 20_000, seed: int = 2011, arrivals: Arrivals = ()
) -> Cost:
    """Let `count` invalidations come, or those that were recorded, and see."""
    draw = random.Random(seed)
    now, comes = 0.0, []
    if arrivals:
        comes = [(at - arrivals[0][0], design.waits(can)) for at, can in arrivals]
    for _ in range(0 if arrivals else count):
        now += draw.expovariate(load.rate)
        comes.append((now, design.waits(draw.random() < may_wait)))
    flushes, latency, held, span = (_together if design.together else _one_by_one)(comes, design.batch, load.flush)
    overloaded = not design.together and load.rate * load.flush >= 1
    return Cost(flushes / span, _part(latency, 0.5), _part(latency, 0.99), _part(held, 0.99), overloaded)


Come = tuple[float, bool]
"""When an invalidation comes, and whether its caller waits for the flush."""
Looked = tuple[int, list[float], list[float], float]
"""How many flushes, the latencies, how long pages were held, and when all was over."""


def _one_by_one(comes: Iterable[Come], batch: int, flush: float) -> Looked:
    """Each has a flush of its own, one after the other; every caller waits."""
    free, flushes = 0.0, 0
    held = []
    for at, _ in comes:
        free = max(free, at) + flush
        held.append(free - at)
        flushes += 1
    return flushes, held, held, free


def _together(comes: Sequence[Come], batch: int, flush: float) -> Looked:
    """A flush is for all that have come when it begins: when somebody waits, or when enough have come."""
    flushes, next_one = 0, 0
    free = 0.0
    latency: list[float] = []
    held: list[float] = []
    while next_one < len(comes):
        last, waiting = next_one, False
        begins = free
        while last < len(comes) and (comes[last][0] <= begins or not (waiting or last - next_one >= batch)):
            waiting |= comes[last][1]
            begins = max(begins, comes[last][0])
            last += 1
        ends = begins + flush
        for at, waits in comes[next_one:last]:
            held.append(ends - at)
            latency.append(ends - at if waits else 0.0)
        flushes, next_one, free = flushes + 1, last, ends
    return flushes, latency, held, free


def _part(numbers: list[float], share: float) -> float:
    """The number below which that share of them lies."""
    return sorted(numbers)[min(len(numbers) - 1, int(share * len(numbers)))]
