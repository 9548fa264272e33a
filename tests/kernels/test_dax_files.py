"""A file whose pages are a device's memory (fs-dax), on a real kernel: a hole waits for who has pinned a page of it, and who reads it, as the model says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from booting import drawn_ones_agree, refused, with_module

from secondsight.agree.generate import HUGE, WITH_DAX, WITH_FS_DAX, DrawnKind
from secondsight.kernels import VM, Kernel, KernelError
from secondsight.kernels.dax_modules import FS_DAX, dax_modules
from secondsight.scenario import OK, Recorder, Scenario, scenario
from secondsight.world.model import only_outcome, outcomes


@pytest.fixture(scope="module")
def fs_dax_vm(kernel_6_12: Kernel) -> Iterator[VM]:
    """A kernel with a file system in a device's memory beside one that has a file itself, as campaigns boot it, and secondsight.ko."""
    with with_module(kernel_6_12, "fs dax", "device dax", dax=True, fs_dax=True) as machine:
        yield machine


@scenario
def mapped_and_punched(s: Recorder) -> None:
    """Two mappings, one of a second process, and a hole under both; then the end of the file, and a closed one."""
    file = s.fs_dax(pages=2)
    a = s.mmap(file)
    other = s.process()
    with other:
        b = s.mmap(file, page=1, pages=1)
    s.write(a + 1, "A")
    with other:
        s.read(b, into="shared")
    s.madvise_dontneed(a)
    s.read(a + 1, into="kept")
    s.fs_dax_punch_hole(file, page=1, into="hole")
    with other:
        s.read(b, into="zero")
    s.write(a + 1, "B")
    with other:
        s.read(b, into="new")
    s.read(s.mmap(file, page=1, pages=2) + 1, into="past_the_end")
    s.close(file)
    s.fs_dax_punch_hole(file, page=0, into="closed")
    s.mmap(file)


@scenario
def pinned_for_a_moment(s: Recorder) -> None:
    """For long it is refused. A hole that was read is the zero page, and whoever has that pinned does not see what is written later."""
    file = s.fs_dax(pages=2)
    a = s.mmap(file)
    s.write(a, "a")
    s.pin(a, longterm=True, into="for_long")
    pin = s.pin(a, into="for_a_moment")
    pin.write(0, "d", into="written")
    s.read(a, into="seen")
    s.munmap(a, pages=1)
    pin.read(into="kept")
    pin.unpin()
    s.fs_dax_punch_hole(file, page=1)
    zero = s.pin(a + 1, write=False, into="zero")
    s.write(a + 1, "b")
    zero.read(into="zero_still")
    s.read(a + 1, into="block")


@scenario
def removed_by_advice(s: Recorder) -> None:
    """MADV_REMOVE is a hole in the file, for every mapping of it."""
    a = s.mmap(file := s.fs_dax(pages=2))
    b = s.mmap(file)
    s.write(a, "a")
    s.write(a + 1, "b")
    s.madvise_remove(a, pages=1, into="removed")
    s.read(b, into="zero")
    s.read(b + 1, into="kept")


@scenario
def a_child(s: Recorder) -> None:
    """A fork's child has the mapping, and after a hole both have the new block."""
    file = s.fs_dax(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    child = s.fork()
    with child:
        s.read(a, into="child")
    s.fs_dax_punch_hole(file, page=0)
    with child:
        s.write(a, "c")
    s.read(a, into="parent")


@scenario
def a_device_beside_a_hole(s: Recorder) -> None:
    """What the device writes is in the file, or went with the block."""
    file = s.fs_dax(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.fs_dax_punch_hole(file, page=0)

    @s.thread
    def device() -> None:
        gpu.read(a, into="read")
        gpu.write(a, "d", into="written")

    with s.after():
        s.read(a, into="last")
        gpu.compare(a)


@scenario
def a_hole_waits(s: Recorder) -> None:
    file = s.fs_dax(pages=1)
    a = s.mmap(file)
    s.write(a, "a")
    pin = s.pin(a)

    @s.thread
    def hole() -> None:
        s.fs_dax_punch_hole(file, page=0, into="hole")

    @s.thread
    def user() -> None:
        pin.read(into="read")
        pin.unpin()
        s.read(a, into="after")


def test_it_is_mapped_and_punched_as_the_model_says(fs_dax_vm: VM) -> None:
    for recorded in (mapped_and_punched, pinned_for_a_moment, removed_by_advice, a_child):
        assert isinstance(recorded, Scenario)
        assert set(fs_dax_vm.observe(recorded, runs=2).outcomes) == {only_outcome(recorded)}
    assert isinstance(mapped_and_punched, Scenario) and isinstance(pinned_for_a_moment, Scenario)
    assert {("zero", "\0"), ("new", "B"), ("past_the_end", "SIGBUS"), ("closed", "-EBADF")} <= set(only_outcome(mapped_and_punched))
    assert isinstance(removed_by_advice, Scenario)
    assert {("removed", "ok"), ("zero", "\0"), ("kept", "b")} <= set(only_outcome(removed_by_advice))
    assert {("for_long", "-EOPNOTSUPP"), ("seen", "d"), ("kept", "d"), ("zero_still", "\0"), ("block", "b")} <= set(only_outcome(pinned_for_a_moment))


def test_what_is_seen_beside_a_hole_is_possible(fs_dax_vm: VM) -> None:
    for recorded in (a_device_beside_a_hole, a_hole_waits):
        assert isinstance(recorded, Scenario)
        _, possible = outcomes(recorded)
        assert set(fs_dax_vm.observe(recorded, runs=40).outcomes) <= possible


def test_a_hole_waits_until_the_pin_has_gone(fs_dax_vm: VM) -> None:
    """Forced: the hole is blocked while the page is pinned, and done at once when it is not."""
    assert isinstance(a_hole_waits, Scenario)
    waits = [("hole", {"hole": "blocked"}), ("user", {"user": "accessing"}), ("user", {"user": "op:1"})]
    found = fs_dax_vm.force(a_hole_waits, [*waits, ("user", {"user": "op:2", "hole": "ended"}), ("user", {"user": "ended"})])
    assert found.differs is None, found.differs
    assert {("hole", OK), ("read", "a"), ("after", "\0")} <= set(found.outcome)


@pytest.mark.wide
@pytest.mark.parametrize(("kind", "count"), [("sequential", 60), ("free", 12), ("forced", 25)])
def test_drawn_ones_agree(fs_dax_vm: VM, kind: DrawnKind, count: int) -> None:
    drawn_ones_agree(fs_dax_vm, kind, 67, count, WITH_FS_DAX, (HUGE, WITH_DAX), "fs_dax")


def test_what_is_the_models_alone_is_refused() -> None:
    assert "private mapping of a dax file" in refused(lambda s: s.mmap_private(s.fs_dax(pages=1)))
    assert "huge pages beside a dax file" in refused(lambda s: (s.fs_dax(pages=1), s.madvise_hugepage(s.mmap(pages=2))))


def test_modules_that_are_not_here_are_told_how_to_have(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDSIGHT_CACHE", str(tmp_path))
    with pytest.raises(KernelError, match=r"fs-dax.*(.|\n)*secondsight kernel get 6\.12"):
        dax_modules("6.12.0", "linux-6.12", FS_DAX)
