"""Real kernels: fetched (`get`), booted in QEMU (`boot`), and scenarios run on them (`observe`)."""

from secondsight.kernels.catalog import GETTABLE, Kernel, get
from secondsight.kernels.errors import KernelError
from secondsight.kernels.modules import build_module, headers
from secondsight.kernels.run import VM, Observation, boot, observe

__all__ = ["GETTABLE", "VM", "Kernel", "KernelError", "Observation", "boot", "build_module", "get", "headers", "observe"]
