"""Names that are given by their beginnings, as git takes commits: one that begins no other name stands for the whole."""

from __future__ import annotations

from collections.abc import Iterable

from secondsight.lang import LangError

__all__ = ["begun", "the_one_begun"]


def begun(given: str, names: Iterable[str]) -> list[str]:
    """What `given` can mean: the name itself where there is one, else every name that begins so. Nothing begins no name."""
    known = list(dict.fromkeys(names))
    if given in known:
        return [given]
    return [name for name in known if given and name.startswith(given)]


def the_one_begun(given: str, names: Iterable[str]) -> str | None:
    """The name that is meant, or None where none begins so. Raises `LangError` where it could be several."""
    meant = begun(given, names)
    if len(meant) > 1:
        raise LangError(f"{given} could be {', '.join(meant[:-1])} or {meant[-1]}; give more of the name")
    return meant[0] if meant else None
