"""Checking drivers: the right one survives, each wrong one is caught, every trace replays, every rule can be broken."""

from __future__ import annotations

import importlib
import textwrap
from pathlib import Path

import pytest

from sampled import some
from secondsight.contract import ADVERSARIES, RULES, adversaries_for, check, load_drivers
from secondsight.contract.check import check_scenario, rules_for
from secondsight.devices import exclusive, mirror, mirror_2019, small
from secondsight.devices.device import Device
from secondsight.devices.vfio_type1 import VfioUncounted, VfioWithoutLongterm
from secondsight.lang import Errno, LangError, Refused
from secondsight.lang.plain import replay
from secondsight.lang.program import Program
from secondsight.linux import mmu_notifier as mn
from secondsight.linux.mm_types import Mm, Pgoff, Va
from secondsight.search import Limits, Request, Result, Verdict
from secondsight.search.auto import search

ROOT = Path(__file__).parents[2]


class ForgetsToUnsubscribe(mirror.Mirror):
    """Says that it has unsubscribed, and has not."""

    def close(self) -> None:
        mn.is_unregistered(self)


class NeverMaps(mirror.Mirror):
    """Finds the page and forgets to map it: the device faults for ever."""

    def fault(self, va: Va, write: bool) -> Errno:
        return 0


class NeverFaults(Device):
    """Fails every access: no rule of safety is broken, but the CPU would have got the page."""


def broken_by(driver: type[Device], rules: list[str] | None = None, adversaries: list[str] | None = None, until: str = "") -> set[str]:
    """The rules that a driver breaks, or those up to one; each trace is replayed."""
    found = set()
    for checked in check(driver, adversaries, rules):
        violation = checked.result.violation
        if violation is None:
            assert checked.result.verdict is Verdict.HOLDS, checked.result
            continue
        found.add(violation.rule)
        steps = violation.trace.schedule
        assert len(replay(checked.rebuild(), steps, violation.trace.states)) == len(steps)
        if violation.rule == until:
            break
    return found


@pytest.mark.parametrize(
    ("driver", "name"),
    [(mirror.Mirror, "munmap: reads"), (mirror.Mirror, "open: beside munmap"), (mirror.MirrorWithoutTest, "munmap: closes"), (NeverFaults, "munmap: reads")],
)
def test_the_verdict_is_the_same_where_all_results_are_kept(driver: type[Device], name: str) -> None:
    """What is asked of them is whether the device got at a page, and whether it was opened and closed."""
    adversary, scenario = next((a.name, s) for a in ADVERSARIES.values() for s in a.scenarios if s.name == name)
    rules = rules_for(driver, ["isolation"])
    few, whole = (check_scenario(driver, adversary, scenario, rules, results=results) for results in (False, True))
    assert (few.result.verdict, few.accessed) == (whole.result.verdict, whole.accessed)
    assert few.accessed is (driver is not NeverFaults)
    assert few.result.states < whole.result.states


@pytest.mark.parametrize("adversary", some(adversaries_for(mirror.Mirror)))
def test_the_reference_mirror_survives(adversary: str) -> None:
    assert broken_by(mirror.Mirror, adversaries=[adversary]) == set()


def test_the_example_driver_survives() -> None:
    (driver,) = load_drivers(ROOT / "examples" / "my_gpu.py")
    assert broken_by(driver, adversaries=["munmap", "oom-reaper", "madvise-dontneed", "punch-hole"]) == set()


@pytest.mark.parametrize("name", some(n for m in (mirror, mirror_2019) for n in m.__all__ if n != "Mirror"))
def test_every_wrong_form_is_caught_and_its_traces_replay(name: str) -> None:
    driver = getattr(mirror, name, None) or getattr(mirror_2019, name)
    against = ["swap"] if driver is mirror.MirrorNeverMarksDirty else ["madvise-dontneed", "dax-teardown"]
    assert broken_by(driver, adversaries=against) != set()


@pytest.mark.wide
def test_every_rule_can_be_broken() -> None:
    broken = {
        "as-if-cpu": broken_by(mirror.MirrorWithoutTest, ["as-if-cpu"], ["munmap"], "as-if-cpu"),
        "no-use-after-free": broken_by(mirror.MirrorDereferencesLater, ["no-use-after-free"], ["munmap"], "no-use-after-free"),
        "isolation": broken_by(mirror.MirrorWithoutTest, ["isolation"], ["madvise-dontneed", "munmap-mmap", "punch-hole"], "isolation"),
        "teardown": broken_by(ForgetsToUnsubscribe, ["teardown"], ["munmap"], "teardown"),
        "balance": broken_by(small.KeepsReferences, ["balance"], ["open"], "balance"),
        "lost-write": broken_by(small.NeverMarksDirty, ["lost-write"], ["swap"], "lost-write"),
        "table-lock": broken_by(small.ChangesOutsideTheLock, ["table-lock"], ["open"], "table-lock"),
        "pinned": broken_by(small.UnpinsBeforeItStops, ["pinned"], ["close"], "pinned"),
        "movable": broken_by(VfioWithoutLongterm, ["movable"], ["offline"], "movable"),
        "memlock": broken_by(VfioUncounted, ["memlock"], ["offline"], "memlock"),
        "exclusive": broken_by(exclusive.ExclusiveByEvent, ["exclusive"], ["atomics"], "exclusive"),
        "own-memory": broken_by(small.LeavesOldContents, ["own-memory"], ["device-memory"], "own-memory"),
        "no-freed-frame": broken_by(small.AddsNoFence, ["no-freed-frame"], ["buffer-moves"], "no-freed-frame"),
        "implicit-sync": broken_by(small.SaysThatItReads, ["implicit-sync"], ["cpu-access"], "implicit-sync"),
        "progress": broken_by(mirror_2019.Mirror2019, ["progress"], ["oom-reaper"], "progress"),
    }
    assert set(broken) == set(RULES)
    assert all(broken.values()), broken
    assert all(rule in rules for rule, rules in broken.items() if rule != "progress"), broken
    assert broken["progress"] == {"sleep-in-atomic"}


def test_a_permission_that_the_cpu_does_not_have_is_as_bad_as_a_frame() -> None:
    assert broken_by(small.AlwaysWritable, adversaries=["madvise-dontneed"]) == {"as-if-cpu"}


def test_a_device_that_fails_where_the_cpu_does_not_is_caught() -> None:
    assert broken_by(NeverFaults, adversaries=["madvise-dontneed"]) == {"as-if-cpu"}


def test_a_device_that_faults_for_ever_is_a_livelock() -> None:
    assert broken_by(NeverMaps, adversaries=["munmap"]) == {"livelock"}


def test_a_driver_that_does_nothing_fails_where_the_cpu_does_not() -> None:
    assert broken_by(NeverFaults, adversaries=["munmap", "exit", "oom-reaper", "dax-teardown", "open"]) == {"as-if-cpu"}


def test_only_the_rules_that_are_named_are_watched() -> None:
    assert broken_by(mirror.MirrorWithoutTest, ["teardown"], ["munmap"]) == set()


def test_names_are_checked_and_listed() -> None:
    with pytest.raises(LangError, match="no adversary is called 'nobody'; there are: munmap"):
        list(check(mirror.Mirror, ["nobody"]))
    with pytest.raises(LangError, match="no rule is called 'none'; there are: as-if-cpu"):
        list(check(mirror.Mirror, None, ["none"]))


def test_a_search_knows_how_many_of_its_shape_are_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    coming: list[int] = []
    weights: list[int] = []

    def note(made: Program, asked: Request) -> Result:
        assert asked.coming is not None
        coming.append(asked.coming())
        weights.append(asked.weight)
        return search(made, asked.but(states=1))

    monkeypatch.setattr(importlib.import_module("secondsight.contract.check"), "search", note)
    assert len(list(check(mirror.Mirror, ["munmap", "punch-hole", "open"]))) == 11
    assert weights == [1, 1, 16, 1, 1, 1, 16, 1, 1, 1, 1], "a further engine"
    assert coming == [20, 19, 18, 2, 19, 18, 17, 1, 1, 1, 1], "huge pages, and opening beside an exit, are of shapes of their own"


def test_a_search_cut_short_is_not_finished() -> None:
    (checked,) = [
        c for c in check(mirror.Mirror, ["munmap-mmap"], request=Request(limits=Limits(states=600))) if c.scenario.endswith("two engines")
    ]
    assert checked.result.verdict is Verdict.NOT_FINISHED


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "no driver in it"),
        ("def f(:\n", "1"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "driver.py"
    path.write_text(text)
    with pytest.raises(LangError, match=says):
        load_drivers(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(LangError, match="no such file"):
        load_drivers(tmp_path / "none.py")


def test_a_refused_construct_names_the_users_line(tmp_path: Path) -> None:
    path = tmp_path / "driver.py"
    path.write_text(
        textwrap.dedent(
            """
            from secondsight import Device, Errno, Va

            class Gpu(Device):
                def fault(self, va: Va, write: bool) -> Errno:
                    try:
                        return 0
                    finally:
                        pass
            """
        )
    )
    (driver,) = load_drivers(path)
    with pytest.raises(Refused) as caught:
        list(check(driver, ["munmap"]))
    assert str(caught.value).startswith(f"{path}:6:9: ")
    assert "try" in str(caught.value)


class BreaksWhenItIsOpened(mirror.Mirror):
    """Takes the same subscription twice."""

    def open(self, mm: Mm, start: Va, length: Pgoff) -> Errno:
        ret = mirror.Mirror.open(self, mm, start, length)
        return ret if ret != 0 else mirror.Mirror.open(self, mm, start, length)


def test_a_rule_that_is_broken_before_any_thread_is_said_of_that_scenario_and_the_others_go_on() -> None:
    found = list(check(BreaksWhenItIsOpened, ["munmap"]))
    assert len(found) == 4 and {one.result.verdict for one in found} == {Verdict.NOT_FINISHED}
    assert "BreaksWhenItIsOpened breaks the rule inserted-twice while munmap: reads is set up, before any thread: " in str(found[0].result.error)
