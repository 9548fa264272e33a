"""`secondsight`: `main` runs a command line (`commands` has the table); bad input is a message and exit code 2."""

from __future__ import annotations

import gc
import os
import signal
import sys
from itertools import pairwise

from secondsight.cli.codes import BAD_INPUT, HOLDS, INTERRUPTED, OUR_FAULT, warn, warn_of

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and give its exit code. Never a traceback for bad input."""
    try:
        _begin()
        from secondsight.cli.commands import app  # here, so that Ctrl-C while it is loaded is answered as at any other moment

        code = app(args=arguments, prog_name="secondsight", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:
            warn("secondsight: interrupted")
        return code if isinstance(code, int) else HOLDS
    except KeyboardInterrupt:
        warn("secondsight: interrupted")
        return INTERRUPTED
    except (BrokenPipeError, SystemExit) as error:  # typer ends the program where a pipe was closed, and says 1, which is *broken* here
        if isinstance(error, SystemExit) and not error.code:  # and where a shell has asked what could come next
            return HOLDS
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        return _system(error)
    except Exception as error:
        return _failed(error, _wants_json(sys.argv[1:] if arguments is None else arguments))


def _wants_json(words: list[str]) -> bool:
    """Whether a command line asks for JSON."""
    return bool({"--json", "--format=json"} & set(words)) or ("--format", "json") in pairwise(words)


def _begin() -> None:
    """SIGTERM ends as Ctrl-C does, so that what was seen is printed; and there are streams.

    Garbage in cycles is looked for seldom: what is made here is mostly states, which are in none, and trees, which stay.
    """
    import threading

    gc.set_threshold(200_000, 20, 50)

    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    _streams()


def _failed(error: Exception, as_json: bool) -> int:
    """What could not be done: the user's input, or our own fault. Who has asked for JSON gets that too."""
    from typer import Abort

    from secondsight.kernels import KernelError
    from secondsight.lang import LangError
    from secondsight.scenario import ScenarioError

    if isinstance(error, Abort):
        warn("secondsight: interrupted")
        return INTERRUPTED
    if isinstance(error, (LangError, ScenarioError, KernelError)):
        text = error.whole() if isinstance(error, LangError) else str(error)
        warn_of(text)
        if as_json:
            from secondsight.cli.common import write_json
            from secondsight.report import SCHEMA

            write_json({"schema": SCHEMA, "kind": "error", "message": text})
        return BAD_INPUT
    if hasattr(error, "format_message"):  # a usage error of the command line
        error.show()  # type: ignore[attr-defined]
        return BAD_INPUT
    import traceback

    traceback.print_exception(error)
    warn("secondsight: this is an error in secondsight itself, not in your input; please report it with the lines above")
    return OUR_FAULT


def _streams() -> None:
    """Somewhere to write to where a stream was closed; and no character that a terminal lacks is an error."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    import io

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _is_of_the_cache(file: object) -> bool:
    """Whether a file is the cache folder, lies in it, or has to be there for it."""
    from pathlib import Path

    from secondsight.kernels.cache import cache_folder

    folder, path = cache_folder(), Path(file).absolute() if isinstance(file, str) else None
    return path is not None and (path.is_relative_to(folder) or folder.is_relative_to(path))


def _system(error: OSError) -> int:
    """The system said no: which file, and why."""
    import errno

    where = f"{error.filename}: " if error.filename else ""
    hint = "; make room and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
    if _is_of_the_cache(error.filename):
        hint += "; SECONDSIGHT_CACHE names another folder for what is kept"
    warn(f"secondsight: {where}{error.strerror or error}{hint}")
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
