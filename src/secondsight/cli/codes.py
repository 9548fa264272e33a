"""Exit codes, and messages for people: what the commands need before anything of the model is loaded."""

from __future__ import annotations

import os
import re
import sys

__all__ = ["BAD_INPUT", "BROKEN", "EXIT_CODES", "HOLDS", "INTERRUPTED", "NOT_FINISHED", "OUR_FAULT", "warn", "warn_of"]

HOLDS, BROKEN, BAD_INPUT, NOT_FINISHED, OUR_FAULT, INTERRUPTED = 0, 1, 2, 3, 70, 130

EXIT_CODES = (
    "Exit code: 0 holds, 1 broken, 2 bad input, 3 not finished (a limit was reached), 70 an error in secondsight itself, "
    "130 interrupted (Ctrl-C or SIGTERM; what was seen so far is printed). Of several results the worst counts: "
    "broken, then bad input (such as a bound that is too small), then not finished, then holds."
)


_PLACE = re.compile(r"\S+:\d+:")


def warn_of(text: str) -> None:
    """What is wrong with the input, on stderr. What begins with a place in a file stands at the line's beginning, where editors look for it; files
    of the folder at hand, and below it, are named from there."""
    here = os.path.join(os.getcwd(), "")
    text = "\n".join(line.removeprefix(here) for line in text.split("\n"))
    warn(text if _PLACE.match(text) else f"secondsight: {text}")


def warn(message: str) -> None:
    """A message for people, on stderr. That nobody reads it (`2>&1 | head`) does not change how the command ends."""
    try:
        print(message, file=sys.stderr, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
