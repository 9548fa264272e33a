"""The command line of `secondsight check`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondsight.cli.annotations import FORMATS
from secondsight.cli.options import AdversaryNames, BoundTexts, Confirm, Full, Html, Json, bounds
from secondsight.cli.searching import searches

if TYPE_CHECKING:
    from secondsight.search.request import Request

__all__ = ["check"]


@searches
def check(
    context: typer.Context,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE|FOLDER...", help="Python files with drivers: subclasses of secondsight.Device; or folders of them.")
    ],
    request: Request,
    driver: Annotated[list[str] | None, typer.Option("--class", metavar="NAME", help="Only this class of the file (may be repeated).")] = None,
    rule: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this rule of the contract (may be repeated).")] = None,
    adversary: AdversaryNames = None,
    bound: BoundTexts = None,
    again: Annotated[bool, typer.Option("--again", metavar="", help="Search anew, although nothing has changed since a result was kept.")] = False,
    as_json: Json = False,
    form: Annotated[
        str, typer.Option("--format", metavar="|".join(FORMATS), help="; ".join(f"{name}: {what}" for name, what in FORMATS.items()) + ".")
    ] = "text",
    full: Full = False,
    on: Confirm = None,
    page: Html = None,
    again_and_again: Annotated[
        bool, typer.Option("--watch", metavar="", help="Check again whenever a Python file of these, or beside them, changes; until Ctrl-C.")
    ] = False,
) -> None:
    """Run a driver through every interleaving with each adversary; a broken rule comes back as a shortest trace."""
    from secondsight.cli import check as doing
    from secondsight.cli.watch import watch

    if again_and_again:
        watch(files, sys.argv[1:])
    if as_json and getattr(context.get_parameter_source("form"), "name", "") == "DEFAULT_MAP":
        form = "json"
    if form not in FORMATS or (as_json and form not in ("text", "json")):
        raise typer.BadParameter(f"--format {form}{' and --json' * as_json}: one of {', '.join(FORMATS)} is wanted")
    form = "json" if as_json else form
    raise typer.Exit(doing.check(files, request.but(kept=not again), driver, rule, adversary, bounds(bound), form, full, on, page))
