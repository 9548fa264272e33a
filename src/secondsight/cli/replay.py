"""`secondsight replay TRACE.json`: run a saved trace again in plain Python, or stop in pdb at one of its steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from secondsight.cli import check, settle
from secondsight.cli.common import HOLDS
from secondsight.lang import LangError
from secondsight.lang.plain import Disagreement
from secondsight.lang.plain import replay as replay_plain
from secondsight.lang.program import Program
from secondsight.report import mail_of, trace_from_json
from secondsight.search import Trace

__all__ = ["replay"]


def replay(
    file: Annotated[Path, typer.Argument(help="A trace, or a result of check or settle with one, as --json wrote it.")],
    pdb: Annotated[int | None, typer.Option(min=1, help="Stop in pdb where this step begins (they count from 1).")] = None,
) -> None:
    """Run a saved trace again, the driver's own Python functions step by step, and compare every state with the saved one."""
    data = _trace_in(_read(file))
    if data is None:
        raise LangError(f"{file} has no trace: nothing in it is broken")
    made_by, names, violation = trace_from_json(data)
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


def _trace_in(data: Any) -> Any:
    """The first trace in a document."""
    if isinstance(data, dict):
        if data.get("kind") == "trace":
            return data
        data = list(data.values())
    if isinstance(data, list):
        return next((found for item in data if (found := _trace_in(item)) is not None), None)
    return None


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
    import pdb
    from types import FrameType

    if number > len(trace):
        raise LangError(f"the trace has {len(trace)} steps; there is no step {number}")

    def on_step(step: int, frame: FrameType) -> None:
        if step == number:
            pdb.Pdb().set_trace(frame)

    replay_plain(program, [(s.thread, s.choices) for s in trace.steps], trace.states, on_step)
