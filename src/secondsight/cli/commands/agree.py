"""The command line of `secondsight agree`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from secondsight.cli.commands.known import AGREE_KINDS

__all__ = ["agree"]


def agree(
    on: Annotated[str | None, typer.Option(help="Kernels, joined by commas: linux-6.12,linux-6.1. Without: what is recorded.")] = None,
    runs: Annotated[int, typer.Option(help="Scenarios of each kind, on each kernel.", min=1)] = 1000,
    seed: Annotated[int, typer.Option(help="Which scenarios: number i of a seed is always the same.")] = 1,
    kinds: Annotated[str, typer.Option(help=f"Which kinds, joined by commas: {', '.join(AGREE_KINDS)}.")] = ",".join(AGREE_KINDS),
    boots: Annotated[int | None, typer.Option(help="Boots of a kernel at once; as many as there are processors.", min=1)] = None,
    seconds: Annotated[float | None, typer.Option(help="No new work after so long, for each kernel and kind.")] = None,
    db: Annotated[Path | None, typer.Option(help="The SQLite file of campaigns; agree.sqlite in the cache folder.")] = None,
    json: Annotated[bool, typer.Option("--json", metavar="", help="Results for machines.")] = False,
) -> int:
    """Run drawn scenarios on the model and on kernels. One thread: the outcome must be equal, error codes included. Several:
    what is observed must be possible. Disagreements are made small and printed as scenarios. What was done is kept in a file,
    and the same command goes on from there."""
    from secondsight.cli import agree as doing

    return doing.agree(on, runs, seed, kinds, boots, seconds, db, json)
