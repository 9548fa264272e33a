"""A driver's program has code for what the contract's scenarios of its shape do, and for no more: that changes no graph, and no sharing."""

from __future__ import annotations

import pytest

from secondsight.contract import ADVERSARIES, driver_program
from secondsight.contract import check as check_driver
from secondsight.contract.check import rules_for
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.lang.program import Program
from secondsight.lang.reference import Reference
from secondsight.scenario import Recorder, Scenario
from secondsight.search import breadth_first
from secondsight.search.request import Request
from secondsight.world.model import program, shape_of


def with_families(driver: type[Device], scenario: Scenario) -> Program:
    """The program that has code for the families of all operations of its scenario."""
    return program(scenario, driver, [p for r in rules_for(driver) for p in r.probes], closes=True, results=False)


def functions(made: Program) -> set[str]:
    return {function.name for function in made.frontend.instances.values()}


def graph(made: Program) -> tuple[object, ...]:
    result = breadth_first(Reference(made), Request(livelock=True))
    return result.verdict, result.states, result.transitions, result.depth, result.violation and len(result.violation.trace)


CASES = [
    (Mirror, "write-protect", 0), (Mirror, "mlock", 0), (Mirror, "thp-split", 0), (Mirror, "fork", 0), (MirrorWithoutTest, "mremap", 0),
    (MirrorWithoutTest, "munmap", 0), (MirrorWithoutTest, "punch-hole", 0),
]  # fmt: skip


@pytest.mark.parametrize(("driver", "adversary", "number"), CASES)
def test_the_graph_is_that_of_the_program_with_all_families(driver: type[Device], adversary: str, number: int) -> None:
    scenario = ADVERSARIES[adversary].scenarios[number]
    small, large = driver_program(driver, scenario), with_families(driver, scenario)
    assert functions(small) < functions(large)
    assert small.size <= large.size
    assert graph(small) == graph(large)


def test_scenarios_of_one_shape_share_their_code() -> None:
    codes = {id(driver_program(Mirror, one).code) for name in ("munmap", "madvise-dontneed", "zero-page") for one in ADVERSARIES[name].scenarios}
    assert len(codes) == 1


def test_one_adversary_alone_has_the_code_that_all_have() -> None:
    (alone, *_) = check_driver(Mirror, ["read-only"])
    assert alone.program is not None
    assert alone.program.code is driver_program(Mirror, ADVERSARIES["punch-hole"].scenarios[0]).code


def taken_out_then_unmapped() -> Scenario:
    """Of the shape of the adversary swap, whose scenarios unmap nothing."""
    s = Recorder()
    pages = s.mmap(pages=2)
    s.write(pages, "A")
    gpu = s.device()

    @s.thread
    def cpu() -> None:
        s.madvise_pageout(pages)
        s.munmap(pages, pages=2)

    @s.thread
    def device() -> None:
        gpu.read(pages, into="read")

    return s.scenario("taken out, then unmapped", "")


def test_a_scenario_that_does_something_else_has_the_code_of_its_families() -> None:
    scenario = taken_out_then_unmapped()
    assert shape_of(scenario, Mirror, {}) == shape_of(ADVERSARIES["swap"].scenarios[0], Mirror, {})
    made, large = driver_program(Mirror, scenario), with_families(Mirror, scenario)
    assert functions(made) == functions(large)
    assert graph(made) == graph(large)


def test_bounds_by_hand_change_no_code() -> None:
    scenario = ADVERSARIES["write-protect"].scenarios[0]
    assert functions(driver_program(Mirror, scenario, bounds={"frames": 12})) == functions(driver_program(Mirror, scenario))
