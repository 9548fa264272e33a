"""What a step may do on its way: the blocks that it may run through, and where the functions called there may wait or take a lock."""

from __future__ import annotations

from dataclasses import dataclass

from secondsight.lang import ir, tree
from secondsight.lang.cfg import Block, CallTo, Exit
from secondsight.lang.link import Frame
from secondsight.lang.locks import Lock, RwLock
from secondsight.lang.program import Program

__all__ = ["Does", "Steps", "steps_of"]


@dataclass(frozen=True, slots=True)
class Does:
    """Whether a step may wait, or part of one; whether for something else than a lock; whether it may take a lock."""

    waits: bool = False
    waits_for_more: bool = False
    takes: bool = False

    def __or__(self, other: Does) -> Does:
        return Does(self.waits or other.waits, self.waits_for_more or other.waits_for_more, self.takes or other.takes)


class Steps:
    """What the steps of a program may do; what a block or a function does is worked out once."""

    def __init__(self, program: Program) -> None:
        self.frames: dict[Block, Frame] = {block: frame for frame in program.frames.values() for block in frame.flow.blocks}
        self.program = program
        self._blocks: dict[Block, Does] = {}
        self._functions: dict[ir.Function, Does] = {}

    def does(self, first: Block) -> Does:
        """What a step may do that begins with a block."""
        found = Does()
        for block in self._ways(first):
            if block not in self._blocks:
                self._blocks[block] = self._body(block.statements)
            found |= self._blocks[block]
        return found

    def _ways(self, first: Block) -> dict[Block, None]:
        """The blocks that a step may run through: into calls, and back to callers."""
        step, todo = {first: None}, [first]
        for block in todo:
            if isinstance(block.end, CallTo):
                following = [self.program.frames[block.end.function].flow.entry]
            elif isinstance(block.end, Exit):
                following = [site.after for site in self.frames[block].sites]
            else:
                following = block.successors()
            for other in following:
                if other.boundary is None and other not in step:
                    step[other] = None
                    todo.append(other)
        return step

    def _body(self, body: list[ir.Stmt]) -> Does:
        """What some statements may do, with the functions that they call."""
        found = Does()
        for stmt in tree.statements(body):
            if isinstance(stmt, ir.Wait):
                found |= Does(waits=True, waits_for_more=not stmt.lock)
            elif isinstance(stmt, ir.Store) and _is_lock(stmt.addr):
                found |= Does(takes=True)
            for node in (n for e in tree.expressions(stmt) for n in tree.walk(e)):
                if isinstance(node, ir.Call):
                    if node.function not in self._functions:
                        self._functions[node.function] = self._body(node.function.body)
                    found |= self._functions[node.function]
        return found


def steps_of(program: Program) -> Steps:
    """What the steps of a program may do: one object for all who ask."""
    return program.code.keep("steps", lambda: Steps(program))


def _is_lock(addr: ir.Addr) -> bool:
    """Whether a place says who holds a lock."""
    last = addr.path[-1] if addr.path else None
    return isinstance(last, ir.FieldStep) and issubclass(last.record, (Lock, RwLock)) and last.name in ("owner", "readers")
