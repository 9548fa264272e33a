"""A decision table: alternatives against adversaries or properties, each cell a search.

A table is data: named rows and columns, and a function that builds the checked program of a cell. `settle` runs the cells
(over processes, when there are several cores) and returns a `Cell` for each; a program is built again where a trace is
wanted, since building is the same every time.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from secondsight.cases.cost import CostTable
from secondsight.cases.crew import shared_out
from secondsight.cases.pin_cost import PinCost
from secondsight.devices.device import Device
from secondsight.lang.errors import LangError
from secondsight.lang.program import Program
from secondsight.linux import by_hand
from secondsight.scenario import Scenario
from secondsight.scenario.schedule import CannotForce, Schedule
from secondsight.search import Result, Verdict, Violation
from secondsight.search.auto import search, why_not_native
from secondsight.search.request import ExecutorName, Request
from secondsight.world.enough import with_enough

__all__ = ["Answer", "CaseTable", "Cell", "Heading", "Finding", "FreeRun", "Kernels", "Question", "search_cell", "settle"]


@dataclass(frozen=True, slots=True)
class Heading:
    """A row or a column: a short name (it heads the row or column) and a sentence that says what it stands for."""

    name: str
    summary: str


class Answer(Enum):
    """What became of a claim."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    REFINED = "refined"
    """It is right in part, or under conditions that it does not name."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a table says about a claim made in its thread.

    `needs` maps cells (row, column) to the verdict each must have for the claim to stand; the sentence that is
    printed is `stands` or `falls` accordingly, and in one word the claim is `if_it_stands` or `if_it_falls`.
    """

    claim: str
    needs: Mapping[tuple[str, str], Verdict]
    stands: str
    falls: str
    if_it_stands: Answer = Answer.CONFIRMED
    if_it_falls: Answer = Answer.REFUTED

    def answer(self, cells: Mapping[tuple[str, str], Verdict]) -> Answer | None:
        """In one word, or None while a cell that is needed has not finished."""
        said = self.verdict(cells)
        return None if said is None else self.if_it_stands if said == self.stands else self.if_it_falls

    def verdict(self, cells: Mapping[tuple[str, str], Verdict]) -> str | None:
        """The sentence to print, or None while a cell that is needed has not finished."""
        if any(cells.get(k, Verdict.NOT_FINISHED) is Verdict.NOT_FINISHED for k in self.needs):
            return None
        return self.stands if all(cells[k] is v for k, v in self.needs.items()) else self.falls


@dataclass(frozen=True, slots=True)
class Kernels:
    """The kernels that a cell's code is in: of releases `since` and `before`, with these `abilities` (`kernels.ability`)."""

    since: tuple[int, int] | None = None
    before: tuple[int, int] | None = None
    abilities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """A broken cell as a question to a real kernel: a schedule, and the driver of its scenario's device."""

    schedule: Schedule
    driver: type[Device] | None = None
    kernels: Kernels = Kernels()


@dataclass(frozen=True, slots=True)
class FreeRun:
    """A cell that holds as a question to a real kernel: a scenario that it runs by itself, often. `shows` says of an outcome (by name) whether
    the cell's property holds in it; None: that it is possible is all. Its device, if it has one, is the module's right one."""

    scenario: Scenario
    shows: Callable[[Mapping[str, str]], bool] | None = None
    kernels: Kernels = Kernels()


@dataclass(frozen=True, slots=True)
class CaseTable:
    """A thread's question as a table.

    `program(row, column)` builds a cell's checked program (names of entries), or None where the question makes no sense.
    `expected` are the verdicts that were reviewed by hand: tests compare them. `on_kernel(row, column, violation)` makes a
    broken cell a question to a real kernel (a run that is free where what is broken shows in every one), or says why it cannot be one; `runs_on_kernel(row, column)` does so for one that holds. `goes_on`: the columns that ask whether threads go
    round for ever; None: all do. `executor(row, column)`: of a cell's search, where nobody asks for another; `native` where threads that go round for
    ever count something, for that ends by the reductions alone. `cost`: what the rows take in time, where that is part of the question.
    """

    name: str
    title: str
    question: str
    rows: tuple[Heading, ...]
    columns: tuple[Heading, ...]
    program: Callable[[str, str], Program | None]
    findings: tuple[Finding, ...] = ()
    expected: Mapping[tuple[str, str], Verdict] = field(default_factory=dict)
    on_kernel: Callable[[str, str, Violation], Question | FreeRun | CannotForce] | None = None
    runs_on_kernel: Callable[[str, str], FreeRun | CannotForce] | None = None
    goes_on: frozenset[str] | None = None
    executor: Callable[[str, str], ExecutorName] | None = None
    cost: CostTable | PinCost | None = None

    def __post_init__(self) -> None:
        """Raises `LangError` for a name of no row or column: what is said of that would be said of nothing."""
        rows, columns = [r.name for r in self.rows], [c.name for c in self.columns]
        for kind, names in (("rows", rows), ("columns", columns)):
            if twice := next((name for name in names if names.count(name) > 1), None):
                raise LangError(f"{self.name}: two {kind} are called {twice}: give one another name")
        said = [("expected", at) for at in self.expected] + [(f"the claim {f.claim!r}", at) for f in self.findings for at in f.needs]
        for what, (row, column) in said:
            if row not in rows:
                raise LangError(f"{self.name}: {what} names a row {row!r}, which there is not: one of {', '.join(rows)} is wanted")
            if column not in columns:
                raise LangError(f"{self.name}: {what} names a column {column!r}, which there is not: one of {', '.join(columns)} is wanted")
        if strange := sorted((self.goes_on or frozenset()) - set(columns)):
            raise LangError(f"{self.name}: goes_on names a column {strange[0]!r}, which there is not: one of {', '.join(columns)} is wanted")

    def cells(self) -> Iterator[tuple[str, str]]:
        """Row and column names of all cells, row by row."""
        for row in self.rows:
            for column in self.columns:
                yield row.name, column.name


@dataclass(frozen=True, slots=True)
class Cell:
    """A settled cell: its names and what the search found; `result` None: the question makes no sense there."""

    row: str
    column: str
    result: Result | None
    bounds: Mapping[str, int] = field(default_factory=dict)
    """The bounds that were given by hand, or raised because they ran out."""

    @property
    def verdict(self) -> Verdict | None:
        """The search's verdict."""
        return None if self.result is None else self.result.verdict


def forced(scenario: Scenario, driver: type[Device], violation: Violation) -> Question | CannotForce:
    """A cell that breaks one of the contract's rules, in a scenario and by a driver that the real device has, as a question."""
    from secondsight.contract import rules_for
    from secondsight.world.forced import schedule_of

    schedule = schedule_of(scenario, driver, violation, [probe for rule in rules_for(driver) for probe in rule.probes])
    return schedule if isinstance(schedule, CannotForce) else Question(schedule, driver)


def search_cell(
    table: CaseTable,
    row: str,
    column: str,
    request: Request | None = None,
    bounds: Mapping[str, int] | None = None,
    coming: int = 1,
) -> Cell:
    """Build and search one cell. `bounds`: of its machine, by hand; others are raised when they run out. `coming`: how many cells
    of the row are to be searched from this one on."""
    if table.program(row, column) is None:
        return Cell(row, column, None)
    asked = (request or Request()).but(livelock=table.goes_on is None or column in table.goes_on)
    if asked.executor == "auto" and table.executor is not None and why_not_native() is None:
        asked = asked.but(executor=table.executor(row, column))
    asked = asked.but(workers=asked.workers or 1)

    def searched(program: Program) -> Result:
        alike = 1 if program.room is None or program.room.exact else coming  # the row's cells may share their code
        return search(program, asked.but(coming=lambda: alike))

    found = with_enough(lambda enough: program_of_cell(table, row, column, enough), searched, bounds or {})
    return Cell(row, column, found.result, {**(bounds or {}), **found.raised})


def program_of_cell(table: CaseTable, row: str, column: str, bounds: Mapping[str, int]) -> Program:
    """A cell's checked program on a machine with these bounds. Raises `LangError` where the question makes no sense."""
    with by_hand(**bounds):
        program = table.program(row, column)
    if program is None:
        raise LangError(f"{row}, {column}: makes no sense in {table.name}")
    return program


Work = tuple[str, str, str, Request, Mapping[str, int], int]
"""A cell to search: its table, row and column, how, and how many of its row are to be searched."""


def _work(cell: Work, say: Callable[[int], None]) -> Cell:
    from secondsight.cases import TABLES

    name, row, column, request, bounds, coming = cell
    return search_cell(TABLES[name], row, column, request.but(on_progress=lambda progress: say(progress.states)), bounds, coming)


def _row(cell: Work) -> str:
    return cell[1]


def _lost(cell: Work, status: int) -> Cell:
    """A cell whose process is gone: by a signal, mostly the system's, which sends it where memory runs out."""
    _, row, column, *_ = cell
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    note = f"{row}, {column}: the process that searched it was killed ({how}): out of memory? --memory makes a search stop before that"
    return Cell(row, column, Result(Verdict.NOT_FINISHED, 0, 0, 0, 0.0, reason="killed", note=note))


def settle(
    table: CaseTable,
    request: Request | None = None,
    on_cell: Callable[[Cell], None] | None = None,
    jobs: int | None = None,
    only: Sequence[tuple[str, str]] | None = None,
    bounds: Mapping[str, int] | None = None,
    on_wait: Callable[[list[tuple[str, str]], int], None] | None = None,
) -> list[Cell]:
    """Search every cell (or those in `only`), in the order of the table. `on_cell` is called as cells finish, `on_wait` now and then
    in between, with the cells that are being searched, and how many states of them have been seen.

    `jobs`: processes, by default one for each core, on a cluster one. Ctrl-C returns the cells that have finished. A cell whose
    process is killed is *not finished*, for the reason `killed`.
    """
    wanted = list(only) if only is not None else list(table.cells())
    jobs = min(len(wanted), jobs or len(os.sched_getaffinity(0))) or 1
    asked = request or Request()
    if asked.cluster is not None:
        jobs = 1  # the cells' searches have the whole cluster, one after the other
    done: dict[tuple[str, str], Cell] = {}
    coming = [sum(1 for other, _ in wanted[number:] if other == row) for number, (row, _) in enumerate(wanted)]

    def one_after_the_other() -> Generator[Cell, None, None]:
        for (row, column), alike in zip(wanted, coming, strict=True):
            at_work = [(row, column)]
            telling = asked if on_wait is None else asked.but(on_progress=lambda progress, at=at_work: on_wait(at, progress.states))
            yield (cell := search_cell(table, row, column, telling, bounds, alike))
            if cell.result is not None and cell.result.reason == "interrupted":
                return

    def waits(pieces: list[tuple[Work, Any]]) -> None:
        if on_wait is not None:
            on_wait([(row, column) for (_, row, column, *_), _ in pieces], sum(said or 0 for _, said in pieces))

    if jobs == 1:
        cells = one_after_the_other()
    else:
        pieces = [(table.name, row, column, asked, bounds or {}, alike) for (row, column), alike in zip(wanted, coming, strict=True)]
        cells = shared_out(pieces, _work, jobs, _lost, waits, _row)
    with suppress(KeyboardInterrupt), closing(cells):
        for cell in cells:
            done[cell.row, cell.column] = cell
            if on_cell is not None:
                on_cell(cell)
    return [done[c] for c in wanted if c in done]
