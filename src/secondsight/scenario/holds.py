"""Hold points: the places where a thread can be held, on the model and on a real kernel, under one name.

On the model a hold point is the verb `hold_point("name")` of the language: nothing at all in an ordinary program, a step
boundary in a program built with `holds=True`. On a real kernel it is a call in the module's own code, or an ftrace hold at the
entry or the exit of an unmodified kernel function. `HOLDS` is the one table of both; the module's header is rendered from it.

The numbers are what the agent and the module speak: they are given once and not used again for another point.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["HOLDS", "INSIDE", "USUAL", "HoldPoint", "Where", "by_number", "hold"]


class Where(Enum):
    """Where on a real kernel a hold point lies."""

    AGENT = "between the operations of a scenario's thread"
    MODULE = "in the code of secondsight.ko"
    ENTRY = "at the entry of a kernel function (ftrace)"
    EXIT = "at the exit of a kernel function (ftrace)"


@dataclass(frozen=True)
class HoldPoint:
    """One hold point.

    `function`: for `ENTRY` and `EXIT` the kernel function that is held; for `MODULE` the kernel function that the point comes
    right after or before, where there is one, else "". `doc` completes the sentence "the thread is held ...".
    `locks`: what a thread that is held there may have taken, in the kernel's words ("" for nothing): who wants that blocks.
    """

    name: str
    number: int
    where: Where
    function: str
    doc: str
    locks: str = ""

    @property
    def symbol(self) -> str:
        """The name as a part of a C identifier: `HMM_RANGE_FAULT_EXIT`."""
        return self.name.strip("_").replace(":", "_").upper()


_TABLE = (
    HoldPoint("op", 1, Where.AGENT, "", "before an operation of the scenario; written op:N, N the operation's number in its thread"),
    HoldPoint("read_begun", 2, Where.MODULE, "mmu_interval_read_begin", "after the sequence number was read"),
    HoldPoint("range_faulted", 3, Where.MODULE, "hmm_range_fault", "after hmm_range_fault() gave a pfn and the mmap lock is dropped"),
    HoldPoint("before_lock", 4, Where.MODULE, "", "before the driver takes its lock in order to install"),
    HoldPoint("locked", 5, Where.MODULE, "mmu_interval_read_retry", "with the driver's lock, before the retry test", "driver's lock"),
    HoldPoint("tested", 6, Where.MODULE, "mmu_interval_read_retry", "after the retry test, before the entry is installed", "driver's lock"),
    HoldPoint("installed", 7, Where.MODULE, "", "after the entry was installed, before the driver's lock is dropped", "driver's lock"),
    HoldPoint("unlocked", 8, Where.MODULE, "", "after the driver's lock was dropped"),
    HoldPoint("accessing", 9, Where.MODULE, "", "before the device's access through its page table"),
    HoldPoint("invalidate_enter", 10, Where.MODULE, "", "at the start of the invalidate callback (only if it may sleep)", "mmap_lock"),
    HoldPoint("invalidate_leave", 11, Where.MODULE, "", "at the end of the invalidate callback (only if it may sleep)", "mmap_lock"),
    HoldPoint("hmm_range_fault:enter", 32, Where.ENTRY, "hmm_range_fault", "at the entry of hmm_range_fault()", "mmap_lock"),
    HoldPoint("hmm_range_fault:exit", 33, Where.EXIT, "hmm_range_fault", "at the exit of hmm_range_fault()", "mmap_lock"),
    HoldPoint(
        "__mmu_notifier_invalidate_range_end:enter", 34, Where.ENTRY, "__mmu_notifier_invalidate_range_end",
        "after the CPU's entries were cleared, before the readers of the sequence number go on", "mmap_lock",
    ),
    HoldPoint(
        "__mmu_notifier_invalidate_range_end:exit", 35, Where.EXIT, "__mmu_notifier_invalidate_range_end",
        "when the invalidation has ended", "mmap_lock",
    ),
    HoldPoint("shmem_fault:enter", 36, Where.ENTRY, "shmem_fault", "at the entry of shmem_fault()", "mmap_lock"),
)  # fmt: skip

HOLDS: dict[str, HoldPoint] = {point.name: point for point in _TABLE}
"""Every hold point by its name."""


USUAL: tuple[str, ...] = tuple(point.name for point in _TABLE if point.where in (Where.AGENT, Where.MODULE))
"""The points at which every thread is held in a forced run that asks for nothing else."""

INSIDE: tuple[str, ...] = tuple(point.name for point in _TABLE if point.where in (Where.ENTRY, Where.EXIT))
"""The points inside the kernel's own functions, for what cannot be ordered by the usual ones."""


def hold(name: str) -> HoldPoint:
    """The hold point of a name. Raises KeyError, with the names there are."""
    try:
        return HOLDS[name]
    except KeyError:
        raise KeyError(f"there is no hold point {name}; there are {', '.join(HOLDS)}") from None


def by_number(number: int) -> HoldPoint:
    """The hold point of a number, as the module and the agent give it. Raises KeyError."""
    for point in _TABLE:
        if point.number == number:
            return point
    raise KeyError(f"there is no hold point with the number {number}")
