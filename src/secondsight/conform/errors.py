"""What goes wrong with the kernel's C beside the model."""

from __future__ import annotations

from secondsight.kernels.errors import KernelError

__all__ = ["ConformError"]


class ConformError(KernelError):
    """A conformer cannot be built or run: no source, no compiler, a file that no longer compiles, a place that is not known."""
