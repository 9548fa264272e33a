"""`secondsight replay TRACE.json`, `replay FILE SCENARIO TOKEN`: run a trace again in plain Python, or stop in pdb at one of its steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from secondsight.cli import check, settle
from secondsight.cli.common import FULL_HELP, HOLDS, Bounds, bounds, parts, show, show_trace, trace_form, width
from secondsight.cli.html import Html, could_be_written, tell_and_show, write_page, write_text
from secondsight.lang import LangError
from secondsight.lang.debug import stop_at
from secondsight.lang.plain import Disagreement
from secondsight.lang.program import Program
from secondsight.report import trace_from_json, violation_of
from secondsight.report.page import page_data
from secondsight.report.sequence import sequence_diagram
from secondsight.report.trace import letter, tell_saved
from secondsight.search import Trace, Violation

__all__ = ["replay"]


def replay(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|TABLE",
            help="A trace, or a result of check or settle with one, as --json wrote it; with a token the driver's file, or the table.",
        ),
    ],
    which: Annotated[
        str | None, typer.Argument(metavar="SCENARIO|CELL", help="With a token: what the trace is of, such as munmap:reads.")
    ] = None,
    token: Annotated[str | None, typer.Argument(help="The characters at the end of the line under a trace.")] = None,
    driver: Annotated[list[str] | None, typer.Option("--class", help="With a token: which class of the file.")] = None,
    rule: Annotated[list[str] | None, typer.Option(help="With a token: the rules that were watched, if not all (may be repeated).")] = None,
    bound: Bounds = None,
    full: Annotated[bool, typer.Option("--full", help=FULL_HELP)] = False,
    pdb: Annotated[int | None, typer.Option(min=1, help="Stop in pdb where this step begins (they count from 1).")] = None,
    shown_at: Annotated[int | None, typer.Option("--show", metavar="N", min=0, help="Print the machine after this step, and what the step changed (0: before the first).")] = None,
    picture: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw the trace as a sequence diagram: a lane for each thread.")] = None,
    page: Html = None,
) -> None:
    """Run a saved trace again (of several, the shortest), or the one that a token stands for: your own Python functions, step by step;
    every state is compared.

    The numbers at the left are those of the steps, for --pdb."""
    could_be_written(page)
    could_be_written(picture, "--svg", "trace.svg")
    if which is None:
        if driver or rule or bound:
            raise typer.BadParameter("--class, --rule and --bound are for a token; a saved trace says itself how it was made")
        title, program, violation = _saved(Path(file))
    elif token is None:
        raise typer.BadParameter(f"{which} is what a trace is of; after it comes its token")
    else:
        title, program, violation = _of_token(file, which, token, driver, rule, bounds(bound))
    if pdb is not None:
        _debug(program, violation.trace, pdb)
        raise typer.Exit(HOLDS)
    try:
        is_shown = page is not None or picture is not None or shown_at is not None
        told, data = tell_and_show(is_shown, program, title, lambda look: tell_saved(title, program, violation, look))
    except Disagreement as error:
        raise LangError(f"the trace does not fit the program any more; was the driver edited since? {error}") from None
    if shown_at is None:
        show_trace(letter(told, numbered=True, form=trace_form(full)))
    else:
        _show_machine(data, shown_at, full)
    if picture is not None:
        write_text(picture, sequence_diagram(data), "--svg", "the picture")
    if page is not None:
        write_page(page, page_data(f"{title}: {told.message}", [data]))


def _show_machine(data: dict[str, Any], number: int, full: bool) -> None:
    """The machine after a step. Raises `LangError` for a step that is not there."""
    from secondsight.report.at_step import at_step

    if number > len(data["steps"]):
        raise LangError(f"--show {number}: the trace has {len(data['steps'])} steps")
    for part in at_step(data, number, full, width()):
        show(part)


def _saved(file: Path) -> tuple[str, Program, Violation]:
    """A title, the program and the trace of a file that --json wrote."""
    traces = [trace_from_json(data) for data in parts(_read(file), "trace")]
    if not traces:
        raise LangError(f"{file} has no trace: nothing in it is broken")
    made_by, names, violation = min(traces, key=lambda trace: len(trace[2].trace))
    title, program = _program(made_by)
    if [thread.name for thread in program.threads] != names:
        raise LangError(f"{file} is a trace of another program: its threads are {', '.join(names)}")
    return title, program, violation


def _of_token(
    file: str, which: str, token: str, driver: list[str] | None, rules: list[str] | None, sizes: dict[str, int]
) -> tuple[str, Program, Violation]:
    """The same of a token."""
    from secondsight.cases import TABLES
    from secondsight.cases.own import has_tables

    if file in TABLES or has_tables(Path(file)):
        if driver or rules:
            raise typer.BadParameter("--class and --rule are for a driver; a table's cell has its own")
        made_by = settle.made_by_words(file, which, sizes)
    else:
        made_by = check.made_by_words(Path(file), which, driver, rules, sizes)
    title, program = _program(made_by)
    return title, program, violation_of(program, token)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LangError(f"{file} is not JSON: {error}") from None


def _program(made_by: dict[str, Any]) -> tuple[str, Program]:
    """The program that a trace is of, built again, and its title."""
    makers = {"check": check.program_of, "settle": settle.program_of}
    maker = makers.get(str(made_by.get("command")))
    if maker is None:
        raise LangError("the trace does not say which command made it")
    try:
        return maker(made_by)
    except (KeyError, TypeError) as error:
        raise LangError(f"the trace does not say how its program is made: {error} is missing") from None


def _debug(program: Program, trace: Trace, number: int) -> None:
    """Stop in pdb, in the thread's own code, where a step begins."""
    if number <= len(trace):
        print(f"step {number} of {len(trace)}: {program.threads[trace.steps[number - 1].thread].name}", flush=True)
    stop_at(program, trace.schedule, number)
