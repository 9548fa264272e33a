"""What expressions are worth, as closures over a moment: the shared values, the locals, whose step it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attack.description import Tree, World
from attack.locks import Failed, mine

__all__ = ["Moment", "Number", "Values", "alive", "followed", "reads", "touches"]

class Moment:
    """What a running step has: the shared state, its thread's number and locals, the choices to make."""

    def __init__(self, shared: dict[str, Any], own: dict[str, Any], me: int, script: list[int]) -> None:
        self.shared, self.own, self.me, self.script = shared, own, me, script
        self.made: list[int] = []
        self.sizes: list[int] = []
        self.depth = 0

    def choose(self, count: int) -> int:
        """The next choice."""
        if count <= 0:
            raise Failed("model-error")
        place = len(self.made)
        self.made.append(self.script[place] if place < len(self.script) else 0)
        self.sizes.append(count)
        return self.made[-1]


Number = Callable[[Moment], Any]


class Values:
    """Compiles expressions for a world, each once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.zero = min(max(0, world.low), world.high)
        self.closures: dict[int, Number] = {}
        self.trees: list[Tree] = []  # so that their identities stay theirs

    def begun(self, name: str) -> Any:
        """What a local is at the beginning."""
        return {"l": (), "x": self.zero, "n": -1, "s": 0}.get(name[0])

    def ranged(self, value: Any) -> int:
        """A number that is assigned, passed or returned."""
        if not self.world.low <= value <= self.world.high:
            raise Failed("left-range")
        return int(value)

    def of_item(self, m: Moment, test: Tree, place: int) -> bool:
        """A test of the item `q`."""
        m.own["q"] = place
        found = bool(self.value(test)(m))
        del m.own["q"]
        return found

    def for_item(self, m: Moment, of: Number, place: int) -> Any:
        """A number of the item `q`."""
        m.own["q"] = place
        found = of(m)
        del m.own["q"]
        return found

    def element(self, m: Moment, name: str, place: int) -> int:
        """An element of a list."""
        elements: tuple[int, ...] = m.own.get(name, ())
        return elements[self.indexed(place, len(elements))]

    def indexed(self, index: int, count: int) -> int:
        """A place in an array."""
        if not 0 <= index < count:
            raise Failed("bad-index")
        return index

    def place(self, m: Moment, p: Tree) -> str:
        """The name of a stored number."""
        match p:
            case ["cell", name]:
                return str(name)
            case ["box", index]:
                return f"box{self.indexed(self.value(index)(m), 2)}"
            case ["item", r]:
                return f"item{followed(self.value(r)(m))} n"
            case ["node", d]:
                return alive(m, f"node{followed(self.value(d)(m))}")
            case ["owner", of]:
                return alive(m, self.lock(m, of))
        return "rw readers"

    def lock(self, m: Moment, of: Tree) -> str:
        """The name of a lock."""
        match of:
            case ["m", place]:
                return f"m{place}"
            case ["box lock", index]:
                return f"box{self.indexed(self.value(index)(m), 2)} lock"
            case ["node lock", d]:
                return f"node{followed(self.value(d)(m))} lock"
        return str(of[0])

    def value(self, tree: Tree) -> Number:
        """What gives a value, compiled once."""
        if id(tree) not in self.closures:
            self.closures[id(tree)] = self._closure(tree)
            self.trees.append(tree)
        return self.closures[id(tree)]

    def _closure(self, tree: Tree) -> Number:
        value, items = self.value, range(self.world.items)
        match tree:
            case ["int", number]:
                return lambda m: number
            case ["local", name]:
                begun = self.begun(name)
                return lambda m: m.own.get(name, begun)
            case ["rlocal" | "dlocal", name]:
                return lambda m: m.own.get(name)
            case ["none"]:
                return lambda m: None
            case ["me"]:
                return lambda m: m.me
            case ["get", place]:
                return lambda m: m.shared[self.place(m, place)]
            case ["bin" | "cmp", op, a, b]:
                first, second, does = value(a), value(b), OPERATORS[op]
                return lambda m: does(first(m), second(m))
            case ["min" | "max" as name, a, b]:
                first, second, least = value(a), value(b), min if name == "min" else max
                return lambda m: least(first(m), second(m))
            case ["if", test, a, b]:
                tested, first, second = value(test), value(a), value(b)
                return lambda m: first(m) if tested(m) else second(m)
            case ["bool", test]:
                tested = value(test)
                return lambda m: int(bool(tested(m)))
            case ["length", name]:
                return lambda m: len(m.own.get(name, ()))
            case ["element", name, place]:
                at = value(place)
                return lambda m: self.element(m, name, at(m))
            case ["sum", n]:
                of = value(n)
                return lambda m: sum(self.for_item(m, of, i) for i in items)
            case ["among", n, name]:
                of = value(n)
                return lambda m: of(m) in m.own.get(name, ())
            case ["count", test]:
                return lambda m: sum(self.of_item(m, test, i) for i in items)
            case ["any", test]:
                return lambda m: any(self.of_item(m, test, i) for i in items)
            case ["all", test]:
                return lambda m: all(self.of_item(m, test, i) for i in items)
            case ["index", r]:
                of = value(r)
                return lambda m: followed(of(m))
            case ["call", name, n]:
                given, helper = value(n), pure if name == "pure" else closed
                return lambda m: helper(self.ranged(given(m)), self.ranged)
            case ["and", a, b]:
                first, second = value(a), value(b)
                return lambda m: bool(first(m)) and bool(second(m))
            case ["or", a, b]:
                first, second = value(a), value(b)
                return lambda m: bool(first(m)) or bool(second(m))
            case ["not", a]:
                first = value(a)
                return lambda m: not first(m)
            case ["on", r]:
                of = value(r)
                return lambda m: bool(m.shared[f"item{followed(of(m))} on"])
            case ["is none" | "no node", r]:
                of = value(r)
                return lambda m: of(m) is None
            case ["same", a, b]:
                first, second = value(a), value(b)
                return lambda m: first(m) == second(m)
            case ["mine", of_lock]:
                return lambda m: mine(m.shared, m.me, alive(m, self.lock(m, of_lock)))
            case ["items", index]:
                of = value(index)
                return lambda m: self.indexed(of(m), self.world.items)
            case ["nodes", index]:
                of = value(index)
                return lambda m: self.indexed(of(m), self.world.nodes)
            case ["slot", place]:
                return lambda m: m.shared[f"slot{place}"]
            case ["next", r]:
                of = value(r)
                return lambda m: m.shared[f"item{followed(of(m))} next"]
            case ["world node"]:
                return lambda m: m.shared["world node"]
            case ["seq"]:
                return lambda m: m.shared["seq"]
            case ["copy", place]:
                return lambda m: m.shared[f"copy{place}"]
            case ["before"]:
                return lambda m: m.shared["seq"] - 1
            case ["slocal", name]:
                return lambda m: m.own.get(name, 0)
            case ["no seq"]:
                return lambda m: 0
            case ["seq same", a, b]:
                first, second = value(a), value(b)
                return lambda m: first(m) == second(m)
            case ["seq less", a, b]:
                first, second = value(a), value(b)
                return lambda m: first(m) < second(m)
            case ["seq odd", s]:
                of = value(s)
                return lambda m: of(m) % 2 == 1
            case ["seq none", s]:
                of = value(s)
                return lambda m: of(m) == 0
        raise ValueError(tree)


OPERATORS: dict[str, Callable[[int, int], Any]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "//": lambda a, b: divided(a, b)[0],
    "%": lambda a, b: divided(a, b)[1], "&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b,
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def divided(a: int, b: int) -> tuple[int, int]:
    """Python's quotient and rest."""
    if not b:
        raise Failed("model-error")
    return divmod(a, b)


def pure(n: int, ranged: Callable[[int], int]) -> int:
    """The helper that every module has."""
    return ranged(n - 1) if n > 1 else ranged(1)


def closed(n: int, ranged: Callable[[int], int]) -> int:
    """Another, which has a number of the function around it."""
    return ranged(min(max(n, 0), 2))


def alive(m: Moment, key: str) -> str:
    """The name of something of a node that is used: it must not have been freed."""
    if key.startswith("node") and m.shared[f"{key.partition(' ')[0]} used"] == 2:
        raise Failed("use-after-free")
    return key


def followed(reference: int | None) -> int:
    """A reference that is followed."""
    if reference is None:
        raise Failed("none-followed")
    return reference


def touches(tree: Tree) -> bool:
    """Whether an expression reads shared state."""
    if tree and tree[0] in ("get", "on", "slot", "next", "world node", "mine", "seq", "copy", "before"):
        return True
    return any(touches(part) for part in tree if isinstance(part, list))


def reads(tree: Tree | None) -> frozenset[str]:
    """The locals that an expression reads."""
    if not tree:
        return frozenset()
    if tree[0] in ("local", "rlocal", "dlocal", "slocal"):
        return frozenset([tree[1]]) - {"q"}
    if tree[0] == "length":
        return frozenset([f"{tree[1]} length"])
    if tree[0] in ("element", "among"):
        name = tree[1] if tree[0] == "element" else tree[2]
        return frozenset([name, f"{name} length"]) | reads(tree[2] if tree[0] == "element" else tree[1])
    return frozenset().union(*(reads(part) for part in tree if isinstance(part, list)))
