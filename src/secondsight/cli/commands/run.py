"""The command line of `secondsight run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from secondsight.cli.options import BoundTexts, Json, bounds
from secondsight.cli.searching import searches

if TYPE_CHECKING:
    from secondsight.search.request import Request

__all__ = ["run"]


@searches
def run(
    named: Annotated[
        str,
        typer.Argument(metavar="FILE|NAME", help="A Python file with @scenario functions, or one that ships: secondsight list scenarios."),
    ],
    request: Request,
    on: Annotated[str | None, typer.Option(help="Also run it on this kernel: linux-6.12, as kernel list has it, or host.")] = None,
    kernel: Annotated[Path | None, typer.Option(help="Also run it on a kernel image of your own (a bzImage).")] = None,
    headers: Annotated[Path | None, typer.Option(help="That kernel's headers, for scenarios with devices.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often to run it on the kernel, in one boot.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Decides the random pauses between operations, and random walks.")] = 1,
    release: Annotated[str | None, typer.Option(help="The model answers as this release: 6.1. Default: that of --on, or 6.12.")] = None,
    bound: BoundTexts = None,
    as_json: Json = False,
    page: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write a page too: how each outcome comes about, step by step, in a browser.")
    ] = None,
    schedule: Annotated[
        Path | None, typer.Option(help="Force this schedule, or this trace's, on the kernel: did it do as the model says?")
    ] = None,
) -> None:
    """Print every possible outcome of a scenario, and with --on how often a real kernel showed each.

    An outcome that was observed and is not possible means that the model is wrong: exit code 1. With --schedule the file may
    also be the driver's, and only that schedule is run, forced: exit code 0 confirmed, 1 refuted, 3 cannot be forced.
    """
    from secondsight.cli import run as doing

    if schedule is not None and page is not None:
        raise typer.BadParameter("--html is for outcomes; leave out --schedule")
    target = None
    if on is not None or kernel is not None or headers is not None:
        from secondsight.cli.kernel import find_kernel

        target = find_kernel(on, kernel, headers)
    if schedule is not None:
        if target is None:
            raise typer.BadParameter("--schedule FILE is forced on a kernel: name it by --on or --kernel")
        raise typer.Exit(doing.force(Path(named), schedule, target, as_json))
    raise typer.Exit(doing.run(named, request, target, runs, seed, release, bounds(bound), as_json, page))
