"""The command line of `secondsight model`."""

from __future__ import annotations

from typing import Annotated

import typer

from secondsight.cli.options import Json

__all__ = ["model"]


def model(
    name: Annotated[str | None, typer.Argument(help="A file of the kernel's (mm/hmm.c), a file of linux/ here, or a function; by default everything.")] = None,
    as_json: Json = False,
) -> None:
    """Every kernel function that is modelled, with its file, the release it was read from, its judge, and what it leaves out."""
    from secondsight.cli import model as doing

    doing.model(name, as_json)
