"""A guest that panics, hangs or never comes up is reported with its console, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from secondsight.kernels import VM, Kernel, KernelError, boot, build_module
from secondsight.kernels.qemu import Guest
from secondsight.scenario import Recorder, load_scenarios, scenario

REPO = Path(__file__).parents[2]


def is_running(pid: int) -> bool:
    """Whether a process is there; one that ended and was not reaped counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ends_soon(pid: int, seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


@pytest.fixture
def own_vm(kernel_6_12: Kernel) -> Iterator[VM]:
    """A guest that the test may ruin."""
    with boot(kernel_6_12, answer_seconds=20) as machine:
        yield machine
    assert not is_running(machine.pid)


def test_a_panic_is_reported_with_the_console_and_the_scenario(own_vm: VM) -> None:
    recorded = load_scenarios(REPO / "examples" / "hole_refilled.py")[0]
    own_vm.observe(recorded, runs=1)
    own_vm._guest.send("crash\n")
    with pytest.raises(KernelError) as caught:
        own_vm.observe(recorded, runs=1)
    assert not is_running(own_vm.pid)
    assert caught.value.reason == "the guest's kernel panicked while running hole_refilled"
    assert "secondsight: scenario hole_refilled" in caught.value.console
    assert "Kernel panic" in caught.value.console
    assert caught.value.console in str(caught.value)
    with pytest.raises(KernelError, match="the guest is gone"):
        own_vm.observe(recorded, runs=1)


def test_a_hang_is_reported_after_the_timeout(kernel_6_12: Kernel) -> None:
    with boot(kernel_6_12, answer_seconds=3) as machine:
        machine._guest.send("hang\n")
        with pytest.raises(KernelError, match=r"hangs: no answer for 3 s while running nothing_much"):

            @scenario
            def nothing_much(s: Recorder) -> None:
                s.mmap(pages=1)

            machine.observe(nothing_much, runs=1)
        assert not is_running(machine.pid)


@pytest.mark.wide
def test_a_kernel_that_never_reaches_the_agent(kernel_6_12: Kernel, tmp_path: Path) -> None:
    nothing = tmp_path / "empty.cpio"
    nothing.write_bytes(b"")
    with pytest.raises(KernelError, match="panicked while booting") as caught:
        Guest(kernel_6_12.image, nothing)
    assert "VFS" in caught.value.console


COMPLAINS = """\
#include <linux/module.h>
static int __init complain(void) {{ {what}; return 0; }}
module_init(complain);
MODULE_LICENSE("GPL");
"""


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ('pr_warn("WARNING: possible recursive locking detected\\n")', "complains while booting: WARNING: possible recursive locking"),
        pytest.param("WARN_ON(1)", "panicked while booting", marks=pytest.mark.wide),
    ],
)
def test_a_kernel_that_only_warns_is_believed(what: str, message: str, kernel_6_12: Kernel, tmp_path: Path) -> None:
    (tmp_path / "complain.c").write_text(COMPLAINS.format(what=what))
    (tmp_path / "Makefile").write_text("obj-m := complain.o\n")
    with pytest.raises(KernelError, match=message) as caught:
        boot(replace(kernel_6_12, modules=(build_module(kernel_6_12, tmp_path),)))
    assert "WARNING: " in caught.value.console


def test_a_boot_that_takes_too_long(kernel_6_12: Kernel) -> None:
    with pytest.raises(KernelError, match=r"no answer for 0\.2 s while booting"):
        boot(kernel_6_12, boot_seconds=0.2)


def test_qemu_killed_from_outside(own_vm: VM) -> None:
    os.kill(own_vm.pid, signal.SIGKILL)
    with pytest.raises(KernelError, match="QEMU ended by SIGKILL"):
        own_vm.observe(load_scenarios(REPO / "examples" / "hole_refilled.py")[0], runs=1)


def test_the_agent_refuses_what_it_does_not_know(own_vm: VM) -> None:
    own_vm._guest.send("scenario x 0 0 1\nop s no_such_op -1\n")
    with pytest.raises(KernelError, match="an op this agent does not know"):
        own_vm._guest.receive(20)


@pytest.mark.parametrize("how", [signal.SIGINT, *(pytest.param(one, marks=pytest.mark.wide) for one in (signal.SIGTERM, signal.SIGKILL))])
def test_nothing_is_left_when_the_tool_is_killed(how: signal.Signals, kernel_6_12: Kernel) -> None:
    script = (
        "from secondsight.kernels import Kernel, boot\n"
        "from secondsight.scenario import load_scenarios\n"
        f"recorded = load_scenarios({str(REPO / 'examples' / 'hole_refilled.py')!r})[0]\n"
        "with boot(Kernel.find('linux-6.12')) as vm:\n"
        "    print(vm.pid, flush=True)\n"
        "    vm.observe(recorded, runs=1_000_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tool:
        assert tool.stdout is not None
        pid = int(tool.stdout.readline())
        assert is_running(pid)
        time.sleep(0.3)
        tool.send_signal(how)
        assert ends_soon(pid)
        tool.wait(20)
    assert tool.returncode != 0


@pytest.mark.parametrize(("panics", "reason"), [(1, ""), (2, "panicked while booting"), (1, "cannot be started")])
def test_a_boot_that_panics_is_tried_once_more(panics: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[object] = []

    def guest(image: object, archive: object, boot_timeout: float, memory: int, movable: int, coherent: bool, dax: bool, fs_dax: bool, cma: bool) -> str:
        tried.append(image)
        if len(tried) <= panics:
            raise KernelError(f"the guest's kernel {reason or 'panicked while booting'}")
        return "up"

    monkeypatch.setattr("secondsight.kernels.run.Guest", guest)
    monkeypatch.setattr("secondsight.kernels.run.initramfs", lambda modules, programs: None)
    machine = object.__new__(VM)
    machine._modules, machine._boot_seconds, machine._programs, machine._memory, machine._movable, machine._coherent = (), 1.0, (), 512, 0, False
    machine._dax = machine._fs_dax = machine._cma = False
    if reason:
        with pytest.raises(KernelError, match=reason):
            machine._booted(Path("image"))
    else:
        assert machine._booted(Path("image")) == "up"
    assert len(tried) == (1 if reason == "cannot be started" else 2)
