"""A trace as data for a page: what its story says, and of every step where its thread stood and what the whole state is, in words."""

from __future__ import annotations

import inspect
import linecache
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from secondsight.lang import Record
from secondsight.lang.program import Program
from secondsight.lang.standins import unwrap
from secondsight.report.panels import Panel, Places, panels, words_of
from secondsight.report.trace import Telling, letter, short_path
from secondsight.report.words import is_harness, is_written_by_hand, short, statement

__all__ = ["Onlooker", "scene"]


@dataclass(slots=True)
class Onlooker:
    """Notes, while a trace is told, the functions that its threads are in, with their locals and their text. `look` is for `tell_result`."""

    program: Program
    stacks: list[list[dict[str, Any]]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    known: dict[tuple[str, int], int] = field(default_factory=dict)
    functions: dict[CodeType, Any] = field(default_factory=dict)
    places: Places = field(init=False)

    def __post_init__(self) -> None:
        self.places = Places(self.program)

    def look(self, frames: list[FrameType]) -> None:
        """Note where a thread stands."""
        if not self.functions:
            for instance in self.program.frontend.instances.values():
                if instance.source is not None:
                    self.functions[instance.source.__code__] = instance.source
        self.stacks.append([self._frame(frame) for frame in frames if not is_harness(self.functions.get(frame.f_code))])

    def _frame(self, frame: FrameType) -> dict[str, Any]:
        code, function = frame.f_code, self.functions.get(frame.f_code)
        names = (*code.co_varnames, *code.co_cellvars)
        seen = {name: frame.f_locals[name] for name in names if name in frame.f_locals}
        locals_ = [[name, text] for name, value in seen.items() if not name.startswith("_") and (text := self._value(value)) is not None]
        return {"name": code.co_qualname, "source": self._source(code, function), "line": frame.f_lineno, "locals": locals_}

    def _source(self, code: CodeType, function: Any) -> int:
        """The number of the text that a function is in: its whole file if it was written by hand, else its own lines."""
        own = is_written_by_hand(function)
        key = (code.co_filename, 1 if own else code.co_firstlineno)
        if key not in self.known:
            lines = linecache.getlines(code.co_filename)
            if not own:
                lines = inspect.getblock(lines[code.co_firstlineno - 1 :])
            self.known[key] = len(self.sources)
            self.sources.append(
                {"file": short_path(code.co_filename), "first": key[1], "own": own, "lines": [line.rstrip("\n") for line in lines]}
            )
        return self.known[key]

    def _value(self, value: Any) -> str | None:
        """A local in a few words; None for what says nothing."""
        value = unwrap(value)
        if isinstance(value, Record):
            return self.places.name(repr(value).strip("<>"))
        if isinstance(value, list):
            return f"[{', '.join(self._value(item) or '?' for item in value)}]"
        return "None" if value is None else short(value)


def scene(telling: Telling, onlooker: Onlooker, name: str) -> dict[str, Any]:
    """The trace as data; docs/json.md says what is in it. `name` is its name among a page's traces."""
    steps, program = telling.steps, telling.program
    with program.machine:
        shown = panels(program)
        states = [program.initial_shared, *(step.shared for step in steps)]
        tables = _tables(shown, states)
    words = words_of(program, shown, states)
    last = len(steps)
    return {
        "name": name,
        "title": telling.title,
        "rule": telling.violation.rule,
        "rule_file": telling.rule_file,
        "message": telling.message,
        "origin": telling.origin,
        "again": telling.again,
        "loop": telling.violation.loop,
        "threads": [thread.name for thread in program.threads],
        "lines": [
            {"thread": e.thread, "depth": e.depth, "text": e.text, "where": e.where, "step": min(e.step + 1, last), "mark": e.mark} for e in telling.entries
        ],
        "steps": [
            {
                "thread": step.thread,
                "choices": list(taken.choices),
                "file": short_path(step.file),
                "line": step.line,
                "statement": statement(step.file, step.line) if step.line else "",
                "calls": [event.name for event in step.events if event.kind == "call"],
                "stack": onlooker.stacks[number] if number < len(onlooker.stacks) else [],
            }
            for number, (taken, step) in enumerate(zip(telling.violation.trace.steps, steps, strict=False))
        ],
        "sources": onlooker.sources,
        "tables": tables,
        "cells": words.cells,
        "ours": [i for table in tables if table["ours"] for row in table["rows"] for i in row["cells"] if i is not None],
        "initial": words.initial,
        "changes": [[list(change) for change in changes] for changes in words.changes],
        "text": letter(telling).plain,
    }


def _tables(shown: list[Panel], states: list[bytes]) -> list[dict[str, Any]]:
    """The panels as data: their cells are numbered through the whole state; `idle` are those that stay as in a new machine."""
    tables, number = [], 0
    for panel in shown:
        rows = []
        for name, row in panel.rows:
            numbers: list[int | None] = []
            for cell in row:
                numbers.append(None if cell is None else number)
                number += cell is not None
            idle = [cell is None or all(cell.is_new(state) for state in states) for cell in row]
            rows.append({"name": name, "cells": numbers, "idle": idle})
        tables.append({"title": panel.title, "columns": panel.columns, "rows": rows, "ours": panel.ours})
    return tables
