"""Work shared out to processes, a piece at a time. Who is killed (by the system, where memory runs out) loses his piece alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

__all__ = ["shared_out"]

PATIENCE = 5.0
"""Seconds that a process has to end in when it is asked to."""

TICK = 0.5
"""Seconds after which who waits is told that the work goes on."""

Say = Callable[[Any], None]
"""Tells the parent how far a piece is."""

Piece = TypeVar("Piece")
Made = TypeVar("Made")


def shared_out(
    pieces: Iterable[Piece], do: Callable[[Piece, Say], Made], processes: int, lost: Callable[[Piece, int], Made],
    on_wait: Callable[[list[tuple[Piece, Any]]], None] | None = None, kind: Callable[[Piece], object] | None = None,
) -> Generator[Made, None, None]:  # fmt: skip
    """`do(piece, say)` of each, by so many processes, as they come. `lost(piece, status)` stands for what a process did not live to give.

    A process is given pieces of one `kind` after the other, if it can be: it keeps what it made for them. `on_wait` is called every half second, with the pieces that are at work, and what `say` was last told of each (None: nothing yet). `do` is a function that a module has, its results can be pickled. What it raises is raised here. The processes end when
    this iterator does, however that is; Ctrl-C is for the caller alone.
    """
    left, crew, told = list(pieces), _Crew(do, kind or (lambda piece: None)), time.monotonic()
    try:
        while left or crew.at_work:
            while left and len(crew.at_work) < processes:
                crew.give(left)
            ready = wait(list(crew.at_work), None if on_wait is None else max(0.0, told + TICK - time.monotonic()))
            if on_wait is not None and time.monotonic() - told >= TICK:
                told = time.monotonic()
                on_wait(crew.how_far())
            for line in ready:
                assert isinstance(line, Connection)
                piece, answer, status = crew.take(line)
                if isinstance(answer, Said):
                    continue
                if answer is None:
                    yield lost(piece, status)
                elif isinstance(answer[0], BaseException):
                    raise answer[0]
                else:
                    yield answer[0]
    finally:
        crew.end()


@dataclass(frozen=True, slots=True)
class Said:
    """How far a piece is, on its way to the parent."""

    what: Any


class _Crew:
    """The processes, each at the end of a line."""

    def __init__(self, do: Callable[[Any, Say], Any], kind: Callable[[Any], object]) -> None:
        self._do, self._kind = do, kind
        self._context = get_context("fork")
        self._processes: dict[Connection, Any] = {}
        self.at_work: dict[Connection, Any] = {}
        """Who has something to do, and what."""
        self._said: dict[Connection, Any] = {}
        self._last: dict[Connection, object] = {}
        """Of what kind the last piece was that somebody had."""

    def give(self, left: list[Any]) -> None:
        """Have somebody do one of the pieces that are left: who is free, else somebody new."""
        for line in [line for line in self._processes if line not in self.at_work]:
            piece = self._take_one(left, line)
            with suppress(OSError):
                line.send(piece)
                self.at_work[line] = piece
                return
            self._gone(line)
            left.insert(0, piece)
        piece = self._take_one(left, None)
        ours, theirs = self._context.Pipe()
        others = [*self._processes, ours]
        process = self._context.Process(target=_work, args=(theirs, others, self._do), daemon=True)
        process.start()
        theirs.close()
        self._processes[ours] = process
        self._last[ours] = self._kind(piece)
        ours.send(piece)
        self.at_work[ours] = piece

    def _take_one(self, left: list[Any], line: Connection | None) -> Any:
        """The piece for somebody: of the kind that he had before, else of one that nobody has, else the first."""
        kinds = [self._kind(piece) for piece in left]
        others = {kind for other, kind in self._last.items() if other is not line}
        own = [n for n, kind in enumerate(kinds) if line is not None and kind == self._last.get(line)]
        new = [n for n, kind in enumerate(kinds) if kind not in others]
        taken = (own or new or [0])[0]
        if line is not None:
            self._last[line] = kinds[taken]
        return left.pop(taken)

    def take(self, line: Connection) -> tuple[Any, tuple[Any] | Said | None, int]:
        """What somebody has to do, what he made of it (None: he is gone), or how far he is, and his exit status."""
        try:
            answer = line.recv()
        except (EOFError, OSError):
            answer = None
        if isinstance(answer, Said):
            self._said[line] = answer.what
            return self.at_work[line], answer, 0
        self._said.pop(line, None)
        return self.at_work.pop(line), answer, 0 if answer is not None else self._gone(line)

    def how_far(self) -> list[tuple[Any, Any]]:
        """The pieces that are at work, each with what was said of it last."""
        return [(piece, self._said.get(line)) for line, piece in self.at_work.items()]

    def _gone(self, line: Connection) -> int:
        process = self._processes.pop(line)
        self._last.pop(line, None)
        line.close()
        process.join()
        status: int = process.exitcode
        return status

    def end(self) -> None:
        """Ask all to end, and see to it."""
        for line in self._processes:
            line.close()
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
        self._processes.clear()
        self.at_work.clear()


def _work(line: Connection, others: list[Connection], do: Callable[[Any, Say], Any]) -> None:
    """In a process: pieces come, results go, until the line closes. Of Ctrl-C only the parent hears; SIGTERM ends what is done."""
    doing = False

    def end(*_: object) -> None:
        nonlocal doing
        if not doing:
            os._exit(0)
        doing = False
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    for other in others:
        other.close()  # or they would not be closed when the parent closes them, or is gone
    with suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            piece = line.recv()
            doing = True
            try:
                answer = (do(piece, lambda what: line.send(Said(what))),)
            except Exception as error:
                answer = (error,)
            doing = False
            line.send(answer)
