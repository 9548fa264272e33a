"""The adversaries: what the rest of the kernel and the process do while a device uses the memory.

Most are a thread that does something to two pages that hold `A`, while a device uses them: reading, writing, reading with
two engines at once, or reading and then closing. Others need a setting of their own: `part`, `read-only`, `mprotect`, `fork`, `open`,
`close`, `two-pagemaps`, `two-processes`, `two-devices`, `fs-dax`, `writeback`, `reset`, `reclaim`, `direct-reclaim`, `allocation-fails`, `memlock-limit`.

A driver that keeps the contract survives every interleaving of every one. When all is quiet the device's access ends as the
CPU's does, with the same value, or both fail. Then the driver is closed, and what it took must have been given back.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

from secondsight.contract.adversaries.allocating import ALLOCATING
from secondsight.contract.adversaries.atomics import ATOMIC
from secondsight.contract.adversaries.forks import FORKS
from secondsight.contract.adversaries.fs_dax import FS_DAX
from secondsight.contract.adversaries.huge import HUGE
from secondsight.contract.adversaries.importers import IMPORTERS
from secondsight.contract.adversaries.locked import LOCKED
from secondsight.contract.adversaries.making import Adversary
from secondsight.contract.adversaries.movable import MOVABLE
from secondsight.contract.adversaries.opening import OPENINGS
from secondsight.contract.adversaries.pages import PAGES
from secondsight.contract.adversaries.part import PARTS
from secondsight.contract.adversaries.private import PRIVATE
from secondsight.contract.adversaries.protection import PROTECTIONS
from secondsight.contract.adversaries.resetting import RESETS
from secondsight.contract.adversaries.two_devices import TWO_DEVICES
from secondsight.contract.adversaries.two_processes import PROCESSES
from secondsight.contract.adversaries.writeback import WRITEBACK
from secondsight.contract.adversaries.young import YOUNG
from secondsight.devices.device import Device
from secondsight.linux.mm_types import MmuNotifier
from secondsight.world.encoder import has_callback

__all__ = ["ADVERSARIES", "EVERY_ADVERSARY", "IMPORTER_ADVERSARIES", "Adversary", "adversaries_for"]

ADVERSARIES: dict[str, Adversary] = {
    **PAGES, **PARTS, **PROTECTIONS, **FORKS, **OPENINGS, **PROCESSES, **TWO_DEVICES, **ATOMIC, **PRIVATE, **HUGE, **MOVABLE, **LOCKED, **FS_DAX, **WRITEBACK, **RESETS, **YOUNG,
    **ALLOCATING,
}  # fmt: skip
"""Those of drivers that use a process's memory, by their names, in the order in which they are tried."""

IMPORTER_ADVERSARIES: dict[str, Adversary] = IMPORTERS
"""Those of drivers that promise to be importers."""

EVERY_ADVERSARY: dict[str, Adversary] = {**ADVERSARIES, **IMPORTER_ADVERSARIES}
"""Those of all promises."""


def adversaries_for(driver: type[Device]) -> dict[str, Adversary]:
    """The adversaries of a driver's promise, of the methods that it writes, and of what it says of itself and needs."""
    if driver.promise == "importer":
        return {name: one for name, one in IMPORTER_ADVERSARIES.items() if one.says is None or getattr(driver, one.says, False) is True}
    return {
        name: one for name, one in ADVERSARIES.items()
        if one.promise in (None, driver.promise) and _writes(driver, one.method) and _calls(driver, one.calls) and (one.bound is None or driver.bounds.get(one.bound, 0) > 0)
    }  # fmt: skip


def _calls(driver: type[Device], function: str | None) -> bool:
    """Whether a function of this name is called in a method that the driver has, or in a function of the files that its classes are in."""
    if function is None:
        return True
    classes = [one for one in driver.__mro__ if issubclass(one, Device) and one is not Device]
    own = [value for one in classes for value in (*vars(one).values(), *_functions(one.__module__))]
    return any(function in inspect.unwrap(value).__code__.co_names for value in own if inspect.isfunction(value))


def _functions(module: str) -> Iterator[object]:
    """The functions that a file defines."""
    return (value for value in vars(sys.modules[module]).values() if inspect.isfunction(value) and value.__module__ == module)


def _writes(driver: type[Device], method: str | None) -> bool:
    return method is None or getattr(driver, method) is not getattr(Device, method) or (hasattr(MmuNotifier, method) and has_callback(driver, method))
