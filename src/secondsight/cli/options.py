"""The options that several commands have. Nothing of the model is loaded for them: `--help` shows them at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AdversaryNames", "BoundTexts", "Confirm", "Full", "Html", "Json", "bounds"]

BoundTexts = Annotated[
    list[str] | None,
    typer.Option("--bound", metavar="NAME=N", help="Decide a bound of the machine by hand: frames=8. Others are raised when they run out."),
]
AdversaryNames = Annotated[list[str] | None, typer.Option("--adversary", metavar="NAME", help="Only this adversary (may be repeated).")]
Confirm = Annotated[
    str | None, typer.Option("--confirm", metavar="KERNEL", help="Force each counterexample on this kernel, in QEMU: did it do the same? linux-6.12.")
]
Full = Annotated[bool, typer.Option("--full", metavar="", help="Show every line of a trace; long runs of one thread are folded otherwise.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page too that steps through the trace in a browser: one file, complete in itself.")
]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print the result as JSON (docs/json.md).")]


def bounds(given: Iterable[str] | None) -> dict[str, int]:
    """The machine's bounds that `--bound NAME=N` decides."""
    found = {}
    for text in given or ():
        name, equals, number = text.partition("=")
        if not equals or not number.isdecimal():
            raise typer.BadParameter(f"--bound {text}: NAME=N is wanted, such as frames=8")
        found[name] = int(number)
    return found
