"""secondsight: settle questions about sharing process memory with devices.

What a driver is written with; the rest is in `secondsight.lang` (the language), `secondsight.linux` (the machinery),
`secondsight.scenario` (recording scenarios) and `secondsight.contract` (the rules and the adversaries).
"""

import secondsight.world.operations  # noqa: F401  whoever imports anything of secondsight has the operations
from secondsight.devices import Device, DevicePageTable
from secondsight.lang import Errno, Mutex, SpinLock, atomic
from secondsight.linux.mm_types import Va
from secondsight.machine import Machine
from secondsight.scenario import scenario

__all__ = ["Device", "DevicePageTable", "Errno", "Machine", "Mutex", "SpinLock", "Va", "atomic", "scenario"]
