"""Mutants of drivers: every rule that makes them fits, what is noticed is told, and nothing of the reference mirror survives but what may.

A sample here; all of them, of all right drivers that ship, with `SECONDSIGHT_CONTRACT=all` (`make adversaries`).
"""

from __future__ import annotations

import inspect
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from secondsight.cases.judges import JUDGES
from secondsight.cli import main
from secondsight.contract import ADVERSARIES, check, load_drivers
from secondsight.contract.adequacy import PARTS, RIGHT
from secondsight.contract.adversaries import Adversary
from secondsight.contract.driver_mutants import driver_mutants, try_before, try_mutant
from secondsight.contract.harmless import HARMLESS, JUDGED
from secondsight.devices.device import Device
from secondsight.devices.fenced_importer import FencedImporter
from secondsight.devices.mirror import Mirror
from secondsight.devices.private_gpu import PrivateGpu
from secondsight.search import Verdict


def trials(driver: type[Device], adversaries: list[str], names: list[str]) -> list[tuple[str, str]]:
    known = {one.name: one for one in driver_mutants(driver)}
    return [(trial.fate, trial.by) for trial in (try_mutant(driver, known[f"{driver.__name__}.{name}"], adversaries) for name in names)]


def test_each_rule_makes_mutants_of_the_mirror() -> None:
    made = driver_mutants(Mirror)
    assert len({one.name for one in made}) == len(made)
    rules = {one.rule for one in made}
    assert rules == {"drop", "swap", "negate", "without the lock", "first out of the lock"}
    statements = " ".join(one.statement for one in made)
    for statement in ("read_begin", "with self.lock", "read_retry", "set_seq", "unmap", "rng.blockable", "unlock", "lock.lock"):
        assert statement in statements
    lines = Path(str(inspect.getsourcefile(Mirror))).read_text().splitlines()
    assert all(one.statement == lines[one.line - 1].strip() for one in made)


def test_what_comes_of_some() -> None:
    swapped, dropped, negated = trials(Mirror, ["munmap"], ["fault: swap 1", "fault: drop 1", "invalidate: negate 1"])
    assert (swapped, negated) == (("broken", "munmap, as-if-cpu"), ("broken", "munmap, notifier-failed"))
    assert dropped[0] == "refused" and "seq is not defined" in dropped[1]


def test_a_reference_to_a_fence_that_is_kept_and_jobs_that_are_never_queued() -> None:
    kept, refused = trials(FencedImporter, ["buffer-moves"], ["wait_for_jobs: drop 3", "submit: negate 2"])
    assert kept == ("broken", "buffer-moves, balance")
    assert refused == ("idle", "no access of the device succeeds")


def test_a_device_whose_memory_nothing_comes_into_is_idle_and_one_that_leaves_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    goes = ADVERSARIES["device-memory-goes"]
    monkeypatch.setitem(ADVERSARIES, goes.name, Adversary(goes.name, goes.summary, goes.scenarios[3:4], goes.promise))
    never, leaves = trials(PrivateGpu, [goes.name], ["to_device: negate 1", "close: drop 2"])
    assert never == ("idle", "nothing makes the rule own-memory look")
    assert leaves == ("broken", "device-memory-goes, teardown")


def test_the_last_statement_out_of_its_lock(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "from secondsight import Device, DevicePageTable, Mutex, Va\n\n\nclass Own(Device):\n    lock: Mutex\n    page_table: DevicePageTable\n\n"
        "    def fault(self, va: Va, write: bool) -> int:\n        with self.lock:\n            one = 1\n            self.page_table.map(va, one, write)\n        return 0\n"
    )
    (driver,) = load_drivers(path)
    (last,) = [one for one in driver_mutants(driver) if one.rule == "last out of the lock"]
    assert "            one = 1\n        self.page_table.map(va, one, write)\n" in last.text


def test_one_of_several_locks_is_left_out() -> None:
    """A `with` takes two: without the first the driver evicts beside faults; without the second there are no arguments."""
    texts = [one.text for one in driver_mutants(PrivateGpu) if one.name.startswith("PrivateGpu.to_ram: without one of the locks")]
    assert ["with migrate_vmas.on_stack() as args:\n            with atomic:" in text for text in texts] == [True, False]
    assert ["with self.moving:\n            with atomic:" in text for text in texts] == [False, True]


OWN = """
from secondsight.devices.mirror import Mirror
from secondsight.linux import mmu_notifier as mn


class Own(Mirror):
    def invalidate(self, rng: mn.Range, seq: int) -> bool:
        with self.lock:
            mn.mmu_interval_set_seq(self.notifier, seq)
            self.page_table.unmap(rng)
        return True
"""


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    munmap = ADVERSARIES["munmap"]
    monkeypatch.setitem(ADVERSARIES, "munmap", Adversary(munmap.name, munmap.summary, munmap.scenarios[:1]))
    path = tmp_path / "own.py"
    path.write_text(OWN)
    words = ["mutants", str(path), "--adversary", "munmap"]
    assert main([*words, "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert {one["name"]: one["fate"] for one in data["mutants"]} == {
        "Own.invalidate: without the lock 1": "broken",
        "Own.invalidate: first out of the lock 1": "survives",
        "Own.invalidate: last out of the lock 1": "survives",
        "Own.invalidate: drop 1": "broken",
        "Own.invalidate: swap 1": "survives",
        "Own.invalidate: drop 2": "broken",
    }
    assert main([*words, "--class", "Other"]) == 2
    assert "has no driver Other; it has Own" in capsys.readouterr().err
    assert main([*words, "--states", "20"]) == 3
    assert capsys.readouterr().out.startswith("own.py: Own: not finished as it is")
    path.write_text(OWN.replace("            self.page_table.unmap(rng)\n", ""))
    assert main(words) == 2
    assert "Own is broken as it is (munmap: reads, as-if-cpu)" in capsys.readouterr().err


def test_a_driver_that_a_table_judges() -> None:
    driver = RIGHT["Mirror2019MmapSem"]
    known = {one.name: one for one in driver_mutants(driver)}
    fates = [try_before(JUDGES[driver], driver, known[f"Mirror2019MmapSem.fault: {name}"]) for name in ("drop 8", "drop 9", "without the lock 2")]
    assert [(trial.fate, trial.by) for trial in fates] == [
        ("broken", "2019-08-hmm, livelock"), ("idle", "no access of the device succeeds"), ("survives", ""),
    ]  # fmt: skip


def test_a_record_within_a_driver_that_ships() -> None:
    part, driver = PARTS["GpuMemory"]
    (never_freed,) = [try_mutant(driver, one, ["device-memory"]) for one in driver_mutants(part)]
    assert (never_freed.fate, never_freed.by) == ("broken", "device-memory, livelock")


def test_a_driver_that_scenarios_of_its_own_judge() -> None:
    driver = RIGHT["UnsubscribesByEntry"]
    known = {one.name.partition(".")[2]: one for one in driver_mutants(driver)}
    untold, again = (try_before(JUDGES[driver], driver, known[name]) for name in ("register: drop 2", "forget_watched: drop 2"))
    assert (untold.fate, untold.by) == ("broken", "late unsubscription, as-if-cpu")
    assert again.fate == "survives"


def test_a_driver_that_takes_several_pages_in_one_call() -> None:
    """Nothing comes into its memory while it is closed; and something does at other times."""
    driver = RIGHT["PrivateRangeGpu"]
    known = {one.name.partition(".")[2]: one for one in driver_mutants(driver)}
    (judge,) = JUDGES[driver]
    small = [replace(judge, scenarios=tuple(one for one in judge.scenarios if name in one[1].name)) for name in ("while it is closed", "it is there already")]
    unlocked = try_before(small[:1], driver, known["range_to_device: first out of the lock 1"])
    never = try_before(small[1:], driver, known["range_to_device: negate 1"])
    assert (unlocked.fate, unlocked.by) == ("broken", "two come while it is closed, killed-pagemap")
    assert (never.fate, never.by) == ("idle", "nothing makes the rule own-memory look")


def test_what_may_survive_is_of_a_driver_that_ships() -> None:
    assert set(RIGHT) | set(PARTS) == set(HARMLESS)
    assert set(JUDGED) == {driver.__name__ for driver in JUDGES}
    for name, table in HARMLESS.items():
        there = {one.name for one in driver_mutants(PARTS[name][0] if name in PARTS else RIGHT[name])}
        assert set(table) <= {one.removeprefix(f"{name}.") for one in there}


@pytest.mark.skipif(os.environ.get("SECONDSIGHT_CONTRACT") != "all", reason="minutes: make adversaries runs it")
@pytest.mark.parametrize("name", HARMLESS)
def test_every_mutant_is_noticed_unless_it_is_harmless(name: str) -> None:
    kind, driver = PARTS[name] if name in PARTS else (RIGHT[name], RIGHT[name])
    survivors = {}
    for one in driver_mutants(kind):
        trial = try_before(JUDGES[driver], driver, one) if name in JUDGED else try_mutant(driver, one)
        if trial.fate == "survives":
            survivors[one.name.removeprefix(f"{name}.")] = one.statement
    assert set(survivors) == set(HARMLESS.get(name, {})), survivors


def test_a_driver_written_out_again_is_the_same(tmp_path: Path) -> None:
    one = driver_mutants(Mirror)[0]
    path = tmp_path / "same.py"
    path.write_text(one.text.replace("pass\n", "seq = mn.mmu_interval_read_begin(self.notifier)\n", 1))
    driver = next(kind for kind in load_drivers(path) if kind.__name__ == "Mirror")
    assert all(c.result.verdict is Verdict.HOLDS for c in check(driver, ["munmap"]))
