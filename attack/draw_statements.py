"""Statements: locks in every way of taking, handing over and looking at them, waits, choices, loops that go round, calls, a pool."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from attack.description import WITH_NUMBERS, Function, Tree, World
from attack.draw_items import Items
from attack.locks import FAIR

__all__ = ["Statements", "guarded"]


class Statements(Items):
    """Bodies of threads and functions."""

    def __init__(self, chance: random.Random, world: World, apart: Sequence[str]) -> None:
        super().__init__(chance, world, apart)
        self.functions: dict[str, Function] = {}

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
            ("lists", self.listed), ("lists", self.listed), ("choose", self.choose), ("items", self.items), ("items", self.items), ("rules", self.rule),
        ):  # fmt: skip
            if feature in self.uses:
                makers += [make]
        if (self.in_loop or self.in_function) and self.odds(0.3):
            return self.leave()
        return self.chance.choice(makers)(level)

    def listed(self, level: int) -> list[Tree]:
        """A list on the stack, or two locals at once."""
        name = self.pick("l0", "l0", "l1")
        room: Tree = ["cmp", "<", ["length", name], ["int", 3]]
        form = self.pick(0, 1, 1, 1, 2, 3, 4)
        if form == 0:
            return [["list", name, [self.small() for _ in range(self.pick(0, 1, 2))]]]
        if form == 1:
            add: Tree = ["append", name, self.small()]
            return [add if self.rarely() else ["if", room, [add], []]]
        if form == 2 and level < 3:
            self.names += 1
            name_of = f"i{self.names}"
            before, self.in_loop = self.in_loop, True
            body: list[Tree] = [["let", "x1", self.kept(["local", name_of])], *self.body(level + 1)]
            self.in_loop = before
            return [["over", name_of, name, body]]
        if form == 3:
            some: Tree = ["cmp", ">", ["length", name], ["int", self.pick(0, 1)]]
            use = self.tree(["put element", name, ["int", 0], self.small()], ["put", ["cell", "b"], self.kept(["element", name, ["int", 0]])])
            return [["if", ["among", ["local", "x0"], name] if self.rarely() else some, [use], []]]
        return [["exchange", "x0", "x1", self.kept(["local", "x1"]), self.small()]]

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
        if gives and self.odds(0.25):
            return [["put call", self.place(), name, call[2]]]
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


def guarded(body: list[Tree]) -> list[Tree]:
    """A body out of which no jump leads: what follows must be done."""

    def clean(line: Tree, loops: bool) -> Tree:
        if line[0] in ("break", "continue") and not loops:
            return ["pass"]
        if line[0] == "return":
            return ["pass"]
        inner = loops or line[0] in ("while", "forever", "for", "each", "over")
        return [
            [clean(s, inner) for s in part] if isinstance(part, list) and part and isinstance(part[0], list) and line[0] not in WITH_NUMBERS else part
            for part in line
        ]

    return [clean(line, False) for line in body]
