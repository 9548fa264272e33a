"""Programs drawn by chance.

`draw_program` makes one for a world. What it may use is drawn first, so that each program has much of few things. A share of them
are of a family, in which something is frequent that is rare otherwise.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from attack.description import Description, Function, Thread, Tree, World
from attack.draw_parts import is_one
from attack.draw_sequences import Sequences
from attack.draw_statements import guarded

__all__ = ["FAMILIES", "draw_program", "draw_world"]

FAMILIES = ("pollers", "handing", "nesting", "renaming", "counting")
"""Methods of `Drawing` that make a whole program."""


def draw_world(chance: random.Random) -> World:
    """What there is."""
    low, high = chance.choice([(0, 3), (0, 3), (0, 3), (-2, 5), (0, 300), (1, 4)])
    return World(chance.choice([2, 3, 3, 4]), chance.random() < 0.5, low, high)


def draw_program(chance: random.Random, world: World, apart: Sequence[str], family: str = "") -> Description:
    """One program. `apart`: how it may tell interchangeable records apart. `family`: one of `FAMILIES`, or any program."""
    drawing = Drawing(chance, world, apart)
    made: Description = getattr(drawing, family or "program")()
    return made


class Drawing(Sequences):
    """One program being drawn."""

    def program(self) -> Description:
        """All of it."""
        if self.odds(0.15):
            return self.pollers()
        if "hand" in self.uses and self.odds(0.5):
            return self.handing()
        if self.odds(0.08):
            return self.nesting()
        if self.world.interchangeable and self.odds(0.2):
            return self.renaming()
        if "calls" in self.uses:
            for i in range(self.pick(1, 2)):
                self.functions[f"f{i}"] = self.function()
        count = self.pick(2, 2, 2, 3)
        threads = []
        for place in range(count):
            self.left = self.pick(4, 6, 8, 11) if count == 2 else self.pick(2, 3, 5)
            self.held = []
            body = self.body(0, top=True)
            if self.odds(0.15) and "polling" in self.uses:
                body = [["forever", body]]
            threads.append(Thread(body, daemon=place > 0 and self.odds(0.25)))
        if self.odds(0.15):
            threads[-1] = Thread([*threads[0].body], threads[-1].daemon)
        return Description(self.world, threads, self.functions).copy()

    def pollers(self) -> Description:
        """Some threads look again and again under a lock for what another sets, or for the lock itself."""
        threads: list[Thread] = []
        self.uses -= {"calls"}
        family = self.pick("m", "rw", "rw", "spin", "any")
        for place in range(self.pick(2, 3, 3)):
            self.held, self.left = [], self.pick(1, 2)
            if place and self.odds(0.4):
                threads.append(Thread([*threads[0].body], self.odds(0.15)))
                continue
            leave: Tree = ["if", ["cmp", "==", ["get", ["cell", self.pick("a", "a", "a", "b")]], ["int", 1]], [self.pick(["break"], ["return"])], []]
            more = self.body(2) if self.odds(0.4) else []
            ways: list[tuple[str, Tree]] = [("lock", ["m", 0]), ("lock", ["spin"]), ("read", ["rw"]), ("read", ["rw"]), ("write", ["rw"])]
            lock = self.chance.choice([way for way in ways if family in ("any", way[1][0])])
            name = str(lock[1][0]) + ("0" if lock[1][0] == "m" else "")
            if self.odds(0.65):
                inside = [self.pick(["put", ["cell", "b"], ["int", self.pick(0, 1)]], leave), *more, leave] if self.odds(0.4) else [leave]
                self.held = [name]
                look = self.pick(
                    [["with", *lock, inside]], [["with", *lock, inside]], [["if try", ["m", 0], [*guarded(inside), ["do", "unlock", ["m", 0]]], []], leave],
                    [["atomic", [["with", *lock, inside]]]], [leave, *more], [["wait", self.test(True, shared=True)], leave],
                )  # fmt: skip
                body: list[Tree] = [["forever", look]]
            else:
                method = {"lock": "lock", "read": "read_lock", "write": "write_lock"}[lock[0]]
                then = [["put", ["cell", self.pick("a", "a", "a", "b")], ["int", 1]], *more]
                take: Tree = ["do", method, lock[1]]
                if self.odds(0.4) and name != "spin":
                    take = ["atomic", [take, ["wait", ["cmp", self.pick("==", "!="), ["get", ["cell", self.pick("a", "b")]], ["int", self.pick(0, 1)]]]]]
                body = [take, *guarded(then), ["do", method.replace("lock", "unlock"), lock[1]]]
                body = [*self.store(0), *body] if self.odds(0.3) else body
            threads.append(Thread(body, place > 0 and self.odds(0.15)))
        return Description(self.world, threads, {}).copy()

    def handing(self) -> Description:
        """A lock that one thread takes becomes another's by hand, or nobody's, while what it protects is at work."""
        self.uses -= {"calls"}
        shape: tuple[Tree, str, str] = self.pick((["m", 0], "lock", "unlock"), (["m", 0], "lock", "unlock"), (["rw"], "write_lock", "write_unlock"))
        lock, take, end = shape
        says: list[Tree] = [["put", ["cell", "c"], ["int", 1]]]
        hears: list[Tree] = [["wait", ["cmp", "==", ["get", ["cell", "c"]], ["int", 1]]]]
        cell = ["cell", "a"]
        work: list[Tree] = [["put", self.pick(cell, cell, cell, ["cell", "b"]), ["int", self.pick(1, 2)]] for _ in range(self.pick(1, 2, 2, 3))]
        more: list[Tree] = [["put", self.pick(cell, ["cell", "b"]), self.small()] for _ in range(self.pick(0, 0, 0, 1))]
        given: Tree = ["put", ["owner", lock], ["int", self.pick(2, 2, 2, 2, 2, 2, 1, 0)]]
        first = [["do", take, lock], *(says if self.odds(0.9) else []), *work]
        second = [*(hears if self.odds(0.9) else []), *more]
        if self.odds(0.4):  # it is given
            first += [given, *(more if self.odds(0.5) else [])]
            second += [["wait", ["mine", lock]]] if self.odds(0.9) else []
        else:  # it is taken
            second += [given]
            first += [["wait", ["not", ["mine", lock]]]] if self.odds(0.8) else [["if", ["mine", lock], [["do", end, lock]], []]]
        second += [["put", self.pick(cell, cell, cell, ["cell", "b"]), ["int", self.world.low]], *([["do", end, lock]] if self.odds(0.95) else [])]
        threads = [Thread(first), Thread(second)]
        if self.odds(0.3):
            self.left, self.held = self.pick(2, 3), []
            seen = self.pick([["do", take, lock], *self.store(0), ["do", end, lock]], self.store(0), self.probe(0), [["require", self.test(True)]])
            threads.append(Thread(seen, self.odds(0.2)))
        return Description(self.world, threads, {}).copy()

    def nesting(self) -> Description:
        """One thread takes locks in several orders, the others one at a time: nobody waits for ever, but the orders are two."""
        self.uses -= {"calls"}
        locks: list[tuple[str, Tree]] = [
            ("lock", ["m", 0]), ("lock", ["m", 1]), ("read", ["rw"]), ("write", ["rw"]), ("lock", ["box lock", ["int", 0]]),
            ("lock", ["box lock", ["int", 1]]), ("lock", ["node lock", ["nodes", ["int", 0]]]), ("lock", ["node lock", ["nodes", ["int", 1]]]),
        ]  # fmt: skip
        some = self.chance.sample(locks, self.pick(2, 2, 3))
        body: list[Tree] = []
        for _ in range(self.pick(1, 2, 2, 3)):
            inside: list[Tree] = self.store(0)
            chosen = self.chance.sample(some, min(len(some), self.pick(2, 2, 3)))
            if len({lock[0] for _, lock in chosen if lock[0] == "rw"}) < sum(lock[0] == "rw" for _, lock in chosen):
                continue
            for how, lock in chosen:
                if how == "lock" and self.odds(0.15):
                    inside = [["if try", lock, [*guarded(inside), ["do", "unlock", lock]], []]]
                else:
                    inside = [["with", how, lock, inside]]
            body += inside
        how, lock = self.chance.choice(locks)
        other = [[["with", how, lock, self.store(0)]], self.store(0)][self.odds(0.4)]
        return Description(self.world, [Thread(body or self.store(0)), Thread(other)], {}).copy()

    def renaming(self) -> Description:
        """What a thread keeps, an item, its number, a number that is none, while another changes the order in which items are named."""
        own: Tree = ["rlocal", "r0"]
        there: Tree = ["not", ["is none", own]]
        known: Tree = ["not", ["cmp", "<", ["local", "n0"], ["int", 0]]]

        def is_same(other: Tree) -> Tree:
            return ["if", ["same", own, other], ["int", 2], ["int", 1]]

        threads = []
        for place in range(self.pick(2, 2, 3)):
            self.left, self.held = self.pick(1, 2), []
            body: list[Tree] = [["choose item", "r0", None] if self.odds(0.7) else ["rlet", "r0", ["slot", self.pick(0, 1)]]]
            if place == 0 or self.odds(0.3):
                body += [["choose", "x0", 3] if self.world.low <= 0 else ["let", "x0", ["int", self.pick(1, 2)]]]
                number: list[Tree] = [["if", there, [["nlet", "n0", ["index", own]]], []]] if self.odds(0.6) else []
                body += number
                body += self.pick([["slot", 1, own]], [["if", there, [["put", ["item", own], self.small()]], []]], self.body(2))
                for _ in range(self.pick(1, 2, 3)):
                    count: Tree = ["count", ["on", ["rlocal", "q"]]]
                    again: Tree = ["rlet", "r1", ["items", ["local", "n0"]]] if number else ["rlet", "r1", own]
                    body += self.pick(
                        [["put", ["cell", "b"], self.kept(["local", "x0"])]], [["put", ["cell", "c"], is_same(["slot", self.pick(0, 1)])]],
                        [["if", known, [again, ["put", ["cell", "a"], is_same(["rlocal", "r1"])]], []]], [["put", ["cell", "c"], self.kept(count)]],
                    )  # fmt: skip
            else:
                for _ in range(self.pick(1, 2)):
                    body += self.pick([["slot", 0, own]], [["slot", 0, own]], [["if", there, [["on", own, is_one(1)]], []]], self.items(2))
            threads.append(Thread(body))
        return Description(self.world, threads, {}).copy()

    def function(self) -> Function:
        """A helper; it may call none."""
        self.left, self.held = self.pick(2, 3, 4), []
        atomic, before = self.odds(0.35), set(self.uses)
        self.uses.discard("calls")
        self.in_function, self.in_atomic = True, atomic
        gives = self.odds(0.5)
        self.gives = gives
        body: list[Tree] = [] if atomic else [["add", ["cell", "c"], ["int", 0]]]
        body += self.body(1)
        if gives:
            body.append(["return", self.number(True, 1)])
        self.in_function = self.in_atomic = False
        self.uses = before
        return Function(self.pick(0, 1), atomic, body)
