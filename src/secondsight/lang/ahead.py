"""Compiling ahead: in the background, while the reference executor searches already."""

from __future__ import annotations

import atexit
import threading

from secondsight.lang.compiler import end_all
from secondsight.lang.errors import LangError
from secondsight.lang.native import load_model
from secondsight.lang.program import Program
from secondsight.lang.render_c import render_c

__all__ = ["Ahead"]

_begun: list[threading.Thread] = []


class Ahead:
    """The library of a program, without reductions, on its way: once it is there, whoever makes the program's `Native` finds it.

    `hasty`: see `Native`. Where it cannot be made, that tells why. The end of the process ends the compiler.
    """

    def __init__(self, program: Program, hasty: bool) -> None:
        self.failed = False
        self._thread = threading.Thread(target=self._load, args=(program, render_c(program).text, hasty), daemon=True)
        self._thread.start()
        _begun.append(self._thread)

    def _load(self, program: Program, text: str, hasty: bool) -> None:
        try:
            load_model(program, text, hasty)
        except LangError:
            self.failed = True

    @property
    def is_there(self) -> bool:
        """Whether the library is there."""
        return not self._thread.is_alive() and not self.failed

    def wait(self) -> None:
        """Wait until it is there, or cannot be made."""
        while self._thread.is_alive():  # in short waits, which Ctrl-C ends
            self._thread.join(0.1)


@atexit.register
def _end() -> None:
    if any(thread.is_alive() for thread in _begun):
        end_all()
        for thread in _begun:
            thread.join(2)
