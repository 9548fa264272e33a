"""The command line of `secondsight replay`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondsight.cli.options import BoundTexts, Full, Html, Json, bounds

__all__ = ["replay"]


def replay(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE|TABLE",
            help="A trace, or a result of check or settle with one, as --json wrote it; with a token the driver's file, or the table.",
        ),
    ],
    which: Annotated[
        str | None, typer.Argument(metavar="SCENARIO|CELL", help="With a token: what the trace is of, such as munmap:reads.")
    ] = None,
    token: Annotated[str | None, typer.Argument(help="The characters at the end of the line under a trace.")] = None,
    driver: Annotated[list[str] | None, typer.Option("--class", metavar="NAME", help="With a token: which class of the file.")] = None,
    rule: Annotated[list[str] | None, typer.Option(metavar="NAME", help="With a token: the rules that were watched, if not all (may be repeated).")] = None,
    bound: BoundTexts = None,
    full: Full = False,
    pdb: Annotated[int | None, typer.Option(min=1, help="Stop in pdb where this step begins (they count from 1).")] = None,
    shown_at: Annotated[int | None, typer.Option("--show", metavar="N", min=0, help="Print the machine after this step, and what the step changed (0: before the first).")] = None,
    picture: Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw the trace as a sequence diagram: a lane for each thread.")] = None,
    page: Html = None,
    as_json: Json = False,
) -> None:
    """Run a saved trace again (of several, the shortest), or the one that a token stands for: your own Python functions, step by step;
    every state is compared.

    The numbers at the left are those of the steps, for --pdb."""
    from secondsight.cli import replay as doing

    if which is None and (driver or rule or bound):
        raise typer.BadParameter("--class, --rule and --bound are for a token; a saved trace says itself how it was made")
    if which is not None and token is None:
        raise typer.BadParameter(f"{which} is what a trace is of; after it comes its token")
    if as_json and (pdb is not None or shown_at is not None):
        raise typer.BadParameter("--json prints the whole trace; leave out --pdb and --show")
    doing.could_be_told(picture, page)
    run = doing.saved(Path(file)) if which is None or token is None else doing.of_token(file, which, token, driver, rule, bounds(bound))
    if pdb is not None:
        doing.debug(run, pdb)
    else:
        doing.tell(run, full, shown_at, picture, page, as_json)
