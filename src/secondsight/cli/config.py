"""`[tool.secondsight]` in `pyproject.toml`: what `check` takes where the command line does not say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from secondsight.cli.codes import warn

__all__ = ["KEYS", "defaults"]

FILE = "pyproject.toml"
TABLE = "tool.secondsight"


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(one) for one in value)


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_count(one) for one in value.values())


KEYS: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    "adversary": ("adversary", _are_texts, 'a list of names: ["munmap", "exit"]'),
    "bound": ("bound", _are_counts, "a table of numbers: { frames = 8 }"),
    "executor": ("executor", _is_text, 'a name: "native"'),
    "format": ("form", _is_text, 'a name: "github"'),
    "full": ("full", lambda value: isinstance(value, bool), "true or false"),
    "memory": ("memory", _is_text, 'a text: "8G"'),
    "seconds": ("seconds", _is_number, "a number"),
    "states": ("states", _is_count, "a whole number"),
    "workers": ("workers", _is_count, "a whole number"),
}
"""By key the parameter of `check`, what it takes, and that in words. `rule` and `class` are not there: a *holds* would be of fewer rules, or of
another class, than who reads it thinks."""


def defaults(here: Path) -> dict[str, Any]:
    """What the nearest `pyproject.toml` of a folder, or of those it lies in, says for `check`, by its parameters; said on stderr too.

    Raises `LangError` for a key that is not known, or a value of another form.
    """
    file = next((folder / FILE for folder in (here, *here.parents) if (folder / FILE).is_file()), None)
    table = {} if file is None else _table(file)
    for key, value in table.items():
        if key not in KEYS:
            raise _wrong(file, f"{key} is not known; there are {', '.join(KEYS)}")
        _, is_right, wanted = KEYS[key]
        if not is_right(value):
            raise _wrong(file, f"{key} = {value!r}: {wanted} is wanted")
    if table:
        warn(f"note: {', '.join(table)}: as {file} says")
    return {KEYS[key][0]: _as_given(value) for key, value in table.items()}


def _as_given(value: Any) -> Any:
    """A value as the command line gives it."""
    return [f"{name}={number}" for name, number in value.items()] if isinstance(value, dict) else value


def _table(file: Path) -> dict[str, Any]:
    """What the file has for us; what is wrong with one that has nothing is its owner's matter."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    if TABLE not in text:
        return {}
    import tomllib

    try:
        found = tomllib.loads(text).get("tool", {}).get("secondsight", {})
    except tomllib.TOMLDecodeError as error:
        raise _wrong(file, f"it cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise _wrong(file, f"{found!r} is no table")
    return found


def _wrong(file: Path | None, what: str) -> Exception:
    from secondsight.lang.errors import LangError

    return LangError(f"{file}: [{TABLE}]: {what}")
