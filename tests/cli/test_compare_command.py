"""`secondsight compare OLD NEW`: verdicts that change, outcomes that come and go, and a shortest trace of each."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from secondsight.cli import main
from secondsight.contract import ADVERSARIES
from secondsight.contract import compare as comparing
from secondsight.contract.adversaries import Adversary
from secondsight.devices.mirror import Mirror, MirrorWithoutTest
from secondsight.devices.small import Pins
from secondsight.lang import LangError
from secondsight.search import Verdict
from secondsight.world.model import outcomes

RIGHT = (Path(__file__).parents[2] / "examples" / "my_gpu.py").read_text()
RETRY = "if mn.mmu_interval_read_retry(self.notifier, seq):"
STALE = "cpu[0].munmap = ok, first = A, second = A, final[0].device_compare = differs"


@pytest.fixture(autouse=True)
def one_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    munmap = ADVERSARIES["munmap"]
    first = {"munmap": Adversary(munmap.name, munmap.summary, munmap.scenarios[:1])}
    monkeypatch.setattr(comparing, "adversaries_for", lambda driver: first)


def test_what_only_one_can_end_with_and_the_way_there() -> None:
    (one,) = comparing.compare(MirrorWithoutTest, Mirror)
    assert (one.old.result.verdict, one.new.result.verdict, one.differs, one.is_worse) == (Verdict.BROKEN, Verdict.HOLDS, True, False)
    assert ([str(e) for e in one.gone or ()], one.come) == ([STALE], frozenset())
    (ending,) = one.gone or ()
    made, ways = comparing.ways_of(MirrorWithoutTest, one.old, one.scenario, [ending])
    seen = {path: value for path, value, _ in made.layout.fields(ways[ending].states[-1])}
    assert [seen[f"tables.results[{row}].value"] for row in (4, 5)] == [ord("A"), ord("A")]
    ways[ending].replay(made)
    assert comparing.ways_of(Mirror, one.new, one.scenario, [ending])[1] == {}


def test_outcomes_are_those_that_run_prints() -> None:
    (one,) = comparing.compare(Mirror, Mirror)
    assert (one.differs, one.gone, one.come) == (False, frozenset(), frozenset())
    endings = comparing._endings(Mirror, one.scenario, one.new, comparing.Request())
    printed = {frozenset(known.items()) for known in map(dict, outcomes(one.scenario, Mirror)[1])}
    assert {frozenset((n, v) for n, v in ending.results if v != "not run") & frozenset().union(*printed) for ending in endings or ()} == printed


def test_drivers_of_different_promises_are_refused() -> None:
    with pytest.raises(LangError, match="Mirror promises 'mirror' and Pins 'pinned'"):
        list(comparing.compare(Mirror, Pins))


def test_a_revision_and_the_file_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "drivers" / "my_gpu.py"
    file.parent.mkdir()
    file.write_text(RIGHT.replace("from secondsight import", "from helper import LOOKS\nfrom secondsight import", 1).replace(RETRY, f"if not LOOKS:\n                    pass\n                elif {RETRY[3:]}"))
    (tmp_path / "drivers" / "helper.py").write_text("LOOKS = True\n")
    for words in ("init -q", "add .", "-c user.name=a -c user.email=a@b.c commit -qm right"):
        subprocess.run(["git", *words.split()], check=True)
    (tmp_path / "drivers" / "helper.py").write_text("LOOKS = False\n")
    assert main(["compare", "HEAD:drivers/my_gpu.py", "drivers/my_gpu.py"]) == 1
    shown = capsys.readouterr().out
    assert "munmap: reads\n  holds  ->  broken: as-if-cpu\n  + cpu[0].munmap = ok" in shown
    assert "1 of 1 scenarios differ\n" in shown
    assert "new: MyGpu (munmap: reads): stale access" in shown
    assert "only new: MyGpu (munmap: reads): cpu[0].munmap = ok, first = A, second = A," in shown
    assert main(["compare", "drivers/my_gpu.py", "HEAD:drivers/my_gpu.py", "--json"]) == 0
    (scenario,) = json.loads(capsys.readouterr().out)["scenarios"]
    assert (scenario["differs"], scenario["worse"], scenario["come"]) == (True, False, [])
    assert scenario["gone"][0]["second"] == "A"
    assert main(["compare", "HEAD:drivers/my_gpu.py", "HEAD:drivers/my_gpu.py"]) == 0
    assert "0 of 1 scenarios differ; the others, with both: 1 holds\n" in capsys.readouterr().out


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_gpu.py").write_text(RIGHT)
    assert main(["compare", "HEAD:my_gpu.py", "my_gpu.py"]) == 2
    assert "HEAD:my_gpu.py: no such file, and git says: fatal:" in capsys.readouterr().err
    assert main(["compare", "HEAD:../my_gpu.py", "my_gpu.py"]) == 2
    assert "a file of a revision is named from here on" in capsys.readouterr().err
    assert main(["compare", "my_gpu.py", "my_gpu.py", "--class", "Other"]) == 2
    assert "my_gpu.py has no driver Other; it has MyGpu" in capsys.readouterr().err
