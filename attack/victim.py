"""A search that is there to be cut short: `cuts` starts it in a process of its own.

    python -m attack.victim METHOD right|wrong SIZE [LIMIT=VALUE...] [ADDRESS]

Three threads count; in the wrong program the very last state breaks a rule. What the search says comes as one line of JSON.
The method `cluster` searches on the Ray cluster at an address. Limits: `states`, `seconds`, `memory` are the search's own, `as`, `fsize`, `nofile`, `cpu` the process's (`setrlimit`).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secondsight.lang import U16, LangError, Machine, Record, atomic, const, require, shared
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program, Thread, build
from secondsight.lang.reference import Reference
from secondsight.search import Limits, Request, Result, breadth_first
from secondsight.search.auto import search
from secondsight.search.cluster import cluster_search, search_by
from secondsight.search.cluster_levels import LocalHosts
from secondsight.search.cluster_ray import hosts_at
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search
from secondsight.search.strategy import DepthFirst

METHODS: dict[str, int] = {
    "reference": 30, "native": 90, "two workers": 90, "exact": 80, "to a file": 90, "livelock": 70, "merge": 90, "auto": 45, "depth first": 80,
    "collect": 90, "members": 70,
}  # fmt: skip
"""Each way of searching, and how far threads count so that it takes a second or so."""


class Counters(Record):
    """What is counted."""

    a: U16
    b: U16
    c: U16


counters = shared(Counters)
wrong = const("wrong")


def count_a(most: U16) -> None:
    """The first counter; it looks at the end."""
    for _ in range(most):
        with atomic:
            counters.a += 1
            require(wrong[0] == 0 or counters.a < most or counters.b < most or counters.c < most, "all", "everything was counted")


def count_b(most: U16) -> None:
    """The second."""
    for _ in range(most):
        with atomic:
            counters.b += 1
            require(wrong[0] == 0 or counters.a < most or counters.b < most or counters.c < most, "all", "everything was counted")


def count_c(most: U16) -> None:
    """The third."""
    for _ in range(most):
        with atomic:
            counters.c += 1
            require(wrong[0] == 0 or counters.a < most or counters.b < most or counters.c < most, "all", "everything was counted")


def program_of(size: int, right: bool) -> Program:
    """Three threads that count."""
    machine = Machine({}, data={"wrong": [0 if right else 1]})
    with machine:
        counters.a = 0
    return build(machine, [Thread(name, f, (size,)) for name, f in (("a", count_a), ("b", count_b), ("c", count_c))])


def search_of(method: str, program: Program, limits: Limits, address: str = "") -> Result:
    """One search; `address`: of a cluster."""
    options: dict[str, Any] = {"lock_order": False}
    match method:
        case "reference":
            return breadth_first(Reference(program), Request(limits=limits, livelock=True, **options))
        case "native":
            return native_search(Native(program), Request(limits=limits, workers=1, **options))
        case "two workers":
            return native_search(Native(program), Request(limits=limits, workers=2, livelock=True, **options))
        case "exact":
            return native_search(Native(program), Request(limits=limits, workers=2, exact=True, **options))
        case "to a file":
            return native_search(Native(program), Request(limits=limits, workers=2, frontier=1, folder=Path(tempfile.gettempdir()), **options))
        case "livelock":
            return native_search(Native(program), Request(limits=limits, workers=1, livelock=True, **options))
        case "merge":
            return reduced_search(program, Request(reductions=Reductions(symmetry=False), limits=limits, workers=2, livelock=True, **options)).result
        case "depth first":
            return native_search(Native(program), Request(limits=limits, workers=1, strategy=DepthFirst(), **options))
        case "collect":
            return native_search(Native(program), Request(limits=limits, workers=2, collect=True, **options))
        case "auto":
            return search(program, Request(executor="auto", limits=limits, livelock=True, **options))
        case "cluster":
            return cluster_search(Native(program), address, Request(limits=limits, livelock=True, **options))
    native, hosts = Native(program), LocalHosts(2, 1)
    try:
        return search_by(hosts, native, Request(limits=limits, livelock=True, **options), 1 << 16)[0]  # type: ignore[arg-type]
    finally:
        hosts.end()


def main() -> None:
    """See the module."""
    method, right, size = sys.argv[1], sys.argv[2] == "right", int(sys.argv[3])
    asked = {name: float(value) for name, _, value in (word.partition("=") for word in sys.argv[4:] if "=" in word)}
    address = sys.argv[-1] if method == "cluster" else ""
    own: dict[str, Callable[[float], Any]] = {"states": int, "seconds": float, "memory": int}
    limits = Limits(**{name: own[name](value) for name, value in asked.items() if name in own})
    program = program_of(size, right)
    if method != "reference":
        Native(program)
    for name, value in asked.items():
        if name not in own:
            kind = getattr(resource, f"RLIMIT_{name.upper()}")
            resource.setrlimit(kind, (int(value), resource.getrlimit(kind)[1]))
    if address:
        hosts_at(address)
    print("ready", flush=True)
    try:
        found = search_of(method, program, limits, address)
    except LangError as error:
        print(json.dumps({"verdict": "error", "reason": str(error)[:200], "states": 0}), flush=True)
        os._exit(2)
    said = {"verdict": found.verdict.value, "reason": found.reason, "states": found.states, "reduced": list(found.reduced)}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
