"""`secondsight settle`: the threads' questions as decision tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.padding import Padding

from secondsight.agree.confirm import Confirmation, Confirmed
from secondsight.cli.common import (
    BROKEN,
    INTERRUPTED,
    Running,
    exit_code,
    show,
    show_trace,
    trace_form,
    warn,
    width,
    write_json,
)
from secondsight.cli.confirming import asking, confirmation_json, could_be_asked, show_confirmation
from secondsight.cli.searching import notes, told
from secondsight.cli.site import could_be_folder, write_site
from secondsight.kernels import Kernel, KernelError
from secondsight.lang import LangError
from secondsight.lang.program import Program
from secondsight.report import SCHEMA, replay_command, result_to_json, trace_to_json
from secondsight.report.beginnings import begun, the_one_begun
from secondsight.report.tables import decision_table
from secondsight.report.token import plain_name
from secondsight.report.trace import letter, tell_result
from secondsight.scenario import ScenarioError
from secondsight.scenario.schedule import CannotForce
from secondsight.search import Progress, Verdict
from secondsight.search.request import Request

if TYPE_CHECKING:
    from secondsight.cases import CaseTable, Cell, FreeRun, Question

__all__ = ["made_by_words", "name_of", "program_of", "settle", "settle_cell", "tables_named", "the_cell"]

Answers = dict[tuple[str, str], Confirmation]
"""What a real kernel said to cells of a table, by row and column."""

_MARKS = {Confirmed.CONFIRMED: "confirmed", Confirmed.REFUTED: "REFUTED", Confirmed.CANNOT: "not forced"}
_RAN = {Confirmed.CONFIRMED: "ran so", Confirmed.REFUTED: "REFUTED", Confirmed.CANNOT: "not run"}


def settle(
    table: str | None,
    request: Request,
    by_hand: dict[str, int],
    as_json: bool,
    full: bool,
    on: str | None,
    folder: Path | None,
    whole: bool = False,
    invalidations: Path | None = None,
) -> int:
    """Settle a table, or all, and tell it; the exit code. `on`: a kernel that is asked about broken cells, and if `whole` about all."""
    chosen = tables_named(table)
    if invalidations is not None:
        chosen = _under(chosen, invalidations)
    could_be_asked(on)
    could_be_folder(folder)
    settled: list[tuple[CaseTable, list[Cell]]] = []
    answers: dict[str, Answers] = {}
    interrupted, stopped = False, None
    for one in chosen:
        cells = _settle(one, request, by_hand)
        settled.append((one, cells))
        interrupted = _was_interrupted(one, cells)
        answers[one.name] = {}
        if on is not None and not interrupted:
            stopped = _confirm(on, one, cells, answers[one.name], whole)
        if not as_json:
            _print_table(one, cells, answers[one.name], interrupted)
            _print_answers(str(on), answers[one.name])
        if interrupted or stopped:
            break
    if folder is not None and not interrupted:
        with Running() as running:
            warn(f"the pages begin with {write_site(folder, settled, running.say)}")
    if as_json:
        tables = [_as_json(t, cells, answers=answers[t.name], on=on) for t, cells in settled]
        write_json({"schema": SCHEMA, "kind": "settle", "tables": tables})
    else:
        _print_example(settled, full)
    if stopped is not None:
        raise stopped
    if any(answer.verdict is Confirmed.REFUTED for of_table in answers.values() for answer in of_table.values()):
        return BROKEN
    return INTERRUPTED if interrupted else _exit_code(settled)


def tables_named(named: str | None) -> list[CaseTable]:
    """The tables that are asked for: all that ship, one of them, or those of a file."""
    from secondsight.cases import TABLES

    if named is None:
        return list(TABLES.values())
    if named.endswith(".py"):
        from secondsight.cases.own import load_tables

        return load_tables(Path(named))
    meant = the_one_begun(named, TABLES)
    if meant is None:
        raise LangError(f"there is no table {named}; there are {', '.join(TABLES)}; or give a Python file with one")
    return [TABLES[meant]]


def _under(tables: list[CaseTable], file: Path) -> list[CaseTable]:
    """The tables with their costs under invalidations that were recorded."""
    from secondsight.cases.cost import CostTable, recorded

    cost = tables[0].cost if len(tables) == 1 else None
    if not isinstance(cost, CostTable):
        raise LangError("--invalidations is for one table that has costs of invalidations: secondsight settle 2011-12-ib --invalidations FILE")
    return [replace(tables[0], cost=cost.of_recorded(recorded(file)))]


def _settle(table: CaseTable, request: Request, by_hand: dict[str, int]) -> list[Cell]:
    from secondsight.cases import settle as settle_table

    total, done, seen, started = len(list(table.cells())), 0, 0, time.monotonic()
    with Running(forks=True) as running:

        def on_cell(cell: Cell) -> None:
            nonlocal done, seen
            done += 1
            seen += cell.result.states if cell.result else 0
            tell("", 0)

        def on_wait(cells: list[tuple[str, str]], states: int) -> None:
            tell(f", now {', '.join(f'{row}:{column}' for row, column in cells)}" if cells else "", states)

        def tell(now: str, more: int) -> None:
            elapsed, states = time.monotonic() - started, seen + more
            rate = f", {states / elapsed:,.0f}/s" if states and elapsed else ""
            running.say(f"{table.name}: {done} of {total} cells, {states:,} states{rate}, {elapsed:.0f} s{now}", done, total)

        return settle_table(table, request, on_cell, bounds=by_hand, on_wait=on_wait)


def _confirm(on: str, table: CaseTable, cells: list[Cell], answers: Answers, whole: bool) -> BaseException | None:
    """What a real kernel says to every broken cell goes to `answers`, and if `whole` to those that hold; what has cut that short, to be
    raised when they are shown."""
    try:
        with asking(Kernel.find(on)) as ask:
            for cell in cells:
                question = _question(table, cell, whole)
                if question is not None:
                    answer = ask(f"{cell.row}, {cell.column}", question)
                    answers[cell.row, cell.column] = replace(answer, free=cell.verdict is Verdict.HOLDS)
    except (KeyboardInterrupt, KernelError, ScenarioError) as error:
        return error
    return None


def _question(table: CaseTable, cell: Cell, whole: bool) -> Question | FreeRun | CannotForce | None:
    """A cell as a question to a real kernel; None: it is not asked."""
    if cell.result is None or cell.result.verdict is Verdict.NOT_FINISHED:
        return None
    nothing = CannotForce("the table has no scenario of it that a kernel could run")
    if cell.result.violation is not None:
        if table.on_kernel is None:
            return nothing
        return table.on_kernel(cell.row, cell.column, cell.result.violation)
    if not whole:
        return None
    return nothing if table.runs_on_kernel is None else table.runs_on_kernel(cell.row, cell.column)


def _was_interrupted(table: CaseTable, cells: list[Cell]) -> bool:
    return len(cells) < len(list(table.cells())) or any(c.result is not None and c.result.reason == "interrupted" for c in cells)


def _exit_code(settled: list[tuple[CaseTable, list[Cell]]]) -> int:
    """0 when every cell came out as reviewed, broken ones too; 1 when one came out the other way."""
    unlike = [
        cell for table, cells in settled for cell in cells if cell.verdict is not table.expected.get((cell.row, cell.column))
    ]
    finished = [cell for cell in unlike if cell.verdict in (Verdict.HOLDS, Verdict.BROKEN)]
    return BROKEN if finished else exit_code(cell.result for cell in unlike)


# For people.


def _mark(answer: Confirmation) -> str:
    """What a kernel said to a cell, in a word or two."""
    return _RAN[answer.verdict] if answer.free else _MARKS[answer.verdict]


def _print_table(table: CaseTable, cells: list[Cell], answers: Answers, interrupted: bool) -> None:
    """The table and its findings; of one that was `interrupted` only what is known, so that it is seen at once what that is."""
    results = {(c.row, c.column): c.result for c in cells}
    marks = {place: _mark(answer) for place, answer in answers.items()}
    show(decision_table(table.title, table.question, table.rows, table.columns, results, marks, width(), not interrupted))
    for cell in cells:
        if cell.result is not None and cell.result.error is not None:
            show(f"{cell.row}, {cell.column}: {cell.result.error}")
    reduced = sum(1 for c in cells if c.result is not None and c.result.reduced)
    if reduced:
        show(f"{reduced} of the cells are reduced: their states are those of the reduced graph (--no-merge, --no-symmetry)")
    for note in notes(c.result for c in cells):
        show(note)
    verdicts = {(c.row, c.column): c.verdict for c in cells if c.verdict is not None}
    print()
    for finding in table.findings:
        sentence = finding.verdict(verdicts)
        if interrupted and sentence is None:
            continue
        show(f'"{finding.claim}"', style="italic")
        show(Padding(sentence or "Not settled: cells that it needs have not finished.", (0, 0, 1, 2)))
    if interrupted:
        known = sum(1 for verdict in verdicts.values() if verdict is not Verdict.NOT_FINISHED)
        show(f"interrupted: {known} of {len(list(table.cells()))} cells are settled; what is not said needs the others")
    elif table.cost is not None:
        print("\n".join(table.cost.lines()), end="\n\n")
    for cell in cells:
        expected = table.expected.get((cell.row, cell.column))
        if expected is not None and cell.verdict not in (expected, Verdict.NOT_FINISHED):
            told = cell.verdict.value if cell.verdict else "no search"
            show(f"{cell.row}, {cell.column}: {told}, though it was reviewed as {expected.value}", style="bold red")


def _print_answers(on: str, answers: Answers) -> None:
    """What a real kernel said, the same sentence once: first what it confirmed, then the rest."""
    said: dict[tuple[Confirmed, bool, str], list[str]] = {}
    for (row, column), answer in answers.items():
        if answer.verdict is Confirmed.REFUTED:
            show_confirmation(f"{on}: {row}, {column}", answer)
        else:
            said.setdefault((answer.verdict, answer.free, answer.why), []).append(f"{row}, {column}")
    for (verdict, free, why), cells in sorted(said.items(), key=lambda item: item[0][0] is not Confirmed.CONFIRMED):
        cannot = "cannot be run there" if free else verdict.value
        show(f"{on}: {cannot if verdict is Confirmed.CANNOT else verdict.value}: {why}:")
        shown = cells if verdict is Confirmed.CONFIRMED or len(cells) <= 3 else [f"{len(cells)} cells"]
        for cell in shown:
            show(f"  {cell}")
    if answers:
        print()


def _print_example(settled: Sequence[tuple[CaseTable, list[Cell]]], full: bool) -> None:
    """The trace of the first broken cell."""
    for table, cells in settled:
        broken = [c for c in cells if c.result is not None and c.result.violation is not None]
        if broken:
            _print_trace(table, broken[0], full)
            show(f'\nAny other: secondsight settle {name_of(table)} --trace "ROW:COLUMN"')
            return


def name_of(table: CaseTable) -> str:
    """What the command takes for a table: its name, or the file that it came from."""
    file = _file_of(table)
    return table.name if file is None else file.name


def _file_of(table: CaseTable) -> Path | None:
    """The user's own file that a table came from; None for one that ships."""
    module = sys.modules.get(table.program.__module__)
    own = None if module is None or module.__name__.startswith("secondsight.") else module.__file__
    return None if own is None else Path(own)


def _print_trace(table: CaseTable, cell: Cell, full: bool) -> None:
    from secondsight.cases import program_of_cell

    program = program_of_cell(table, cell.row, cell.column, cell.bounds)
    assert cell.result is not None
    bounds = {"bound": [f"{name}={number}" for name, number in cell.bounds.items()]}
    again = partial(replay_command, name_of(table), f"{cell.row}:{cell.column}", options=bounds)
    show_trace(letter(tell_result(f"{cell.row}, {cell.column}", program, cell.result, again), form=trace_form(full)))


# One cell, and JSON.


def settle_cell(
    table: str | None, wanted: str, request: Request, by_hand: dict[str, int], as_json: bool, full: bool, on: str | None, whole: bool = False
) -> int:
    """`--trace`: settle one cell, and tell its trace; the exit code."""
    from secondsight.cases import search_cell

    tables = tables_named(table)
    could_be_asked(on)
    its_table, row, column = the_cell(tables, wanted)
    wanted = f"{row}:{column}"
    with Running() as running:

        def on_progress(progress: Progress) -> None:
            running.say(f"{wanted}: {progress.states:,} states")

        cell = search_cell(its_table, row, column, request.but(on_progress=on_progress, on_growth=running.grows), by_hand)
    answers: Answers = {}
    stopped = None if on is None else _confirm(on, its_table, [cell], answers, whole)
    if as_json:
        write_json({"schema": SCHEMA, "kind": "settle", "tables": [_as_json(its_table, [cell], True, answers, on)]})
    elif cell.result is None:
        show(f"{wanted}: makes no sense")
    elif cell.result.violation is None:
        show(f"{wanted}: {cell.result.verdict.value}, {told(cell.result)}")
        _print_answers(str(on), answers)
    else:
        _print_trace(its_table, cell, full)
        _print_answers(str(on), answers)
    if stopped is not None:
        raise stopped
    return exit_code([cell.result])


def the_cell(tables: list[CaseTable], wanted: str) -> tuple[CaseTable, str, str]:
    """The cell that ROW:COLUMN means, of which either may be the beginning of a name."""
    at_row, _, at_column = wanted.partition(":")
    places = [
        (table, row, column)
        for table in tables
        for row in begun(at_row, [row.name for row in table.rows])
        for column in begun(at_column, [column.name for column in table.columns])
    ]
    exact = [place for place in places if f"{place[1]}:{place[2]}" == wanted]
    if exact or len(places) == 1:
        return (exact or places)[0]
    known = places or [(table, row, column) for table in tables for row, column in table.cells()]
    names = "\n".join(f"  {row}:{column}" for _, row, column in known)
    if not places:
        raise LangError(f"there is no cell {wanted}; there are\n{names}")
    raise LangError(f"{wanted} could be one of these cells; give more of its row's or its column's name\n{names}")


def _as_json(
    table: CaseTable, cells: list[Cell], traces: bool = False, answers: Answers | None = None, on: str | None = None
) -> dict[str, Any]:
    verdicts = {(c.row, c.column): c.verdict for c in cells if c.verdict is not None}
    return {
        "table": table.name,
        "title": table.title,
        "question": table.question,
        "rows": [{"name": e.name, "summary": e.summary} for e in table.rows],
        "columns": [{"name": e.name, "summary": e.summary} for e in table.columns],
        "cells": [_cell_json(table, cell, traces, (answers or {}).get((cell.row, cell.column)), on) for cell in cells],
        "findings": [
            {"claim": f.claim, "result": f.verdict(verdicts), "answer": None if (said := f.answer(verdicts)) is None else said.value}
            for f in table.findings
        ],
        **({} if table.cost is None else {"cost": table.cost.data()}),
    }


def _cell_json(table: CaseTable, cell: Cell, traces: bool, answer: Confirmation | None, on: str | None) -> dict[str, Any]:
    data: dict[str, Any] = {"row": cell.row, "column": cell.column, "verdict": None}
    if cell.result is None:
        return data
    data |= result_to_json(cell.result)
    if answer is not None:
        data["on_kernel"] = confirmation_json(str(on), answer)
    if traces and cell.result.violation is not None:
        from secondsight.cases import program_of_cell

        program = program_of_cell(table, cell.row, cell.column, cell.bounds)
        made_by = {
            "command": "settle", "table": table.name, "row": cell.row, "column": cell.column, "bounds": dict(cell.bounds),
        }  # fmt: skip
        if (file := _file_of(table)) is not None:
            made_by["file"] = str(file)
        data["trace"] = trace_to_json(program, cell.result.violation, made_by)
    return data


def made_by_words(named: str, which: str, sizes: dict[str, int]) -> dict[str, Any]:
    """How the program of a token is made: of a table (its name, or the file that has it), and a cell as one word."""
    tables = tables_named(named)
    cells = {plain_name(f"{row}:{column}"): (table.name, row, column) for table in tables for row, column in table.cells()}
    if plain_name(which) not in cells:
        raise LangError(f"{named} has no cell {which}; there are\n" + "\n".join(f"  {name}" for name in cells))
    table, row, column = cells[plain_name(which)]
    file = {"file": named} if named.endswith(".py") else {}
    return {"command": "settle", "table": table, "row": row, "column": column, "bounds": sizes, **file}


def program_of(made_by: dict[str, Any]) -> tuple[str, Program]:
    """The program of a saved trace, built again, and its cell's name."""
    from secondsight.cases import TABLES, program_of_cell

    row, column = made_by["row"], made_by["column"]
    if "file" in made_by:
        tables_named(made_by["file"])
    table = TABLES.get(made_by["table"])
    if table is None or (row, column) not in table.cells() or table.program(row, column) is None:
        raise LangError("the trace is of a table's cell that is not there any more")
    return f"{row}, {column}", program_of_cell(table, row, column, made_by.get("bounds", {}))
