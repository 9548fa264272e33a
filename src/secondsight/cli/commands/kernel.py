"""The command line of `secondsight kernel`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondsight.cli.codes import EXIT_CODES
from secondsight.cli.commands.known import BUILDABLE, RELEASES
from secondsight.cli.options import Json

__all__ = ["app"]

app = typer.Typer(help="Real kernels to run scenarios on.", no_args_is_help=True, add_completion=False, epilog=EXIT_CODES)


@app.command("get", epilog=EXIT_CODES)
def get(
    name: Annotated[str, typer.Argument(help=f"Which one: {', '.join(RELEASES)}.")],
    kernel: Annotated[Path | None, typer.Option(help="Only look whether this image of your own can be used.")] = None,
    headers: Annotated[Path | None, typer.Option(help="And these headers of its own, for modules.")] = None,
) -> None:
    """Fetch a Debian kernel and its headers with the machine's own package client into the cache folder; no root is needed."""
    from secondsight.cli import kernel as doing

    doing.fetch(name, kernel, headers)


@app.command("build", epilog=EXIT_CODES)
def build(name: Annotated[str, typer.Argument(help=f"Which release: {', '.join(BUILDABLE)}.")]) -> None:
    """Build a kernel for the purpose from Debian's packaged source: with the kernel's test devices and its own checks.

    It takes 6 minutes on two cores, and 4 GB of disk meanwhile."""
    from secondsight.cli import kernel as doing

    doing.make(name)


@app.command("list", epilog=EXIT_CODES)
def list_(as_json: Json = False) -> None:
    """The kernels that there can be: which are here, what each can run, and how to get it."""
    from secondsight.cli import kernel as doing

    doing.catalog(as_json)


@app.command("selftest", epilog=EXIT_CODES)
def selftest(
    name: Annotated[str, typer.Argument(help=f"On which kernel: {', '.join(f'{release}-own' for release in BUILDABLE)}.")], as_json: Json = False
) -> None:
    """Build the kernel's own tests of HMM and udmabuf from its packaged source, and run them on it.

    Beside each verdict stands the scenario that asserts the same and what it did in the same boot, or what the model misses
    for one (docs/hmm-tests.md)."""
    from secondsight.cli import kernel as doing

    raise typer.Exit(doing.selftests(name, as_json))
