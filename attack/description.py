"""A program as plain data, of which there are two renderings: source text (`source`), and closures (`interpreter`).

Everything is a list that begins with its kind, so that JSON can keep it and `shrink` can cut it.

Numbers:  ["int", 3]  ["local", "x0"]  ["me"]  ["get", PLACE]  ["bin", "+", N, N]  ["min", N, N]  ["max", N, N]  ["if", T, N, N]
          ["bool", T]  ["count", T]: of the items `q`  ["index", R]: of an item  ["call", "pure", N]  ["call", "closed", N]
          ["length", "l0"]  ["element", "l0", N]  ["sum", N]: of the items `q`
Places:   ["cell", "a"]  ["box", N]  ["item", R]: its number  ["node", D]  ["owner", LOCK]  ["readers"]
Tests:    ["cmp", "<", N, N]  ["and", T, T]  ["or", T, T]  ["not", T]  ["on", R]  ["is none", R]  ["same", R, R]  ["no node", D]
          ["mine", LOCK]  ["any", T]  ["all", T]: of the items `q`
          ["among", N, "l0"]
Items:    ["none"]  ["rlocal", "r0"]  ["items", N]  ["slot", 0]  ["next", R]
Nodes:    ["dlocal", "d0"]  ["world node"]  ["nodes", N]
Sequence numbers: ["seq"]: the world's counter  ["copy", 0]  ["slocal", "s0"]  ["no seq"]: 0  ["before"]: the counter's, less one;
          and tests of them: ["seq same", S, S]  ["seq odd", S]  ["seq none", S]  ["seq less", S, S]
Locks:    ["m", 0]  ["rw"]  ["spin"]  ["box lock", N]  ["node lock", D]

Statements:
  ["let", "x0", N]  ["nlet", "n0", N]: an item's number, -1 for none  ["rlet", "r0", R]  ["dlet", "d0", D or ["none"]]  ["slet", "s0", S]  ["put", PLACE, N]  ["add", PLACE, N]  ["on", R, T]
  ["slot", 0, R]  ["next", R, R]  ["world node", D or ["none"]]  ["if", T, BODY, BODY]  ["while", T, BODY]  ["forever", BODY]
  ["for", "i0", 2, BODY]  ["each", "q0", BODY]: every item  ["break"]  ["continue"]  ["return"]  ["return", N]
  ["copy", 0, S]  ["advance"]: the counter goes on  ["make odd"]: it becomes odd
  ["do", METHOD, LOCK]  ["try", "x0", LOCK]  ["if try", LOCK, BODY, BODY], both with `read_trylock` or `write_trylock` at the end  ["with", HOW, LOCK, BODY]: HOW is lock, read or write
  ["atomic", BODY]  ["wait", T]  ["choose", "x0", 2 or N]  ["choose item", "r0", T or None]  ["require", T]  ["assert", T]
  ["seen", N]  ["alloc", "d0"]  ["free", D]  ["call", "f0", [N...], "x0" or None]  ["put call", PLACE, "f0", [N...]]
  ["exchange", "x0", "x1", N, N]: both at once  ["list", "l0", [N...]], of at most 3 numbers, begins as []
  ["append", "l0", N]  ["put element", "l0", N, N]: its number, its value  ["over", "i0", "l0", BODY]: every element
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["WITH_NUMBERS", "Description", "Function", "Thread", "Tree", "World", "lines_of", "walk"]

Tree = list[Any]
WITH_NUMBERS = ("call", "put call", "list")
"""Statements that have a list of numbers where others have a body."""


@dataclass
class World:
    """What there is: how many items and whether they are interchangeable, the range of all numbers, the pool's size."""

    items: int = 3
    interchangeable: bool = False
    low: int = 0
    high: int = 3
    nodes: int = 2


@dataclass
class Function:
    """A helper: its parameters are `x0` and so on; `atomic`: without a step boundary inside; a result is a number."""

    parameters: int
    atomic: bool
    body: list[Tree]


@dataclass
class Thread:
    """A thread's body, and whether it may wait or run on for ever."""

    body: list[Tree]
    daemon: bool = False


@dataclass
class Description:
    """A whole program."""

    world: World
    threads: list[Thread]
    functions: dict[str, Function] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON can keep it."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Description:
        """The inverse of `to_json`."""
        return cls(
            World(**data["world"]),
            [Thread(**thread) for thread in data["threads"]],
            {name: Function(**function) for name, function in data["functions"].items()},
        )

    def copy(self) -> Description:
        """Another one with the same contents."""
        return Description.from_json(json.loads(json.dumps(self.to_json())))

    def bodies(self) -> Iterator[list[Tree]]:
        """What the threads and the functions do."""
        yield from (function.body for function in self.functions.values())
        yield from (thread.body for thread in self.threads)

    @property
    def size(self) -> int:
        """How many statements, and parts of statements, there are."""
        return sum(1 for body in self.bodies() for node in body for _ in walk(node))


def walk(node: Tree) -> Iterator[Tree]:
    """A part and all parts of it."""
    if node and isinstance(node[0], str):
        yield node
    for part in node:
        if isinstance(part, list):
            yield from walk(part)


def lines_of(body: list[Tree]) -> Iterator[list[Tree]]:
    """A body and the bodies inside."""
    yield body
    for statement in body:
        for part in statement:
            if isinstance(part, list) and (not part or isinstance(part[0], list)) and statement[0] not in WITH_NUMBERS:
                yield from lines_of(part)
