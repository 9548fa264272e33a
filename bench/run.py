"""`python -m bench.run`: the mirror protocol on our executors, Spin and Rumur, side by side; see bench/README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import drivers, targets
from bench.checkers import CHECKERS, HOUSE, Checker, Figures, Ours
from bench.ours import LOADED
from bench.peers import PEERS, absent
from bench.plot import draw
from bench.sizes import EVERY, Size
from bench.table import HEADS, Measured, disagreements, rendered, table
from bench.tools import Failed, Full, called, ensure, run

__all__ = ["Pace", "main", "measure"]

QUICK, FULL = ("A", "B"), ("B", "F", "E")
PROGRAMS = {QUICK: "S", FULL: "M"}
"""What is asked besides, if there is somebody who runs programs and can be asked none of the others."""
PACKAGES = {"spin": "spin", "rumur": "rumur", "gcc": "gcc"}


@dataclass(frozen=True, slots=True)
class Pace:
    """How often everybody has a turn. Who took over `patience` seconds has no other; a run is stopped after `limit` seconds."""

    rounds: int
    patience: float
    limit: float


class _Turns:
    """The checkers' runs at one size, in turn."""

    def __init__(self, size: Size, checkers: Sequence[Checker], folder: Path, pace: Pace) -> None:
        self.size, self.checkers, self.folder, self.pace = size, checkers, folder, pace
        self.runs: dict[Checker, list[Figures]] = {c: [] for c in checkers}
        self.built: dict[Checker, float] = {}
        self.failed: dict[Checker, str] = {}
        self.full: set[Checker] = set()

    def take(self) -> None:
        """Everybody's runs."""
        for turn in range(self.pace.rounds):
            for checker in self.checkers:
                runs = self.runs[checker]
                if checker not in self.failed and (turn == 0 or (runs and runs[0].seconds <= self.pace.patience)):
                    self._one(checker)

    def _one(self, checker: Checker) -> None:
        _say(f"{self.size.name}: {checker.title}")
        try:
            if checker not in self.built:
                self.built[checker] = checker.build(self.size, self.folder)
            figures = checker.search(self.size, self.folder, self.pace.limit)
        except Failed as why:
            self.failed[checker] = str(why)
            return
        except Full:
            self.full.add(checker)
            return
        if figures is not None:
            self.runs[checker].append(figures)

    def rows(self, interrupted: bool) -> list[Measured]:
        """What was measured; of an interrupted bench only who had a turn."""
        return [
            Measured(
                c, self.size, self.built.get(c, 0.0), tuple(self.runs[c]), self.pace.limit, self.failed.get(c), c in self.full
            )
            for c in self.checkers
            if self.runs[c] or not interrupted
        ]


def measure(plan: Sequence[tuple[Size, Sequence[Checker]]], folder: Path, pace: Pace) -> tuple[list[Measured], bool]:
    """Everybody's runs, size after size, so that a row's neighbours saw the same machine; and whether that was all.

    Ctrl-C ends it early, with what there is.
    """
    found: list[Measured] = []
    for size, checkers in plan:
        turns = _Turns(size, checkers, folder, pace)
        try:
            turns.take()
        except KeyboardInterrupt:
            return found + turns.rows(interrupted=True), False
        found += turns.rows(interrupted=False)
    _say("")
    return found, True


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def _mutants(sizes: Sequence[Size]) -> dict[str, float]:
    """From command to printed trace with an empty cache, for each size: the median of three."""
    found = {}
    for size in sizes:
        times = []
        for _ in range(3):
            with tempfile.TemporaryDirectory(prefix="secondsight-bench-") as cache:
                command = [sys.executable, "-m", "bench.ours", "mutant", "--size", size.name]
                ran = run(command, HOUSE, env={"SECONDSIGHT_CACHE": cache})
            if "shortest of" not in ran.output:
                raise Failed(f"the mutant at size {size.name} was not found out:\n{ran.output[-2000:]}")
            times.append(ran.seconds)
        found[size.name] = sorted(times)[1]
    return found


def _load() -> dict[str, dict[str, float]]:
    """Front end, compile and load, with an empty cache and from a full one, each in a process of its own.

    The best of three: the rest is the machine's other work.
    """
    found: dict[str, dict[str, float]] = {}
    for name in LOADED:
        kinds: dict[str, list[float]] = {"front end": [], "compile and load": [], "in all": [], "all from the cache": []}
        for _ in range(3):
            with tempfile.TemporaryDirectory(prefix="secondsight-bench-") as cache:
                command = [sys.executable, "-m", "bench.ours", "load", "--program", name]
                for first in (True, False):
                    said = json.loads(run(command, HOUSE, env={"SECONDSIGHT_CACHE": cache}).output.splitlines()[-1])
                    if first:
                        for part, seconds in said.items():
                            kinds[part].append(seconds)
                    kinds["in all" if first else "all from the cache"].append(sum(said.values()))
        found[name] = {kind: min(times) for kind, times in kinds.items()}
    return found


def _machine() -> dict[str, Any]:
    said = Path("/proc/cpuinfo")
    model = (
        [r.split(":")[1].strip() for r in said.read_text().splitlines() if r.startswith("model name")] if said.exists() else []
    )
    versions = {}
    asked = {"gcc": "--version", "spin": "-V", "rumur": "--version", **{n: "--version" for c in PEERS for n in c.needs}}
    for name, option in asked.items():
        try:
            command = [*(called(name) or [name]), option]
            versions[name] = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0]
        except (OSError, IndexError):
            versions[name] = "missing"
    return {
        "processor": model[0] if model else platform.processor(), "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(), "load": os.getloadavg()[0], **versions,
    }  # fmt: skip


def _report(
    rows: Sequence[Measured], goals: Sequence[targets.Target], load: dict[str, dict[str, float]], machine: dict[str, Any]
) -> str:
    parts = [
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:.1f} at the start. Seconds are medians of interleaved runs.",
        "",
        table(HEADS, rendered(rows)),
    ]
    if load:
        heads = ("compile and load, ms", *next(iter(load.values())))
        parts += ["", table(heads, [{heads[0]: n, **{k: f"{v * 1000:.0f}" for k, v in t.items()}} for n, t in load.items()])]
    if goals:
        parts += ["", table(targets.HEADS, [g.cells() for g in goals])]
    return "\n".join(parts)


def _arguments() -> argparse.Namespace:
    known = argparse.ArgumentParser(
        prog="python -m bench.run", description="The mirror protocol on our executors and other checkers."
    )
    known.add_argument("--quick", action="store_true", help=f"sizes {' and '.join(QUICK)}, under three minutes (the default)")
    known.add_argument("--full", action="store_true", help=f"sizes {', '.join(FULL)}: runs of 5 s and more; 8 GiB, half an hour")
    known.add_argument("--size", action="append", choices=list(EVERY), help="this size, everybody; may be repeated")
    known.add_argument("--checker", action="append", metavar="NAME", help="only who has this in its name; may be repeated")
    known.add_argument("--rounds", type=int, default=3, help="how often everybody has its turn (default 3)")
    known.add_argument("--limit", type=float, help="seconds for one search (default 40, with --full 900)")
    known.add_argument(
        "--json", type=Path, default=Path("build/bench/latest.json"), help="where the figures go (default %(default)s)"
    )
    return known.parse_args()


def _is_asked(given: argparse.Namespace, checker: Checker, missing: Sequence[str]) -> bool:
    """Whether somebody takes part at all: whose programs are there, and, where names were given, who has one of them."""
    named = not given.checker or any(n.lower() in checker.title.lower() for n in given.checker)
    return named and not set(checker.needs) & set(missing)


def _who(given: argparse.Namespace, size: Size, missing: Sequence[str]) -> list[Checker]:
    """Who takes part at a size: who can be asked it and, unless the user named it, is fast enough."""
    asked = [c for c in (*CHECKERS, *PEERS) if _is_asked(given, c, missing)]
    return [c for c in asked if c.fits(size) and (given.size or size.states <= c.largest)]


def _sizes(given: argparse.Namespace, missing: Sequence[str]) -> list[str]:
    """The sizes that are asked: those that the user named, or the usual ones."""
    usual = FULL if given.full else QUICK
    programs = any(c.counts != "states" and _is_asked(given, c, missing) for c in PEERS)
    return given.size or [*([PROGRAMS[usual]] if programs else []), *usual]


def main() -> int:
    """See the module. 1 if counts disagree, 2 if a checker failed."""
    given = _arguments()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)  # also in the background, and so that no verifier outlives us
    began = time.perf_counter()
    missing = ensure(PACKAGES)
    not_there, how = absent()
    missing += not_there
    print(how, end="")
    sizes = [EVERY[n] for n in _sizes(given, missing)]
    machine, folder = _machine(), Path("build/bench").resolve()
    pace = Pace(given.rounds, 60 if given.full else 3, given.limit or (900 if given.full else 40))
    rows, all_done = measure([(s, _who(given, s, missing)) for s in sizes], folder, pace)
    load: dict[str, dict[str, float]] = {}
    mutants: dict[str, float] = {}
    ours = all_done and any(isinstance(r.checker, Ours) for r in rows)
    try:
        if ours:
            load, mutants = _load(), _mutants(sizes)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 2
    goals = targets.judged(rows, load, mutants)
    print(_report(rows, goals, load, machine))
    if ours:
        print(f"\n{drivers.report(list(drivers.PROGRAMS))}")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    figures = [
        {
            "size": r.size.name, "checker": r.checker.label, "reduction": r.checker.reduction, "threads": r.checker.threads,
            "build": r.build, "runs": [asdict(x) for x in r.runs],
        }
        for r in rows
    ]  # fmt: skip
    data = {"machine": machine, "rows": figures, "load": load, "mutant": mutants, "targets": [asdict(g) for g in goals]}
    given.json.write_text(json.dumps(data, indent=1) + "\n")
    print(f"\nfigures: {given.json}\n{draw(rows, given.json.with_suffix('.png'))}\n{time.perf_counter() - began:.0f} s in all")
    if not all_done:
        print("interrupted: not everybody has been asked", file=sys.stderr)
    wrong = disagreements(rows)
    for row in rows:
        if row.failed:
            print(f"FAILED: {row.checker.label} at size {row.size.name}: {row.failed}", file=sys.stderr)
    for line in wrong:
        print(f"WRONG COUNT: {line}", file=sys.stderr)
    return 2 if any(r.failed for r in rows) else 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
