"""The programs that can be searched there, by name: the yardstick at its sizes, without its retry test, and the driver programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.drivers import PROGRAMS, engines
from bench.mirror import mirror
from bench.sizes import SIZES, TINY
from secondsight.cases.table import program_of_cell
from secondsight.cases.thread_2023_udmabuf import TABLE
from secondsight.lang.program import Program

__all__ = ["LARGEST", "NAMES", "named"]

LARGEST = (3, 1, 2, 6, 5)
"""The yardstick at a size that 24 GiB have no room for."""

YARDSTICK = {**{name: size.program for name, size in SIZES.items()}, TINY.name: TINY.program, "largest": LARGEST}

NAMES: dict[str, Callable[[], Program]] = {
    **{f"mirror {name}": partial(mirror, *size) for name, size in YARDSTICK.items()},
    **{f"mirror {name} without its retry test": partial(mirror, *size, retry_test=False) for name, size in YARDSTICK.items()},
    **PROGRAMS,
    "munmap: 4 engines": lambda: engines(4),
    "punch-hole: 3 engines": lambda: engines(3, "punch-hole"),
    "invalidate+hmm, no unwritten zero": lambda: program_of_cell(TABLE, "invalidate+hmm", "no unwritten zero", {}),
}


def named(name: str) -> Program:
    """The program of that name."""
    return NAMES[name]()
