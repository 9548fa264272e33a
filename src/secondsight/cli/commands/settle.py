"""The command line of `secondsight settle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondsight.cli.options import BoundTexts, Confirm, Full, Json, bounds
from secondsight.cli.searching import searches

if TYPE_CHECKING:
    from secondsight.search.request import Request

__all__ = ["settle"]


@searches
def settle(
    request: Request,
    table: Annotated[
        str | None,
        typer.Argument(metavar="TABLE|FILE", help="One table by its name (the beginning will do), or a Python file with a CaseTable; without it, all that ship."),
    ] = None,
    bound: BoundTexts = None,
    as_json: Json = False,
    trace: Annotated[
        str | None, typer.Option(metavar="ROW:COLUMN", help="Settle only this cell and print its trace in full. The beginnings of both names will do.")
    ] = None,
    full: Full = False,
    confirmed_by: Confirm = None,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="KERNEL",
            help="What this kernel does, for every cell whose code is in it: broken ones are forced, the others' scenarios run freely. linux-6.12.",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--html", metavar="FOLDER", help="Write the tables too, and each broken cell's trace, as pages for a browser.")
    ] = None,
    invalidations: Annotated[
        Path | None,
        typer.Option(
            "--invalidations", metavar="FILE",
            help="Of a table with costs: what its designs cost under invalidations that were recorded: a line each, its time in seconds, then "
            "`waits` if its cause may wait.",
        ),
    ] = None,
) -> None:
    """Settle the design questions of the mail threads: alternatives against adversaries and properties.

    Each cell is a search through every interleaving. A table that comes out as it was reviewed exits with 0, though it
    has broken cells: they are its answer.
    """
    from secondsight.cli import settle as doing

    if trace is not None and folder is not None:
        raise typer.BadParameter("--html is for whole tables; leave out --trace")
    if on is not None and confirmed_by is not None:
        raise typer.BadParameter("--on asks about the broken cells too; leave out --confirm")
    asked, whole = on or confirmed_by, on is not None
    if trace is not None:
        raise typer.Exit(doing.settle_cell(table, trace, request, bounds(bound), as_json, full, asked, whole))
    raise typer.Exit(doing.settle(table, request, bounds(bound), as_json, full, asked, folder, whole, invalidations))
