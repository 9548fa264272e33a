"""The one driver that is meant where a command takes one: of a file, or of a file's git revision."""

from __future__ import annotations

from typing import Any

from secondsight.cli.revision import file_of
from secondsight.lang import LangError

__all__ = ["one_driver"]


def one_driver(text: str, name: str | None) -> type[Any]:
    """The driver of a file, or that of this name where it has several. Raises `LangError` where that is none, or several."""
    from secondsight.contract import load_drivers

    there = {kind.__name__: kind for kind in load_drivers(file_of(text), name and [name])}
    if name is None and len(there) > 1:
        raise LangError(f"{text} has several drivers, {', '.join(there)}; say by --class which it is")
    if name is not None and name not in there:
        raise LangError(f"{text} has no driver {name}; it has {', '.join(there)}")
    return there[name] if name is not None else next(iter(there.values()))
