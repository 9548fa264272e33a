"""The booted kernel that these tests share: one boot for the whole run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import NoReturn

import pytest

from secondsight.kernels import VM, Kernel, KernelError, boot
from secondsight.kernels.qemu import QEMU


def unavailable(reason: str) -> NoReturn:
    """Skip in one line; fail where a real kernel is required."""
    if os.environ.get("SECONDSIGHT_REQUIRE_KERNELS") == "1":
        pytest.fail(f"SECONDSIGHT_REQUIRE_KERNELS=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kernel_6_12() -> Kernel:
    if shutil.which(QEMU) is None:
        unavailable(f"{QEMU} is not there: apt-get install qemu-system-x86")
    try:
        return Kernel.find("linux-6.12")
    except KernelError as error:
        unavailable(f"{error.reason}: {error.remedy}")


@pytest.fixture(scope="session")
def vm(kernel_6_12: Kernel) -> Iterator[VM]:
    with boot(kernel_6_12) as machine:
        yield machine


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded about the real kernel, and once why tests were skipped."""
    reasons = [r.longrepr[2] for r in terminalreporter.getreports("skipped") if "tests/kernels/" in r.nodeid]
    for reason in dict.fromkeys(reasons):
        terminalreporter.write_line(f"kernel tests skipped: {reason.removeprefix('Skipped: ')}")
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name.startswith("kernel: "):
                terminalreporter.write_line(f"{name} {value}")
