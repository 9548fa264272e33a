"""Real kernels: fetched (`get`), booted in QEMU (`boot`), and scenarios run on them (`observe`; more by the `VM` that `boot` gives)."""

from secondsight.kernels.catalog import BUILDABLE, GETTABLE, HOST, Kernel, build, get
from secondsight.kernels.errors import KernelError
from secondsight.kernels.jobs import Died, Differs, ForcedRun, GuestJob, Observation
from secondsight.kernels.modules import build_module, headers
from secondsight.kernels.real_device import needs_module, variant_of
from secondsight.kernels.run import VM, boot, observe

__all__ = [
    "BUILDABLE", "GETTABLE", "HOST", "VM", "Died", "Differs", "ForcedRun", "GuestJob", "Kernel", "KernelError", "Observation", "boot",
    "build", "build_module", "get", "headers", "needs_module", "observe", "variant_of",
]  # fmt: skip
