"""What holds a page where memory must stay movable, on a real kernel: as the model says, error codes included."""

from __future__ import annotations

import pytest

from secondsight.kernels import VM
from secondsight.scenario import Recorder, Scenario, scenario
from secondsight.world.model import only_outcome, outcomes


@scenario
def a_short_pin(s: Recorder) -> None:
    """It keeps its page where it is; without it the block goes."""
    a = s.mmap(pages=1)
    s.write(a, "A")
    pin = s.pin(a)
    s.offline_pages(into="held")
    s.unpin(pin)
    s.offline_pages(into="free")
    s.read(a, into="a")


@scenario
def a_long_pin_beside_a_short_one(s: Recorder) -> None:
    """The page does not move, so nobody can pin it for long: the thread's VFIO beside a reference."""
    memfd = s.memfd_create(pages=1, seals="shrink")
    a = s.mmap(memfd)
    s.write(a, "A")
    pin = s.pin(a)
    s.pin(a, longterm=True)
    s.udmabuf_create(memfd)
    s.unpin(pin)
    s.offline_pages(into="free")
    s.read(a, into="a")


@scenario
def a_move_beside_a_long_pin(s: Recorder) -> None:
    """In a block that must stay movable the pin moves the page first, and the other one that moves it sees that (-EBUSY, -ENOENT)."""
    memfd = s.memfd_create(pages=1, seals="shrink")
    a = s.mmap(memfd)
    s.read(a)

    @s.thread
    def pins() -> None:
        s.udmabuf_create(memfd)

    @s.thread
    def moves() -> None:
        s.move_pages(a, into="moved")


@pytest.mark.wide
def test_what_is_held_does_not_move(vm: VM) -> None:
    for recorded in (a_short_pin, a_long_pin_beside_a_short_one):
        assert isinstance(recorded, Scenario)
        seen = vm.observe(recorded, runs=1)
        assert set(seen.outcomes) == {only_outcome(recorded)}
    assert dict(only_outcome(a_short_pin)) == {"held": "-EINTR", "free": "ok", "a": "A"}
    assert [value for name, value in only_outcome(a_long_pin_beside_a_short_one) if "pin" in name or "udmabuf" in name] == ["-ENOMEM"] * 2


@pytest.mark.wide
def test_the_block_is_there_only_where_a_scenario_asks_for_it(vm: VM) -> None:
    """One run in 50 sees the pin's move where the block is online."""
    assert isinstance(a_move_beside_a_long_pin, Scenario)
    _, possible = outcomes(a_move_beside_a_long_pin)
    assert {dict(outcome)["moved"] for outcome in possible} == {"ok", "-EAGAIN"}
    assert set(vm.observe(a_move_beside_a_long_pin, runs=300).outcomes) <= possible


@scenario
def a_move_beside_an_empty_block(s: Recorder) -> None:
    """Whoever takes the block offline has no copy of the address space: a page that is mapped twice is not moved (-EACCES)."""
    a = s.mmap(pages=1)
    s.write(a, "A")

    @s.thread
    def moves() -> None:
        s.move_pages(a, into="moved")

    @s.thread
    def empties() -> None:
        s.offline_pages(into="off")


def test_a_page_is_moved_beside_a_block_that_is_emptied(vm: VM) -> None:
    assert isinstance(a_move_beside_an_empty_block, Scenario)
    _, possible = outcomes(a_move_beside_an_empty_block)
    assert set(vm.observe(a_move_beside_an_empty_block, runs=40).outcomes) <= possible
