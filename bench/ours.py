"""Our side, each run in a process of its own: `python -m bench.ours build|search|load|mutant ...`, figures as JSON on one line.

`mutant` prints the trace instead, as a user would see it.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

from bench.mirror import mirror
from bench.sizes import EVERY, SIZES, Size
from secondsight.contract import ADVERSARIES, driver_program
from secondsight.devices.mirror import Mirror
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.report import mail
from secondsight.search import Limits, Request, Result, breadth_first
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search

REDUCTIONS = {"none": Reductions.none(), "frames": Reductions(merge=False), "all": Reductions()}
"""By the names in the table: `frames`, as Rumur's, takes states that differ only by renamed frames for one."""


LOADED = ("yardstick", "reference mirror")
"""The programs whose way from source to machine code is timed."""


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def search(size: Size, executor: str, workers: int, reductions: Reductions) -> dict[str, Any]:
    """One full search; `bytes` is the growth of the process's peak memory."""
    program = mirror(*size.program)
    find: Callable[[], Result]
    if executor == "reference":
        find = partial(breadth_first, Reference(program))
    elif reductions == Reductions.none():
        find = partial(native_search, Native(program), Request(workers=workers))
    else:
        find = partial(_reduced, program, reductions, workers)
    before, began, began_cpu = _peak(), time.perf_counter(), time.process_time()
    result = find()
    return {
        "verdict": result.verdict.value, "states": result.states, "transitions": result.transitions,
        "seconds": time.perf_counter() - began, "cpu": time.process_time() - began_cpu, "bytes": _peak() - before,
    }  # fmt: skip


def _reduced(program: Program, reductions: Reductions, workers: int, limits: Limits | None = None) -> Result:
    return reduced_search(program, Request(reductions=reductions, limits=limits or Limits(), workers=workers)).result


def build(size: Size, reductions: Reductions) -> dict[str, Any]:
    """From Python source to loaded machine code, and how many bytes a state's vector has."""
    began = time.perf_counter()
    program = mirror(*size.program)
    native = Native(program)
    if reductions != Reductions.none():
        _reduced(program, reductions, 1, Limits(states=1))
    return {"seconds": time.perf_counter() - began, "vector": len(native.initial)}


def load(name: str) -> dict[str, float]:
    """Seconds from Python source to loaded machine code: the yardstick, or the reference mirror driver on the whole model."""
    scenario = ADVERSARIES["munmap"].scenarios[0]
    programs = {"yardstick": lambda: mirror(*SIZES["B"].program), "reference mirror": lambda: driver_program(Mirror, scenario)}
    times = [time.perf_counter()]
    program = programs[name]()
    times.append(time.perf_counter())
    Native(program)
    times.append(time.perf_counter())
    front, rest = (b - a for a, b in pairwise(times))
    return {"front end": front, "compile and load": rest}


def mutant(size: Size, workers: int) -> str:
    """The trace that shows why the retry test is there."""
    program = mirror(*size.program, retry_test=False)
    return mail("the mirror without its retry test", program, native_search(Native(program), Request(workers=workers)))


def main() -> None:
    """See the module."""
    arguments = argparse.ArgumentParser(
        prog="python -m bench.ours", description="One run of our executors on the mirror protocol."
    )
    arguments.add_argument("what", choices=["build", "search", "load", "mutant"])
    arguments.add_argument("--program", choices=LOADED, default=LOADED[-1], help="with load: which")
    arguments.add_argument("--size", choices=list(EVERY), default="A")
    arguments.add_argument("--executor", choices=["native", "reference"], default="native")
    arguments.add_argument("--workers", type=int, default=1)
    arguments.add_argument("--reduction", choices=list(REDUCTIONS), default="none")
    given = arguments.parse_args()
    reductions = REDUCTIONS[given.reduction]
    size = EVERY[given.size]
    if given.what == "mutant":
        print(mutant(size, given.workers))
    elif given.what == "search":
        print(json.dumps(search(size, given.executor, given.workers, reductions)))
    else:
        print(json.dumps(build(size, reductions) if given.what == "build" else load(given.program)))


if __name__ == "__main__":
    main()
