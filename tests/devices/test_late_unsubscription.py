"""A registration that is ended late, when another is of the same address: by the address it ends that one's subscription."""

from __future__ import annotations

import pytest

from secondsight.cases.judges import freed_anew
from secondsight.contract.balance import all_is_given_back
from secondsight.contract.coherence import same_at_rest
from secondsight.devices.registration_cache import ForgetsByHook, UnsubscribesByAddress, UnsubscribesByEntry
from secondsight.lang.plain import replay
from secondsight.search import Request
from secondsight.search.auto import search
from secondsight.world.model import program


@pytest.mark.parametrize(("driver", "rule"), [(UnsubscribesByEntry, None), (UnsubscribesByAddress, "as-if-cpu")])
def test_a_subscription_is_its_registration_s(driver: type[ForgetsByHook], rule: str | None) -> None:
    made = program(freed_anew("BC"), driver, [same_at_rest, all_is_given_back], closes=True)
    found = search(made, Request(executor="reference", livelock=True))
    assert found.error is None, found.error
    assert (found.violation.rule if found.violation else None) == rule
    if found.violation:
        steps = found.violation.trace.schedule
        assert len(replay(made, steps, found.violation.trace.states)) == len(steps)
