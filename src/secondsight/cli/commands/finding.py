"""The command lines of `secondsight list` and `secondsight explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from secondsight.cli.commands.known import THING_KINDS
from secondsight.cli.options import Json

__all__ = ["explain", "list_"]


def _names_like(incomplete: str) -> list[str]:
    """For shells: the names of anything that begin so."""
    from secondsight.report.catalog import KINDS, things

    return [thing.name for kind in KINDS for thing in things(kind) if thing.name.startswith(incomplete)]


def list_(
    kind: Annotated[
        str, typer.Argument(metavar="|".join(THING_KINDS), help="Of which kind.", autocompletion=lambda incomplete: [k for k in THING_KINDS if k.startswith(incomplete)])
    ],
    as_json: Json = False,
) -> None:
    """What there is of a kind, by name, each with a sentence; `secondsight explain NAME` says more."""
    from secondsight.cli import finding as doing

    doing.list_(kind, as_json)


def explain(
    name: Annotated[
        str,
        typer.Argument(help="A rule, an adversary, a bound, a table, a kernel's function or record, an operation, a scenario, a kernel, an error, a word.", autocompletion=_names_like),
    ],
    as_json: Json = False,
) -> None:
    """What a thing means, what breaks it, a small wrong driver where there is one, and where it is written."""
    from secondsight.cli import finding as doing

    doing.explain(name, as_json)
