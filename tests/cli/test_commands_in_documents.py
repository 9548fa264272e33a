"""Every `secondsight ...` that a document names is a command that there is, with options that it has; every `make ...` is a target."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from secondsight.cli.commands import COMMANDS, app

HOUSE = Path(__file__).parent.parent.parent
DOCUMENTS = [*HOUSE.glob("*.md"), *(HOUSE / "docs").glob("*.md"), HOUSE / "bench" / "README.md"]
_BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:secondsight|make) [^`]+)`", re.DOTALL)


def said(document: Path) -> list[list[str]]:
    """The commands of a document, as words."""
    text = document.read_text()
    lines = [line.removeprefix("$ ") for block in _BLOCK.findall(text) for line in block.splitlines()]
    lines = [re.split(r" [|>#] ?|\s#\s| 2>| \.\.\.| && ", line)[0] for line in lines if line.startswith(("secondsight ", "make "))]
    outside = _BLOCK.sub("", re.sub(r"^```(?:python|pycon|text)\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    lines += [" ".join(found.split()).replace(" ...", "") for found in _INLINE.findall(outside)]
    return [shlex.split(line.partition(" && ")[0], comments=True) for line in lines]


def command(words: list[str]) -> Any:
    """The command that some words call, and the words behind it."""
    group = typer.main.get_command(app)
    context = typer.Context(group)
    made = group.get_command(context, words[0])  # type: ignore[attr-defined]
    rest = words[1:]
    while hasattr(made, "commands") and rest and rest[0] in made.commands:
        made, rest = made.commands[rest[0]], rest[1:]
    return made, rest


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_there_with_its_options(document: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    for words in said(document):
        if words[0] == "make":
            wanted = [word for word in words[1:] if "=" not in word and not word.startswith(("-", "."))]
            assert set(wanted) <= targets, words
            continue
        if words[1] in ("--version", "--install-completion", "--help"):
            continue
        assert words[1] in COMMANDS, words
        made, rest = command(words[1:])
        known = {option for parameter in made.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= known, words
