"""A driver that wants an area of contiguous memory, on a kernel that has one: as the model says."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from secondsight.kernels import VM, Kernel, KernelError, boot
from secondsight.kernels.ability import abilities
from secondsight.scenario import Recorder, Scenario, scenario
from secondsight.world.model import outcomes

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def cma_vm() -> Iterator[VM]:
    try:
        kernel = Kernel.find("linux-6.12-own")
    except KernelError as error:
        pytest.skip(f"{error.reason}: {error.remedy}")
    if shutil.which("make") is None or not {"device", "contiguous memory"} <= set(abilities(kernel)):
        pytest.skip("no kernel with an area of contiguous memory")
    with boot(kernel, module=True, cma=True) as machine:
        yield machine


@scenario
def a_pin_in_the_way(s: Recorder) -> None:
    """Who holds a page keeps the driver from it; what nobody holds moves, and keeps its contents."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    pin = s.pin(a)
    s.cma_alloc(into="held")
    s.unpin(pin)
    s.cma_alloc(into="free")
    s.read(a, into="a")
    s.cma_alloc(into="again")


@scenario
def a_long_pin(s: Recorder) -> None:
    """It has moved its page out before: it is in nobody's way."""
    a = s.mmap(pages=2)
    s.write(a, "A")
    pin = s.pin(a, longterm=True)
    s.cma_alloc(into="moved")
    s.write(a, "B")
    pin.read(0, into="pinned")


@scenario
def a_long_pin_beside_a_short_one(s: Recorder) -> None:
    """It cannot move its page, and fails."""
    a = s.mmap(s.memfd_create(pages=1))
    s.write(a, "A")
    short = s.pin(a)
    s.pin(a, longterm=True)
    s.unpin(short)
    s.cma_alloc(into="free")
    s.read(a, into="a")


@scenario
def beside_a_device(s: Recorder) -> None:
    """Pages move out of the area while CPU and device write them."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    gpu = s.device()

    @s.thread
    def driver() -> None:
        s.cma_alloc(into="allocated")

    @s.thread
    def cpu() -> None:
        s.write(a, "B")
        s.read(a, into="read")

    @s.thread
    def device() -> None:
        gpu.read(a, into="seen")
        gpu.write(a, "C", into="written")

    with s.after():
        s.read(a, into="end")


def test_what_is_held_keeps_the_driver_from_it(cma_vm: VM) -> None:
    for recorded, has in ((a_pin_in_the_way, ("held", "-EBUSY")), (a_long_pin, ("moved", "ok")), (a_long_pin_beside_a_short_one, ("free", "ok"))):
        assert isinstance(recorded, Scenario)
        _, possible = outcomes(recorded)
        assert set(cma_vm.observe(recorded, runs=5).outcomes) == possible
        assert all(has in outcome for outcome in possible)


def test_pages_move_out_beside_a_device(cma_vm: VM) -> None:
    assert isinstance(beside_a_device, Scenario)
    _, possible = outcomes(beside_a_device)
    assert set(cma_vm.observe(beside_a_device, runs=50).outcomes) <= possible
