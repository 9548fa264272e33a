"""Locals of one function that are never alive together, at one place of its frame.

Two locals are apart if one is assigned while the other is alive, or both are where a step begins. A local that shares its place is
zeroed when it dies but for what then lies there (`dead_bits`).
"""

from __future__ import annotations

from collections.abc import Iterable

from secondsight.lang import ir, tree
from secondsight.lang.cfg import Flow, live_before
from secondsight.lang.slots import Slot, masks

__all__ = ["Overlaid", "apart", "bits_of", "dead_bits"]


def apart(flow: Flow, among: Iterable[ir.Var]) -> dict[ir.Var, set[ir.Var]]:
    """Of each of some locals the others that it cannot share a place with."""
    known = set(among)
    found: dict[ir.Var, set[ir.Var]] = {var: set() for var in known}
    if len(known) < 2:
        return found

    def are_apart(written: set[ir.Var], alive: set[ir.Var]) -> None:
        for var in written:
            found[var] |= alive
            for other in alive:
                found[other].add(var)

    for block in flow.blocks:
        writes = [_assigned(stmt) & known for stmt in block.statements]
        if any(writes):
            live = flow.live_out(block)
            for stmt, written in zip(reversed(block.statements), reversed(writes), strict=True):
                before = live_before(stmt, live)
                if written:
                    are_apart(written, (live | written | (before | _within(stmt) if isinstance(stmt, (ir.If, ir.While)) else set())) & known)
                live = before
        alive = block.live_in & known
        if block is flow.entry:
            alive = alive | (known & set(flow.function.params))
        elif block.after_call is not None and block.after_call.target in known:
            are_apart({block.after_call.target}, alive)
        if block is flow.entry or block.boundary is not None:
            are_apart(alive, alive)
    for var, others in found.items():
        others.discard(var)
    return found


def _assigned(stmt: ir.Stmt) -> set[ir.Var]:
    """The locals that a statement may assign, with what is within it."""
    if isinstance(stmt, (ir.If, ir.While)):
        return {var for one in tree.statements([stmt]) for var in tree.assigned(one)}
    return set(tree.assigned(stmt))


def _within(stmt: ir.Stmt) -> set[ir.Var]:
    """The locals that are read within a statement."""
    return {node.var for one in tree.statements([stmt]) for e in tree.expressions(one) for node in tree.walk(e) if isinstance(node, ir.Local)}


class Overlaid:
    """The bits of a thread's region but for those that are `taken`, given out to the first local that has room there beside those that it is apart from.

    `end`: the bit behind the last."""

    def __init__(self, taken: int, apart_from: dict[ir.Var, set[ir.Var]]) -> None:
        self.end = taken.bit_length()
        self._always, self._apart = taken, apart_from
        self._taken: dict[ir.Var, int] = {}

    def always(self, bits: int) -> tuple[int, int, int]:
        """A place that nothing shares: the byte, how many bytes, the lowest bit in it."""
        at = _first(bits, self._always)
        self._always |= self._mask(at, bits)
        return at // 8, max(1, -(-bits // 8)), at % 8

    def take(self, var: ir.Var, bits: int) -> tuple[int, int, int]:
        """A local's place."""
        taken = self._always
        for other in self._apart[var]:
            taken |= self._taken.get(other, 0)
        at = _first(bits, taken)
        self._taken[var] = self._mask(at, bits)
        return at // 8, max(1, -(-bits // 8)), at % 8

    def _mask(self, at: int, bits: int) -> int:
        size = bits if bits < 8 else -(-bits // 8) * 8
        self.end = max(self.end, at + size if size else 0)
        return ((1 << size) - 1) << at


def _first(bits: int, taken: int) -> int:
    """The first of so many bits that are not taken: within a byte, or whole bytes."""
    size, step = (bits, 1) if bits < 8 else (-(-bits // 8) * 8, 8)
    at, mask = 0, (1 << size) - 1
    while taken >> at & mask or (step == 1 and at % 8 + size > 8):
        at += step
    return at


def bits_of(slots: Iterable[Slot]) -> int:
    """The bits of some places, the lowest first."""
    found = 0
    for at, mask in masks(slots).items():
        found |= mask << 8 * at
    return found


def dead_bits(slots: dict[ir.Var, Slot], dead: set[ir.Var], alive: set[ir.Var]) -> dict[int, int]:
    """Of each byte the bits that some dead locals leave there, and no living one has."""
    found = masks(slots[var] for var in dead if var in slots)
    for at, mask in masks(slots[var] for var in alive if var in slots).items() if found else ():
        if at in found:
            found[at] &= ~mask
            if not found[at]:
                del found[at]
    return found
