"""Driver programs, as `check` and `settle` search them: how many states are left, and what the livelocks cost.

`python -m bench.drivers` prints a table; `make bench` does so behind its own. With `--every` it goes through all checks of the README's
driver and all cells of the 2023 table that hold and have 20,000 states, and says where reducing is slower than not to.
One thread; processor time, the least of some runs, and ratios within one row only: so it says something on a machine that does other things, too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.table import table
from secondsight.cases.table import program_of_cell
from secondsight.cases.thread_2023_udmabuf import TABLE
from secondsight.contract import ADVERSARIES, driver_program
from secondsight.contract.check import load_drivers
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.scenario.recorder import Recorder
from secondsight.search import Request, Result, Verdict
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_native, search_both
from secondsight.world.model import watched

__all__ = ["HEADS", "PROGRAMS", "Row", "engines", "measure", "report"]

GPU = Path(__file__).parent.parent / "examples" / "my_gpu.py"
AGAINST = ("program", "states", "reduced", "plain ms", "reduced ms", "by cpu")
HEADS = ("program", "bytes", "states", "plain s", "livelock +", "merged", "all", "by states", "by cpu")
"""`bytes`: a state's. `plain s`: a search that reduces nothing and looks for no livelock; `livelock +`: what looking for them adds to it.
`merged`, `all`: the states of a search with steps merged, and with everything; `by states`, `by cpu`: what all that saves, with livelocks."""


def engines(count: int, act: str = "munmap") -> Program:
    """The README's driver with so many engines that read one page each once, while the process does what an adversary does."""
    driver = load_drivers(GPU)[0]
    s = Recorder()
    memfd = s.memfd_create(pages=2) if act == "punch-hole" else None
    pages = s.mmap(memfd, pages=2) if memfd is not None else s.mmap(pages=2)
    s.write(pages, "A")
    gpu = s.device()

    def cpu() -> None:
        if memfd is None:
            s.munmap(pages, pages=2)
        else:
            s.fallocate_punch_hole(memfd, page=0, pages=2)
            s.write(pages, "B", pages=2)

    s.thread(cpu)
    for number in range(count):

        def engine(number: int = number) -> None:
            gpu.read(pages, into=f"read{number}")

        engine.__name__ = f"engine{number + 1}"
        s.thread(engine)
    return driver_program(driver, s.scenario(f"{act}: {count} engines", "as bench/drivers.py says"))


def _of_adversary(name: str) -> Callable[[], Program]:
    scenario = next(s for a in ADVERSARIES.values() for s in a.scenarios if s.name == name)
    return lambda: driver_program(load_drivers(GPU)[0], scenario)


PROGRAMS: dict[str, Callable[[], Program]] = {
    "punch-hole: two engines": _of_adversary("punch-hole: two engines"),
    "zero-page: two engines": _of_adversary("zero-page: two engines"),
    "munmap-mmap: two engines": _of_adversary("munmap-mmap: two engines"),
    "invalidate+hmm, goes on": lambda: program_of_cell(TABLE, "invalidate+hmm", "goes on", {}),
    "keep-old, goes on": lambda: program_of_cell(TABLE, "keep-old", "goes on", {}),
    "munmap: 1 engine": lambda: engines(1),
    "munmap: 2 engines": lambda: engines(2),
    "munmap: 3 engines": lambda: engines(3),
    "punch-hole: 1 engine": lambda: engines(1, "punch-hole"),
    "punch-hole: 2 engines": lambda: engines(2, "punch-hole"),
}


def every_program() -> Iterator[tuple[str, Callable[[], Program]]]:
    """The checks of the README's driver, and the cells of the 2023 table."""
    for adversary in ADVERSARIES.values():
        yield from ((s.name, _of_adversary(s.name)) for s in adversary.scenarios)
    for row in TABLE.rows:
        for column in TABLE.columns:
            yield f"{row.name}, {column.name}", partial(program_of_cell, TABLE, row.name, column.name, {})


@dataclass(frozen=True, slots=True)
class Row:
    """One program: its searches, each with the processor time that it took."""

    name: str
    size: int
    plain: tuple[Result, float]
    livelock: tuple[Result, float]
    merged: tuple[Result, float]
    every: tuple[Result, float]

    def cells(self) -> dict[str, str]:
        """The row of the table."""
        states, spent = self.plain[0].states, self.plain[1]
        said = (
            self.name, str(self.size), f"{states:,}", f"{spent:.3f}", f"{self.livelock[1] / spent - 1:.0%}",
            f"{self.merged[0].states:,}", f"{self.every[0].states:,}", f"{states / self.every[0].states:.1f}",
            f"{self.livelock[1] / self.every[1]:.1f}",
        )  # fmt: skip
        return dict(zip(HEADS, said, strict=True))


def _least(search: Callable[[], Result], runs: int) -> tuple[Result, float]:
    """A search's result, and the least time of so many."""
    least: tuple[Result, float] | None = None
    for _ in range(runs):
        begun = time.process_time()
        result = search()
        spent = time.process_time() - begun
        least = (result, spent) if least is None or spent < least[1] else least
    assert least is not None
    return least


def _watch(program: Program) -> tuple[int, int] | None:
    return watched(program) if any(d.name == "tables.successes" for d in program.layout.declarations) else None


def measure(name: str, runs: int = 3) -> Row:
    """All searches of one of the programs."""
    program = PROGRAMS[name]()
    watch, plain = _watch(program), Native(program)
    merged, _ = reduced_native(program, Reductions(symmetry=False), watch)
    every, _ = reduced_native(program, Reductions(), watch)
    alone = Request(workers=1, watch=watch)
    both = alone.but(livelock=True)
    return Row(
        name, program.size, _least(lambda: native_search(plain, alone), runs), _least(lambda: native_search(plain, both), runs),
        _least(lambda: search_both(merged, plain, both).result, runs), _least(lambda: search_both(every, plain, both).result, runs),
    )  # fmt: skip


def against_plain(runs: int = 3, least: int = 20_000) -> str:
    """What reducing costs and saves with every program of so many states that holds, the worst first; livelocks are looked for."""
    found: list[tuple[float, tuple[str, ...]]] = []
    for name, build in every_program():
        program = build()
        watch, plain = _watch(program), Native(program)
        both = Request(workers=1, watch=watch, livelock=True)
        known, spent = _least(lambda: native_search(plain, both), runs)  # noqa: B023
        if known.verdict is not Verdict.HOLDS or known.states < least:
            continue
        every, _ = reduced_native(program, Reductions(), watch)
        reduced, less = _least(lambda: search_both(every, plain, both).result, runs)  # noqa: B023
        found.append((spent / less, (name, f"{known.states:,}", f"{reduced.states:,}", f"{1000 * spent:.0f}", f"{1000 * less:.0f}", f"{spent / less:.2f}")))
    return table(AGAINST, [dict(zip(AGAINST, cells, strict=True)) for _, cells in sorted(found)])


def report(names: Iterable[str], runs: int = 3) -> str:
    """The table, as Markdown."""
    return table(HEADS, [measure(name, runs).cells() for name in names])


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m bench.drivers", description=__doc__)
    parser.add_argument("--program", action="append", choices=tuple(PROGRAMS), help="this one alone; may be given again")
    parser.add_argument("--runs", type=int, default=3, help="of each search (default: 3)")
    parser.add_argument("--every", action="store_true", help="all checks of the README's driver and cells of the 2023 table, against a plain search")
    given = parser.parse_args()
    if given.every:
        print(against_plain(max(1, given.runs)))
        return 0
    print(report(given.program or list(PROGRAMS), max(1, given.runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
