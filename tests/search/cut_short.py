"""A tool for `test_native.py`: searches that a file or the memory cuts short, to be run where memory is watched.

    python cut_short.py FOLDER
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from secondsight.lang import U8, Machine, Record, choose, shared
from secondsight.lang.native import Native
from secondsight.lang.program import Thread, build
from secondsight.search import Limits, Request
from secondsight.search.native import native_search


class Wide(Record):
    first: U8
    second: U8


wide = shared(Wide)


def picks() -> None:
    """A few states, each with more successors than one piece of the frontier has room for."""
    wide.first = choose(200)
    wide.second = choose(200)


if __name__ == "__main__":
    native = Native(build(Machine({}), [Thread(name, picks) for name in ("one", "two")]))
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (10_000, 100_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        print(native_search(native, Request(frontier=1, folder=Path(sys.argv[1]), workers=2)).reason)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    for memory in (1_500_000, 2_500_000, 3_500_000):
        print(native_search(native, Request(limits=Limits(memory=memory), workers=1)).reason)
