"""A failing program made small: parts of its description are left out or made simpler, as long as it fails by the same law."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from attack.description import WITH_NUMBERS, Description, Tree, lines_of

__all__ = ["shrink"]


def shrink(description: Description, fails: Callable[[Description], bool], seconds: float) -> Description:
    """The smallest that was found within so many seconds."""
    end = time.monotonic() + seconds
    tried: set[str] = set()
    changed = True
    while changed:
        changed = False
        for smaller in simpler(description):
            if time.monotonic() > end:
                return description
            key = repr(smaller.to_json())
            if key in tried:
                continue
            tried.add(key)
            if fails(smaller):
                description, changed = smaller, True
                break
    return description


def simpler(description: Description) -> Iterator[Description]:
    """Descriptions that are a little simpler, those that lose most first."""
    for place in range(len(description.threads)):
        if len(description.threads) > 1:
            other = description.copy()
            del other.threads[place]
            yield other
    for name in description.functions:
        if not any(["call", name] == line[:2] or (line[0] == "put call" and line[2] == name) for body in description.bodies() for inner in lines_of(body) for line in inner):
            other = description.copy()
            del other.functions[name]
            yield other
    count = sum(1 for _ in bodies(description))
    for place in range(count):  # half of a body, then single statements
        body = body_at(description, place)
        for size in sorted({len(body) // 2, 1} - {0}, reverse=True):
            for at in range(0, len(body), size):
                other = description.copy()
                del body_at(other, place)[at : at + size]
                yield other
    for place in range(count):
        for at, line in enumerate(body_at(description, place)):
            inner = [part for part in line[1:] if isinstance(part, list) and part and isinstance(part[0], list)]
            if line[0] not in WITH_NUMBERS:
                for part in inner:
                    other = description.copy()
                    body_at(other, place)[at : at + 1] = [s for s in part if s[0] not in ("break", "continue")]
                    yield other
    for place, thread in enumerate(description.threads):
        if thread.daemon:
            other = description.copy()
            other.threads[place].daemon = False
            yield other
    for place in range(count):
        for at, line in enumerate(body_at(description, place)):
            for path, part in expressions(line, ()):
                for instead in plainer(part):
                    other = description.copy()
                    target = body_at(other, place)[at]
                    for step in path[:-1]:
                        target = target[step]
                    target[path[-1]] = instead
                    yield other


def bodies(description: Description) -> Iterator[list[Tree]]:
    """Every list of statements."""
    for body in description.bodies():
        yield from lines_of(body)


def body_at(description: Description, place: int) -> list[Tree]:
    """One of them."""
    return next(body for i, body in enumerate(bodies(description)) if i == place)


def expressions(line: Tree, path: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], Tree]]:
    """The expressions of a statement and their parts, with the way to each."""
    for at, part in enumerate(line):
        if isinstance(part, list) and part and isinstance(part[0], str):
            yield (*path, at), part
            yield from expressions(part, (*path, at))


def plainer(part: Tree) -> Iterator[Any]:
    """What may stand instead of an expression."""
    kind = part[0]
    if kind in ("bin", "min", "max", "if", "and", "or") or kind in ("bool", "not", "call"):
        yield from (p for p in part[1:] if isinstance(p, list))
    if kind in ("bin", "min", "max", "if", "bool", "count", "index", "call", "local"):
        yield ["int", 1]
    if kind == "int" and part[1] not in (0, 1):
        yield ["int", 1]
