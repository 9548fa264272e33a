"""The sizes of the mirror protocol, and the numbers of states that everybody must find."""

from __future__ import annotations

from dataclasses import dataclass

from bench.mirror import CONFIGURATIONS

__all__ = ["EVERY", "ONE_PAGE", "SIZES", "TINY", "Size"]


@dataclass(frozen=True, slots=True)
class Size:
    """One configuration; `states` and `transitions` are those without reductions."""

    name: str
    pages: int
    devices: int
    cpus: int
    operations: int
    """Operations of each CPU thread."""
    device_operations: int
    states: int
    transitions: int

    @property
    def frames(self) -> int:
        return self.pages + 1

    @property
    def program(self) -> tuple[int, int, int, int, int]:
        """The arguments of `bench.mirror.mirror`."""
        return self.pages, self.devices, self.cpus, self.operations, self.device_operations


TINY = Size("T", 1, 1, 1, 2, 1, 522, 821)
"""For tests: seen whole in no time by anybody."""

SIZES = {name: Size(name, *row) for name, row in CONFIGURATIONS.items()}
"""The published sizes, smallest first."""

ONE_PAGE = {"S": Size("S", 1, 1, 1, 3, 3, 3_935, 6_496), "M": Size("M", 1, 2, 1, 2, 2, 52_931, 122_772)}
"""For those that run the protocol as a program: it has no choice of a page, and few enough executions."""

EVERY = {TINY.name: TINY, **ONE_PAGE, **SIZES}
