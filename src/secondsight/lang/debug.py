"""Stopping in `pdb` at a step of a trace: in the user's own function, on the user's own line, with the user's own locals.

`stop_at(program, schedule, 7)` replays a schedule and stops where its seventh step begins. From there `next`, `step`,
`print` and `where` are as ever; `continue` runs on to the end of the schedule. While one stops, the other threads stand
where the schedule has brought them, and module-level state (`with machine:`) is that of the moment.
"""

from __future__ import annotations

import bdb
import pdb
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

from secondsight.lang.arrays import Array
from secondsight.lang.errors import LangError
from secondsight.lang.plain import PlainRun, PlainStep
from secondsight.lang.program import Program
from secondsight.lang.records import Record
from secondsight.lang.types import IntType, SizedInt, Type

__all__ = ["Debugger", "described", "stop_at"]


class Debugger(pdb.Pdb):
    """`pdb`, to which records and arrays are what is in them, and not only where they are."""

    def do_p(self, arg: str) -> None:
        """p expression: print the value of the expression."""
        try:
            self.message(described(self._getval(arg)))
        except Exception:
            return  # it has been told

    do_pp = do_p

    def displayhook(self, obj: object) -> None:
        """What is typed as it is: print its value, if it has one."""
        if obj is not None:
            self.message(described(obj))


def described(thing: object) -> str:
    """A record with its fields, an array with its elements; what lies in them as a whole is where it is."""
    if isinstance(thing, Record):
        known = type(thing).fields()
        return f"{thing!r} " + ", ".join(f"{name}={_brief(thing.__dict__[name], kind)}" for name, kind in known.items())
    if isinstance(thing, Array):
        return f"{thing!r} [{', '.join(_brief(item, thing._type.element) for item in thing._items)}]"
    return repr(thing)


def _brief(value: Any, kind: Type) -> str:
    """A value of a field or an element."""
    return kind.show(int(value)) if isinstance(kind, (IntType, SizedInt)) else repr(value)


def stop_at(
    program: Program, schedule: Iterable[tuple[int, tuple[int, ...]]], number: int, debugger: pdb.Pdb | None = None
) -> list[PlainStep]:
    """Replay a schedule of (thread, choices) and stop in the debugger where step `number` (from 1) begins.

    Returns the steps as they ran; `quit` in the debugger ends the run after the steps so far. Raises `LangError` when the
    schedule has no such step.
    """
    steps = list(schedule)
    if not 1 <= number <= len(steps):
        raise LangError(f"there is no step {number}: the trace has steps 1 to {len(steps)}")
    chosen = debugger or Debugger()

    def on_step(at: int, frame: FrameType) -> None:
        if at == number:
            _stop(chosen, frame)

    with PlainRun(program, on_step) as run:
        try:
            for thread, choices in steps:
                if run.step(thread, choices).error is not None:
                    break
        except bdb.BdbQuit:
            pass
        finally:
            sys.settrace(None)
        return run.steps


def _stop(debugger: pdb.Pdb, frame: FrameType) -> None:
    """Talk to the user at a frame, which is about to run its present line, and go on as was asked for."""
    debugger.reset()
    at: FrameType | None = frame
    while at is not None:
        at.f_trace = debugger.trace_dispatch
        debugger.botframe = at
        at = at.f_back
    debugger.set_step()
    debugger.interaction(frame, None)
    if debugger.quitting:
        raise bdb.BdbQuit
    if debugger.stoplineno != -1 or debugger.breaks:
        sys.settrace(debugger.trace_dispatch)
