"""One mutant tried, in a process of its own that `fates` starts: what the job on the standard input says is run, what came of it
is a line of JSON on the standard output.
"""

from __future__ import annotations

import json
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Final

from secondsight.conform import place
from secondsight.conform.errors import ConformError
from secondsight.conform.run import run
from secondsight.conform.target import Target
from secondsight.conform.targets import TARGETS
from secondsight.lang.errors import LangError, Refused

__all__ = ["main"]

STEPS: Final = 40_000
"""Steps of random walks in which a mutant has to be noticed; then every transition of the bounded configurations is tried."""
IDLE: Final = 60.0
"""Seconds of processor time after which a walk or a batch of transitions does not end: a loop of the mutant's has no end."""
MOST: Final = 400.0
"""Seconds of processor time after which a mutant is not noticed."""


class NoEnd(Exception):
    """A step of the model does not end."""


class TimeUp(Exception):
    """The time is up."""


def main() -> None:
    """Try the mutant that the standard input describes."""
    job = json.load(sys.stdin)
    target = next(kind for kind in TARGETS if kind.file == job["file"])()
    if job["text"]:
        place.STANDS_FOR[job["text"]] = job["stands_for"]
    print(json.dumps(_came(target, job)))


def _came(target: Target, job: dict[str, Any]) -> dict[str, Any]:
    """What came of it: its fate, after how many steps, how."""
    last = time.process_time()

    def on_progress(text: str) -> None:
        nonlocal last
        last = time.process_time()

    def on_timer(number: int, frame: object) -> None:
        if time.process_time() - last > IDLE:
            raise NoEnd
        if time.process_time() > MOST:
            raise TimeUp

    signal.signal(signal.SIGVTALRM, on_timer)
    signal.setitimer(signal.ITIMER_VIRTUAL, 10, 10)
    steps = 0
    try:
        for release, program in zip(job["releases"], job["programs"], strict=True):
            report = run(target, release, Path(program), seconds=float("inf"), most_steps=STEPS, small=False, on_progress=on_progress)
            steps += report.steps
            if report.disagreement is not None:
                return _fate("noticed", steps, report.disagreement.what)
    except (Refused, NameError) as error:  # a variable without a value is refused, or met first where the world is made
        return _fate("no program", 0, str(error).splitlines()[0])
    except NoEnd:
        return _fate("noticed", steps, "a step of the model does not end")
    except TimeUp:
        return _fate("not noticed", steps, "the time was up")
    except (ConformError, LangError) as error:  # the model ends with an error; a place of the C is there no more
        return _fate("noticed", steps, str(error).splitlines()[0])
    except Exception as error:
        if not _is_in(error, job["text"]):
            raise
        return _fate("noticed", steps, f"{type(error).__name__} where the world is made")
    return _fate("not noticed", steps, "")


def _is_in(error: BaseException, text: str) -> bool:
    """Whether an error was raised in a file."""
    return any(frame.filename == text for frame in traceback.extract_tb(error.__traceback__)[-1:])


def _fate(fate: str, steps: int, how: str) -> dict[str, Any]:
    return {"fate": fate, "steps": steps, "how": how}
