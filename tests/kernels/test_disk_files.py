"""Files on a disk, on real kernels: what is written, written back, dropped and read again is what the model says, and so are pins and holes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from booting import drawn_ones_agree, refused, with_module

from secondsight.agree.generate import HUGE, WITH_DAX, WITH_DISK, WITH_FS_DAX, DrawnKind
from secondsight.kernels import VM, Kernel, KernelError
from secondsight.scenario import Recorder, Scenario, scenario
from secondsight.world.model import only_outcome, outcomes

LATEST = "6.12"


@pytest.fixture(scope="module", params=[LATEST, pytest.param("6.1", marks=pytest.mark.wide), pytest.param("7.2", marks=pytest.mark.wide)])
def disk_vm(request: pytest.FixtureRequest, kernel_6_12: Kernel) -> Iterator[VM]:
    """A kernel with a file system, and secondsight.ko."""
    try:
        kernel = kernel_6_12 if request.param == LATEST else Kernel.find(request.param)
    except KernelError as error:
        pytest.skip(f"{error.reason}: {error.remedy}")
    with with_module(kernel, "disk files", fs_dax=True) as machine:
        yield machine


@scenario
def written_and_dropped(s: Recorder) -> None:
    """Two mappings, one of a second process; what was synced is on the disk when the page has gone from memory; then a hole, the end of the file, and a closed one."""
    file = s.disk_file(pages=2)
    a = s.mmap(file)
    other = s.process()
    with other:
        b = s.mmap(file, page=1, pages=1)
    s.write(a + 1, "A")
    with other:
        s.read(b, into="shared")
    s.pread(file, page=1, into="in_memory")
    s.msync(a, into="synced")
    s.madvise_pageout(a)
    with other:
        s.munmap(b)
    s.madvise_pageout(a)
    s.fadvise_dontneed(file, page=0, pages=2, into="dropped")
    s.pread(file, page=1, into="from_the_disk")
    s.write(a + 1, "B")
    s.fsync(file)
    s.disk_file_punch_hole(file, page=1, into="hole")
    s.read(a + 1, into="zero")
    s.read(s.mmap(file, page=1, pages=2) + 1, into="past_the_end")
    own = s.mmap_private(file)
    s.write(own, "P")
    s.pread(file, page=0, into="not_the_copy")
    s.munmap(a)
    s.msync(a, into="unmapped")
    s.close(file)
    for name, does in (("fsync", lambda name: s.fsync(file, into=name)), ("pread", lambda name: s.pread(file, page=0, into=name))):
        does(f"closed_{name}")
    s.disk_file_punch_hole(file, page=0, into="closed_hole")
    s.fadvise_dontneed(file, page=0, into="closed_advice")


@scenario
def pinned(s: Recorder) -> None:
    """A pin for long that writes is refused where the file is shared, since 6.5. A hole takes the page from who has pinned it, and what is written to it then is nobody's."""
    file = s.disk_file(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    s.pin(a, longterm=True, into="for_long")
    pin = s.pin(a, into="for_a_moment")
    s.fsync(file)
    pin.write(0, "d", into="written")
    s.pread(file, page=0, into="seen")
    pin.unpin()
    again = s.pin(a)
    s.disk_file_punch_hole(file, page=0)
    again.write(0, "e", into="to_nobody")
    again.read(into="its_own")
    again.unpin()
    s.read(a, into="zero")


@scenario
def cannot_be_registered(s: Recorder) -> None:
    """userfaultfd takes private memory, memfds and huge pages alone (vma_can_userfault())."""
    a = s.mmap(s.disk_file(pages=1))
    u = s.userfaultfd(sigbus=True)
    s.uffd_register(u, a, into="missing")
    s.uffd_register_ioctls(u, a, wp=True, into="wp")
    s.uffd_unregister(u, a, into="unregistered")
    s.write(a, "a", into="written")


@scenario
def a_device_beside_writeback(s: Recorder) -> None:
    """What the device writes is in the file, before and after the page has been cleaned."""
    file = s.disk_file(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.fsync(file)
        s.fadvise_dontneed(file, page=0)

    @s.thread
    def device() -> None:
        gpu.read(a, into="read")
        gpu.write(a, "d", into="written")

    with s.after():
        s.read(a, into="last")
        s.pread(file, page=0, into="in_the_file")


def test_the_model_is_what_the_kernel_does(disk_vm: VM) -> None:
    for recorded in (written_and_dropped, pinned, cannot_be_registered):
        assert isinstance(recorded, Scenario)
        expected = dict(only_outcome(recorded, release=disk_vm.release))
        (seen,) = disk_vm.observe(recorded, runs=3).outcomes
        assert dict(seen) == expected


def test_what_the_scenarios_show() -> None:
    assert isinstance(written_and_dropped, Scenario) and isinstance(pinned, Scenario)
    assert {("in_memory", "A"), ("from_the_disk", "A"), ("zero", "\0"), ("past_the_end", "SIGBUS"), ("not_the_copy", "\0"), ("unmapped", "-ENOMEM")} <= set(only_outcome(written_and_dropped))
    assert {("closed_fsync", "-EBADF"), ("closed_pread", "-EBADF"), ("closed_hole", "-EBADF"), ("closed_advice", "-EBADF")} <= set(only_outcome(written_and_dropped))
    assert {("for_long", "-EFAULT"), ("seen", "d"), ("its_own", "e"), ("zero", "\0")} <= set(only_outcome(pinned))
    assert ("for_long", "ok") in only_outcome(pinned, release="6.1")
    assert isinstance(cannot_be_registered, Scenario)
    assert {("missing", "-EINVAL"), ("wp", "-EINVAL"), ("unregistered", "-EINVAL"), ("written", "ok")} <= set(only_outcome(cannot_be_registered))


def test_what_is_seen_beside_writeback_is_possible(disk_vm: VM) -> None:
    assert isinstance(a_device_beside_writeback, Scenario)
    _, possible = outcomes(a_device_beside_writeback, release=disk_vm.release)
    assert all({("last", "d"), ("in_the_file", "d")} <= set(one) for one in possible)
    assert set(disk_vm.observe(a_device_beside_writeback, runs=40).outcomes) <= possible


@pytest.mark.wide
@pytest.mark.parametrize(("kind", "count"), [("sequential", 60), ("free", 12), ("forced", 25)])
def test_drawn_ones_agree(disk_vm: VM, kind: DrawnKind, count: int) -> None:
    drawn_ones_agree(disk_vm, kind, 71, count, WITH_DISK, (HUGE, WITH_DAX, WITH_FS_DAX), "disk_file")


def test_what_is_the_models_alone_is_refused() -> None:
    assert "huge pages beside a file on a disk" in refused(lambda s: (s.disk_file(pages=1), s.madvise_hugepage(s.mmap(pages=2))))
    assert "msync beside a dax file" in refused(lambda s: s.msync(s.mmap(s.fs_dax(pages=1))))
