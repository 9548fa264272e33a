"""Several processes, and several devices under a schedule, on real kernels: what the keeper of a run does, beside the model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from secondsight.agree.confirm import Confirmed, confirm
from secondsight.agree.forced import judge_forced, replanned
from secondsight.agree.sides import Booted
from secondsight.contract import ADVERSARIES, check_scenario, rules_for
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.kernels import VM, Kernel, boot, initramfs
from secondsight.scenario import OPS, Operation, Recorder, Scenario, load_scenarios, show_outcome
from secondsight.world.forced import Schedule, schedule_of
from secondsight.world.model import outcomes

REPO = Path(__file__).parents[2]
FORCED = [
    found
    for name in ("two_devices", "two_processes")
    for found in load_scenarios(REPO / "scenarios" / f"{name}.py")
    if found.has_device and not found.forks  # a fork cannot be in a forced run
]  # fmt: skip


@pytest.mark.parametrize("recorded", FORCED, ids=lambda recorded: recorded.name)
def test_a_schedule_of_several_devices_and_processes_goes_as_on_the_model(recorded: Scenario, module_vm: VM) -> None:
    booted = Booted(module_vm.kernel, vm=module_vm)
    plans = [replanned(recorded, driver, i, booted.release) for i, driver in enumerate((Mirror, MirrorWithoutTest, Mirror))]
    assert not [plan.problem for plan in plans if plan.problem]
    for plan, seen in zip(plans, booted.force(plans), strict=True):
        assert seen.forced is not None, seen.died
        assert judge_forced(plan, seen.forced) == ""


@pytest.mark.parametrize("name", ["two-processes: exit", "two-processes: punch-hole"])
def test_what_breaks_a_driver_by_another_process_does_so_on_the_kernel(name: str, module_vm: VM) -> None:
    (scenario,) = [s for s in ADVERSARIES["two-processes"].scenarios if s.name == name]
    rules = rules_for(MirrorWithoutTest)
    violation = check_scenario(MirrorWithoutTest, "two-processes", scenario, rules).result.violation
    assert violation is not None
    schedule = schedule_of(scenario, MirrorWithoutTest, violation, [probe for rule in rules for probe in rule.probes])
    assert isinstance(schedule, Schedule), schedule.why
    confirmation = confirm(module_vm, schedule, MirrorWithoutTest)
    assert confirmation.verdict is Confirmed.CONFIRMED, confirmation.why


def ended(who: str, where: str) -> Scenario:
    """A scenario in which a process exits: `who`, and in the setup, a thread or after them."""
    s = Recorder()
    file = s.memfd_create(pages=1)
    a = s.mmap(file)
    other = s.process()
    mine = who == "first"
    with other:
        b = s.mmap(file)
        if where == "setup" and not mine:
            s.exit()
    if where == "setup" and mine:
        s.exit()

    @s.thread
    def one() -> None:
        s.write(a, "a", into="one")
        if where == "thread" and mine:
            s.exit()

    @other.thread
    def two() -> None:
        s.read(b, into="two")
        if where == "thread" and not mine:
            s.exit()

    with s.after():
        if where == "after" and mine:
            s.exit()
        s.read(a, into="mine")
        with other:
            if where == "after" and not mine:
                s.exit()
            s.read(b, into="its")
        s.add_seals(file, "write", into="sealed")
        with other:
            s.add_seals(file, "write", into="sealed_too")
    return s.scenario(f"{who}_{where}", "")


@pytest.fixture(scope="module")
def host() -> Iterator[VM]:
    """The running kernel."""
    with boot(Kernel.find("host")) as vm:
        yield vm


@pytest.mark.parametrize("where", ["setup", "thread", "after"])
@pytest.mark.parametrize("who", ["first", "second"])
def test_a_process_that_ends_misses_its_turns_and_the_other_goes_on(who: str, where: str, host: VM) -> None:
    recorded = ended(who, where)
    _, possible = outcomes(recorded)
    seen = host.observe(recorded, runs=30)
    assert not {show_outcome(o) for o in set(seen.outcomes) - possible}
    gone = {dict(o)["mine" if who == "first" else "its"] for o in seen.outcomes}
    assert gone == {"exited"}


C_FUNCTION = """
#include "agent.h"
#include <signal.h>
#include <unistd.h>

int do_die(const long *arg, int makes)
{
	(void)arg, (void)makes;
	return kill(getpid(), SIGKILL);
}
"""


def test_a_signal_ends_one_process_and_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "die", Operation("die", "The process is killed.", kernel_only=True))
    agent = tmp_path / "agent"
    shutil.copytree(initramfs.AGENT, agent)
    (agent / "die.c").write_text(C_FUNCTION)
    monkeypatch.setattr(initramfs, "AGENT", agent)
    s = Recorder()
    a, other = s.mmap(pages=1), s.process()
    with other:
        b = s.mmap(pages=1)

    @other.thread
    def its() -> None:
        s.die()
        s.read(b, into="never")

    @s.thread
    def mine() -> None:
        s.write(a, "a")

    with s.after():
        s.read(a, into="mine")
        with other:
            s.read(b, into="its")
    with boot(Kernel.find("host")) as host:
        seen = host.observe(s.scenario("killed", ""), runs=5)
    assert [show_outcome(o) for o in seen.outcomes] == ["its=exited, mine=a, never=exited, process1=SIGKILL"]
