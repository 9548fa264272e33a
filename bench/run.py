"""`python -m bench.run`: the mirror protocol on our executors, Spin and Rumur, side by side; see bench/README.md."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import targets
from bench.checkers import CHECKERS, HOUSE, Checker, Figures
from bench.plot import draw
from bench.sizes import SIZES, Size
from bench.table import HEADS, Measured, disagreements, rendered, table
from bench.tools import Failed, ensure, run

__all__ = ["main", "measure"]

QUICK, FULL = ("A", "B"), ("B", "F", "E")
PACKAGES = {"spin": "spin", "rumur": "rumur", "gcc": "gcc"}


def measure(
    sizes: Sequence[Size], checkers: Sequence[Checker], folder: Path, rounds: int, patience: float, limit: float
) -> list[Measured]:
    """Build everybody, then run them in turn, `rounds` times; who took over `patience` seconds is not asked again.

    A run is stopped after `limit` seconds. Sizes one after the other, so that a row's neighbours saw the same machine.
    """
    found: list[Measured] = []
    for size in sizes:
        runs: dict[Checker, list[Figures]] = {c: [] for c in checkers}
        built: dict[Checker, float] = {}
        failed: dict[Checker, str] = {}
        for turn in range(rounds):
            for checker in checkers:
                if checker in failed or (turn and (not runs[checker] or runs[checker][0].seconds > patience)):
                    continue
                _say(f"{size.name}, round {turn + 1} of {rounds}: {checker.label}, {checker.reduction}, {checker.threads}")
                try:
                    if checker not in built:
                        built[checker] = checker.build(size, folder)
                    figures = checker.search(size, folder, limit)
                except Failed as why:
                    failed[checker] = str(why)
                    continue
                if figures is not None:
                    runs[checker].append(figures)
        found += [Measured(c, size, built.get(c, 0.0), tuple(runs[c]), limit, failed.get(c)) for c in checkers]
    _say("")
    return found


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
    """The best of three: the rest is the machine's other work."""
    rounds = [json.loads(run([sys.executable, "-m", "bench.ours", "load"], HOUSE).output.splitlines()[-1]) for _ in range(3)]
    return {name: {part: min(r[name][part] for r in rounds) for part in times} for name, times in rounds[0].items()}


def _machine() -> dict[str, Any]:
    said = Path("/proc/cpuinfo")
    model = (
        [r.split(":")[1].strip() for r in said.read_text().splitlines() if r.startswith("model name")] if said.exists() else []
    )
    versions = {}
    for command in (["gcc", "--version"], ["spin", "-V"], ["rumur", "--version"]):
        try:
            versions[command[0]] = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()[0]
        except (OSError, IndexError):
            versions[command[0]] = "missing"
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
        prog="python -m bench.run", description="The mirror protocol on our executors, Spin and Rumur."
    )
    known.add_argument("--quick", action="store_true", help=f"sizes {' and '.join(QUICK)}, under three minutes (the default)")
    known.add_argument(
        "--full", action="store_true", help=f"sizes {', '.join(FULL)}: runs of 5 s and more; 16 GiB, a quarter of an hour"
    )
    known.add_argument("--size", action="append", choices=list(SIZES), help="this size, everybody; may be repeated")
    known.add_argument("--checker", action="append", metavar="NAME", help="only rows whose name contains this; may be repeated")
    known.add_argument("--rounds", type=int, default=3, help="how often everybody has its turn (default 3)")
    known.add_argument("--limit", type=float, help="seconds for one search (default 40, with --full 900)")
    known.add_argument(
        "--json", type=Path, default=Path("build/bench/latest.json"), help="where the figures go (default %(default)s)"
    )
    return known.parse_args()


def main() -> int:
    """See the module. 1 if counts disagree, 2 if a checker failed."""
    given = _arguments()
    began = time.perf_counter()
    sizes = [SIZES[n] for n in given.size or (FULL if given.full else QUICK)]
    missing = ensure(PACKAGES)
    print("TLC is left out: it comes as a jar, not as a package.")
    checkers = [c for c in CHECKERS if not set(c.needs) & set(missing)]
    checkers = [c for c in checkers if not given.checker or any(n.lower() in c.label.lower() for n in given.checker)]
    machine, folder = _machine(), Path("build/bench").resolve()
    rows: list[Measured] = []
    for size in sizes:
        fit = [c for c in checkers if given.size or size.states <= c.largest]
        limit = given.limit or (900 if given.full else 40)
        rows += measure([size], fit, folder, given.rounds, 60 if given.full else 3, limit)
    try:
        load, mutants = (_load(), _mutants(sizes)) if not given.checker else ({}, {})
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 2
    goals = targets.judged(rows, load, mutants)
    print(_report(rows, goals, load, machine))
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
    wrong = disagreements(rows)
    for row in rows:
        if row.failed:
            print(f"FAILED: {row.checker.label} at size {row.size.name}: {row.failed}", file=sys.stderr)
    for line in wrong:
        print(f"WRONG COUNT: {line}", file=sys.stderr)
    return 2 if any(r.failed for r in rows) else 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
