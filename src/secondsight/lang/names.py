"""Where a name is that a user's file has looked for in the wrong module: for error messages, so nothing here is loaded before one."""

from __future__ import annotations

import pkgutil
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

__all__ = ["instead_of", "like_it", "there_are", "with_place"]

_PUBLIC = ("secondsight", "secondsight.lang", "secondsight.scenario", "secondsight.devices", "secondsight.contract", "secondsight.testing")
_FEW = 30
"""Names that are told in one message."""
_LINUX = "secondsight.linux"
_MISSING = re.compile(r"cannot import name '(\w+)' from '(secondsight[\w.]*)'")


def with_place(error: ImportError) -> ImportError:
    """The error, its message with where the name is, or with names that are like it, if it was looked for in a module of ours."""
    missing = _MISSING.search(str(error))
    if missing is None:
        return error
    name, module = missing[1], missing[2]
    known = _known()
    told = f"cannot import name {name!r} from {module!r}"
    if name in known:
        return ImportError(f"{told}\n  instead: from {known[name]} import {name}")
    like = [f"from {known[other]} import {other}" for other in get_close_matches(name, known, 3, 0.75)]
    return ImportError(told + (f"\n  instead: {', or '.join(like)}" if like else "; secondsight list functions shows what the kernel's part has"))


def instead_of(name: str, module: ModuleType, called: str) -> str:
    """What to write for a name that a module does not have, which a file knows as `called`."""
    there = [public for public in getattr(module, "__all__", vars(module)) if not public.startswith("_")]
    like = get_close_matches(name, there, 3, 0.75)
    if like:
        return ", or ".join(f"{called}.{one}" for one in like)
    known = _known()
    if name in known:
        return f"from {known[name]} import {name}"
    return "a name that it has; secondsight list functions shows what the kernel's part has"


def like_it(name: str, names: Iterable[str]) -> str:
    """The nearest of some names as what else could be written: `pfn, or `; nothing where none is near."""
    near = get_close_matches(name, list(names), 1, 0.75)
    return f"{near[0]}, or " if near else ""


def there_are(name: str, names: Iterable[str], listed: str = "") -> str:
    """What there is where a name is not: `is it munmap?` if some are near, else all of them; those that a command has `listed` only if they are few."""
    known = list(dict.fromkeys(names))
    near = get_close_matches(name, known, 3)
    if near:
        return f"is it {' or '.join(near)}?"
    if listed and len(known) > _FEW:
        return f"{listed} shows the {len(known)} that there are"
    return f"there are: {', '.join(known)}"


def _known() -> dict[str, str]:
    """Every public name, and a module that has it."""
    known: dict[str, str] = {}
    for place in _places():
        for public in getattr(import_module(place), "__all__", ()):
            known.setdefault(public, place)
    return known


def _places() -> Iterator[str]:
    yield from _PUBLIC
    yield _LINUX
    yield from (f"{_LINUX}.{module.name}" for module in pkgutil.iter_modules(import_module(_LINUX).__path__))
