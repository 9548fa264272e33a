"""Programs with sequence numbers: one counts, others keep copies of where it was."""

from __future__ import annotations

from attack.description import Description, Thread, Tree, walk
from attack.draw_statements import Statements

__all__ = ["Sequences", "counts"]


class Sequences(Statements):
    """Threads that count, that publish numbers, that keep old ones and compare them."""

    def counting(self) -> Description:
        """The first thread counts, and so may others; all look at numbers. None counts for ever: its numbers would have no end."""
        threads = []
        self.uses -= {"calls"}
        # What one program does decides for all that it shares its code with: so it goes by what these have in common.
        saved = self.world.items != 3  # what a reader keeps is compared with copies and the counter, and with nothing else
        before = self.world.low != 0 or self.world.high != 3
        apart = self.world.items == 4 and self.odds(0.1)
        for place in range(self.pick(2, 2, 3)):
            self.left, self.held = self.pick(1, 2), []
            body: list[Tree] = [["slet", "s0", ["copy", self.pick(0, 1)]]] if place and self.odds(0.6) else []
            for _ in range(self.pick(3, 4, 6) if place == 0 else self.pick(2, 3, 4)):
                body += self.advances(before) if self.odds(0.8 if place == 0 else 0.1) else self.looks(saved, before, apart)
            threads.append(Thread(body, daemon=place > 1 and self.odds(0.3)))
        return Description(self.world, threads, {}).copy()

    def advances(self, before: bool) -> list[Tree]:
        """The counter goes on; a copy is made of it."""
        copy: Tree = ["copy", self.pick(0, 1), self.pick(["seq"], ["seq"], ["no seq"], ["before"] if before else ["seq"])]
        twice: Tree = ["for", "i0", 2, [["advance"], copy, ["advance"]]]
        even: Tree = ["if", ["seq odd", ["seq"]], [["advance"]], []]
        maybe: list[Tree] = [["choose", "x1", 2], ["if", ["cmp", "==", ["local", "x1"], ["int", 1]], [["advance"], ["advance"]], []]]
        return self.chance.choice(
            [[["advance"]], [["advance"], copy], [["make odd"], copy, even], [copy], [twice], [twice], [["atomic", [["make odd"], copy]]], [even], maybe]
        )

    def looks(self, saved: bool, before: bool, apart: bool) -> list[Tree]:
        """A number is read and kept, or one that was kept is looked at."""
        own: Tree = ["slocal", "s0"]
        copy: Tree = ["copy", self.pick(0, 1)]
        there: Tree = self.pick(copy, ["seq"])
        tests: list[Tree] = [["seq same", copy, own], ["seq same", ["seq"], own], ["seq odd", own], ["seq none", own], ["seq same", copy, ["seq"]]]
        tests += [["seq same", copy, ["before"]]] if before else []
        tests += [["seq less", own, there]] if apart else []
        if not saved:
            tests += [["seq same", ["copy", 0], ["copy", 1]], ["seq same", own, ["slocal", "s1"]]]
        test = self.chance.choice(tests)
        tell: Tree = ["put", ["cell", self.pick("a", "b", "c")], ["if", self.pick(test, ["not", test]), ["int", 2], ["int", 1]]]
        again: Tree = ["forever", [["slet", "s0", copy], ["if", self.pick(["seq same", there, own], ["not", ["seq same", ["seq"], own]]), [["break"]], []]]]
        forms: list[list[Tree]] = [
            [["slet", "s0", there]], [["slet", "s0", there], tell], [tell], [tell], [["if", test, self.store(2), []]], [again],
            [["wait", ["not", ["seq same", ["seq"], own]]]], [["require", self.pick(["not", test], test)]] if self.odds(0.3) else [tell],
        ]  # fmt: skip
        if not saved:
            forms += [[["copy", self.pick(0, 1), own]], [["slet", "s1", own]]]
        return self.chance.choice(forms)


def counts(description: Description) -> bool:
    """Whether a program counts."""
    return any(node[0] in ("advance", "make odd") for body in description.bodies() for line in body for node in walk(line))
