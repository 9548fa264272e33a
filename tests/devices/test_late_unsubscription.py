"""A registration that is ended late, when another is of the same address: by the address it ends that one's subscription."""

from __future__ import annotations

import pytest

from secondsight.contract.balance import all_is_given_back
from secondsight.contract.coherence import same_at_rest
from secondsight.devices.registration_cache import ForgetsByHook, UnsubscribesByAddress, UnsubscribesByEntry
from secondsight.lang.plain import replay
from secondsight.scenario import Recorder, Scenario
from secondsight.search import Request
from secondsight.search.auto import search
from secondsight.world.model import program


def freed_twice() -> Scenario:
    """Memory is freed and allocated anew at the same address, twice; the device uses it each time."""
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "A")
    nic = s.device()
    nic.read(a)

    @s.thread
    def cpu() -> None:
        for value in ("B", "C"):
            nic.forget(a)
            s.munmap(a)
            s.mmap(pages=1, at=a)
            s.write(a, value)
            nic.compare(a)

    return s.scenario("freed twice", "memory is freed and allocated at the same address, twice")


@pytest.mark.parametrize(("driver", "rule"), [(UnsubscribesByEntry, None), (UnsubscribesByAddress, "as-if-cpu")])
def test_a_subscription_is_its_registration_s(driver: type[ForgetsByHook], rule: str | None) -> None:
    made = program(freed_twice(), driver, [same_at_rest, all_is_given_back], closes=True)
    found = search(made, Request(executor="reference", livelock=True))
    assert found.error is None, found.error
    assert (found.violation.rule if found.violation else None) == rule
    if found.violation:
        steps = found.violation.trace.schedule
        assert len(replay(made, steps, found.violation.trace.states)) == len(steps)
