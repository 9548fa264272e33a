"""The same scenarios on every kernel that is here: the other releases, one of our own, the running one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from secondsight.kernels import VM, Kernel, KernelError, boot
from secondsight.kernels.initramfs import agent
from secondsight.kernels.qemu import QEMU
from secondsight.scenario import load_expected, load_scenarios, show_outcome
from secondsight.scenario.model import outcomes

REPO = Path(__file__).parents[2]
FILES = [*sorted((REPO / "scenarios").glob("*.py")), REPO / "examples" / "hole_refilled.py"]

@pytest.fixture(scope="module", params=["linux-6.1", "linux-7.2", "linux-6.12-own", "host"])
def other(request: pytest.FixtureRequest) -> Iterator[VM]:
    try:
        kernel = Kernel.find(request.param)
    except KernelError as error:
        pytest.skip(f"{error.reason}: {error.remedy}")
    if kernel.image is not None and shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not there")
    with boot(kernel) as machine:
        yield machine


def test_observed_is_possible_on_every_kernel(other: VM) -> None:
    assert other.release == other.kernel.release
    ran = 0
    for path in FILES:
        expected = load_expected(path.with_suffix(".expected.json"))
        for recorded in load_scenarios(path):
            try:
                seen = other.observe(recorded, runs=25)
            except KernelError as error:
                assert "has no /dev/udmabuf" in error.reason
                assert other.kernel.name in ("linux-6.1", "host")
                continue
            ran += 1
            if others := set(seen.outcomes) - expected[recorded.name]:
                # What is written is the model's own release; where another differs is known to the model (linux/releases.py).
                _, possible = outcomes(recorded, release=other.release)
                assert not sorted(show_outcome(outcome) for outcome in others - possible)
    assert ran >= 14


@pytest.fixture
def host() -> Iterator[VM]:
    with boot(Kernel.find("host")) as machine:
        yield machine


def test_on_the_running_kernel_the_agent_is_a_plain_process_without_rights(host: VM) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{host.pid}/status").read_text().splitlines() if ":\t" in line)
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    assert int(status["Uid"].split()[0]) == (os.getuid() or 65534)
    program = agent("host").read_bytes()
    for word in (b"sysrq-trigger", b"/dev/kmsg", b"devtmpfs", b"/modules"):
        assert word in agent("guest").read_bytes()
        assert word not in program


@pytest.mark.parametrize("command", ["crash", "program sh"])
def test_the_running_kernel_survives_what_panics_a_guest(command: str, host: VM) -> None:
    host._guest.send(f"{command}\n")
    with pytest.raises(KernelError, match="a command this agent does not know"):
        host._guest.receive(20)


def test_an_agent_that_was_killed_is_reported(host: VM) -> None:
    os.kill(host.pid, signal.SIGKILL)
    with pytest.raises(KernelError, match="the agent ended by SIGKILL"):
        host.observe(load_scenarios(REPO / "scenarios" / "ends.py")[0], runs=1)
