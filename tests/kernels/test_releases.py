"""The same scenarios on every kernel that is here: the other releases, one of our own, the running one."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from test_confirm import question_of
from test_module import NO_TEST, RIGHT, forced_times, remap

from secondsight.agree.confirm import Confirmed, confirm
from secondsight.devices.mirror import MirrorWithoutTest
from secondsight.kernels import VM, Kernel, KernelError, boot, build_module
from secondsight.kernels.ability import abilities
from secondsight.kernels.initramfs import agent
from secondsight.kernels.qemu import QEMU
from secondsight.kernels.real_device import built_for, needs_module
from secondsight.linux.releases import differs
from secondsight.scenario import Recorder, Scenario, load_expected, load_scenarios, scenario, show_outcome
from secondsight.world.model import outcomes

REPO = Path(__file__).parents[2]
pytestmark = pytest.mark.wide

FILES = [*sorted((REPO / "scenarios").glob("*.py")), REPO / "examples" / "hole_refilled.py"]

@pytest.fixture(scope="module", params=["linux-6.1", "linux-7.2", "linux-6.12-own", "host"])
def other(request: pytest.FixtureRequest) -> Iterator[VM]:
    try:
        kernel = Kernel.find(request.param)
    except KernelError as error:
        pytest.skip(f"{error.reason}: {error.remedy}")
    if kernel.image is not None and shutil.which(QEMU) is None:
        pytest.skip(f"{QEMU} is not there")
    with boot(kernel, module=has_module(kernel), movable=kernel.image is not None) as machine:
        yield machine


def has_module(kernel: Kernel) -> bool:
    """Whether secondsight.ko can be built for a kernel here; 7.2's wants a namespace, which not everybody may have."""
    if kernel.headers is None or shutil.which("make") is None:
        return False
    try:
        built_for(kernel)
    except KernelError as error:
        assert "may not make a namespace" in error.reason
        return False
    return True


LACKING = {
    "linux-6.1": "/dev/udmabuf|huge pages",
    "linux-6.12-own": "block of memory|memory cgroup|memory that is compacted",
    "host": "/dev/udmabuf|huge pages|pool of huge pages|second NUMA node|swap device|userfaultfd|block of memory|memory cgroup|memory that is compacted",
}
"""What a kernel may be without, beside device-exclusive pages."""


def test_observed_is_possible_on_every_kernel(other: VM) -> None:
    assert other.release == other.kernel.release
    ran = 0
    for path in FILES:
        expected = load_expected(path.with_suffix(".expected.json"))
        for recorded in load_scenarios(path):
            if needs_module(recorded) and not other.has_module:
                assert not has_module(other.kernel)
                continue
            try:
                seen = other.observe(recorded, runs=10)
            except KernelError as error:
                lacks_exclusive = "has no device-private and device-exclusive pages" in error.reason
                if not (lacks_exclusive and "exclusive" not in abilities(other.kernel)):
                    assert re.search(f"has no ({LACKING[other.kernel.name]})", error.reason), other.kernel.name
                continue
            ran += 1
            if others := set(seen.outcomes) - expected[recorded.name]:
                # What is written is the model's own release; where another differs is known to the model (linux/releases.py).
                _, possible = outcomes(recorded, release=other.release)
                assert not sorted(show_outcome(outcome) for outcome in others - possible)
    assert ran >= 14


def test_mprotect_of_what_nobody_touched_calls_subscribers(other: VM) -> None:
    """Before 6.2 where the page table is, later where one over it is; the agent's pages keep both, as in the model."""
    if other.kernel.image is None:
        return
    if not other.has_module:
        pytest.skip(f"no module for {other.kernel.name}")

    @scenario
    def untouched(s: Recorder) -> None:
        mapping = s.mmap(pages=1)
        s.device()

        @s.thread
        def cpu0() -> None:
            s.mprotect(mapping, pages=1, write=False)

    at_subscriber = [("cpu0", {"cpu0": "invalidate_enter"}), ("cpu0", {"cpu0": "invalidate_leave"}), ("cpu0", {"cpu0": "ended"})]
    assert other.force(untouched, at_subscriber).differs is None


def test_an_interleaving_is_forced_on_every_kernel(other: VM) -> None:
    """The 2019 thread's first question: the retry test is what keeps the old page from being read."""
    if other.kernel.image is None:
        return  # no module there: see test_on_the_running_kernel_no_module_is_loaded
    if not other.has_module:
        pytest.skip(f"no module for {other.kernel.name}")
    assert dict(forced_times(other, remap, RIGHT, None, 20).outcome) == {"seen": "B"}
    assert dict(forced_times(other, remap, NO_TEST, MirrorWithoutTest, 20).outcome) == {"seen": "A"}


CELLS = [("today no test", "munmap"), ("today test before lock", "DONTNEED"), ("today callback unlocked", "exit"), ("today late deref", "munmap+mmap")]


@pytest.mark.parametrize(("row", "column"), CELLS)
def test_broken_cells_of_the_2019_table_are_confirmed_on_every_kernel(other: VM, row: str, column: str) -> None:
    if other.kernel.image is None:
        return
    if not other.has_module:
        pytest.skip(f"no module for {other.kernel.name}")
    question = question_of("2019-08-hmm", row, column)
    found = confirm(other, question.schedule, question.driver, other.release)
    assert found.verdict is Confirmed.CONFIRMED, found.why


def test_a_broken_cell_of_the_2023_table_is_confirmed_where_there_is_a_udmabuf(other: VM) -> None:
    if other.kernel.image is None:
        return
    if not other.has_module:
        pytest.skip(f"no module for {other.kernel.name}")
    found = confirm(other, question_of("2023-07-udmabuf", "pinned", "reads new data").schedule, None, other.release)
    if other.kernel.name == "linux-6.1":
        assert (found.verdict, found.why) == (Confirmed.CANNOT, f"kernel {other.release} has no /dev/udmabuf, which reads_new_data needs")
    else:
        assert found.verdict is Confirmed.CONFIRMED, found.why


def test_on_the_running_kernel_no_module_is_loaded() -> None:
    with pytest.raises(KernelError, match="not for the running kernel"):
        boot(Kernel.find("host"), module=True)


INVERTED = """\
#include <linux/module.h>
#include <linux/mutex.h>
static DEFINE_MUTEX(a);
static DEFINE_MUTEX(b);
static int __init invert(void)
{
	mutex_lock(&a); mutex_lock(&b); mutex_unlock(&b); mutex_unlock(&a);
	mutex_lock(&b); mutex_lock(&a); mutex_unlock(&a); mutex_unlock(&b);
	return 0;
}
module_init(invert);
MODULE_LICENSE("GPL");
"""


def test_a_kernel_of_our_own_finds_locks_in_two_orders(tmp_path: Path) -> None:
    try:
        kernel = Kernel.find("linux-6.12-own")
    except KernelError as error:
        pytest.skip(f"{error.reason}: {error.remedy}")
    (tmp_path / "invert.c").write_text(INVERTED)
    (tmp_path / "Makefile").write_text("obj-m := invert.o\n")
    with pytest.raises(KernelError, match="complains while booting: WARNING: possible circular locking dependency detected"):
        boot(replace(kernel, modules=(build_module(kernel, tmp_path),)))


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


@scenario
def exchanged(s: Recorder) -> None:
    """A device exchanges a page's value, twice, while a CPU stores to it and loads it."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.write(a, "B")
        s.read(a, into="seen")

    @s.thread
    def device() -> None:
        gpu.exclusive(a, "D", into="first")
        gpu.exclusive(a, "E", into="second")


@scenario
def collided(s: Recorder) -> None:
    """A page is forgotten between a driver's first look and its test."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_dontneed(a)

    @s.thread
    def device() -> None:
        gpu.exclusive(a, "D", into="first")


COLLISION = [
    ("device", "accessing"), ("device", "read_begun"), ("cpu", "invalidate_enter"), ("cpu", "invalidate_leave"), ("cpu", "ended"),
    ("device", "before_lock"), ("device", "locked"),
]  # fmt: skip


def test_a_page_that_the_device_has_alone(other: VM) -> None:
    """What is observed is possible; where the page is taken away in between the device has it in the second round."""
    if not other.has_module or "exclusive" not in abilities(other.kernel):
        return
    _, possible = outcomes(exchanged)
    seen = other.observe(exchanged, runs=50)
    assert len(seen.outcomes) > 1
    assert not sorted(show_outcome(outcome) for outcome in set(seen.outcomes) - possible)
    steps = [(thread, {thread: place}) for thread, place in COLLISION]
    right = other.force(collided, steps)
    assert right.differs is None and dict(right.outcome) == {"first": "\0"} and right.retries[-1] == 2


@scenario
def taken_by_another(s: Recorder) -> None:
    """Another device takes a file's page, which it cannot have, and one of private memory, which memory's compaction then moves or leaves."""
    s.device()
    s.make_device_exclusive(s.mmap(s.memfd_create(pages=1)), into="a_files")
    a = s.mmap(pages=1)
    s.write(a, "a")
    s.make_device_exclusive(a, into="own")
    s.compact_memory()
    s.read(a, into="kept")
    s.write(a, "b")
    s.read(a, into="written")


def test_a_page_that_another_device_takes(other: VM) -> None:
    """Each release has its own form, which shows in the error (exclusive-page-stays-mapped)."""
    if not other.has_module or "exclusive" not in abilities(other.kernel):
        return
    assert isinstance(taken_by_another, Scenario)
    _, possible = outcomes(taken_by_another, release=other.release)
    assert set(other.observe(taken_by_another, runs=3).outcomes) <= possible
    newer = not differs("exclusive-page-stays-mapped", other.release)
    assert {dict(one)["a_files"] for one in possible} == {"-EOPNOTSUPP" if newer else "-EBUSY"}
