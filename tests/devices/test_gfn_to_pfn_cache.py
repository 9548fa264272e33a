"""KVM's gfn-to-pfn cache: one that goes from address to address, and what Linux does that a mirror may not."""

from __future__ import annotations

import pytest

from secondsight.contract import check, rules_for
from secondsight.contract.check import check_scenario
from secondsight.devices.device import Device
from secondsight.devices.gfn_to_pfn_cache import GfnToOnePfnCache, GfnToPfnCache
from secondsight.devices.small import GpcAlwaysWrites, GpcRefreshesUnlocked
from secondsight.lang.plain import replay
from secondsight.scenario import Recorder, Scenario
from secondsight.search import Verdict


def two_engines_at_a_new_address(beside_munmap: bool = False) -> Scenario:
    """The cache has the first page, and two of its users want the second; perhaps while the process unmaps it."""
    s = Recorder()
    pages = s.mmap(pages=2)
    s.write(pages, "A")
    s.write(pages + 1, "B")
    host = s.device()
    host.read(pages)

    if beside_munmap:

        @s.thread
        def cpu() -> None:
            s.munmap(pages + 1)

    @s.thread
    def one() -> None:
        host.read(pages + 1, into="one")

    @s.thread
    def two() -> None:
        host.read(pages + 1, into="two")

    return s.scenario("the cache goes to another address", "two users of a cache want it at another address")


@pytest.mark.parametrize("beside_munmap", [False, True])
def test_one_refresh_at_a_time_and_no_valid_cache_meanwhile(beside_munmap: bool) -> None:
    scenario = two_engines_at_a_new_address(beside_munmap)
    right = check_scenario(GfnToOnePfnCache, "own", scenario, rules_for(GfnToOnePfnCache))
    assert (right.result.error, right.result.verdict, right.accessed) == (None, Verdict.HOLDS, True)


def test_the_second_refresh_goes_by_the_old_page() -> None:
    wrong = check_scenario(GpcRefreshesUnlocked, "own", two_engines_at_a_new_address(), rules_for(GpcRefreshesUnlocked))
    violation = wrong.result.violation
    assert violation is not None and violation.rule == "as-if-cpu"
    assert len(replay(wrong.rebuild(), violation.trace.schedule, violation.trace.states)) == len(violation.trace.schedule)


def verdicts(driver: type[Device], adversary: str) -> set[Verdict]:
    return {one.result.verdict for one in check(driver, [adversary])}


def test_linux_refuses_what_may_only_be_read() -> None:
    assert verdicts(GpcAlwaysWrites, "read-only") == {Verdict.BROKEN}
    assert verdicts(GpcAlwaysWrites, "munmap") == verdicts(GfnToPfnCache, "read-only") == {Verdict.HOLDS}
