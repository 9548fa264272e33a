"""`python -m bench.renaming [DRIVER.py] [--only "two engines"] [--engines 3]`: how many states each reduction leaves of a driver's checks.

For each scenario of the adversaries: the states of the whole graph; with steps merged and interchangeable records renamed; with
sequence numbers renamed too; and equal threads. Of the 2023 table the cells that count long. Beside each search its processor time. `--engines`: some
of the adversaries with so many engines, with all reductions only.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from secondsight.cases import TABLES
from secondsight.contract import ADVERSARIES, driver_program, load_drivers
from secondsight.contract.adversaries.making import Memory, OnMemory
from secondsight.contract.adversaries.pages import madvise_dontneed, munmap, punch_hole
from secondsight.lang.movers import Reductions
from secondsight.lang.native import Native
from secondsight.lang.program import Program
from secondsight.lang.symmetry import renaming_of, symmetry_of
from secondsight.scenario import Recorder
from secondsight.search import Limits, Request
from secondsight.search.native import native_search
from secondsight.search.reduced import reduced_search, search_both
from secondsight.world.model import watched

HOUSE = Path(__file__).parents[1]
CELLS = (("invalidate+hmm", "goes on"), ("keep-old", "goes on"))

Subject = tuple[str, Program, tuple[int, int] | None]


def subjects(driver: Path, only: str) -> Iterator[Subject]:
    """The programs that are counted."""
    [made, *_] = load_drivers(driver)
    for adversary in ADVERSARIES.values():
        for scenario in adversary.scenarios:
            if only in scenario.name:
                program = driver_program(made, scenario)
                yield scenario.name, program, watched(program)
    for table in TABLES.values():
        for cell in table.cells():
            if cell in CELLS and (program_ := table.program(*cell)) is not None and only in " / ".join(cell):
                yield " / ".join(cell), program_, None


def with_engines(driver: Path, engines: int) -> Iterator[Subject]:
    """A device that reads one page with so many engines at once."""
    [made, *_] = load_drivers(driver)
    for act in (munmap, madvise_dontneed, punch_hole):
        s = Recorder()
        memfd = s.memfd_create(pages=2) if act is punch_hole else None
        pages = s.mmap(memfd, pages=2)
        s.write(pages, "A")
        memory = Memory(pages, s.device(), memfd)

        def cpu(act: OnMemory = act, s: Recorder = s, memory: Memory = memory) -> None:
            act(s, memory)

        s.thread(cpu)
        for number in range(engines):

            def engine(number: int = number, memory: Memory = memory) -> None:
                memory.gpu.read(memory.pages, into=f"read{number}")

            engine.__name__ = f"engine{number}"
            s.thread(engine)
        program = driver_program(made, s.scenario(f"{act.__name__}: {engines} engines", "counted"))
        yield f"{act.__name__}: {engines} engines", program, watched(program)


def count(native: Native, plain: Native, request: Request) -> str:
    """States of a search with reductions, and its time."""
    begun = time.process_time()
    merged = search_both(native, plain, request).merged
    assert merged is not None
    return f"{merged.states:,} ({time.process_time() - begun:.2f} s)"


def row(name: str, program: Program, watch: tuple[int, int] | None) -> str:
    """One line of the table."""
    request = Request(watch=watch, workers=1)
    plain = Native(program)
    begun = time.process_time()
    known = native_search(plain, request)
    cells = [name, known.verdict.value, f"{known.states:,} ({time.process_time() - begun:.2f} s)"]
    all_of_it = renaming_of(program, watch)[0]
    for symmetry in (symmetry_of(program, watch)[0], all_of_it and all_of_it.without_threads(), all_of_it):
        cells.append(count(Native(program, Reductions(True, symmetry is not None), symmetry), plain, request))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="bench.renaming", description=__doc__)
    parser.add_argument("driver", nargs="?", type=Path, default=HOUSE / "examples" / "my_gpu.py")
    parser.add_argument("--only", default="", help="scenarios and cells with this in their names")
    parser.add_argument("--engines", type=int, default=0, help="some adversaries with so many engines instead")
    asked = parser.parse_args()
    if asked.engines:
        print("| | verdict | states | s |\n| --- | --- | ---: | ---: |")
        for name, program, watch in with_engines(asked.driver, asked.engines):
            result = reduced_search(program, Request(watch=watch, workers=1, limits=Limits(seconds=600))).result
            print(f"| {name} | {result.verdict.value} | {result.states:,} | {result.seconds:.2f} |", flush=True)
        return
    print("| | verdict | all states | merged, records renamed | sequence numbers too | equal threads too |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for name, program, watch in subjects(asked.driver, asked.only):
        print(row(name, program, watch), flush=True)


if __name__ == "__main__":
    main()
