"""`secondsight list KIND` and `secondsight explain NAME`: what there is, and what each is."""

from __future__ import annotations

import shutil
import textwrap
from typing import Annotated

import typer

from secondsight.cli.common import write_json
from secondsight.report import SCHEMA
from secondsight.report.catalog import KINDS, Thing, explained, things
from secondsight.report.columns import WIDTH

__all__ = ["explain", "list_", "wide"]

_NAMES = 30
"""The greatest width of a column of names."""


def _names_like(incomplete: str) -> list[str]:
    """For shells: the names of anything that begin so."""
    return [thing.name for kind in KINDS for thing in things(kind) if thing.name.startswith(incomplete)]


def list_(
    kind: Annotated[
        str, typer.Argument(metavar="|".join(KINDS), help="Of which kind.", autocompletion=lambda incomplete: [k for k in KINDS if k.startswith(incomplete)])
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON (docs/json.md).")] = False,
) -> None:
    """What there is of a kind, by name, each with a sentence; `secondsight explain NAME` says more."""
    known = things(kind)
    if as_json:
        entries = [{"name": thing.name, "summary": thing.summary} for thing in known]
        write_json({"schema": SCHEMA, "kind": "list", "of": kind, "entries": entries})
        return
    width = wide()
    names = min(_NAMES, max(len(thing.name) for thing in known), width // 2)
    for thing in known:
        first, *rest = textwrap.wrap(thing.summary, max(width - names - 2, 10)) or [""]
        if len(thing.name) > names:
            print(thing.name)
            print(" " * (names + 2) + first)
        else:
            print(f"{thing.name:<{names}}  {first}".rstrip())
        for line in rest:
            print(" " * (names + 2) + line)


def explain(
    name: Annotated[
        str,
        typer.Argument(help="A rule, an adversary, a bound, a table, a kernel's function or record, an operation, a scenario, a kernel, a word.", autocompletion=_names_like),
    ],
) -> None:
    """What a thing means, what breaks it, a small wrong driver where there is one, and where it is written."""
    print("\n\n".join(_text(thing) for thing in explained(name)))


def _text(thing: Thing) -> str:
    """A thing's heading and its paragraphs."""
    singular = {"adversaries": "adversary"}.get(thing.kind, thing.kind.removesuffix("s"))
    paragraphs = [f"{thing.name} ({singular})"]
    for paragraph in thing.tell():
        paragraphs.append(paragraph if paragraph.startswith(" ") else textwrap.fill(paragraph, wide(), break_long_words=False))
    return "\n\n".join(paragraphs)


def wide() -> int:
    """As wide as a mail, or as the terminal where that is narrower."""
    return min(WIDTH, max(shutil.get_terminal_size((WIDTH, 24)).columns, 30))
