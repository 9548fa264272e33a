"""The kernel's own tests of HMM and udmabuf, on a kernel of our own.

Their C sources lie in the kernel's entry, as its packaged source has them; they are compiled here when
they are wanted, run by the agent, and their verdicts read from what they print.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secondsight.kernels.catalog import Kernel, selftest_sources
from secondsight.kernels.errors import KernelError
from secondsight.kernels.initramfs import compiler, initramfs
from secondsight.kernels.qemu import Guest
from secondsight.kernels.tap import Verdict, verdicts

__all__ = ["PROGRAMS", "Report", "selftest"]

PROGRAMS = {
    "udmabuf": "tools/testing/selftests/drivers/dma-buf/udmabuf.c",
    "hmm-tests": "tools/testing/selftests/mm/hmm-tests.c",
}
"""The test programs, and their sources in the kernel's source."""

LINE_SECONDS = 300.0  # a test's own limit is 30 s, on a machine that is not emulated

MEMORY, LESS_MEMORY = 3072, 512
"""What the guest has, in MiB: one test of udmabuf wants 2 GiB of huge pages, and does not run with less."""

Progress = Callable[[str, str], None]  # a program, and the line that it has just printed


@dataclass(frozen=True)
class Report:
    """What the kernel's own tests said, in their order; `output` is everything that each program printed."""

    kernel_release: str
    verdicts: tuple[Verdict, ...]
    output: dict[str, str]
    seconds: float


def selftest(kernel: Kernel, progress: Progress | None = None, boot_seconds: float = 60) -> Report:
    """Compile and run the kernel's own tests on a kernel that has them. Raises KernelError: it has none, they do
    not compile, or the guest died, with its console."""
    sources = selftest_sources(kernel)
    assert kernel.image is not None
    with tempfile.TemporaryDirectory() as folder:
        programs = [_compiled(sources, name, Path(folder)) for name in PROGRAMS]
        archive = initramfs(kernel.modules, programs)
    start = time.monotonic()
    found: list[Verdict] = []
    output = {}
    with Guest(kernel.image, archive, boot_timeout=boot_seconds, memory=_memory()) as guest:
        for name in PROGRAMS:
            lines, ended = _run(guest, name, progress or (lambda program, line: None))
            output[name] = "\n".join(lines)
            found += verdicts(name, lines, ended)
        return Report(str(guest.hello["release"]), tuple(found), output, time.monotonic() - start)


def _compiled(sources: Path, name: str, folder: Path) -> Path:
    """A test program, static, against the kernel's own interface."""
    made = folder / name
    include = ["-isystem", str(sources / "usr/include"), "-I", str(sources)]
    command = [compiler(), "-static", "-O2", "-pthread", "-D_GNU_SOURCE=", *include, "-o", str(made), str(sources / PROGRAMS[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"the kernel's test {name} does not compile: {' '.join(command)}", done.stderr.strip()[-2000:])
    return made


def _run(guest: Guest, name: str, progress: Progress) -> tuple[list[str], str]:
    """A program's output, and how it ended."""
    guest.doing = f"running the kernel's test {name}"
    guest.send(f"program {name}\n")
    lines: list[str] = []
    while "ended" not in (answer := guest.receive(LINE_SECONDS)):
        lines.append(str(answer["line"]))
        progress(name, lines[-1])
    return lines, str(answer["ended"])


def _memory() -> int:
    """What the guest can have on this machine, without using up what it has."""
    free = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return MEMORY if free and int(free[1]) >> 10 >= 2 * MEMORY else LESS_MEMORY
