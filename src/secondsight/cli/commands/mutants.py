"""The command line of `secondsight mutants`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondsight.cli.options import AdversaryNames, BoundTexts, Json, bounds
from secondsight.cli.searching import searches

if TYPE_CHECKING:
    from secondsight.search.request import Request

__all__ = ["mutants"]


@searches
def mutants(
    file: Annotated[Path, typer.Argument(help="A Python file with a driver that holds.")],
    request: Request,
    driver: Annotated[list[str] | None, typer.Option("--class", metavar="NAME", help="Only this class of the file (may be repeated).")] = None,
    adversary: AdversaryNames = None,
    bound: BoundTexts = None,
    as_json: Json = False,
) -> None:
    """A driver with one statement dropped, swapped, out of its lock, or a test negated: what no adversary notices is not needed, or not tried.

    Exit code: 0 if every mutant is noticed, 1 if one survives, 2 if the driver is broken as it is, 3 if a search did not finish.
    """
    from secondsight.cli import mutants as doing

    raise typer.Exit(doing.mutants(file, request, driver, adversary, bounds(bound), as_json))
