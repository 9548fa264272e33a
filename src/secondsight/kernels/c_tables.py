"""The C headers that are made from the tables of `scenario/`, so that C and Python have one table of each.

`points.h` (the module): the numbers of the hold points. `limits.h` (the module and the agent): how much a scenario has at most.
`operations.h` (the agent): every operation that a real kernel has, with the encoding of its arguments and who does it.
"""

from __future__ import annotations

from secondsight.scenario.holds import HOLDS
from secondsight.scenario.ops import MAX_HANDLES, MAX_OPS, MAX_PAGES, MAX_PROCESSES, MAX_RANGES, MAX_THREADS, OPS, Needs

__all__ = ["limits_header", "operations_header", "points_header"]


def points_header() -> str:
    """The numbers of the hold points."""
    points = "".join(f"\tSS_POINT_{point.symbol} = {point.number},\n" for point in HOLDS.values())
    return _header("points", "scenario/holds.py", f"enum {{\n{points}}};\n")


def limits_header() -> str:
    """How much a scenario has at most."""
    most = {"OPS": MAX_OPS, "THREADS": MAX_THREADS, "PROCESSES": MAX_PROCESSES, "HANDLES": MAX_HANDLES, "RANGES": MAX_RANGES}
    limits = "".join(f"\tSS_MAX_{name} = {number},\n" for name, number in most.items())
    pages = "\t/* The memory that scenarios use: for each handle a window of its own, of which the first pages are used. */\n"
    return _header("limits", "scenario/ops.py", f"enum {{\n{limits}{pages}\tSS_WINDOW_PAGES = {MAX_PAGES},\n}};\n")


def operations_header() -> str:
    """The operations: `SS_OPERATIONS(row)` is a `row(name, shape, who)` for each, where `do_NAME` performs it.

    `shape`: the arguments' encoding: n a number, h a handle, a an address (handle, page), r ranges. `who`: nobody of
    secondsight.ko's (`PLAIN`), or its devices, for a thread of the process (`INSIDE`) or of nobody of it (`OUTSIDE`); or somebody else (`ELSEWHERE`).
    """
    rows = []
    for op in OPS.values():
        if not op.model_only:
            who = ("INSIDE" if op.own else "OUTSIDE") if op.needs in (Needs.MODULE, Needs.CMA) else "PLAIN" if op.own else "ELSEWHERE"
            rows.append(f'\trow({op.name}, "{op.shape}", {who})')
    return _header("operations", "world/operations/", "#define SS_OPERATIONS(row) \\\n" + " \\\n".join(rows) + "\n")


def _header(name: str, source: str, body: str) -> str:
    guard = f"SS_{name.upper()}_H"
    return (
        f"/* SPDX-License-Identifier: GPL-2.0 */\n/* Made from {source}. */\n#ifndef {guard}\n#define {guard}\n\n{body}\n#endif\n"
    )
