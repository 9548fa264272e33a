"""The running kernel: the agent as a plain process of this machine, for scenarios that are plain system calls.

The process touches memory and files of its own alone, gives up root's rights when it was started with
them, and ends with this one. No module is ever loaded here.
"""

from __future__ import annotations

from pathlib import Path

from secondsight.kernels.qemu import Guest

__all__ = ["HostGuest"]


class HostGuest(Guest):
    """The agent on the running kernel, spoken to as if it were in a guest. Raises KernelError when it ends or hangs."""

    process = "the agent"

    def __init__(self, program: Path, *, timeout: float = 60) -> None:
        self._start(lambda line: [str(program), str(line)], timeout)
