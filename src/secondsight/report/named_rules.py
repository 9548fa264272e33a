"""The rules that are none of the contract: those that the machinery and the tables require, and those of the language itself.

They are collected from the sources, so that a new one is explained too.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import secondsight
from secondsight.lang import errors
from secondsight.lang.errors import LangError

__all__ = ["LANGUAGE", "Requirement", "error_classes", "required"]

_HOUSE = Path(secondsight.__file__).parent
_WHERE = ("lang", "linux", "devices", "world", "contract", "cases")

LANGUAGE: Mapping[str, str] = {
    "use-after-free": "A field of a record is read or written, and the record was given back to its pool. A trace says which line gave it back.",
    "double-free": "A record is given back to its pool that had been given back before. A trace says which line did it first.",
    "none-followed": "A reference that is None is followed: in C this would be a NULL dereference.",
    "assertion": "An `assert` of the driver or of the model does not hold. Its message is the text after the comma.",
}
"""What is required without a `require`: name and meaning."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A `require`: the function that has it, where it is (`linux/hmm.py:252`), and what is said when it is broken."""

    function: str
    place: str
    message: str


@cache
def required() -> Mapping[str, tuple[Requirement, ...]]:
    """Every rule that a `require` of the model names, with those that name it."""
    known: dict[str, list[Requirement]] = {}
    for file in (file for folder in _WHERE for file in sorted((_HOUSE / folder).rglob("*.py"))):
        text = file.read_text(encoding="utf-8")
        if "require(" in text:
            for name, one in _in(ast.parse(text), "", str(file.relative_to(_HOUSE))):
                known.setdefault(name, []).append(one)
    return {name: tuple(several) for name, several in sorted(known.items())}


def _in(node: ast.AST, function: str, file: str) -> Iterator[tuple[str, Requirement]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and getattr(child.func, "id", None) == "require":
            match [one.value for one in child.args if isinstance(one, ast.Constant)]:
                case [str(name), *rest]:
                    yield name, Requirement(function, f"{file}:{child.lineno}", str(rest[0]) if rest else name)
        yield from _in(child, child.name if isinstance(child, ast.FunctionDef) else function, file)


def error_classes() -> list[type[LangError]]:
    """The errors of the language that a message names by their class."""
    known = [getattr(errors, name) for name in errors.__all__]
    return [one for one in known if isinstance(one, type) and issubclass(one, LangError) and inspect.getdoc(one)]
