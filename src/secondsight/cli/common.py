"""What the commands share: exit codes, consoles, progress on stderr, and errors as messages."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, ClassVar

from rich.console import Console, RenderableType
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from secondsight.cli.codes import BAD_INPUT, BROKEN, EXIT_CODES, HOLDS, INTERRUPTED, NOT_FINISHED, OUR_FAULT, warn, warn_of
from secondsight.report import WIDEST, Form
from secondsight.report.columns import WIDTH
from secondsight.report.tables import plain
from secondsight.search import Growth, Progress, Result, Verdict

__all__ = [
    "BAD_INPUT", "BROKEN", "EXIT_CODES", "HOLDS", "INTERRUPTED", "NOT_FINISHED", "OUR_FAULT",
    "Running", "exit_code", "out", "parts", "search_progress", "show", "show_trace", "trace_form", "warn", "warn_of", "width", "write_json",
]  # fmt: skip

_SHOW_AFTER = 1.0
_LINE_EVERY = 10.0
_NARROWEST = 32  # columns; a narrower terminal breaks the lines itself
_BAR_FROM = 60  # columns; on a narrower terminal the words alone


def out() -> Console:
    """The console for results: stdout, as wide as `width` says."""
    return Console(width=width(), highlight=False, soft_wrap=False, emoji=False, markup=False)


def width() -> int:
    """How wide results are: on a terminal as wide as it is, within limits; as a mail in a pipe or a file."""
    if not Console().is_terminal:
        return WIDTH
    return max(_NARROWEST, min(WIDEST, shutil.get_terminal_size((WIDTH, 24)).columns))


def trace_form(full: bool) -> Form:
    """The form of a trace for who looks at it."""
    return Form(width(), folded=not full)


def show_trace(trace: Text) -> None:
    """Print a trace: with colours on a terminal, bare otherwise."""
    Running.clear()
    console = out()
    if console.is_terminal:
        console.print(trace, end="", soft_wrap=True)
    else:
        print(trace.plain, end="")


def show(renderable: RenderableType, style: str | None = None) -> None:
    """Print text or a table: styled on a terminal, bare otherwise. A bar that is shown goes first."""
    Running.clear()
    console = out()
    if console.is_terminal:
        console.print(renderable, style=style)
    else:
        print(plain(renderable), end="")


def write_json(data: Any) -> None:
    """A result for machines, on stdout."""
    print(json.dumps(data, indent=1))


def exit_code(results: Iterable[Result | None]) -> int:
    """The exit code of several searches; see `EXIT_CODES`."""
    seen = [result for result in results if result is not None]
    if any(result.reason == "interrupted" for result in seen):
        return INTERRUPTED
    if any(result.verdict is Verdict.BROKEN for result in seen):
        return BROKEN
    if any(result.error is not None for result in seen):
        return BAD_INPUT
    return NOT_FINISHED if any(result.verdict is Verdict.NOT_FINISHED for result in seen) else HOLDS


class Running:
    """Progress on stderr for whatever takes more than a second: a bar on a terminal, else a line now and then.

    `forks`: processes are forked meanwhile, so no thread draws: the bar is drawn when it is told something. There is no bar where the results go through a pipe: what reads them (less, tee) may write on the same terminal.
    """

    _shown: ClassVar[Bar | None] = None

    def __init__(self, forks: bool = False) -> None:
        self.forks = forks
        self.console = Console(stderr=True, highlight=False, emoji=False, markup=False)
        self.started = self.told = time.monotonic()
        self.known: set[str] = set()
        self.draws = self.console.is_terminal and not self.console.is_dumb_terminal and not _is_pipe(sys.stdout)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.clear()

    @classmethod
    def clear(cls) -> None:
        """Take the bar from the screen, if there is one: something else is about to be printed. The next `say` shows it again."""
        if Running._shown is not None:
            Running._shown.stop()
            Running._shown = None

    def grows(self, what: Growth) -> None:
        """Say on stderr what makes the states grow, once of each number: for `Request.on_growth`."""
        if what.path not in self.known:
            self.known.add(what.path)
            self.clear()
            warn(f"note: {what}")

    def say(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """How far it is, `done` of `total` where that is known; shown when it is time."""
        now = time.monotonic()
        if now - self.started < _SHOW_AFTER:
            return
        if self.draws:
            if Running._shown is None:
                line = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1))
                columns = (BarColumn(20), line) if self.console.width >= _BAR_FROM else (line,)
                Running._shown = Bar(*columns, console=self.console, transient=True, expand=True, auto_refresh=not self.forks)
                Running._shown.add_task(text, total=None)
                Running._shown.start()
            Running._shown.update(Running._shown.task_ids[0], description=text, completed=done, total=total, refresh=True)
        elif now - self.told >= _LINE_EVERY:
            self.told = now
            warn(text)


def _is_pipe(stream: Any) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def search_progress(label: str, progress: Progress) -> str:
    """A search's progress in a line: `munmap: 1,234,567 states, 310,000/s, frontier 41,310, depth 22, 4 s`."""
    rate = progress.states / progress.seconds if progress.seconds else 0
    return (
        f"{label}: {progress.states:,} states, {rate:,.0f}/s, frontier {progress.frontier:,}, "
        f"depth {progress.depth}, {progress.seconds:.0f} s"
    )


def parts(data: Any, kind: str) -> Iterator[Any]:
    """Every part of a JSON document that is of a kind: traces, schedules."""
    if isinstance(data, dict) and data.get("kind") == kind:
        yield data
    elif isinstance(data, dict | list):
        for item in data.values() if isinstance(data, dict) else data:
            yield from parts(item, kind)
