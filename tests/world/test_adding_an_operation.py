"""An operation is added in one place in Python, and one function in C: here is one that is, and everything that has it then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from secondsight.agree.generate import scenario_of
from secondsight.devices.device import Device
from secondsight.kernels import Kernel, boot, initramfs
from secondsight.kernels.c_tables import operations_header
from secondsight.kernels.encode import encode
from secondsight.lang import Ref
from secondsight.linux.fault import cpu_read, cpu_write
from secondsight.linux.mm_types import Mm, Result
from secondsight.scenario import OPS, Recorder, Scenario, ScenarioError, show_outcome
from secondsight.scenario.ops import Arg, ArgType
from secondsight.search import Verdict
from secondsight.world import declare
from secondsight.world.by_hand import ByHand
from secondsight.world.model import outcomes
from secondsight.world.tables import RowNumber, address, value
from secondsight.world.typed import methods_text

C_FUNCTION = """
#include "agent.h"

int do_exchange(const long *arg, int makes)
{
	(void)makes;
	volatile unsigned char *page = (volatile unsigned char *)address(arg);
	unsigned char old = *page;
	*page = arg[2];
	return PAGE_VALUE | old;
}
"""


@pytest.fixture(autouse=True)
def exchange_is_declared(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The place in Python; what it adds goes after the test."""
    known = dict(OPS)
    monkeypatch.setattr(declare.ACTS, "_functions", list(declare.ACTS))
    monkeypatch.setattr(declare, "_MODEL", dict(declare._MODEL))
    monkeypatch.setattr(declare, "_FAMILIES", {name: list(numbers) for name, numbers in declare._FAMILIES.items()})
    declare.operation(addr=Arg(ArgType.ADDRESS), value=Arg(ArgType.VALUE), loads=True, faults=True)(exchange)
    yield
    OPS.clear()
    OPS.update(known)


def exchange(i: RowNumber, mm: Mm, device: Ref[Device]) -> Result:
    """Load a page's value, then store another: two accesses, that others can come between."""
    old = cpu_read(mm, address[i])
    if old < 0:
        return old
    ret = cpu_write(mm, address[i], value[i])
    return old if ret == 0 else ret


def two_exchanges() -> Scenario:
    s = Recorder()
    a = s.mmap(pages=1)
    s.write(a, "a")

    @s.thread
    def one() -> None:
        s.exchange(a, "b", into="one")

    @s.thread
    def two() -> None:
        s.exchange(a, "c", into="two")

    return s.scenario("two_exchanges", "")


def test_it_is_recorded_and_checked_and_is_data() -> None:
    made = two_exchanges()
    assert [str(op) for op in made.threads[0].ops] == ["one = exchange(addr=mapping0, value='b')"]
    assert Scenario.from_json(made.to_json()) == made
    with pytest.raises(ScenarioError, match="exchange: value: 'no' is not a page's value"):
        s = Recorder()
        s.exchange(s.mmap(pages=1), "no")
    assert "    def exchange(self, addr: Address, value: str, *, into: str | None = None) -> None:\n" in methods_text()


def test_it_is_drawn() -> None:
    drawn = [place.op for index in range(80) for place in scenario_of("sequential", 5, index).places() if place.op.kind == "exchange"]
    assert len(drawn) > 3
    assert all(op.into is not None for op in drawn)


def test_a_machine_by_hand_does_it() -> None:
    hand = ByHand()
    hand.begin()
    a = hand.mmap(pages=1)
    assert [hand.exchange(a, value) for value in "bc"] == ["0", "b"]


def test_the_model_runs_it() -> None:
    result, possible = outcomes(two_exchanges())
    assert result.verdict is Verdict.HOLDS
    assert {show_outcome(o) for o in possible} == {"one=a, two=a", "one=a, two=b", "one=c, two=a"}


def test_a_kernel_runs_it_with_one_function_in_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert '\trow(exchange, "an", PLAIN)' in operations_header()
    assert "op 0 exchange -1 0 0 98" in encode(two_exchanges())
    agent = tmp_path / "agent"
    shutil.copytree(initramfs.AGENT, agent)
    (agent / "exchange.c").write_text(C_FUNCTION)
    monkeypatch.setattr(initramfs, "AGENT", agent)
    with boot(Kernel.find("host")) as host:
        seen = host.observe(two_exchanges(), runs=20)
    assert set(seen.outcomes) <= outcomes(two_exchanges())[1]
