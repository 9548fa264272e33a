"""secondsight: settle questions about sharing process memory with devices.

What a driver is written with; the rest is in `secondsight.lang` (the language), `secondsight.linux` (the machinery),
`secondsight.scenario` (recording scenarios) and `secondsight.contract` (the rules and the adversaries).

Each name is imported when it is first asked for: `secondsight --help`, and every run of pytest where secondsight is installed, need none.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType

TYPE_CHECKING = False  # `typing` itself takes longer than all else that is loaded here
if TYPE_CHECKING:
    from typing import Any

    from secondsight.devices import BufferDevice, Device, DevicePageTable
    from secondsight.lang import Errno, Mutex, SpinLock, atomic
    from secondsight.linux.mm_types import Va
    from secondsight.machine import Machine
    from secondsight.scenario import scenario

    __version__: str

__all__ = ["BufferDevice", "Device", "DevicePageTable", "Errno", "Machine", "Mutex", "SpinLock", "Va", "atomic", "scenario"]

_FROM = {
    "BufferDevice": "devices",
    "Device": "devices",
    "DevicePageTable": "devices",
    "Errno": "lang",
    "Machine": "machine",
    "Mutex": "lang",
    "SpinLock": "lang",
    "Va": "linux.mm_types",
    "atomic": "lang",
}


def declare_operations() -> None:
    """Fill `scenario.OPS`: whoever looks an operation up has them all, and nobody else pays for them."""
    import_module("secondsight.world.operations")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("secondsight")
    if name not in _FROM:
        raise AttributeError(f"module 'secondsight' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"secondsight.{_FROM[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`scenario` is the decorator, though the package in which it lies has the same name: importing that would put it in its place."""

    @property
    def scenario(self) -> Any:
        from secondsight.scenario.recorder import scenario

        return scenario

    @scenario.setter
    def scenario(self, package: ModuleType) -> None: ...


sys.modules[__name__].__class__ = _Package
