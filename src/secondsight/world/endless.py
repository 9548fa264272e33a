"""What runs straight through, before there are threads, must come to an end: nobody else would stop it.

A search has limits, and knows who goes round for ever; a scenario's setup is plain execution, once, while its program is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from secondsight.lang.errors import LangError

__all__ = ["ending"]

MOST = 300_000
"""Calls of one operation, and lines of a driver's own: a loop may call nothing. The largest that ship make a few thousand."""

_ROOMS = ("secondsight.linux.", "secondsight.lang.")


TraceFunction = Callable[[FrameType, str, Any], Any]


def _is_ours(frame: FrameType) -> bool:
    return f"{frame.f_globals.get('__name__')}.".startswith(_ROOMS)


@contextmanager
def ending(what: str) -> Iterator[None]:
    """Raises `LangError`, with the line of a driver that it has come to, for what makes more than `MOST` calls, or runs so many lines of a driver."""
    steps = 0

    def traced(frame: FrameType, event: str, argument: Any) -> TraceFunction | None:
        nonlocal steps
        steps += 1
        if steps > MOST:
            at: FrameType | None = frame
            while at is not None and _is_ours(at):
                at = at.f_back
            at = at or frame
            raise LangError(
                f"{at.f_code.co_filename}:{at.f_lineno}: {what} does not come to an end, with nothing else going on; "
                "it is part of the scenario's setup, before any thread"
            )
        return None if _is_ours(frame) else traced

    before = sys.gettrace()
    sys.settrace(traced)
    try:
        yield
    finally:
        sys.settrace(before)
