"""The command line of `secondsight compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["compile_"]


def compile_(
    file: Annotated[Path, typer.Argument(help="A Python file with a driver: a subclass of secondsight.Device.")],
    driver: Annotated[str | None, typer.Option("--class", metavar="NAME", help="This class of the file (default: its first).")] = None,
    adversary: Annotated[str, typer.Option(help="Together with this adversary's first scenario.")] = "munmap",
    text: Annotated[bool, typer.Option("--show", metavar="", help="Print the C: names kept, the Python line at each step.")] = False,
) -> None:
    """Compile a driver for the native executor; the result is kept in the cache folder."""
    from secondsight.cli import compile as doing

    doing.compile_(file, driver, adversary, text)
