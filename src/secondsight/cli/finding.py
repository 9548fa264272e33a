"""`secondsight list KIND` and `secondsight explain NAME`: what there is, and what each is."""

from __future__ import annotations

import shutil
import textwrap

from secondsight.cli.common import write_json
from secondsight.report import SCHEMA
from secondsight.report.catalog import Thing, explained, things
from secondsight.report.columns import WIDTH

__all__ = ["explain", "list_", "wide"]

_NAMES = 30
"""The greatest width of a column of names."""


def list_(kind: str, as_json: bool) -> None:
    """Print what there is of a kind."""
    known = things(kind)
    if as_json:
        entries = [{"name": thing.name, "summary": thing.summary} for thing in known]
        write_json({"schema": SCHEMA, "kind": "list", "of": known[0].kind, "entries": entries})
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


def explain(name: str, as_json: bool) -> None:
    """Print what everything of a name is."""
    if as_json:
        entries = [{"of": one.kind, "name": one.name, "summary": one.summary, "paragraphs": list(one.tell())} for one in explained(name)]
        write_json({"schema": SCHEMA, "kind": "explain", "entries": entries})
        return
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
