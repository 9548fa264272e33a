"""What all programs that are drawn are made of: chance, numbers, tests, places, what is stored."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from attack.description import Tree, World

__all__ = ["APART", "FEATURES", "Parts", "is_one"]

FEATURES = (
    "mutex", "try", "rw", "spin", "boxes", "pool", "hand", "probe", "wait", "lock and wait", "choose", "items", "loops", "atomic",
    "calls", "rules", "polling", "lists",
)  # fmt: skip

APART = ("one by its place", "a number from a place", "one by a number", "one after the other", "what may fail", "in an order")
"""Ways of telling items apart."""


class Parts:
    """A program being drawn: what it may use, and where in it the pen is."""

    def __init__(self, chance: random.Random, world: World, apart: Sequence[str]) -> None:
        self.chance, self.world, self.apart = chance, world, apart if world.interchangeable else APART
        self.wild = chance.choice([0.0, 0.0, 0.02, 0.1])
        count = chance.choice([3, 4, 5, 7])
        self.uses = set(chance.sample(FEATURES, count)) | ({"mutex"} if chance.random() < 0.4 else set())
        self.cells = chance.choice(["a", "ab", "aab", "aabc", "abc"])
        self.names = 0
        self.left = 0
        self.held: list[str] = []
        self.in_function = self.in_atomic = self.in_loop = self.gives = False

    # Chance.

    def odds(self, share: float) -> bool:
        """True that often."""
        return self.chance.random() < share

    def tree(self, *options: Tree) -> Tree:
        """One of some parts of a program."""
        return self.chance.choice(options)

    def pick(self, *options: Any) -> Any:
        """One of them."""
        return self.chance.choice(options)

    def rarely(self) -> bool:
        """Whether the discipline is broken here."""
        return self.odds(self.wild)

    # Expressions.

    def place(self) -> Tree:
        """Where a number is stored."""
        forms: list[Tree] = [["cell", name] for name in self.cells]
        if "boxes" in self.uses:
            forms.append(["box", self.place_number(2)])
        return self.chance.choice(forms)

    def place_number(self, count: int) -> Tree:
        """An index."""
        if self.odds(0.5):
            return ["int", self.chance.randrange(count)]
        if self.rarely():
            return ["local", "x0"]
        return ["bin", "%", ["local", self.pick("x0", "x1")], ["int", count]]

    def small(self) -> Tree:
        """A number that nearly always fits."""
        low = max(self.world.low, 0)
        return ["int", self.chance.randint(low, min(low + 2, self.world.high))] if self.odds(0.45) else self.kept(self.number(True, 2))

    def kept(self, n: Tree) -> Tree:
        """A number, kept in its range (mostly)."""
        if self.rarely():
            return n
        if self.world.low > 0:
            return ["max", ["int", self.world.low], ["min", n, ["int", self.world.high]]]
        return self.tree(["bin", "%", n, ["int", 3]], ["min", ["max", n, ["int", 0]], ["int", self.world.high]])

    def number(self, shared: bool, depth: int) -> Tree:
        """A number."""
        forms: list[Tree] = [["int", self.pick(0, 1, 2)], ["local", "x0"], ["local", "x1"]]
        if self.odds(0.05):
            forms.append(["me"])
        if shared:
            forms += [["get", self.place()]] * 3
            if "items" in self.uses:
                forms.append(["sum", ["get", ["item", ["rlocal", "q"]]]])
        if "lists" in self.uses:
            forms.append(["length", self.pick("l0", "l1")])
        if depth <= 0 or self.odds(0.5):
            return self.chance.choice(forms)
        a, b = self.number(shared, depth - 1), self.number(shared, depth - 1)
        return self.tree(
            ["bin", self.pick("+", "-", "*"), a, b], ["bin", self.pick("//", "%"), a, ["int", self.pick(2, 3)]],
            ["bin", self.pick("&", "|", "^"), a, b], [self.pick("min", "max"), a, b], ["if", self.test(shared, depth - 1), a, b],
            ["bool", self.test(shared, depth - 1)], ["call", self.pick("pure", "closed"), self.kept(a)] if self.world.low <= 0 else a,
        )  # fmt: skip

    def test(self, shared_too: bool, depth: int = 1, shared: bool = False) -> Tree:
        """A test; `shared`: it does read shared state."""
        if not shared and self.odds(0.2):
            return ["cmp", self.pick("==", "<", "!="), ["local", self.pick("x0", "x1")], ["int", self.pick(0, 1, 2)]]
        forms: list[Tree] = [["cmp", self.pick("==", "==", "!=", "<", ">="), ["get", self.place()], ["int", self.pick(0, 1, 1, 2)]]] * 3
        if "items" in self.uses:
            forms += [["any", ["on", ["rlocal", "q"]]], ["is none", ["slot", self.pick(0, 1)]]]
        if "probe" in self.uses:
            forms += [["mine", self.pick(["m", 0], ["rw"], ["spin"])], ["cmp", "!=", ["get", ["owner", ["m", 0]]], ["int", 0]]]
        if depth > 0 and self.odds(0.25):
            a, b = self.test(shared_too, depth - 1, shared), self.test(shared_too, depth - 1)
            return self.tree(["and", a, b], ["or", a, b], ["not", a])
        return self.chance.choice(forms)

    # Statements that need nothing.

    def store(self, level: int) -> list[Tree]:
        """A number is stored."""
        place = self.place()
        return [self.pick(["put", place, self.small()], ["add", place, ["int", self.pick(1, 1, -1)]] if self.odds(0.2) else
                          ["put", place, ["bin", "%", ["bin", "+", ["get", place], ["int", 1]], ["int", 3]]])]  # fmt: skip

    def local(self, level: int) -> list[Tree]:
        """A local gets a value."""
        return [["let", self.pick("x0", "x0", "x1"), self.small()]]

    def may_sleep(self) -> bool:
        """Whether a step may wait here."""
        return "spin" not in self.held or self.rarely()


def is_one(value: int) -> Tree:
    """A test that is known."""
    return ["cmp", "==", ["int", 1], ["int", value]]
