"""The command line of `secondsight compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from secondsight.cli.options import AdversaryNames, BoundTexts, Full, Json, bounds
from secondsight.cli.searching import searches

if TYPE_CHECKING:
    from secondsight.search.request import Request

__all__ = ["compare"]


@searches
def compare(
    old: Annotated[str, typer.Argument(help="A Python file with a driver, or one of a git revision: HEAD~1:my_gpu.py.")],
    new: Annotated[str, typer.Argument(help="Another, or the same file as it is now.")],
    request: Request,
    driver: Annotated[list[str] | None, typer.Option("--class", metavar="NAME", help="Of files with several drivers this one; twice: the old one's name, and the new one's.")] = None,
    adversary: AdversaryNames = None,
    bound: BoundTexts = None,
    traces: Annotated[bool, typer.Option("--traces", metavar="", help="A trace of every difference, and not of the first of each kind.")] = False,
    full: Full = False,
    as_json: Json = False,
) -> None:
    """Two drivers, or two versions of one: which verdicts change, and which outcomes appear and go, each with a shortest trace.

    Exit code: 1 if a verdict is broken that was not, or by another rule; else 3 if a search did not finish, else 0.
    """
    from secondsight.cli import compare as doing

    if len(driver or ()) > 2:
        raise typer.BadParameter("--class: one name for both files, or one for each")
    raise typer.Exit(doing.compare(old, new, request, driver or [], adversary, bounds(bound), traces, full, as_json))
