"""The command line of `secondsight claim`."""

from __future__ import annotations

from typing import Annotated

import typer

from secondsight.cli.options import BoundTexts, Full, Json, bounds
from secondsight.cli.searching import bytes_of

__all__ = ["claim"]


def claim(
    file: Annotated[str, typer.Argument(help="A text with the interleaving: columns, one a thread, as a trace has them; - for the standard input.")],
    driver: Annotated[str | None, typer.Option(metavar="DRIVER.py", help="A Python file with a driver, or one of a git revision: HEAD~1:my_gpu.py.")] = None,
    kind: Annotated[str | None, typer.Option("--class", metavar="NAME", help="Of a file with several drivers this one.")] = None,
    scenario: Annotated[str | None, typer.Option(help="Only in this scenario: munmap:reads.")] = None,
    adversary: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only in the scenarios of this adversary (may be repeated).")] = None,
    table: Annotated[str | None, typer.Option(metavar="TABLE|FILE", help="Instead of a driver a table of `secondsight settle`.")] = None,
    cell: Annotated[str | None, typer.Option(metavar="ROW:COLUMN", help="Of a table only this cell.")] = None,
    bound: BoundTexts = None,
    states: Annotated[int | None, typer.Option(min=1, help="Stop in each scenario after so many states.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop in each scenario after so many seconds.")] = None,
    memory: Annotated[str, typer.Option(help="Stop when so much memory is in use: 500M, 8G.")] = "4G",
    full: Full = False,
    as_json: Json = False,
) -> None:
    """Say whether an interleaving can happen, as people put it into mails: one column a thread, the lines in order.

    Possible: the whole run that the lines are part of, and what it breaks. Impossible: the line at which it stops, and what must happen first.
    It is asked of a driver (--driver) or of a table (--table). Without --scenario, --adversary or --cell every scenario or cell is tried until one makes it
    possible. See docs/claim.md.

    Exit code: 0 possible, 1 impossible (every state was seen), 2 a line that cannot be understood, 3 not finished.
    """
    from secondsight.cli import claim as doing

    if (driver is None) == (table is None):
        raise typer.BadParameter("--driver or --table: one of them is wanted")
    wrong = [name for name, given in (("--class", kind), ("--scenario", scenario), ("--adversary", adversary)) if given] if table is not None else ["--cell"] if cell else []
    if wrong:
        raise typer.BadParameter(f"{wrong[0]} is not for {'a table' if table is not None else 'a driver'}")
    limits = doing.Limits(states, seconds, bytes_of(memory))
    raise typer.Exit(doing.claim(file, driver, kind, scenario, adversary, bounds(bound), limits, full, as_json, table, cell))
