"""In which order a program's functions are written, whatever they are rendered to: the model's first, which an edit of a driver does not change."""

from __future__ import annotations

from abc import ABC, abstractmethod

from secondsight.lang import ir
from secondsight.lang.cfg import Block
from secondsight.lang.program import Frame, Program, is_head

__all__ = ["FunctionOrder"]


class FunctionOrder(ABC):
    """A renderer's functions. `frame` is that of the function with boundaries being written; `queue`: those without, that are to be written still."""

    program: Program
    frame: Frame | None
    queue: list[ir.Function]

    @abstractmethod
    def _entry(self, frame: Frame, number: int) -> None:
        """Write how a function with boundaries, frame `number`, is called."""

    @abstractmethod
    def _head(self, block: Block) -> None:
        """Write what runs from the beginning of a block on."""

    @abstractmethod
    def _plain_function(self, function: ir.Function) -> None:
        """Write a function without boundaries."""

    def _functions(self, of_users: bool) -> None:
        """The functions of users, and what those alone call; or all others."""
        for number, frame in enumerate(self.program.frames.values()):
            if frame.flow.function.is_users == of_users:
                self.frame = frame
                self._entry(frame, number)
                for block in frame.flow.blocks:
                    if is_head(frame.flow, block) and not (block is frame.flow.entry and not self._needs_own(frame, block)):
                        self._head(block)
        self.frame = None
        later: list[ir.Function] = []
        while self.queue:
            function = self.queue.pop()
            if function.is_users and not of_users:
                later.append(function)
            else:
                self._plain_function(function)
        self.queue = later

    def _needs_own(self, frame: Frame, block: Block) -> bool:
        """Whether an entry block is also reached otherwise."""
        return block.boundary is not None or any(block in b.successors() for b in frame.flow.blocks)
