"""What is done with items: records that are interchangeable, or such as a program tells apart."""

from __future__ import annotations

from attack.description import Description, Tree, walk
from attack.draw_parts import Parts, is_one

__all__ = ["Items", "tells_apart"]


class Items(Parts):
    """Statements about items."""

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
