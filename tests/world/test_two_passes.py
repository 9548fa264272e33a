"""A driver with two passes (Linux 7.2) under search: right where it stops in the first, wrong where it forgets in the second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
from test_forced import device_scenario

from secondsight.contract.check import check
from secondsight.devices.mirror import Mirror
from secondsight.linux import EAGAIN
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Finish, Range, Seq
from secondsight.scenario import ScenarioError
from secondsight.world.model import program


class TwoPasses(Mirror):
    """The mirror, which drops its entries in the first pass and has a second one to wait in."""

    bounds: ClassVar[Mapping[str, int]] = {"subscribers": 1, "finishes": 1}

    def invalidate_start(self, rng: Range, seq: Seq) -> int:
        if rng.blockable:
            self.lock.lock()
        elif not self.lock.trylock():
            return -EAGAIN
        mn.mmu_interval_set_seq(self.notifier, seq)
        self.page_table.unmap(rng)
        self.lock.unlock()
        return 0 if mn.finishes[0].pending else 1

    def invalidate_finish(self, finish: Finish) -> None:
        return


def test_a_driver_with_two_passes_is_checked_like_any_other() -> None:
    verdicts = {found.adversary: found.result.verdict.value for found in check(TwoPasses, adversaries=["munmap"])}
    assert verdicts == {"munmap": "holds"}


@pytest.mark.parametrize("release", ["6.1.0-50-amd64", "linux-6.12"])
def test_a_release_that_has_no_second_pass_refuses_it(release: str) -> None:
    scenario = device_scenario("munmap")
    with pytest.raises(ScenarioError, match=r"TwoPasses has two passes .*(\n.*)*--release 7.2"):
        program(scenario, TwoPasses, release=release)
    program(scenario, TwoPasses, release="7.2.13+deb14-amd64")
