"""Real kernels: fetched (`get`), booted in QEMU (`boot`), and scenarios run on them (`observe`)."""

from secondsight.kernels.catalog import BUILDABLE, GETTABLE, HOST, Kernel, build, get
from secondsight.kernels.errors import KernelError
from secondsight.kernels.modules import build_module, headers
from secondsight.kernels.run import VM, Observation, boot, observe

__all__ = [
    "BUILDABLE", "GETTABLE", "HOST", "VM", "Kernel", "KernelError", "Observation", "boot", "build", "build_module", "get", "headers",
    "observe",
]  # fmt: skip
