"""Programs that do not tell threads apart by their numbers, and have some that do the same: what a search may rename."""

from __future__ import annotations

import random
from typing import Any

from attack.description import Description, Function, Thread, Tree

__all__ = ["with_equal_threads"]


def with_equal_threads(description: Description, chance: random.Random) -> Description:
    """The program without what tells threads apart; mostly one of its threads does what another does."""
    threads = [Thread(_body(thread.body), thread.daemon) for thread in description.threads]
    if chance.random() < 0.7:
        one, other = chance.sample(range(len(threads)), 2)
        threads[other] = Thread([*threads[one].body], threads[one].daemon if chance.random() < 0.8 else threads[other].daemon)
    functions = {name: Function(f.parameters, f.atomic, _body(f.body)) for name, f in description.functions.items()}
    return Description(description.world, threads, functions).copy()


def _body(body: list[Tree]) -> list[Tree]:
    return [_alike(line) for line in body]


def _alike(node: Any) -> Any:
    """A thread's number is compared with that of a lock's owner, and put there; elsewhere is a number in its place."""
    match node:
        case ["cmp", op, ["get", ["owner", lock]], other]:
            equal = op if op in ("==", "!=") else "=="
            return ["cmp", equal, ["get", ["owner", lock]], other if other in (["int", 0], ["me"]) else ["me"]]
        case ["put", ["owner", lock], value]:
            return ["put", ["owner", lock], value if value == ["int", 0] else ["me"]]
        case ["me"]:
            return ["int", 1]
        case list():
            return [_alike(part) for part in node]
    return node
