"""`secondsight replay TRACE.json`, `replay FILE SCENARIO TOKEN`: run a trace again in plain Python, or stop in pdb at one of its steps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from secondsight.cli import check, settle
from secondsight.cli.common import parts, show, show_trace, trace_form, width, write_json
from secondsight.cli.html import could_be_written, tell_and_show, write_page, write_text
from secondsight.lang import LangError
from secondsight.lang.debug import stop_at
from secondsight.lang.plain import Disagreement
from secondsight.lang.program import Program
from secondsight.report import trace_from_json, trace_to_json, violation_of
from secondsight.report.page import page_data
from secondsight.report.sequence import sequence_diagram
from secondsight.report.trace import letter, tell_saved
from secondsight.search import Violation

__all__ = ["TitledTrace", "could_be_told", "debug", "of_token", "saved", "tell"]


@dataclass(frozen=True, slots=True)
class TitledTrace:
    """A trace to be run again: its title, the program, what is broken there, and how the program is made (docs/json.md)."""

    title: str
    program: Program
    violation: Violation
    made_by: dict[str, Any]


def could_be_told(picture: Path | None, page: Path | None) -> None:
    """Raise `LangError` if a file that is to be written could not be."""
    could_be_written(page)
    could_be_written(picture, "--svg", "trace.svg")


def tell(run: TitledTrace, full: bool, shown_at: int | None, picture: Path | None, page: Path | None, as_json: bool) -> None:
    """TitledTrace it again, and tell it in each form that is asked for."""
    title, program, violation = run.title, run.program, run.violation
    try:
        is_shown = page is not None or picture is not None or shown_at is not None
        told, data = tell_and_show(is_shown, program, title, lambda look: tell_saved(title, program, violation, look))
    except Disagreement as error:
        raise LangError(f"the trace does not fit the program any more; was the driver edited since? {error}") from None
    if as_json:
        write_json(trace_to_json(program, violation, run.made_by))
    elif shown_at is None:
        show_trace(letter(told, numbered=True, form=trace_form(full)))
    else:
        _show_machine(data, shown_at, full)
    if picture is not None:
        write_text(picture, sequence_diagram(data), "--svg", "the picture")
    if page is not None:
        write_page(page, page_data(f"{title}: {told.message}", [data]))


def debug(run: TitledTrace, number: int) -> None:
    """Stop in pdb, in the thread's own code, where a step begins."""
    program, trace = run.program, run.violation.trace
    if number <= len(trace):
        print(f"step {number} of {len(trace)}: {program.threads[trace.steps[number - 1].thread].name}", flush=True)
    stop_at(program, trace.schedule, number)


def _show_machine(data: dict[str, Any], number: int, full: bool) -> None:
    """The machine after a step. Raises `LangError` for a step that is not there."""
    from secondsight.report.at_step import at_step

    if number > len(data["steps"]):
        raise LangError(f"--show {number}: the trace has {len(data['steps'])} steps")
    for part in at_step(data, number, full, width()):
        show(part)


def saved(file: Path) -> TitledTrace:
    """The shortest trace of a file that --json wrote."""
    traces = [trace_from_json(data) for data in parts(_read(file), "trace")]
    if not traces:
        raise LangError(f"{file} has no trace: nothing in it is broken")
    made_by, names, violation = min(traces, key=lambda trace: len(trace[2].trace))
    title, program = _program(made_by)
    if [thread.name for thread in program.threads] != names:
        raise LangError(f"{file} is a trace of another program: its threads are {', '.join(names)}")
    return TitledTrace(title, program, violation, made_by)


def of_token(
    file: str, which: str, token: str, driver: list[str] | None, rules: list[str] | None, sizes: dict[str, int]
) -> TitledTrace:
    """The trace that a token stands for."""
    from secondsight.cases import TABLES
    from secondsight.cases.own import has_tables

    if file in TABLES or has_tables(Path(file)):
        if driver or rules:
            raise typer.BadParameter("--class and --rule are for a driver; a table's cell has its own")
        made_by = settle.made_by_words(file, which, sizes)
    else:
        made_by = check.made_by_words(Path(file), which, driver, rules, sizes)
    title, program = _program(made_by)
    return TitledTrace(title, program, violation_of(program, token), made_by)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        if file.suffix == ".py":
            raise LangError(f"{file} is a Python file: after it come a scenario and a token, as in the line under a trace") from None
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
