"""The command line of `secondsight conform`."""

from __future__ import annotations

from typing import Annotated

import typer

from secondsight.cli.commands.known import RELEASES
from secondsight.cli.options import Json

__all__ = ["conform"]


def conform(
    releases: Annotated[
        list[str] | None, typer.Argument(help=f"Of which releases: {', '.join(f'linux-{r}' for r in RELEASES)}, or all.")
    ] = None,
    file: Annotated[list[str] | None, typer.Option(metavar="FILE", help="Only this file of the kernel's; may be given several times.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Seconds of random walks a file.")] = 10,
    seed: Annotated[int, typer.Option(help="Where the drawing of the walks begins.")] = 0,
    transitions: Annotated[bool, typer.Option(help="Every transition of the bounded configurations too.")] = True,
    mutants: Annotated[
        str | None, typer.Option(help="Instead: is each mutant noticed? Of the kernel's C (c) or of the model (model).")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of the mutants of each file only so many, spread evenly.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Run the kernel's own C beside the model: every step, every state and every wake-up compared.

    Debian's packaged source is fetched into the cache folder, the unmodified file is compiled for user space, and its threads
    are driven as coroutines beside the reference executor. Exit code 1: they differ."""
    from secondsight.cli import conform as doing

    return doing.conform(releases, file, seconds, seed, transitions, mutants, sample, as_json)
