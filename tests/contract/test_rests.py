"""What is said beside *holds*: what ran, what looked, and what did not."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from secondsight.contract import ADVERSARIES, check, driver_program, load_drivers, rests_on, rules_for, runs
from secondsight.contract.runs import Seen, unseen
from secondsight.devices.device import Device
from secondsight.devices.mirror import Mirror
from secondsight.devices.small import Pins, Vcpu
from secondsight.lang import Char, Errno, atomic
from secondsight.lang.cuts import cuts_of
from secondsight.lang.instrument import _cut_of, instrumented
from secondsight.lang.program import Program
from secondsight.linux import hmm
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.errno import EBUSY
from secondsight.linux.mm_types import Mm, Pgoff, Result, Va
from secondsight.report import rests_to_json, told_rests
from secondsight.search import Verdict

HOUSE = Path(__file__).parents[2]


class KnowsOtherEvents(Mirror):
    """Looks at nothing but what today's adversaries raise."""

    def invalidate(self, rng: mn.Range, seq: mn.Seq) -> bool:
        if rng.event != mn.Event.UNMAP and rng.event != mn.Event.CLEAR and rng.event != mn.Event.RELEASE:
            return True
        return Mirror.invalidate(self, rng, seq)


class NeverMaps(Mirror):
    """Refuses everything: the device gets at no page."""

    def fault(self, va: Va, write: bool) -> Errno:
        pfn = hmm.hmm_range_fault(self.notifier, va, write)
        if pfn == -EBUSY:
            return 0
        return -EBUSY


def test_a_line_that_no_adversary_comes_to_is_said() -> None:
    rests = rests_on(KnowsOtherEvents, ["munmap", "open", "oom-reaper"])
    assert [line.text for line in rests.unseen] == ["return True"]
    told = told_rests(rests)
    assert told[0].startswith("did not run: test_rests.py:") and told[0].endswith(": return True")
    assert "interleavings" in told[-1]
    (unseen,) = rests_to_json(rests)["unseen"]
    assert (unseen["text"], unseen["method"]) == ("return True", "KnowsOtherEvents.invalidate")


def test_nothing_is_said_where_everything_ran() -> None:
    (driver,) = load_drivers(HOUSE / "examples" / "my_gpu.py")
    rests = rests_on(driver, ["munmap", "oom-reaper", "close"])
    assert rests.unseen == ()
    assert told_rests(rests) == []


def test_the_same_is_seen_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {s.name: driver_program(Mirror, s) for s in ADVERSARIES["munmap"].scenarios}
    first = rests_on(Mirror, ["munmap"])
    monkeypatch.setattr(inspect.getmodule(rests_on), "driver_program", None)  # what was built before is not built again
    assert rests_on(Mirror, ["munmap"], known=known) == first


def test_a_device_that_gets_at_no_page_does_not_simply_hold() -> None:
    checked = list(check(NeverMaps, ["munmap"], ["isolation"]))
    assert {c.result.verdict for c in checked} == {Verdict.HOLDS}
    assert not any(c.accessed for c in checked)
    assert rests_on(NeverMaps, ["munmap"], ["isolation"]).reach["munmap"].silent == ("isolation",)
    assert all(c.accessed for c in check(Mirror, ["munmap"], ["isolation"]))


class SaysThatItDid(Vcpu):
    """Its own access does nothing, and says 0: what a page holds that nobody has written."""

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        return 0


class SaysThatItDidAtTimes(Vcpu):
    """The same, but for an access to a page whose entry it has: which it never makes."""

    never: bool

    @atomic
    def access(self, va: Va, write: bool, value: Char) -> Result:
        return Vcpu.access(self, va, write, value) if self.never else 0


def test_accesses_that_touch_nothing_do_not_simply_hold() -> None:
    (closes,) = [c for c in check(SaysThatItDid, ["munmap"]) if c.scenario == "munmap: closes"]
    assert (closes.result.verdict, closes.accessed) == (Verdict.HOLDS, False)
    assert not any(c.accessed for c in check(SaysThatItDid, ["munmap"], ["teardown"]))
    for driver in (SaysThatItDid, SaysThatItDidAtTimes):
        rests = rests_on(driver, ["munmap"])
        assert not rests.reach["munmap"].touched
        assert "the device touched no page: munmap" in told_rests(rests)
        assert rests_to_json(rests)["adversaries"]["munmap"]["touched"] is False
    assert rests_on(Vcpu, ["munmap"]).reach["munmap"].touched


class SubscribesToNothing(Mirror):
    """Opens without a subscription."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        self.notifier.invalidate_seq = 1
        return 0

    def close(self) -> None:
        self.page_table.disable()


def test_an_adversary_that_calls_nobody_is_said() -> None:
    rests = rests_on(SubscribesToNothing, ["munmap"], ["teardown"])
    assert not rests.reach["munmap"].called
    assert told_rests(rests)[0] == "no callback of the driver was called: munmap"
    assert rests_on(Pins, ["munmap"]).reach["munmap"].called, "a driver that pins is not called"


RULES = '''
from secondsight.devices.mirror import Mirror
from secondsight.lang import require, rule
from secondsight.linux.device import device_access
from secondsight.linux.mm_types import Driver, Folio, Va

class Gpu(Mirror):
    pass

@rule("{name}", on=device_access)
def mine(device: Driver, va: Va, frame: Folio, write: bool) -> None:
    """The device leaves the last page alone."""
    require(va == 0, "{name}", "the last page was used")
'''


def test_a_files_own_rules_are_watched(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(RULES.format(name="first-page"))
    (driver,) = load_drivers(path)
    assert [r.name for r in rules_for(driver)][-1] == "first-page"
    found = {c.result.violation.rule for c in check(driver, ["munmap"]) if c.result.violation is not None}
    assert found == {"first-page"}
    assert {c.result.violation for c in check(driver, ["munmap"], ["as-if-cpu"])} == {None}


def test_the_contracts_names_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(RULES.format(name="as-if-cpu"))
    (driver,) = load_drivers(path)
    try:
        rules_for(driver)
    except Exception as error:
        assert "own.py:10: the contract has a rule as-if-cpu; give this one another name" in str(error)
    else:
        raise AssertionError("two rules of one name")


def test_a_device_of_nobodys_own_text_has_no_lines() -> None:
    class Bare(Device):
        pass

    assert rests_on(Bare, ["munmap"], ["isolation"]).unseen == ()


def test_cut_when_it_is_called_a_function_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["munmap", "fork"]
    program = driver_program(Mirror, ADVERSARIES["munmap"].scenarios[0])
    before = {f: f.__code__ for f in cuts_of(program)}
    with instrumented(program, when_called=True):
        waiting = [f for f in before if f.__code__ is not before[f]]
        assert len(waiting) == len(before) > 100
    assert {f: f.__code__ for f in before} == before
    first = rests_on(Mirror, names)
    assert {f: f.__code__ for f in before} == before
    monkeypatch.setattr(runs, "instrumented", lambda program, when_called: instrumented(program))
    assert rests_on(Mirror, names) == first


def _cut(program: Program) -> dict[Any, Any]:
    return {function: _cut_of(function, where) for function, where in cuts_of(program).items()}


def test_a_function_is_cut_once_for_the_programs_that_have_it_with_the_same_steps() -> None:
    scenarios = [ADVERSARIES[name].scenarios[0] for name in ("munmap", "punch-hole")]
    programs = [driver_program(Mirror, s) for s in scenarios]
    first, second = (_cut(program) for program in programs)
    of_files = {f for f in first if f.__qualname__.startswith("AddressSpace.")}  # without files a method of no class below it
    shared = (first.keys() & second.keys()) - of_files
    assert programs[0].code is not programs[1].code
    assert {first[f] is second[f] for f in shared} == {True}
    larger = _cut(driver_program(Mirror, scenarios[0], bounds={"pages": 5}))
    assert first[Mirror.fault] is not larger[Mirror.fault], "its types have other bounds"
    before = {f: f.__code__ for f in shared}
    with instrumented(programs[0]), instrumented(programs[1]):
        assert all(f.__code__ is second[f].code for f in shared)
    assert {f: f.__code__ for f in shared} == before


def test_lines_of_the_drivers_own_file_come_first(tmp_path: Path) -> None:
    (tmp_path / "a_base.py").write_text(
        "from secondsight.devices.mirror import Mirror\nfrom secondsight.linux.mm_types import Mm\n\n\n"
        "class Base(Mirror):\n    def never(self) -> None:\n        self.lock.lock()\n"
    )
    (tmp_path / "z_driver.py").write_text(
        "from a_base import Base\n\n\nclass Own(Base):\n    def nor_this(self) -> None:\n        self.lock.unlock()\n"
    )
    (driver,) = load_drivers(tmp_path / "z_driver.py")
    files = [Path(line.file).name for line in unseen(driver, Seen())]
    assert list(dict.fromkeys(files)) == ["z_driver.py", "a_base.py", "mirror.py"]


def test_an_own_rule_that_nothing_can_make_look_is_said(tmp_path: Path) -> None:
    text = (HOUSE / "examples" / "my_gpu.py").read_text()
    own = (
        "\n\n@tracepoint\ndef never_called(n: int) -> None: ...\n\n\n"
        "@rule(\"mine\", on=never_called)\ndef mine(n: int) -> None:\n    \"\"\"Mine.\"\"\"\n    require(n < 1, \"mine\", \"too large\")\n"
    )
    (tmp_path / "my_gpu.py").write_text(text.replace("from secondsight import", "from secondsight.lang import require, rule, tracepoint\nfrom secondsight import", 1) + own)
    (driver,) = load_drivers(tmp_path / "my_gpu.py")
    rests = rests_on(driver, ["munmap"])
    assert rests.reach["munmap"].silent == ("mine",)
    assert any(text.startswith("mine never looked") for text in told_rests(rests))
