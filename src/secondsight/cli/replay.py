"""`secondsight replay TRACE.json`: run a saved trace again in plain Python, or stop in pdb at one of its steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from secondsight.cli import check, settle
from secondsight.cli.common import HOLDS, parts
from secondsight.lang import LangError
from secondsight.lang.debug import stop_at
from secondsight.lang.plain import Disagreement
from secondsight.lang.program import Program
from secondsight.report import mail_of, trace_from_json
from secondsight.search import Trace

__all__ = ["replay"]


def replay(
    file: Annotated[Path, typer.Argument(help="A trace, or a result of check or settle with one, as --json wrote it.")],
    pdb: Annotated[int | None, typer.Option(min=1, help="Stop in pdb where this step begins (they count from 1).")] = None,
) -> None:
    """Run a saved trace again (of several, the shortest): your own Python functions, step by step; every state is compared.

    The numbers at the left are those of the steps, for --pdb."""
    traces = [trace_from_json(data) for data in parts(_read(file), "trace")]
    if not traces:
        raise LangError(f"{file} has no trace: nothing in it is broken")
    made_by, names, violation = min(traces, key=lambda trace: len(trace[2].trace))
    title, program = _program(made_by)
    if [thread.name for thread in program.threads] != names:
        raise LangError(f"{file} is a trace of another program: its threads are {', '.join(names)}")
    if pdb is not None:
        _debug(program, violation.trace, pdb)
        raise typer.Exit(HOLDS)
    try:
        text = mail_of(title, program, violation)
    except Disagreement as error:
        raise LangError(f"the trace does not fit the program any more; was the driver edited since? {error}") from None
    print(text, end="")


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
