"""The commands: `secondsight check`, `settle`, `run`, `agree`, `conform`, `compile`, `kernel`, `replay`, `list`, `explain`, `new`; bad input is a message and exit code 2."""

from __future__ import annotations

import errno
import io
import os
import platform
import signal
import sys
import threading
import traceback
from importlib.metadata import version
from typing import Annotated

import typer

from secondsight.cli import agree, check, compile, conform, finding, kernel, new, replay, run, settle
from secondsight.cli.common import BAD_INPUT, EXIT_CODES, HOLDS, INTERRUPTED, OUR_FAULT, warn
from secondsight.kernels import KernelError
from secondsight.lang import LangError
from secondsight.scenario import ScenarioError

__all__ = ["app", "main"]

app = typer.Typer(
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"secondsight {version('secondsight')}, Python {platform.python_version()}")
        raise typer.Exit


@app.callback()
def _options(
    wanted: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")] = False,
) -> None:
    """Settle questions about sharing process memory with devices: on a model of Linux's machinery, through every interleaving, and
    on real kernels."""


app.command("check", epilog=EXIT_CODES)(check.check)
app.command("settle", epilog=EXIT_CODES)(settle.settle)
app.command("run", epilog=EXIT_CODES)(run.run)
app.command("agree", epilog=EXIT_CODES)(agree.agree)
app.command("conform", epilog=EXIT_CODES)(conform.conform)
app.command("compile", epilog=EXIT_CODES)(compile.compile_)
app.command("replay", epilog=EXIT_CODES)(replay.replay)
app.command("list", epilog=EXIT_CODES)(finding.list_)
app.command("explain", epilog=EXIT_CODES)(finding.explain)
app.command("new", epilog=EXIT_CODES)(new.new)
app.add_typer(kernel.app, name="kernel")


def main(arguments: list[str] | None = None) -> int:
    """Run one command line and give its exit code. Never a traceback for bad input."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: what was seen is printed
    _streams()
    try:
        code = app(args=arguments, prog_name="secondsight", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:
            warn("secondsight: interrupted")
        return code if isinstance(code, int) else HOLDS
    except (KeyboardInterrupt, typer.Abort):
        warn("secondsight: interrupted")
        return INTERRUPTED
    except (LangError, ScenarioError, KernelError) as error:
        warn(f"secondsight: {error}")
        return BAD_INPUT
    except (BrokenPipeError, SystemExit) as error:  # typer ends the program where a pipe was closed, and says 1, which is *broken* here
        if isinstance(error, SystemExit) and not error.code:  # and where a shell has asked what could come next
            return HOLDS
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        return _system(error)
    except Exception as error:
        if hasattr(error, "format_message"):  # a usage error of the command line
            error.show()  # type: ignore[attr-defined]
            return BAD_INPUT
        traceback.print_exc()
        warn("secondsight: this is an error in secondsight itself, not in your input; please report it with the lines above")
        return OUR_FAULT


def _streams() -> None:
    """Somewhere to write to where a stream was closed; and no character that a terminal lacks is an error."""
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _system(error: OSError) -> int:
    """The system said no: which file, and why."""
    where = f"{error.filename}: " if error.filename else ""
    hint = "; make room and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    warn(f"secondsight: {where}{error.strerror or error}{hint}")
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
