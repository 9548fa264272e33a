"""Programs drawn by chance: locks in every way of taking, handing over and looking at them, waits, choices, loops that go round.

`draw_program` makes one for a world. What it may use is drawn first, so that each program has much of few things.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from attack.description import Description, Function, Thread, Tree, World, walk
from attack.locks import FAIR

__all__ = ["APART", "draw_program", "draw_world", "tells_apart"]

FEATURES = (
    "mutex", "try", "rw", "spin", "boxes", "pool", "hand", "probe", "wait", "lock and wait", "choose", "items", "loops", "atomic",
    "calls", "rules", "polling",
)  # fmt: skip


def draw_world(chance: random.Random) -> World:
    """What there is."""
    low, high = chance.choice([(0, 3), (0, 3), (0, 3), (-2, 5), (0, 300), (1, 4)])
    return World(chance.choice([2, 3, 3]), chance.random() < 0.5, low, high)


APART = ("one by its place", "a number from a place", "one by a number", "one after the other", "what may fail", "in an order")
"""Ways of telling items apart."""


def draw_program(chance: random.Random, world: World, apart: Sequence[str]) -> Description:
    """One program. `apart`: how it may tell interchangeable records apart."""
    return Drawing(chance, world, apart).program()


class Drawing:
    """One program being drawn."""

    def __init__(self, chance: random.Random, world: World, apart: Sequence[str]) -> None:
        self.chance, self.world, self.apart = chance, world, apart if world.interchangeable else APART
        self.wild = chance.choice([0.0, 0.0, 0.02, 0.1])
        count = chance.choice([3, 4, 5, 7])
        self.uses = set(chance.sample(FEATURES, count)) | ({"mutex"} if chance.random() < 0.4 else set())
        self.cells = chance.choice(["a", "ab", "aab", "aabc", "abc"])
        self.functions: dict[str, Function] = {}
        self.names = 0
        self.left = 0
        self.held: list[str] = []
        self.in_function = self.in_atomic = self.in_loop = False
        self.nodes: list[str] = []

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

    # The program.

    def program(self) -> Description:
        """All of it."""
        if self.odds(0.15):
            return self.pollers()
        if "hand" in self.uses and self.odds(0.5):
            return self.handing()
        if self.odds(0.08):
            return self.nesting()
        if "calls" in self.uses:
            for i in range(self.pick(1, 2)):
                self.functions[f"f{i}"] = self.function()
        count = self.pick(2, 2, 2, 3)
        threads = []
        for place in range(count):
            self.left = self.pick(4, 6, 8, 11) if count == 2 else self.pick(2, 3, 5)
            self.held, self.nodes = [], []
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
            self.held, self.nodes, self.left = [], [], self.pick(1, 2)
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
            self.left, self.held, self.nodes = self.pick(2, 3), [], []
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

    def function(self) -> Function:
        """A helper; it may call none."""
        self.left, self.held, self.nodes = self.pick(2, 3, 4), [], []
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

    # Statements.

    def body(self, level: int, top: bool = False, least: int = 1) -> list[Tree]:
        """Some statements."""
        out: list[Tree] = []
        for _ in range(self.chance.randint(2, 4) if top else self.chance.randint(least, 3)):
            if self.left <= 0:
                break
            self.left -= 1
            out += self.statement(level)
        return out or [["put", ["cell", "a"], self.small()]]

    def statement(self, level: int) -> list[Tree]:
        """One, or a few that belong together."""
        makers: list[Callable[[int], list[Tree]]] = [self.store, self.store, self.local]
        if level < 3:
            makers += [self.branch]
            for feature, make in (
                ("mutex", self.section), ("mutex", self.section), ("rw", self.reading_or_writing), ("spin", self.spinning),
                ("boxes", self.boxed), ("loops", self.loop), ("atomic", self.atomic), ("try", self.trying),
                ("polling", self.poll), ("hand", self.hand_over),
            ):  # fmt: skip
                if feature in self.uses:
                    makers += [make]
        if "calls" in self.uses and self.functions:
            makers += [self.call, self.call]
        for feature, make in (
            ("pool", self.pool), ("probe", self.probe), ("wait", self.wait), ("lock and wait", self.lock_and_wait),
            ("choose", self.choose), ("items", self.items), ("items", self.items), ("rules", self.rule),
        ):  # fmt: skip
            if feature in self.uses:
                makers += [make]
        if (self.in_loop or self.in_function) and self.odds(0.3):
            return self.leave()
        return self.chance.choice(makers)(level)

    def store(self, level: int) -> list[Tree]:
        """A number is stored."""
        place = self.place()
        return [self.pick(["put", place, self.small()], ["add", place, ["int", self.pick(1, 1, -1)]] if self.odds(0.2) else
                          ["put", place, ["bin", "%", ["bin", "+", ["get", place], ["int", 1]], ["int", 3]]])]  # fmt: skip

    def local(self, level: int) -> list[Tree]:
        """A local gets a value."""
        return [["let", self.pick("x0", "x0", "x1"), self.small()]]

    def branch(self, level: int) -> list[Tree]:
        """An `if`."""
        held = list(self.held)
        then = self.body(level + 1)
        self.held = list(held)
        return [["if", self.test(True), then, self.body(level + 1) if self.odds(0.3) else []]]

    def inside(self, lock: str, level: int) -> list[Tree]:
        """What is done with a lock held."""
        self.held.append(lock)
        body = self.body(level + 1)
        if lock in self.held:
            self.held.remove(lock)
        return body

    def may_sleep(self) -> bool:
        """Whether a step may wait here."""
        return "spin" not in self.held or self.rarely()

    def take(self, name: str, lock: Tree, level: int, ways: tuple[str, str, str] = ("lock", "lock", "unlock")) -> list[Tree]:
        """A section: `with`, or by hand."""
        if (name in self.held or not self.may_sleep()) and not self.rarely():
            return self.store(level)
        how, method, end = ways
        if self.odds(0.5):
            return [["with", how, lock, self.inside(name, level)]]
        body = self.inside(name, level)
        if self.rarely():
            return [["do", method, lock], *body]
        return [["do", method, lock], *guarded(body), ["do", end, lock]]

    def section(self, level: int) -> list[Tree]:
        """A mutex."""
        place = self.pick(0, 0, 1)
        return self.take(f"m{place}", ["m", place], level)

    def boxed(self, level: int) -> list[Tree]:
        """The lock of a box, by its place."""
        if "box" in self.held and not self.rarely():
            return [["put", ["box", self.place_number(2)], self.small()]]
        index = self.place_number(2)
        lock = ["box lock", index]
        body = self.inside("box", level)
        if self.odds(0.5):
            return [["with", "lock", lock, [["put", ["box", index], self.small()], *body]]] if self.may_sleep() else []
        index = ["int", self.pick(0, 1)]
        return [["do", "lock", ["box lock", index]], *guarded(body), ["do", "unlock", ["box lock", index]]]

    def reading_or_writing(self, level: int) -> list[Tree]:
        """The reader-writer lock, with or without a downgrade."""
        if "rw" in self.held and self.odds(0.95):
            return self.store(level)
        if self.odds(0.5):
            return self.take("rw", ["rw"], level, ("read", "read_lock", "read_unlock"))
        if self.odds(0.4) and self.may_sleep():
            first, then = self.inside("rw", level), self.inside("rw", level)
            return [["do", "write_lock", ["rw"]], *guarded(first), ["do", "write_downgrade", ["rw"]], *guarded(then), ["do", "read_unlock", ["rw"]]]
        return self.take("rw", ["rw"], level, ("write", "write_lock", "write_unlock"))

    def spinning(self, level: int) -> list[Tree]:
        """The spinlock."""
        if "spin" in self.held and not self.rarely():
            return self.store(level)
        return [["with", "lock", ["spin"], self.inside("spin", level)]]

    def trying(self, level: int) -> list[Tree]:
        """`trylock`."""
        if FAIR and self.odds(0.4) and "rw" not in self.held:
            how = self.pick("read", "read", "write")
            body = [*guarded(self.inside("rw", level)), ["do", f"{how}_unlock", ["rw"]]]
            return [["if try", ["rw"], body, self.body(level + 1) if self.odds(0.3) else [], f"{how}_trylock"]]
        name, lock = self.pick(("m0", ["m", 0]), ("m0", ["m", 0]), ("m1", ["m", 1]), ("spin", ["spin"]))
        held = name in self.held
        body = self.inside(name, level)
        if not held or self.rarely():
            body = [*guarded(body), ["do", "unlock", lock]]
        form = self.pick(0, 0, 1, 2)
        if form == 0:
            return [["if try", lock, body, self.body(level + 1) if self.odds(0.3) else []]]
        if form == 1 or self.in_atomic:
            return [["try", "x1", lock], ["if", ["cmp", "==", ["local", "x1"], ["int", 1]], body, []]]
        return [["forever", [["if try", lock, [*body, ["break"]], []]]]]

    def atomic(self, level: int) -> list[Tree]:
        """Several things in one step."""
        if self.in_atomic:
            return self.store(level)
        self.in_atomic = True
        loop, self.in_loop = self.in_loop, self.in_loop and self.odds(0.3)
        body = self.body(level + 1, least=2)
        self.in_atomic, self.in_loop = False, loop
        return [["atomic", body]]

    def lock_and_wait(self, level: int) -> list[Tree]:
        """A lock is taken and a condition waited for, or something done, in one step."""
        place = self.pick(0, 1)
        name, lock = f"m{place}", ["m", place]
        if name in self.held or not self.may_sleep() or self.in_atomic:
            return self.store(level)
        more = self.pick([["wait", self.test(True)]], [["wait", self.test(True)]], self.store(level))
        middle = self.inside(name, level)
        if self.odds(0.3):
            return [["atomic", [["do", "lock", lock], *more, ["do", "unlock", lock]]]]
        end: Tree = ["do", "unlock", lock]
        return [["atomic", [["do", "lock", lock], *more]], *guarded(middle), self.pick(end, ["atomic", [*self.store(level), end]])]

    def hand_over(self, level: int) -> list[Tree]:
        """A lock gets another owner by hand, or is broken."""
        if self.odds(0.5) and not self.in_atomic and "m0" not in self.held and self.may_sleep():
            return [["do", "lock", ["m", 0]], *self.store(level), ["put", ["owner", ["m", 0]], ["int", self.pick(1, 2, 2)]], *self.store(level)]
        if self.odds(0.5):
            return [["if", ["mine", ["m", 0]], [*self.store(level), ["do", "unlock", ["m", 0]]], []]]
        if self.odds(0.5) and self.may_sleep() and not self.in_atomic:
            return [["wait", ["cmp", "==", ["get", ["owner", ["m", 0]]], ["me"]]], *self.store(level), ["do", "unlock", ["m", 0]]]
        return [["put", ["owner", ["m", self.pick(0, 1)]], ["int", self.pick(0, 0, 1, 2)]]] if self.odds(0.4) else self.probe(level)

    def probe(self, level: int) -> list[Tree]:
        """Somebody looks at a lock."""
        lock = self.pick(["m", 0], ["m", 0], ["m", 1], ["spin"], ["rw"], ["box lock", ["int", 0]])
        test = self.pick(
            ["mine", lock], ["cmp", "!=", ["get", ["owner", lock]], ["int", 0]], ["cmp", "==", ["get", ["owner", lock]], ["me"]],
            ["cmp", "!=", ["get", ["readers"]], ["int", 0]], ["cmp", "==", ["get", ["owner", lock]], ["int", self.pick(1, 2)]],
        )  # fmt: skip
        form = self.pick(0, 0, 1, 2)
        if form == 0:
            return [["let", "x1", ["if", test, ["int", 2], ["int", 1]]]]
        if form == 1 and self.may_sleep():
            return [["wait", ["not", test]]]
        return [["if", test, self.store(level), []]]

    def wait(self, level: int) -> list[Tree]:
        """A condition is waited for."""
        return [["wait", self.test(True)]] if self.may_sleep() else self.store(level)

    def choose(self, level: int) -> list[Tree]:
        """Anything may be."""
        if self.odds(0.3):
            return [["choose", "x0", 2], ["let", "x0", self.kept(["local", "x0"])], *self.store(level)]
        if self.odds(0.15):  # it may be none
            return [["choose", "x0", ["bin", "+", ["local", "x1"], ["int", self.pick(0, 1)]] if self.rarely() else ["max", ["int", 1], ["get", ["cell", "a"]]]]]
        return [["choose", self.pick("x0", "x1"), self.pick(2, 2, 3)]]

    def loop(self, level: int) -> list[Tree]:
        """A loop that ends; in an atomic block only such."""
        before, self.in_loop = self.in_loop, True
        body = self.body(level + 1)
        self.in_loop = before
        form = self.pick(0, 1, 2)
        if form == 0 and "one after the other" in self.apart and not self.in_function:
            return [["each", "q0", [["let", "x1", self.kept(["get", ["item", ["rlocal", "q0"]]])], *body]]]
        self.names += 1
        name = f"i{self.names}"
        return [["for", name, self.pick(1, 2, 2), [*([["let", "x0", self.kept(["local", name])]] if self.odds(0.4) else []), *body]]]

    def poll(self, level: int) -> list[Tree]:
        """A loop that goes round until something holds."""
        if self.in_atomic:
            return self.store(level)
        before, self.in_loop = self.in_loop, True
        test = self.test(True, shared=True)
        form = self.pick(0, 1, 1, 2, 3)
        if form == 0:
            out: list[Tree] = [["while", test, self.body(level + 1) if self.odds(0.6) else [["pass"]]]]
        elif form == 1 and "m0" not in self.held and self.may_sleep():
            out = [["forever", [["with", "lock", ["m", 0], [["if", test, [["break"]], []]]], *(self.body(level + 1) if self.odds(0.4) else [])]]]
        elif form == 2 and "rw" not in self.held and self.may_sleep():
            out = [["forever", [["with", self.pick("read", "write"), ["rw"], [["if", test, [["break"]], []]]]]]]
        else:
            out = [["forever", [["if", test, [self.pick(["break"], ["break"], ["continue"])], []], *self.body(level + 1)]]]
        self.in_loop = before
        return out

    def leave(self) -> list[Tree]:
        """Out of a loop or of a function."""
        jump: Tree = [self.pick("break", "continue")]
        if self.in_function and (not self.in_loop or self.odds(0.5)):
            jump = ["return", self.number(True, 1)] if self.gives else ["return"]
        return [["if", self.test(True), [jump], []]] if self.odds(0.8) else [jump]

    def rule(self, level: int) -> list[Tree]:
        """Something must hold."""
        test = self.test(True)
        seldom = self.odds(0.5)
        test = ["or", test, ["cmp", "<", ["get", ["cell", self.pick("a", "b")]], ["int", 2]]] if seldom else test
        return [self.pick(["require", test], ["assert", test], ["seen", self.small()])]

    def call(self, level: int) -> list[Tree]:
        """A helper."""
        name = self.pick(*self.functions)
        function = self.functions[name]
        if self.in_atomic and not function.atomic:
            return self.store(level)
        if self.held and not self.odds(0.3):
            return self.store(level)
        gives = any(s[0] == "return" and len(s) > 1 for s in function.body)
        call: Tree = ["call", name, [self.small() for _ in range(function.parameters)], "x1" if gives and self.odds(0.8) else None]
        if self.odds(0.4):
            return [call]
        # What is known before is needed afterwards.
        before: Tree = self.pick(["let", "x0", self.small()], ["let", "x0", self.small()], ["rlet", "r0", ["slot", self.pick(0, 1)]])
        if before[0] == "let":
            return [before, call, ["put", ["cell", self.pick("a", "b")], self.kept(["bin", "+", ["local", "x0"], ["local", "x1"]])]]
        return [before, call, ["slot", self.pick(0, 1), ["rlocal", "r0"]]]

    def pool(self, level: int) -> list[Tree]:
        """Records that come and go, each with a lock."""
        form = self.pick(0, 0, 1, 2, 3)
        if form == 0 and self.odds(0.7):
            made: list[Tree] = [["alloc", "d0"], ["put", ["node", ["dlocal", "d0"]], ["int", 2]]]
            if self.odds(0.5) and not self.in_atomic and self.may_sleep():
                made.append(["do", "lock", ["node lock", ["dlocal", "d0"]]])
                made = [["atomic", made]] if self.odds(0.5) else made
                end: Tree = ["do", "unlock", ["node lock", ["dlocal", "d0"]]]
            else:
                end = ["pass"]
            if self.odds(0.4):
                return [*made, *self.store(level), end, ["free", ["dlocal", "d0"]]]
            return [*made, ["world node", ["dlocal", "d0"]], *self.store(level), end]
        have: Tree = ["not", ["no node", ["dlocal", "d1"]]]
        lock: Tree = ["node lock", ["dlocal", "d1"]]
        if form == 3 and self.odds(0.5):
            index = ["int", self.pick(0, 1)]
            return [["with", "lock", ["node lock", ["nodes", index]], self.store(level)]] if self.may_sleep() else []
        if form == 1 and self.may_sleep() and "d1" not in self.held:
            use: list[Tree] = [["with", "lock", lock, [["put", ["node", ["dlocal", "d1"]], self.small()], *self.inside("d1", level)]]]
        elif form == 2:
            use = [["if try", lock, [*self.store(level), ["do", "unlock", lock]], []]]
        else:
            use = [["world node", ["none"]], ["free", ["dlocal", "d1"]]]
        return [["dlet", "d1", ["world node"]], ["if", have, use, []]]

    def items(self, level: int) -> list[Tree]:
        """Interchangeable records, or such as are told apart."""
        name = self.pick("r0", "r0", "r1")
        own: Tree = ["rlocal", name]
        there: Tree = ["not", ["is none", own]]
        slot = self.pick(0, 1)
        free: Tree = ["not", ["on", ["rlocal", "q"]]]
        if self.apart and self.odds(0.25):
            return self.item_apart(name)
        form = self.chance.randrange(12)
        if form == 0:
            return [["choose item", name, None]]
        if form == 1:
            return [["atomic" if not self.in_atomic else "if", *([] if not self.in_atomic else [["any", free]]),
                     [["if", ["any", free], [["choose item", name, free], ["on", own, is_one(1)]], []]],
                     *([] if not self.in_atomic else [[]])]]  # fmt: skip
        if form == 2:
            return [["slot", slot, own]]
        if form == 3:
            return [["rlet", name, ["slot", slot]]]
        if form == 4:
            return [["if", there, [["put", ["item", own], self.small()]], []]]
        if form == 5:
            return [["if", there, [["next", own, ["slot", slot]], ["rlet", name, ["next", own]]], []]]
        if form == 6:
            return [["if", there, [["on", own, ["cmp", "<", self.small(), ["int", 2]]]], []]]
        if form == 7:
            counted: Tree = ["count", self.pick(["on", ["rlocal", "q"]], ["cmp", ">", ["get", ["item", ["rlocal", "q"]]], ["int", 1]])]
            return [["put", ["cell", "b"], self.kept(counted)]]
        if form == 8:
            return [["let", "x1", ["if", ["same", own, ["slot", slot]], ["int", 2], ["int", 1]]]]
        number = self.pick("n0", "n1")
        if form == 9:
            return [["if", there, [["nlet", number, ["index", own]]], []]]
        if form == 10:
            other = self.pick("r0", "r1")
            known: Tree = ["not", ["cmp", "<", ["local", number], ["int", 0]]]
            return [["if", there, [["nlet", number, ["index", own]]], []], *self.items_again(slot, name),
                    ["if", known, [["rlet", other, ["items", ["local", number]]]], []]]  # fmt: skip
        same: Tree = self.pick(["cmp", self.pick("==", "!="), ["local", "n0"], ["local", "n1"]], ["cmp", "<", ["local", number], ["int", 0]])
        return [["let", "x1", ["if", same, ["int", 2], ["int", 1]]]]

    def items_again(self, slot: int, name: str) -> list[Tree]:
        """Another item comes into a local, or nothing happens."""
        return self.tree([["slot", slot, ["rlocal", name]]], [["choose item", name, None]], [["rlet", name, ["slot", slot]]], [])

    def item_apart(self, name: str) -> list[Tree]:
        """Something that tells items apart."""
        own: Tree = ["rlocal", name]
        there: Tree = ["not", ["is none", own]]
        q: Tree = ["rlocal", "q"]
        how = self.chance.choice(list(self.apart))
        if how == "one by its place":
            return [["rlet", name, ["items", ["int", self.pick(0, 0, 1)]]]]
        if how == "a number from a place":
            return [["if", there, [["put", ["cell", "b"], self.kept(["index", own])]], []]]
        if how == "one by a number":
            found: Tree = ["items", self.place_number(self.world.items)]
            if self.odds(0.3):  # what comes after it must be there
                return [["put", ["item", ["next", found]], self.small()]]
            return [["put", ["item", found], self.small()]] if self.odds(0.5) else [["rlet", name, found]]
        if how == "one after the other":
            return [["each", "q0", [["if", ["not", ["on", ["rlocal", "q0"]]], [["on", ["rlocal", "q0"], is_one(1)], ["break"]], []]]]]
        if how == "what may fail":
            return [["if", [self.pick("any", "all"), ["on", ["next", q]]], self.store(2), []]]
        first: Tree = ["cmp", self.pick("<", "<="), ["index", own], ["int", self.pick(0, 1)]]
        return [["if", there, [["if", first, self.store(2), []]], []]]

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


def tells_apart(description: Description) -> bool:
    """Whether something in it tells items apart (but for one that has a place: that one stays)."""
    for body in description.bodies():
        for node in (node for line in body for node in walk(line)):
            numbers = [part for part in node if isinstance(part, list) and part[:1] == ["index"] and node[0] != "nlet"]
            by_number = node[0] == "items" and node[1][0] != "int" and not (node[1][0] == "local" and node[1][1][0] == "n")
            fails = node[0] in ("any", "all") and any(part[0] == "next" for part in walk(node[1]))
            if numbers or by_number or fails or node[0] == "each":
                return True
    return False


def is_one(value: int) -> Tree:
    """A test that is known."""
    return ["cmp", "==", ["int", 1], ["int", value]]


def guarded(body: list[Tree]) -> list[Tree]:
    """A body out of which no jump leads: what follows must be done."""

    def clean(line: Tree, loops: bool) -> Tree:
        if line[0] in ("break", "continue") and not loops:
            return ["pass"]
        if line[0] == "return":
            return ["pass"]
        inner = loops or line[0] in ("while", "forever", "for", "each")
        return [
            [clean(s, inner) for s in part] if isinstance(part, list) and part and isinstance(part[0], list) and line[0] != "call" else part
            for part in line
        ]

    return [clean(line, False) for line in body]
